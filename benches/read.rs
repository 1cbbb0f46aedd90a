//! Reading from the store.

use std::time::Duration;

use chat_benches::{counts, newest, posts, sqlite};
use chat_testkit::mongod::{self, Kind};
use chatcore::ChatStore;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

fn read(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let room = "bench".parse().expect("a name");
    let (embedded, _kept) = runtime.block_on(sqlite());
    let shared = runtime
        .block_on(ChatStore::open(&mongod::database(Kind::ReplicaSet)))
        .expect("a store");
    for (name, store) in [
        ("read from SQLite", embedded),
        ("read from a replica set", shared),
    ] {
        runtime.block_on(posts(&store, "bench", 64, 1_000));
        let mut group = c.benchmark_group(name);
        group.measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(50));
        group.bench_function("newest 50", |b| {
            b.iter_custom(|n| runtime.block_on(newest(&store, &room, n)))
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function("count", |b| {
            b.iter_custom(|n| runtime.block_on(counts(&store, n)))
        });
        group.finish();
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
