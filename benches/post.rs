//! Durable posts, with the floor of each store beside them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chat_benches::{floor, http_posts, posts, serve, sqlite};
use chat_testkit::mongod::{self, Kind};
use chatcore::ChatStore;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const WRITERS: usize = 64;
/// Posts that count as one iteration, so that many writers have something to share.
const ROUND: u64 = 640;

fn store(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, store: &ChatStore) {
    static ROOM: AtomicU32 = AtomicU32::new(0);
    let room = format!("bench{}", ROOM.fetch_add(1, Ordering::Relaxed));
    let address = runtime.block_on(serve(store.clone()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("one at a time", |b| {
        b.iter_custom(|n| runtime.block_on(posts(store, &room, 1, n)));
    });
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("64 writers", |b| {
        b.iter_custom(|n| runtime.block_on(posts(store, &room, WRITERS, n * ROUND)));
    });
    group.bench_function("64 connections", |b| {
        b.iter_custom(|n| runtime.block_on(http_posts(address, &room, WRITERS, n * ROUND)));
    });
}

fn post(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");

    let mut group = c.benchmark_group("post to SQLite");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    let (mut connection, _kept) = floor::sqlite();
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("floor, 64 in a transaction", |b| {
        b.iter_custom(|n| floor::transactions(&mut connection, n * ROUND));
    });
    let (embedded, _kept) = runtime.block_on(sqlite());
    store(&mut group, &runtime, &embedded);
    group.finish();

    for (name, kind) in [
        ("post to a replica set", Kind::ReplicaSet),
        ("post to a standalone mongod", Kind::Standalone),
    ] {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(3));
        let database = runtime.block_on(floor::mongodb(&mongod::database(kind)));
        group.throughput(Throughput::Elements(1));
        group.bench_function("floor, one insert", |b| {
            b.iter_custom(|n| runtime.block_on(floor::insert_one(&database, n)));
        });
        group.throughput(Throughput::Elements(ROUND));
        group.bench_function("floor, 64 in an insert", |b| {
            b.iter_custom(|n| runtime.block_on(floor::insert_many(&database, n * ROUND)));
        });
        group.throughput(Throughput::Elements(64));
        group.bench_function("three writes a message, 64 writers", |b| {
            b.iter_custom(|n| runtime.block_on(floor::three_writes(&database, WRITERS, n * 64)));
        });
        let shared = runtime
            .block_on(ChatStore::open(&mongod::database(kind)))
            .expect("a store");
        store(&mut group, &runtime, &shared);
        group.finish();
    }
}

criterion_group!(benches, post);
criterion_main!(benches);
