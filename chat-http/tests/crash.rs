//! Posts, edits, deletions, reactions and mentions under `kill -9`: of the server, of MongoDB, of
//! both; on SQLite, on a standalone mongod, on a replica set, and on a replica set of three nodes
//! with two servers.
//!
//! Each test kills a few times. `CHAT_CRASH_KILLS=100` makes it a long run:
//! `CHAT_CRASH_KILLS=100 cargo test --release -p chat-http --test crash`.

use chat_testkit::announce;
use chat_testkit::checker::{Load, Verdict};
use chat_testkit::mongod::{Deployment, Kind, free_port, with_database};
use chat_testkit::server::{Server, Start};
use tokio::sync::Mutex;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
const CLIENTS: usize = 16;
const ROOMS: usize = 3;
/// Posts that must be answered between two kills, so that each meets a working system.
const BETWEEN: u64 = 150;

/// Collections that a batch is stored in.
const COLLECTIONS: [&str; 6] = [
    "messages",
    "counters",
    "members",
    "changes",
    "reactions",
    "mentions",
];

/// One at a time: each wants the whole machine.
static MACHINE: Mutex<()> = Mutex::const_new(());

fn kills(short: usize) -> usize {
    std::env::var("CHAT_CRASH_KILLS")
        .map_or(short, |n| n.parse().expect("CHAT_CRASH_KILLS is a number"))
}

/// A server that comes back at the same address.
fn start(store: &str) -> Start {
    Start::new(SERVER, store).with("--listen", &format!("127.0.0.1:{}", free_port()))
}

fn report(what: &str, kills: usize, verdict: &Verdict) {
    announce(&format!("{what}: {kills} kills survived, {verdict}"));
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.is_telling(BETWEEN * kills as u64), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_on_sqlite() {
    let _machine = MACHINE.lock().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let start = start(folder.path().join("chat.db").to_str().expect("UTF-8"));
    let mut server = start.run().expect("it starts");
    let load = Load::start(&[server.address], CLIENTS, ROOMS).await;
    let kills = kills(8);
    for _ in 0..kills {
        load.wait_for(BETWEEN).await;
        server.kill();
        server = start.run().expect("it starts again");
    }
    load.wait_for(BETWEEN).await;
    let verdict = load.verify(server.address).await;
    report("SQLite, server", kills, &verdict);
}

/// Processes that are killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    Server,
    Mongod,
    Both,
}

async fn on_mongodb(what: &str, kind: Kind, kill: Kill, short: usize) {
    let _machine = MACHINE.lock().await;
    let mut mongo = Deployment::start(kind, 1);
    let start = start(&with_database(&mongo.uri(), "crash"));
    let mut server = start.run().expect("it starts");
    let load = Load::start(&[server.address], CLIENTS, ROOMS).await;
    let kills = kills(short);
    for _ in 0..kills {
        load.wait_for(BETWEEN).await;
        if kill != Kill::Server {
            mongo.nodes[0].kill();
        }
        if kill != Kill::Mongod {
            server.kill();
        }
        if kill != Kill::Server {
            mongo.nodes[0].run();
            mongo.wait_for_primary();
        }
        if kill != Kill::Mongod {
            server = start.run().expect("it starts again");
        }
    }
    load.wait_for(BETWEEN).await;
    let mut verdict = load.verify(server.address).await;
    if !verdict.is_clean() {
        // Tells a fault of ours from one of MongoDB.
        let damaged = COLLECTIONS
            .iter()
            .filter_map(|name| mongo.nodes[0].damage_of("crash", name));
        verdict.faults.extend(damaged);
    }
    report(what, kills, &verdict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_on_a_standalone() {
    on_mongodb("standalone, server", Kind::Standalone, Kill::Server, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_is_killed() {
    on_mongodb("standalone, mongod", Kind::Standalone, Kill::Mongod, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_and_its_server_are_killed() {
    on_mongodb("standalone, both", Kind::Standalone, Kill::Both, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_on_a_replica_set() {
    on_mongodb("replica set, server", Kind::ReplicaSet, Kill::Server, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_is_killed() {
    on_mongodb("replica set, mongod", Kind::ReplicaSet, Kill::Mongod, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_and_its_server_are_killed() {
    on_mongodb("replica set, both", Kind::ReplicaSet, Kill::Both, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_does_not_hold_up_the_other() {
    let _machine = MACHINE.lock().await;
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let store = with_database(&mongo.uri(), "crash");
    let servers: [Server; 2] = [(); 2].map(|()| start(&store).run().expect("it starts"));
    let load = Load::start(
        &servers.each_ref().map(|server| server.address),
        CLIENTS,
        ROOMS,
    )
    .await;
    let stops = kills(3);
    for _ in 0..stops {
        load.wait_for(BETWEEN).await;
        // Most likely in the middle of a transaction, which then stays open.
        servers[0].signal("STOP");
        load.wait_for(BETWEEN).await;
        servers[0].signal("CONT");
    }
    load.wait_for(BETWEEN).await;
    let verdict = load.verify(servers[0].address).await;
    report(
        "replica set and two servers, one stopped and continued",
        stops,
        &verdict,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_of_three_is_killed_under_two_servers() {
    let _machine = MACHINE.lock().await;
    let mut mongo = Deployment::start(Kind::ReplicaSet, 3);
    let store = with_database(&mongo.uri(), "crash");
    let servers: [Server; 2] = [(); 2].map(|()| start(&store).run().expect("it starts"));
    let load = Load::start(
        &servers.each_ref().map(|server| server.address),
        CLIENTS,
        ROOMS,
    )
    .await;
    let kills = kills(3);
    for _ in 0..kills {
        load.wait_for(BETWEEN).await;
        let primary = mongo.wait_for_primary();
        mongo.nodes[primary].kill();
        // The other two elect one of them, and the posts go on before the third is back.
        load.wait_for(BETWEEN).await;
        mongo.nodes[primary].run();
    }
    load.wait_for(BETWEEN).await;
    let verdict = load.verify(servers[1].address).await;
    report("three nodes and two servers, primary", kills, &verdict);
}
