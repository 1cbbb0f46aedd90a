//! Whether reads stay as fast as a room grows: the same reads at 1,000 messages and at many.
//!
//! `cargo bench -p chat-benches --bench flat`; `CHAT_FLAT_MESSAGES` says how many are many. Pages are
//! read at places all over the room, so that they come from the database and not from memory.

use std::time::{Duration, Instant};

use chat_benches::{posts, sqlite};
use chat_testkit::mongod::{self, Kind};
use chatcore::{ChatStore, Range, Seq};
use tokio::runtime::Runtime;

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

/// The medians of a page of 50, of a count and of the list of rooms.
async fn reads(store: &ChatStore, messages: u64) -> [Duration; 3] {
    let room = "grows".parse().expect("a name");
    let writer = "writer0".parse().expect("a name");
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for i in 0..READS {
        // A large odd step reaches every part.
        let place = 51 + i * 7_919_317 % (messages - 51);
        let before = Range::Before(Seq::new(place.cast_signed()).expect("a place"));
        let (time, page) = timed(store.messages(&room, before, 50)).await;
        assert_eq!(page.expect("read").len(), 50);
        times[0].push(time);
        let (time, count) = timed(store.message_count(&writer)).await;
        assert!(count.expect("read") > 0);
        times[1].push(time);
        let (time, rooms) = timed(store.rooms(None, 50)).await;
        assert_eq!(rooms.expect("read").as_slice(), std::slice::from_ref(&room));
        times[2].push(time);
    }
    times.map(median)
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let short = !arguments.iter().any(|a| a == "--bench") || arguments.iter().any(|a| a == "--test");
    let many = std::env::var("CHAT_FLAT_MESSAGES").ok().and_then(|n| n.parse().ok());
    let many: u64 = if short { 2 * FEW } else { many.unwrap_or(1_000_000) };
    let runtime = Runtime::new().expect("a runtime");
    println!("| median, \u{b5}s | at {FEW} messages | at {many} | ratio |\n|---|---|---|---|");
    let (embedded, _kept) = runtime.block_on(sqlite());
    let shared = runtime.block_on(ChatStore::open(&mongod::database(Kind::ReplicaSet))).expect("a store");
    for (name, store) in [("SQLite", embedded), ("replica set", shared)] {
        runtime.block_on(posts(&store, "grows", WRITERS, FEW));
        let few = runtime.block_on(reads(&store, FEW));
        runtime.block_on(posts(&store, "grows", WRITERS, many - FEW));
        let many = runtime.block_on(reads(&store, many));
        for ((what, few), many) in ["page of 50", "count", "list of rooms"].into_iter().zip(few).zip(many) {
            let (few, many) = (few.as_secs_f64() * 1e6, many.as_secs_f64() * 1e6);
            println!("| {name}, {what} | {few:.0} | {many:.0} | {:.2} |", many / few);
        }
    }
}
