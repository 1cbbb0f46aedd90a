//! Cost of a mount, beside the server's own listener: the same requests to the chat in a program
//! of axum's, in bare hyper, and by the listener of `chat_http::run`, and to a constant answer in
//! axum and in hyper, which is what the hosts themselves cost. 64 connections; each server is a
//! process of its own with a store of its own, measured in turns; medians.
//!
//! `cargo bench -p chat-benches --bench mount`; with `-- --test` each runs once.

use chat_benches::load::{Asker, ask, askers, get};
use chat_benches::mounts::PREFIX;
use chat_benches::process::{Host, Role, busy, play_role, start};
use chat_benches::turns::{Run, median};
use chat_benches::{TEXT, keep};
use chat_testkit::http::Client;
use chat_testkit::server::Server;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::runtime::{self, Runtime};

const CONNECTIONS: usize = 64;
const REQUESTS: [&str; 3] = [POLL, NEWEST, COUNT];
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
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let own = start(Role::Chat(&store("own.db")));
    let in_hyper = start(Role::Mounted(Host::Hyper, &store("hyper.db")));
    let in_axum = start(Role::Mounted(Host::Axum, &store("axum.db")));
    for (server, prefix) in [(&own, ""), (&in_hyper, PREFIX), (&in_axum, PREFIX)] {
        runtime.block_on(fill(server, prefix));
    }

    let mut rates = Vec::new();
    let mut costs = Vec::new();
    for what in REQUESTS {
        let answer = NamedTempFile::new().expect("a temporary file");
        let path = runtime.block_on(path(&own, "", what));
        let fixed = runtime.block_on(Client::new(own.address).get(&path));
        keep(&fixed.headers, &fixed.body, answer.path());
        let hyper = start(Role::Fixed(answer.path()));
        let axum = start(Role::FixedInAxum(answer.path()));

        let mut sides = Vec::new();
        for (server, prefix) in [(&own, ""), (&in_hyper, PREFIX), (&in_axum, PREFIX)] {
            let path = runtime.block_on(self::path(server, prefix, what));
            sides.push(Side::new(&runtime, server, &path));
        }
        for server in [&hyper, &axum] {
            sides.push(Side::new(&runtime, server, &format!("{PREFIX}{path}")));
        }
        for _ in 0..run.rounds {
            for side in &mut sides {
                side.measure(&runtime, run.pick(640, 20_000));
            }
        }

        let (rate, cost): (Vec<_>, Vec<_>) = sides.into_iter().map(Side::medians).unzip();
        rates.push(row(what, &rate, 0, |other, first| other / first));
        costs.push(row(what, &cost, 1, |other, first| other - first));
    }
    print("requests a second", "ratio", &rates);
    print("µs of processor each", "more", &costs);
}

/// Posts what is read later.
async fn fill(server: &Server, prefix: &str) {
    let path = format!("{prefix}/chat/a/messages");
    let mut client = Client::new(server.address);
    for i in 0..640 {
        let message = json!({ "sender": format!("writer{}", i % CONNECTIONS), "text": TEXT });
        assert_eq!(client.post(&path, &message).await.status, 201);
    }
}

async fn path(server: &Server, prefix: &str, what: &str) -> String {
    match what {
        POLL => {
            let room = format!("{prefix}/chat/a");
            let room = Client::new(server.address).get(&room).await.json();
            let last = room["last_timestamp"].as_str().expect("a time");
            format!("{prefix}/chat/a/messages?since={last}")
        }
        NEWEST => format!("{prefix}/chat/a/messages"),
        _ => format!("{prefix}/users/writer0/count"),
    }
}

/// A server, its clients, and what was measured.
struct Side<'a> {
    server: &'a Server,
    clients: Vec<Asker>,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

impl<'a> Side<'a> {
    fn new(runtime: &Runtime, server: &'a Server, path: &str) -> Self {
        Self {
            server,
            clients: runtime.block_on(askers(server.address, &get(path), CONNECTIONS)),
            rates: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn measure(&mut self, runtime: &Runtime, n: u64) {
        let before = busy(self.server);
        let took = runtime.block_on(ask(&mut self.clients, n));
        self.rates.push(n as f64 / took.as_secs_f64());
        let busy = busy(self.server) - before;
        self.costs.push(busy.as_micros() as f64 / n as f64);
    }

    fn medians(self) -> (f64, f64) {
        (median(self.rates), median(self.costs))
    }
}

/// A line of a table: the chat by its own listener and in two hosts, and the hosts alone.
fn row(what: &str, all: &[f64], digits: usize, compare: fn(f64, f64) -> f64) -> String {
    let [own, in_hyper, in_axum, hyper, axum] = all else {
        unreachable!("five servers are measured");
    };
    format!(
        "| {what} | {own:.digits$} | {in_hyper:.digits$} | {:.2} | {in_axum:.digits$} | {:.2} \
         | {hyper:.digits$} | {axum:.digits$} | {:.2} |",
        compare(*in_hyper, *own),
        compare(*in_axum, *own),
        compare(*axum, *hyper),
    )
}

fn print(unit: &str, comparison: &str, rows: &[String]) {
    println!(
        "| {unit} | own listener | in hyper | {comparison} | in axum | {comparison} \
         | constant in hyper | constant in axum | {comparison} |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    rows.iter().for_each(|row| println!("{row}"));
    println!();
}
