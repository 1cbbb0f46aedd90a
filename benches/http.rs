//! Reads over HTTP beside hyper answering the same bytes: 64 connections, the server
//! and the floor each a process of its own, measured in turns; medians.
//!
//! `cargo bench -p chat-benches --bench http`; with `-- --test` each runs once. With
//! `CHAT_BENCH_BESIDE`, the path of an older build of this benchmark, that build's server is
//! measured in place of the floor.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_benches::load::{Asker, ask, askers, get};
use chat_benches::process::{Role, busy, play_role, start, start_executable};
use chat_benches::turns::{Run, median};
use chat_benches::{http_posts, keep};
use chat_testkit::http::Client;
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::Server;
use mongodb::bson::doc;
use tokio::runtime::{self, Runtime};

const CONNECTIONS: usize = 64;

const POLL: &str = "poll with nothing new";
const NEWEST: &str = "newest 50 messages";
const COUNT: &str = "a user's count";

fn main() {
    play_role();
    let run = Run::from_arguments();
    // The clients need one thread; two would take more from the server.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let beside = std::env::var_os("CHAT_BENCH_BESIDE").map(PathBuf::from);
    println!(
        "| requests a second | ours | beside it | ratio | µs of processor each | beside it | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in ["SQLite", "replica set"] {
        if run.wants(name) {
            measure(&runtime, run, name, beside.as_deref());
        }
    }
}

/// Prints the rows of one kind of store.
fn measure(runtime: &Runtime, run: Run, name: &str, beside: Option<&Path>) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = |file: &str| match name {
        "SQLite" => folder.path().join(file).to_str().expect("UTF-8").to_owned(),
        _ => mongod::database(Kind::ReplicaSet),
    };
    let address = store("ours.db");
    let ours = start(Role::Chat(&address));
    let old = beside.map(|executable| start_executable(executable, Role::Chat(&store("other.db"))));
    for server in [Some(&ours), old.as_ref()].into_iter().flatten() {
        runtime.block_on(http_posts(server.address, "a", CONNECTIONS, 640));
    }

    let queries = || runtime.block_on(queries(&address));
    let before = queries();
    let n = run.pick(640, 20_000);
    for (what, n) in [(POLL, n), (NEWEST, n / 2), (COUNT, n / 2)] {
        let path = |server| path(runtime, what, server);
        let floor;
        let (other, other_path) = match &old {
            Some(old) => (old, path(old)),
            None => {
                floor = fixed(runtime, &ours, &path(&ours));
                (&floor, path(&ours))
            }
        };
        row(
            runtime,
            &format!("{name}, {what}"),
            run.rounds,
            n,
            [(&ours, path(&ours)), (other, other_path)],
        );
        if let (Some(before), Some(after), POLL) = (before, queries(), what) {
            eprintln!("{} queries at the database meanwhile", after - before);
        }
    }
}

/// hyper, with the answer that the server gives.
fn fixed(runtime: &Runtime, server: &Server, path: &str) -> Server {
    let answer = runtime.block_on(Client::new(server.address).get(path));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    keep(&answer.headers, &answer.body, file.path());
    start(Role::Fixed(file.path()))
}

fn path(runtime: &Runtime, what: &str, server: &Server) -> String {
    match what {
        POLL => {
            let room = runtime
                .block_on(Client::new(server.address).get("/chat/a"))
                .json();
            format!(
                "/chat/a/messages?since={}",
                room["last_timestamp"].as_str().expect("a time")
            )
        }
        NEWEST => "/chat/a/messages".into(),
        _ => "/users/writer0/count".into(),
    }
}

/// The queries that a mongod has answered since it started.
async fn queries(store: &str) -> Option<i64> {
    let client = mongodb::Client::with_uri_str(store.starts_with("mongodb").then_some(store)?)
        .await
        .ok()?;
    let status = client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .ok()?;
    let query = status.get_document("opcounters").ok()?.get("query")?;
    query.as_i64().or_else(|| query.as_i32().map(i64::from))
}

/// Runs the two in turns and prints a row.
fn row(runtime: &Runtime, what: &str, rounds: usize, n: u64, two: [(&Server, String); 2]) {
    let mut sides = two.map(|(server, path)| {
        let clients: Vec<Asker> =
            runtime.block_on(askers(server.address, &get(&path), CONNECTIONS));
        (server, clients, Vec::new(), Vec::new())
    });
    for _ in 0..rounds {
        for (server, clients, rates, costs) in &mut sides {
            let before = busy(server);
            let took: Duration = runtime.block_on(ask(clients, n));
            rates.push(n as f64 / took.as_secs_f64());
            costs.push((busy(server) - before).as_micros() as f64 / n as f64);
        }
    }
    let [(ours, cost), (other, other_cost)] =
        sides.map(|(_, _, rates, costs)| (median(rates), median(costs)));
    println!(
        "| {what} | {ours:.0} | {other:.0} | {:.2} | {cost:.1} | {other_cost:.1} | {:.2} |",
        ours / other,
        cost / other_cost
    );
}
