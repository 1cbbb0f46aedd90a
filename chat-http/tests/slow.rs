//! Slow clients in great number, by an outside tool, while others are served.
//!
//! On SQLite only: what is tested happens before a request reaches its store, or after.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chat_testkit::http::Client;
use chat_testkit::server::{Server, Start};
use chat_testkit::{announce, tools};
use serde_json::json;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
/// Time for a request while the server is under attack on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn have_tool() -> bool {
    tools::find("slowhttptest", "slow clients").is_some()
}

/// A server on a store of its own.
struct Target {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Target {
    fn start(per_address: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let store = folder.path().join("chat.db");
        let start = Start::new(SERVER, store.to_str().expect("a UTF-8 path"));
        let server = start
            .with("--connections-per-address", per_address)
            .run()
            .expect("it starts");
        Self {
            server,
            _folder: folder,
        }
    }

    /// Somebody at another address than the attackers'.
    fn bystander(&self) -> Client {
        Client::new(self.server.address).from_address(IpAddr::from([127, 0, 0, 2]))
    }
}

/// The tool with these arguments against a path.
fn attack(address: SocketAddr, path: &str, arguments: &[&str]) -> Child {
    let url = format!("http://{address}{path}");
    let mut command = Command::new("slowhttptest");
    command.args(arguments).args(["-v", "1", "-u", &url]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("slowhttptest")
}

/// A number of the tool's last report.
fn reported(report: &str, name: &str) -> u32 {
    let plain: String = report
        .split('\u{1b}')
        .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
        .collect();
    let line = plain
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with(name));
    let number = line.and_then(|line| line.rsplit([':', ' ']).find(|word| !word.trim().is_empty()));
    number
        .and_then(|word| word.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {plain}"))
}

/// Reads and posts all the while until the attack is over, on new connections and on an old one.
/// Returns how many requests were answered, the slowest, and the tool's report.
async fn served_during(target: &Target, mut attack: Child) -> (u32, Duration, String) {
    let mut stdout = attack.stdout.take().expect("its output");
    let report = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).map(|_| text)
    });
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    let mut old = target.bystander();
    while attack.try_wait().expect("its state").is_none() {
        let post = json!({ "sender": "ann", "text": "served" });
        let mut new = target.bystander();
        for (client, posts) in [(&mut old, true), (&mut new, false)] {
            let started = Instant::now();
            let status = if posts {
                client.post("/chat/calm/messages", &post).await.status
            } else {
                client.get("/chat/calm/messages?limit=1").await.status
            };
            assert!(status == 200 || status == 201, "{status}");
            slowest = slowest.max(started.elapsed());
            answered += 1;
        }
        assert!(slowest < SOON, "a request took {slowest:?}");
    }
    (
        answered,
        slowest,
        report.join().expect("no panic").expect("UTF-8"),
    )
}

async fn survive(name: &str, path: &str, arguments: &[&str]) -> String {
    let target = Target::start("0");
    let (answered, slowest, report) =
        served_during(&target, attack(target.server.address, path, arguments)).await;
    announce(&format!(
        "{name}: {answered} requests of others answered meanwhile, the slowest in {} ms; {} MiB of memory",
        slowest.as_millis(),
        target.server.memory_kib() / 1024
    ));
    assert!(answered > 20, "{answered}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_keep_nobody_out() {
    if !have_tool() {
        return;
    }
    let report = survive(
        "2,000 slow heads",
        "/chat/",
        &["-H", "-c", "2000", "-r", "1000", "-i", "5", "-l", "15"],
    )
    .await;
    assert_eq!(reported(&report, "error"), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_keep_nobody_out() {
    if !have_tool() {
        return;
    }
    survive(
        "1,000 slow bodies",
        "/chat/a/messages",
        &[
            "-B", "-c", "1000", "-r", "500", "-i", "5", "-s", "60000", "-l", "12",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_are_cut_off() {
    if !have_tool() {
        return;
    }
    let target = Target::start("0");
    let mut client = target.bystander();
    // Answers too large for the system's buffers.
    let text = "x".repeat(4_000);
    for _ in 0..200 {
        let posted = client
            .post(
                "/chat/large/messages",
                &json!({ "sender": "ann", "text": text }),
            )
            .await;
        assert_eq!(posted.status, 201);
    }
    let arguments = [
        "-X", "-c", "50", "-r", "50", "-k", "10", "-n", "5", "-z", "32", "-l", "90",
    ];
    let mut tool = attack(
        target.server.address,
        "/chat/large/messages?limit=200",
        &arguments,
    );
    while client.metric("chat_http_connections").await < 50 {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    // All but this one.
    while client.metric("chat_http_connections").await > 1 {
        let request = Instant::now();
        assert_eq!(client.get("/chat/large").await.status, 200);
        slowest = slowest.max(request.elapsed());
        assert!(
            tool.try_wait().expect("its state").is_none(),
            "the tool gave up first"
        );
        assert!(
            started.elapsed() < Duration::from_secs(80),
            "the server waits for those who do not read"
        );
    }
    let _ = tool.kill().and_then(|()| tool.wait());
    announce(&format!(
        "50 slow readers: cut off after {} s; the slowest request of others meanwhile in {} ms",
        started.elapsed().as_secs(),
        slowest.as_millis()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_gets_its_share_and_no_more() {
    if !have_tool() {
        return;
    }
    let target = Target::start("100");
    let address = target.server.address;
    let arguments = ["-H", "-c", "500", "-r", "500", "-i", "5", "-l", "12"];
    let tool = attack(address, "/chat/", &arguments);
    // Until the tool has taken its share.
    let late = loop {
        let mut client = Client::new(address);
        match client
            .request(hyper::Method::GET, "/chat/", None, "".into())
            .await
        {
            Ok(reply) if reply.status == 429 => break reply,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(late.header("retry-after"), Some("5"));
    assert_eq!(
        late.json()["detail"],
        "too many connections come from this address"
    );

    let (answered, slowest, _) = served_during(&target, tool).await;
    announce(&format!(
        "500 connections with a share of 100: {answered} requests from elsewhere answered, the slowest in {} ms",
        slowest.as_millis()
    ));
    // Its permits are free again.
    assert_eq!(Client::new(address).get("/chat/").await.status, 200);
}
