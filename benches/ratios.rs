//! How near the posts come to their floors. Each pair is measured in turns, so that whatever else
//! the machine does falls on both; the table shows the medians and the ratio of the medians.
//!
//! `cargo bench -p chat-benches --bench ratios`; with `-- --test` each runs once.

use std::time::Duration;

use chat_benches::{floor, http_posts, posts, serve, sqlite};
use chat_testkit::mongod::{self, Kind};
use chatcore::ChatStore;
use tokio::runtime::Runtime;

const WRITERS: usize = 64;

/// Runs the two in turns and prints a row; rates are posts a second.
fn row(
    what: &str,
    rounds: usize,
    n: [u64; 2],
    mut ours: impl FnMut(u64) -> Duration,
    mut other: impl FnMut(u64) -> Duration,
) {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        rates[0].push(n[0] as f64 / ours(n[0]).as_secs_f64());
        rates[1].push(n[1] as f64 / other(n[1]).as_secs_f64());
    }
    let [ours, other] = rates.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    });
    println!("| {what} | {ours:.0} | {other:.0} | {:.2} |", ours / other);
}

fn main() {
    // `cargo bench` says so; `cargo test --benches` does not.
    let arguments: Vec<_> = std::env::args().collect();
    let short = !arguments.iter().any(|a| a == "--bench") || arguments.iter().any(|a| a == "--test");
    let rounds = if short { 1 } else { 9 };
    let scale = if short { 1 } else { 10 };
    let many = 640 * scale;
    let few = 64 * scale;
    let runtime = Runtime::new().expect("a runtime");
    println!("| posts a second | ours | beside it | ratio |\n|---|---|---|---|");

    let (mut connection, _kept) = floor::sqlite();
    let (store, _kept) = runtime.block_on(sqlite());
    let address = runtime.block_on(serve(store.clone()));
    row(
        "SQLite, 64 writers / transactions of 64",
        rounds,
        [many; 2],
        |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
        |n| floor::transactions(&mut connection, n),
    );
    row(
        "SQLite, 64 connections / transactions of 64",
        rounds,
        [many; 2],
        |n| runtime.block_on(http_posts(address, "a", WRITERS, n)),
        |n| floor::transactions(&mut connection, n),
    );

    for (name, kind) in [("replica set", Kind::ReplicaSet), ("standalone", Kind::Standalone)] {
        let database = runtime.block_on(floor::mongodb(&mongod::database(kind)));
        let store = runtime.block_on(ChatStore::open(&mongod::database(kind))).expect("a store");
        let address = runtime.block_on(serve(store.clone()));
        row(
            &format!("{name}, 64 writers / inserts of 64"),
            rounds,
            [many; 2],
            |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
            |n| runtime.block_on(floor::insert_many(&database, n)),
        );
        row(
            &format!("{name}, 64 connections / inserts of 64"),
            rounds,
            [many; 2],
            |n| runtime.block_on(http_posts(address, "a", WRITERS, n)),
            |n| runtime.block_on(floor::insert_many(&database, n)),
        );
        row(
            &format!("{name}, 64 writers / three writes a message"),
            rounds,
            [many, few],
            |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
            |n| runtime.block_on(floor::three_writes(&database, WRITERS, n)),
        );
        row(
            &format!("{name}, one at a time / one insert"),
            rounds,
            [few; 2],
            |n| runtime.block_on(posts(&store, "a", 1, n)),
            |n| runtime.block_on(floor::insert_one(&database, n)),
        );
    }
}
