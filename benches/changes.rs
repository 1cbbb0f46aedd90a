//! Edits, reactions and deletions by 64 connections of one user, beside posts by the same; and a
//! page with reactions beside one without.
//!
//! `cargo bench -p chat-benches --bench changes`; the names of stores after `--` pick some.

use chat_benches::changes::{Changers, Kind};
use chat_benches::load::{ask, askers, get};
use chat_benches::turns::{Run, median};
use chat_benches::{posts, serve, sqlite};
use chat_testkit::mongod::{self, Kind as Deployment};
use chatcore::{ChatStore, Seq};
use tokio::runtime::Runtime;

const CONNECTIONS: usize = 64;
const STORES: [&str; 3] = ["sqlite", "replica-set", "standalone"];
const PAGE: i64 = 50;

fn main() {
    let run = Run::from_arguments();
    let runtime = Runtime::new().expect("a runtime");
    println!("| requests a second, 64 connections | ours | beside it | ratio |\n|---|---|---|---|");
    if run.wants_of(&STORES, "sqlite") {
        let (store, _kept) = runtime.block_on(sqlite());
        measure(&runtime, &run, "SQLite", &store);
    }
    for (name, kind) in [
        ("replica-set", Deployment::ReplicaSet),
        ("standalone", Deployment::Standalone),
    ] {
        if run.wants_of(&STORES, name) {
            let store = runtime
                .block_on(ChatStore::open(&mongod::database(kind)))
                .expect("a store");
            measure(&runtime, &run, name, &store);
        }
    }
}

fn measure(runtime: &Runtime, run: &Run, name: &str, store: &ChatStore) {
    let n = run.pick(2 * CONNECTIONS as u64, 6_400);
    let address = runtime.block_on(serve(store.clone()));
    let mut changers = runtime.block_on(Changers::new(store, address, "changes", CONNECTIONS));
    for (what, kind) in [
        ("edits", Kind::Edit),
        ("reactions", Kind::Reaction),
        ("deletions", Kind::Deletion),
        ("scattered deletions", Kind::ScatteredDeletion),
    ] {
        row(&format!("{name}, {what} / posts"), run.rounds, n, |n| {
            [kind, Kind::Post].map(|kind| runtime.block_on(changers.make(store, kind, n)))
        });
    }

    for room in ["plain", "reactions"] {
        runtime.block_on(posts(store, room, CONNECTIONS, PAGE.unsigned_abs()));
    }
    runtime.block_on(react(store));
    let mut askers = ["reactions", "plain"].map(|room| {
        let request = get(&format!("/chat/{room}/messages"));
        runtime.block_on(askers(address, &request, CONNECTIONS))
    });
    let n = run.pick(2 * CONNECTIONS as u64, 64_000);
    row(
        &format!("{name}, page with reactions / without"),
        run.rounds,
        n,
        |n| {
            askers
                .each_mut()
                .map(|askers| runtime.block_on(ask(askers, n)))
        },
    );
}

/// Three users react to each message of a page, two of them alike.
async fn react(store: &ChatStore) {
    let room = "reactions".parse().expect("a name");
    for seq in (1..=PAGE).filter_map(Seq::new) {
        for (user, emoji) in [("ann", "👍"), ("bob", "👍"), ("eve", "🎉")] {
            let (user, emoji) = (
                user.parse().expect("a name"),
                emoji.parse().expect("an emoji"),
            );
            store
                .add_reaction(&room, seq, &user, emoji)
                .await
                .expect("added");
        }
    }
}

/// Runs the two in turns and prints a row of rates.
fn row(what: &str, rounds: usize, n: u64, mut turn: impl FnMut(u64) -> [std::time::Duration; 2]) {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (rates, time) in rates.iter_mut().zip(turn(n)) {
            rates.push(n as f64 / time.as_secs_f64());
        }
    }
    let [ours, other] = rates.map(median);
    println!("| {what} | {ours:.0} | {other:.0} | {:.2} |", ours / other);
}
