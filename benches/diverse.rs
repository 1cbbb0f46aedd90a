//! Durable posts by 256 posters: to one room, and to 20,000 rooms by 100,000 users; on each store,
//! beside the same row changes by the bare engine in batches of the same size.
//!
//! `cargo bench -p chat-benches --bench diverse`; the names of stores and loads after `--` pick
//! some.

use chat_benches::diverse::{BareMongo, BareSqlite, HOT, Load, POSTERS, fill, posts};
use chat_benches::sqlite;
use chat_benches::turns::{Run, median};
use chat_testkit::mongod::{self, Kind};
use chatcore::ChatStore;
use tokio::runtime::Runtime;

const STORES: [&str; 3] = ["sqlite", "replica-set", "standalone"];

/// Posts per second of each round, ours and the bare engine's, as a row of the table.
struct Row {
    name: String,
    ours: Vec<f64>,
    bare: Vec<f64>,
}

impl Row {
    fn print(self) {
        let (ours, bare) = (median(self.ours), median(self.bare));
        println!(
            "| {} | {ours:.0} | {bare:.0} | {:.2} |",
            self.name,
            ours / bare
        );
    }
}

fn main() {
    let run = Run::from_arguments();
    let diverse = Load {
        name: "diverse",
        rooms: run.pick(POSTERS as u64, 20_000),
        users: run.pick(2 * POSTERS as u64, 100_000),
    };
    let n = run.pick(POSTERS as u64, 20_000);
    let rounds = run.pick(1, 5);
    let runtime = Runtime::new().expect("a runtime");
    println!("| posts a second, 256 posters | ours | bare engine | ratio |\n|---|---|---|---|");

    for load in [HOT, diverse]
        .into_iter()
        .filter(|load| run.wants_of(&["hot", "diverse"], load.name))
    {
        if run.wants_of(&STORES, "sqlite") {
            let (store, _kept) = runtime.block_on(sqlite());
            let mut bare = BareSqlite::new(load);
            runtime.block_on(fill(&store, load));
            measure("SQLite", load, rounds, |seed| {
                let ours = runtime.block_on(posts(&store, load, n, seed));
                [ours, bare.posts(load, n, seed)].map(|time| n as f64 / time.as_secs_f64())
            });
        }

        for (name, kind) in [
            ("replica-set", Kind::ReplicaSet),
            ("standalone", Kind::Standalone),
        ] {
            if !run.wants_of(&STORES, name) {
                continue;
            }
            let store = runtime
                .block_on(ChatStore::open(&mongod::database(kind)))
                .expect("a store");
            // A standalone mongod has no transactions, so the bare engine is the replica set for
            // both.
            let address = mongod::database(Kind::ReplicaSet);
            let mut bare = runtime.block_on(BareMongo::new(&address, load));
            runtime.block_on(fill(&store, load));
            measure(name, load, rounds, |seed| {
                let ours = runtime.block_on(posts(&store, load, n, seed));
                let bare = runtime.block_on(bare.posts(load, n, seed));
                [ours, bare].map(|time| n as f64 / time.as_secs_f64())
            });
        }
    }
}

/// Runs the two in turns, so that whatever else the machine does falls on both.
fn measure(store: &str, load: Load, rounds: usize, mut turn: impl FnMut(u64) -> [f64; 2]) {
    let mut row = Row {
        name: format!("{store}, {}", load.name),
        ours: Vec::new(),
        bare: Vec::new(),
    };
    for seed in 1..=rounds {
        let [ours, bare] = turn(seed as u64);
        row.ours.push(ours);
        row.bare.push(bare);
    }
    row.print();
}
