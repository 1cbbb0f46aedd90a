//! Posts beside their floors. Each pair is measured in turns, so that whatever else
//! the machine does falls on both; the table shows the medians and the ratio of the medians.
//!
//! `cargo bench -p chat-benches --bench ratios`; with `-- --test` each runs once.

use std::time::{Duration, Instant};

use chat_benches::turns::{Run, median};
use chat_benches::{floor, http_posts, posts, posts_from_two, process, serve, sqlite};
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::Start;
use chatcore::ChatStore;
use tokio::runtime::Runtime;

const WRITERS: usize = 64;

fn main() {
    let table = Table {
        run: Run::from_arguments(),
        runtime: Runtime::new().expect("a runtime"),
    };
    println!("| posts a second | ours | beside it | ratio |\n|---|---|---|---|");
    table.sqlite();
    table.mongodb("replica set", Kind::ReplicaSet);
    table.two_processes();
    table.mongodb("standalone", Kind::Standalone);
    memory(&table.runtime, table.many());
}

/// The rows of posts beside their floors.
struct Table {
    run: Run,
    runtime: Runtime,
}

impl Table {
    /// Messages of a run that commits many at once.
    fn many(&self) -> u64 {
        640 * self.run.pick(1, 10)
    }

    /// Messages of a run that commits each on its own.
    fn few(&self) -> u64 {
        64 * self.run.pick(1, 10)
    }

    /// Runs the two in turns, with so many posts each, and prints a row; rates are posts a second.
    fn row(
        &self,
        name: &str,
        posts: [u64; 2],
        mut ours: impl FnMut(u64) -> Duration,
        mut other: impl FnMut(u64) -> Duration,
    ) {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..self.run.rounds {
            rates[0].push(posts[0] as f64 / ours(posts[0]).as_secs_f64());
            rates[1].push(posts[1] as f64 / other(posts[1]).as_secs_f64());
        }
        let [ours, other] = rates.map(median);
        println!("| {name} | {ours:.0} | {other:.0} | {:.2} |", ours / other);
    }

    fn sqlite(&self) {
        let runtime = &self.runtime;
        let (mut connection, _kept) = floor::sqlite();
        let (store, _kept) = runtime.block_on(sqlite());
        let address = runtime.block_on(serve(store.clone()));
        self.row(
            "SQLite, 64 writers / transactions of 64",
            [self.many(); 2],
            |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
            |n| floor::transactions(&mut connection, n),
        );
        self.row(
            "SQLite, 64 connections / transactions of 64",
            [self.many(); 2],
            |n| runtime.block_on(http_posts(address, "a", WRITERS, n)),
            |n| floor::transactions(&mut connection, n),
        );
    }

    fn mongodb(&self, name: &str, kind: Kind) {
        let runtime = &self.runtime;
        let database = runtime.block_on(floor::mongodb(&mongod::database(kind)));
        let uri = mongod::database(kind);
        let store = runtime.block_on(ChatStore::open(&uri)).expect("a store");
        let address = runtime.block_on(serve(store.clone()));

        let inserts = |n| runtime.block_on(floor::insert_many(&database, n));
        self.row(
            &format!("{name}, 64 writers / inserts of 64"),
            [self.many(); 2],
            |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
            inserts,
        );
        self.row(
            &format!("{name}, 64 connections / inserts of 64"),
            [self.many(); 2],
            |n| runtime.block_on(http_posts(address, "a", WRITERS, n)),
            inserts,
        );
        self.row(
            &format!("{name}, 64 writers / three writes a message"),
            [self.many(), self.few()],
            |n| runtime.block_on(posts(&store, "a", WRITERS, n)),
            |n| runtime.block_on(floor::three_writes(&database, WRITERS, n)),
        );
        self.row(
            &format!("{name}, one at a time / one insert"),
            [self.few(); 2],
            |n| runtime.block_on(posts(&store, "a", 1, n)),
            |n| runtime.block_on(floor::insert_one(&database, n)),
        );
    }

    fn two_processes(&self) {
        let runtime = &self.runtime;
        let uri = mongod::database(Kind::ReplicaSet);
        let store = runtime.block_on(ChatStore::open(&uri)).expect("a store");
        let other = runtime
            .block_on(ChatStore::open(&uri))
            .expect("another process");

        let by_one = |n| runtime.block_on(posts(&store, "alone", WRITERS, n));
        self.row(
            "replica set, two processes in one room / one process",
            [self.many(); 2],
            |n| runtime.block_on(posts_from_two([&store, &other], "shared", WRITERS, n)),
            by_one,
        );
        let apart = |n| {
            let started = Instant::now();
            runtime.block_on(async {
                tokio::join!(
                    posts(&store, "left", WRITERS / 2, n / 2),
                    posts(&other, "right", WRITERS / 2, n / 2)
                )
            });
            started.elapsed()
        };
        self.row(
            "replica set, two processes in two rooms / one process",
            [self.many(); 2],
            apart,
            by_one,
        );
    }
}

/// Memory of the server while 64 connections post: the binary, if it has been built.
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
