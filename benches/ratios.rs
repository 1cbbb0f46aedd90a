//! Posts beside their floors. Each pair is measured in turns, so that whatever else
//! the machine does falls on both; the table shows the medians and the ratio of the medians.
//!
//! `cargo bench -p chat-benches --bench ratios`; with `-- --test` each runs once.

use std::time::Duration;

use chat_benches::turns::{Run, median};
use chat_benches::{floor, http_posts, posts, posts_from_two, process, serve, sqlite};
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::Start;
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
    let [ours, other] = rates.map(median);
    println!("| {what} | {ours:.0} | {other:.0} | {:.2} |", ours / other);
}

fn main() {
    let run = Run::from_arguments();
    let rounds = run.rounds;
    let scale = run.pick(1, 10);
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

    for (name, kind) in [
        ("replica set", Kind::ReplicaSet),
        ("standalone", Kind::Standalone),
    ] {
        let database = runtime.block_on(floor::mongodb(&mongod::database(kind)));
        let place = mongod::database(kind);
        let store = runtime.block_on(ChatStore::open(&place)).expect("a store");
        let address = runtime.block_on(serve(store.clone()));
        let by_64 = |n| runtime.block_on(posts(&store, "a", WRITERS, n));
        let inserts = |n| runtime.block_on(floor::insert_many(&database, n));
        row(
            &format!("{name}, 64 writers / inserts of 64"),
            rounds,
            [many; 2],
            by_64,
            inserts,
        );
        let by_http = |n| runtime.block_on(http_posts(address, "a", WRITERS, n));
        row(
            &format!("{name}, 64 connections / inserts of 64"),
            rounds,
            [many; 2],
            by_http,
            inserts,
        );
        let three = |n| runtime.block_on(floor::three_writes(&database, WRITERS, n));
        row(
            &format!("{name}, 64 writers / three writes a message"),
            rounds,
            [many, few],
            by_64,
            three,
        );
        let alone = |n| runtime.block_on(posts(&store, "a", 1, n));
        let one = |n| runtime.block_on(floor::insert_one(&database, n));
        row(
            &format!("{name}, one at a time / one insert"),
            rounds,
            [few; 2],
            alone,
            one,
        );
        if kind == Kind::ReplicaSet {
            let other = runtime
                .block_on(ChatStore::open(&place))
                .expect("another process");
            let two = |n| runtime.block_on(posts_from_two([&store, &other], "shared", WRITERS, n));
            let by_one = |n| runtime.block_on(posts(&store, "alone", WRITERS, n));
            row(
                "replica set, two processes in one room / one process",
                rounds,
                [many; 2],
                two,
                by_one,
            );
            let apart = |n| {
                let started = std::time::Instant::now();
                runtime.block_on(async {
                    tokio::join!(
                        posts(&store, "left", WRITERS / 2, n / 2),
                        posts(&other, "right", WRITERS / 2, n / 2)
                    )
                });
                started.elapsed()
            };
            row(
                "replica set, two processes in two rooms / one process",
                rounds,
                [many; 2],
                apart,
                by_one,
            );
        }
    }
    memory(&runtime, many);
}

/// Processor time of the server while 64 connections post: the binary, if it has been built.
fn memory(runtime: &Runtime, n: u64) {
    let Some(executable) = process::built() else {
        println!(
            "\nno memory figures: there is no chat-http beside this benchmark; build it in the same profile"
        );
        return;
    };
    println!(
        "\n| memory of the server, MiB | idle | at most during {n} posts by 64 connections |\n|---|---|---|"
    );
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder
        .path()
        .join("chat.db")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    for (name, store) in [
        ("SQLite", file),
        ("replica set", mongod::database(Kind::ReplicaSet)),
    ] {
        let server = Start::new(&executable, &store).run().expect("it starts");
        let idle = server.memory_kib();
        runtime.block_on(http_posts(server.address, "a", WRITERS, n));
        println!(
            "| {name} | {:.1} | {:.1} |",
            idle as f64 / 1024.0,
            server.peak_memory_kib() as f64 / 1024.0
        );
    }
}
