//! Open sockets: the rate at which messages get to many, the cost of one, the delay of a message
//! comes; and how soon a new server answers. The server and the floor are processes of their own.
//!
//! `cargo bench -p chat-benches --bench live`, with `-- delivery`, `memory`, `latency` or `start`
//! for a part; with `-- --test` each runs once and small.

use std::time::{Duration, Instant};

use chat_benches::load::{Asker, get, post, post_at_rate};
use chat_benches::process::{Role, built, busy, play_role, sockets, start};
use chat_benches::sockets::Crowd;
use chat_benches::turns::{Run, median, percentile};
use chat_testkit::http::Client;
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::{Server, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::task::LocalSet;

/// Connections that post at once.
const SENDERS: usize = 64;

fn main() {
    play_role();
    let run = Run::from_arguments();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = LocalSet::new();
    let on = |part: &str, work: &dyn Fn(&LocalSet, &Runtime)| {
        if run.wants(part) {
            work(&local, &runtime);
        }
    };
    on("delivery", &|local, runtime| {
        local.block_on(runtime, delivery(run))
    });
    on("memory", &|local, runtime| {
        local.block_on(runtime, memory(run))
    });
    on("latency", &|local, runtime| {
        local.block_on(runtime, latency(run))
    });
    on("start", &|local, runtime| {
        local.block_on(runtime, starting(run))
    });
}

/// A server on an empty SQLite store, which goes with the folder.
fn on_sqlite() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = start(Role::Chat(
        folder.path().join("chat.db").to_str().expect("UTF-8"),
    ));
    (server, folder)
}

/// Posts from a thread of its own, so that counting what arrives holds no post back.
fn posting(server: &Server, n: u64, rate: f64) -> std::thread::JoinHandle<Duration> {
    let address = server.address;
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(post_at_rate(address, "a", SENDERS, n, rate))
    })
}

/// The length of a message's frame, head included.
async fn frame_length(server: &Server) -> usize {
    Asker::new(server.address, post("a", "sender0")).await;
    let array = Client::new(server.address)
        .get("/chat/a/messages?limit=1")
        .await
        .body
        .len();
    array - "[]".len() + r#""type":"message","#.len() + 4
}

/// Has the floor publish `n` frames. The future returned ends when it has.
async fn publish(
    server: &Server,
    n: u64,
    rate: f64,
    length: usize,
) -> impl Future<Output = std::io::Result<u32>> + use<> {
    let mut publisher = TcpStream::connect(server.address)
        .await
        .expect("a connection");
    let order = format!("publish {n} {rate} {length}\n");
    publisher.write_all(order.as_bytes()).await.expect("said");
    async move { publisher.read_u32().await }
}

/// Every message of one room to all sockets in it; the floor writes raw frames of the same length.
async fn delivery(run: Run) {
    let count = sockets(run.pick(50, 1_000));
    let (ours, _kept) = on_sqlite();
    let floor = start(Role::Raw);
    let length = frame_length(&ours).await;
    let followers = Crowd::open(ours.address, count, Some("a")).await;
    let raw = Crowd::open_raw(floor.address, count).await;
    println!(
        "| frames a second to {count} sockets | ours | raw frames | ratio | µs of processor each | raw | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for rate in run.pick(vec![1_000.0], vec![1_000.0, 2_000.0, 4_000.0]) {
        let n = (rate * run.pick(0.1, 2.0)) as u64;
        let mut sides = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for _ in 0..run.pick(1, 5) {
            for (at, (server, crowd)) in [(&ours, &followers), (&floor, &raw)]
                .into_iter()
                .enumerate()
            {
                let frames = crowd.frames() + n * count as u64;
                let (before, began) = (busy(server), Instant::now());
                if at == 0 {
                    let posting = posting(server, n, rate);
                    crowd.wait_for(frames).await;
                    let _ = posting.join();
                } else {
                    let publisher = publish(server, n, rate, length).await;
                    crowd.wait_for(frames).await;
                    publisher.await.expect("done");
                }
                let took = crowd.last().map_or(began.elapsed(), |last| last - began);
                let all = (n * count as u64) as f64;
                sides[at].0.push(all / took.as_secs_f64());
                sides[at]
                    .1
                    .push((busy(server) - before).as_secs_f64() * 1e6 / all);
            }
        }
        let [(ours, cost), (other, other_cost)] =
            sides.map(|(rates, costs)| (median(rates), median(costs)));
        println!(
            "| {rate} posts a second | {ours:.0} | {other:.0} | {:.2} | {cost:.2} | {other_cost:.2} | {:.2} |",
            ours / other,
            cost / other_cost
        );
    }
}

/// Cost of idle sockets, and the time until a message is at all of many.
async fn memory(run: Run) {
    let count = sockets(run.pick(100, 10_000));
    println!("\n| {count} sockets | KiB each | ms until all have a message |\n|---|---|---|");
    for (what, room) in [("in no room", None), ("in one room", Some("a"))] {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..run.pick(1, 3) {
            let (server, _kept) = on_sqlite();
            let mut poster = Asker::new(server.address, post("a", "ann")).await;
            let before = server.memory_kib();
            let crowd = Crowd::open(server.address, count, room).await;
            rounds[0].push((server.memory_kib() - before) as f64 / count as f64);
            if room.is_some() {
                for _ in 0..5 {
                    let frames = crowd.frames() + count as u64;
                    let began = Instant::now();
                    poster.ask().await;
                    crowd.wait_for(frames).await;
                    rounds[1].push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [memory, time] = rounds;
        let time = if time.is_empty() {
            String::new()
        } else {
            format!("{:.0}", median(time))
        };
        println!("| {what} | {:.1} | {time} |", median(memory));
    }
}

/// From the answer to a post until its frame is at a socket; before it, if negative.
async fn latency(run: Run) {
    println!("\n| ms from answered to received | median | 99 of 100 |\n|---|---|---|");
    let (sqlite, _kept) = on_sqlite();
    let address = mongod::database(Kind::ReplicaSet);
    let [one, other] = [start(Role::Chat(&address)), start(Role::Chat(&address))];
    for (what, at, from) in [
        ("SQLite", &sqlite, &sqlite),
        ("replica set, same process", &one, &one),
        ("replica set, another process", &one, &other),
    ] {
        let mut poster = Asker::new(at.address, post("a", "ann")).await;
        let crowd = Crowd::open(from.address, 1, Some("a")).await;
        let mut all = Vec::new();
        for _ in 0..run.pick(20, 2_000) {
            let frames = crowd.frames() + 1;
            poster.ask().await;
            let answered = Instant::now();
            crowd.wait_for(frames).await;
            let received = crowd.last().unwrap_or(answered);
            let late = received.saturating_duration_since(answered).as_secs_f64();
            all.push((late - answered.saturating_duration_since(received).as_secs_f64()) * 1e3);
        }
        println!(
            "| {what} | {:.2} | {:.2} |",
            percentile(&mut all, 0.5),
            percentile(&mut all, 0.99)
        );
    }
}

/// From the start of the process on no store at all until its first answer.
async fn starting(run: Run) {
    let mut times = Vec::new();
    for _ in 0..run.pick(1, 15) {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("chat.db");
        let store = file.to_str().expect("UTF-8");
        let began = Instant::now();
        let server = match built() {
            Some(executable) => Start::new(executable, store).run().expect("it starts"),
            None => start(Role::Chat(store)),
        };
        Asker::new(server.address, get("/chat/")).await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let built = if built().is_some() {
        "chat-http"
    } else {
        "the server inside this benchmark"
    };
    println!(
        "\nms from starting {built} on no store until its first answer: {:.1}",
        median(times)
    );
}
