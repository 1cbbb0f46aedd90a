//! Checks that reads stay as fast as a room grows: the same reads at 1,000 messages and changes,
//! and at many.
//!
//! `cargo bench -p chat-benches --bench flat`; `CHAT_FLAT_MESSAGES` says how many are many. Every
//! message is changed once. Pages are read all over the room, so that they come from the
//! database and not from memory.

use std::time::{Duration, Instant};

use chat_benches::{posts, sqlite};
use chat_testkit::mongod::{self, Kind};
use chatcore::{ChangeSeq, ChatStore, Range, Seq};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const FEW: u64 = 1_000;
const WRITERS: usize = 512;
const READS: u64 = 1_000;

/// The median of the time that each of some reads takes.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn timed<T>(read: impl Future<Output = T>) -> (Duration, T) {
    let started = Instant::now();
    let result = read.await;
    (started.elapsed(), result)
}

/// The medians of a page of 50, of 50 changes, of a count and of the list of rooms.
async fn reads(store: &ChatStore, messages: u64) -> [Duration; 4] {
    let room = "grows".parse().expect("a name");
    let writer = "writer0".parse().expect("a name");
    let mut times = [const { Vec::new() }; 4];
    for i in 0..READS {
        // A large odd step reaches every part.
        let number = 51 + i * 7_919_317 % (messages - 51);
        let before = Range::Before(Seq::new(number.cast_signed()).expect("a seq"));
        let (time, page) = timed(store.messages(&room, before, 50)).await;
        assert_eq!(page.expect("read").len(), 50);
        times[0].push(time);
        let after = ChangeSeq::new(number.cast_signed() - 51).expect("a number");
        let (time, changed) = timed(store.changes(&room, after, 50)).await;
        assert_eq!(changed.expect("read").len(), 50);
        times[1].push(time);
        let (time, count) = timed(store.message_count(&writer)).await;
        assert!(count.expect("read") > 0);
        times[2].push(time);
        let (time, rooms) = timed(store.rooms(None, 50)).await;
        assert_eq!(rooms.expect("read").as_slice(), std::slice::from_ref(&room));
        times[3].push(time);
    }
    times.map(median)
}

/// Edits each of these messages once, many at a time.
async fn edit(store: &ChatStore, messages: std::ops::RangeInclusive<u64>) {
    let mut edits = JoinSet::new();
    for n in messages {
        if edits.len() >= WRITERS {
            edits.join_next().await.expect("an edit").expect("no panic");
        }
        let store = store.clone();
        edits.spawn(async move {
            let (room, text) = ("grows".parse().expect("a name"), format!("edit {n}"));
            let seq = Seq::new(n.cast_signed()).expect("a seq");
            store
                .edit_message(&room, seq, text.parse().expect("a text"))
                .await
                .expect("edited");
        });
    }
    edits.join_all().await;
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let short =
        !arguments.iter().any(|a| a == "--bench") || arguments.iter().any(|a| a == "--test");
    let many = std::env::var("CHAT_FLAT_MESSAGES")
        .ok()
        .and_then(|n| n.parse().ok());
    let many: u64 = if short {
        2 * FEW
    } else {
        many.unwrap_or(1_000_000)
    };
    let runtime = Runtime::new().expect("a runtime");
    println!("| median, \u{b5}s | at {FEW} messages | at {many} | ratio |\n|---|---|---|---|");
    let (embedded, _kept) = runtime.block_on(sqlite());
    let shared = runtime
        .block_on(ChatStore::open(&mongod::database(Kind::ReplicaSet)))
        .expect("a store");
    for (name, store) in [("SQLite", embedded), ("replica set", shared)] {
        runtime.block_on(posts(&store, "grows", WRITERS, FEW));
        runtime.block_on(edit(&store, 1..=FEW));
        let few = runtime.block_on(reads(&store, FEW));
        runtime.block_on(posts(&store, "grows", WRITERS, many - FEW));
        runtime.block_on(edit(&store, FEW + 1..=many));
        let many = runtime.block_on(reads(&store, many));
        for ((what, few), many) in ["page of 50", "50 changes", "count", "list of rooms"]
            .into_iter()
            .zip(few)
            .zip(many)
        {
            let (few, many) = (few.as_secs_f64() * 1e6, many.as_secs_f64() * 1e6);
            println!(
                "| {name}, {what} | {few:.0} | {many:.0} | {:.2} |",
                many / few
            );
        }
    }
}
