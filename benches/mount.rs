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
    let in_host = |host, name| start(Role::Mounted(host, &store(name)));
    let chats = [
        ("own listener", "", start(Role::Chat(&store("own.db")))),
        ("in hyper", PREFIX, in_host(Host::Hyper, "hyper.db")),
        ("in axum, merged", PREFIX, in_host(Host::Axum, "axum.db")),
        (
            "in axum, nested",
            PREFIX,
            in_host(Host::AxumNested, "nested.db"),
        ),
    ];
    for (_, prefix, server) in &chats {
        runtime.block_on(fill(server, prefix));
    }

    println!("| request | served | requests a second | ratio | µs of processor each | more |");
    println!("|---|---|---|---|---|---|");
    for what in REQUESTS {
        let (_, _, own) = &chats[0];
        let answer = NamedTempFile::new().expect("a temporary file");
        let own_path = runtime.block_on(path(own, "", what));
        let fixed = runtime.block_on(Client::new(own.address).get(&own_path));
        keep(&fixed.headers, &fixed.body, answer.path());
        let hyper = start(Role::Fixed(answer.path()));
        let axum = start(Role::FixedInAxum(answer.path()));

        let mut sides = Vec::new();
        for (name, prefix, server) in &chats {
            let path = runtime.block_on(path(server, prefix, what));
            sides.push(Side::new(&runtime, name, server, &path));
        }
        let mut floors = [
            ("constant in hyper", &hyper),
            ("constant in axum, nested", &axum),
        ]
        .map(|(name, server)| Side::new(&runtime, name, server, &format!("{PREFIX}{own_path}")));
        for _ in 0..run.rounds {
            for side in sides.iter_mut().chain(&mut floors) {
                side.measure(&runtime, run.pick(640, 20_000));
            }
        }

        sides.iter().for_each(|side| side.print(what, &sides[0]));
        floors.iter().for_each(|side| side.print(what, &floors[0]));
    }
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
    name: &'a str,
    server: &'a Server,
    clients: Vec<Asker>,
    /// Requests a second in each round.
    rates: Vec<f64>,
    /// Time of the processors in all rounds, in microseconds, and requests.
    busy: f64,
    requests: f64,
}

impl<'a> Side<'a> {
    fn new(runtime: &Runtime, name: &'a str, server: &'a Server, path: &str) -> Self {
        Self {
            name,
            server,
            clients: runtime.block_on(askers(server.address, &get(path), CONNECTIONS)),
            rates: Vec::new(),
            busy: 0.0,
            requests: 0.0,
        }
    }

    fn measure(&mut self, runtime: &Runtime, n: u64) {
        let before = busy(self.server);
        let took = runtime.block_on(ask(&mut self.clients, n));
        self.rates.push(n as f64 / took.as_secs_f64());
        self.busy += (busy(self.server) - before).as_micros() as f64;
        self.requests += n as f64;
    }

    /// Prints a line that compares with another side, round by round.
    fn print(&self, what: &str, other: &Self) {
        let pairs = self.rates.iter().zip(&other.rates);
        let ratio = median(pairs.map(|(rate, other)| rate / other).collect());
        let rate = median(self.rates.clone());
        let cost = |side: &Self| side.busy / side.requests;
        println!(
            "| {what} | {} | {rate:.0} | {ratio:.2} | {:.1} | {:.1} |",
            self.name,
            cost(self),
            cost(self) - cost(other)
        );
    }
}
