//! Partitions of a replica set of three nodes with two servers: packets between hosts are dropped,
//! and nobody is told. Each host is a network namespace, which needs root on Linux.
//!
//! The random run cuts a few times. `CHAT_PARTITION_CUTS=28` makes it a long one, and
//! `CHAT_PARTITION_SEED` repeats an earlier one.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_testkit::announce;
use chat_testkit::checker::Load;
use chat_testkit::http::Client;
use chat_testkit::mongod::{self, Deployment, with_database};
use chat_testkit::network::{Host, Network};
use chat_testkit::server::{Server, Start};
use mongodb::bson::doc;
use serde_json::json;
use tokio::task::JoinSet;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
const NODES: usize = 3;
/// One for the clients, the nodes, and two servers.
const HOSTS: u8 = 6;
const ELECTION_TIMEOUT: Duration = Duration::from_secs(2);
const CLIENTS: usize = 16;
const ROOMS: usize = 3;
/// Posts that must be answered between two cuts, so that each meets a working system.
const BETWEEN: u64 = 150;
/// Duration of a cut: shorter than any time limit, and longer than all of them.
const CUT_MILLIS: std::ops::Range<u64> = 500..9_000;
/// Time after the election until posts are answered again. Two seconds, and the rest is for a slow
/// machine.
const RESUME_LIMIT: Duration = Duration::from_secs(4);
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// One at a time: each wants the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

/// Lets a secondary notice within 2 s that the node it replicates from is cut off, and take another
/// one. By default it waits for 6 s, then tries to connect for 7 s, and no majority takes a write
/// meanwhile.
const PROMPT: &[&str] = &[
    "oplogNetworkTimeoutBufferSeconds=1",
    "oplogFetcherSteadyStateMaxFetcherRestarts=0",
];

/// Runs a test with the clients on a host of their own, and mongods with these parameters.
fn on_network(parameters: &[&str], run: impl AsyncFnOnce(&Cluster<'_>) + Send) {
    let _machine = MACHINE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(network) = Network::start(HOSTS, "partitions of a replica set") else {
        return;
    };
    mongod::fetch();
    network.block_on(async || {
        let (nodes, servers) = network.hosts()[1..].split_at(NODES);
        let mongo = Deployment::start_on(nodes, ELECTION_TIMEOUT, parameters);
        let store = with_database(&mongo.uri(), "partition");
        let start = |host: &Host| {
            Start::new(SERVER, &store)
                .on(host)
                .run()
                .expect("it starts")
        };
        let servers = servers.iter().map(start).collect();
        run(&Cluster {
            servers,
            mongo,
            network: &network,
        })
        .await;
    });
}

struct Cluster<'a> {
    servers: Vec<Server>,
    mongo: Deployment,
    network: &'a Network,
}

impl Cluster<'_> {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    fn nodes(&self) -> &[Host] {
        &self.network.hosts()[1..=NODES]
    }

    /// Waits until each server reaches its store again.
    async fn recover(&self) {
        let started = Instant::now();
        for address in self.addresses() {
            let is_ready = async || Client::new(address).get("/readyz").await.status == 200;
            while !is_ready().await {
                assert!(
                    started.elapsed() < RECOVERY_LIMIT,
                    "{address} does not recover"
                );
            }
        }
    }
}

/// A sequence of numbers that a seed determines (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("below `end`")
    }
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text}")),
    )
}

/// Posts and changes while hosts and pairs of hosts lose sight of each other, checked like the
/// crash run.
#[test]
fn random_cuts_lose_double_and_reorder_nothing() {
    on_network(PROMPT, async |cluster| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_secs();
        let seed = number("CHAT_PARTITION_SEED").unwrap_or(now);
        let cuts = number("CHAT_PARTITION_CUTS").unwrap_or(4);
        announce(&format!("partitions: CHAT_PARTITION_SEED={seed}"));
        let mut random = Random(seed);
        let load = Load::start(&cluster.addresses(), CLIENTS, ROOMS).await;
        for _ in 0..cuts {
            load.wait_for(BETWEEN).await;
            let what = cut_at_random(cluster, &mut random);
            let span = usize::try_from(CUT_MILLIS.end - CUT_MILLIS.start).expect("a short while");
            let millis = CUT_MILLIS.start + random.below(span) as u64;
            let before = load.answered();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            announce(&format!(
                "  {what} for {millis} ms; {} posts answered meanwhile",
                load.answered() - before
            ));
            cluster.network.heal();
        }
        load.wait_for(BETWEEN).await;
        cluster.recover().await;
        let verdict = load.verify(cluster.servers[0].address).await;
        announce(&format!("partitions: {cuts} cuts survived, {verdict}"));
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert!(verdict.is_telling(BETWEEN * (cuts + 1)), "{verdict}");
    });
}

/// Cuts a node, a server, or two of them from each other; returns what it cut, in words.
fn cut_at_random(cluster: &Cluster<'_>, random: &mut Random) -> String {
    let name = |at: usize| match at {
        1..=NODES => format!("node {at}"),
        _ => format!("server {}", at - NODES),
    };
    let hosts = cluster.network.hosts();
    let one = 1 + random.below(hosts.len() - 1);
    let is_primary = |at: usize| {
        cluster
            .mongo
            .primary()
            .is_some_and(|primary| primary + 1 == at)
    };
    let role = if is_primary(one) { " (primary)" } else { "" };
    let other = 1 + random.below(hosts.len() - 1);
    if one == other || random.below(2) == 0 {
        cluster.network.cut(&hosts[one]);
        return format!("{}{role} cut off", name(one));
    }
    cluster.network.cut_pair(&hosts[one], &hosts[other]);
    format!("{}{role} cut from {}", name(one), name(other))
}

/// A post: when it was sent and answered, and with which status.
struct Sent {
    at: Instant,
    answered: Instant,
    status: u16,
}

/// Posts until it is told to stop.
async fn post(
    address: SocketAddr,
    sender: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    stop: Arc<AtomicBool>,
) {
    let mut client = Client::new(address);
    while !stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        let reply = client
            .post(
                "/chat/a/messages",
                &json!({ "sender": sender, "text": "x" }),
            )
            .await;
        let sent_one = Sent {
            at,
            answered: Instant::now(),
            status: reply.status,
        };
        sent.lock().expect("the posts").push(sent_one);
    }
}

/// Times since the primary was cut off, and what became of the posts that waited for another one.
#[derive(Debug)]
struct Failover {
    elected: Duration,
    /// Time at which the bare driver could write to the new primary with a majority.
    replicated: Duration,
    resumed: Duration,
    answered: usize,
    refused: usize,
}

impl Failover {
    /// Cuts off the primary under load.
    async fn measure(cluster: &Cluster<'_>) -> Self {
        let (sent, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let mut posters = JoinSet::new();
        for (number, address) in (0..CLIENTS).zip(cluster.addresses().into_iter().cycle()) {
            posters.spawn(post(
                address,
                format!("client{number}"),
                sent.clone(),
                stop.clone(),
            ));
        }
        let count = |after: Instant| {
            let sent = sent.lock().expect("the posts");
            sent.iter()
                .filter(|post| post.status == 201 && post.answered > after)
                .count()
        };
        let wait_for = async |posts: usize, after: Instant| {
            while count(after) < posts {
                assert!(after.elapsed() < RECOVERY_LIMIT, "posting does not resume");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        wait_for(200, Instant::now()).await;

        let old = cluster.mongo.wait_for_primary();
        cluster.network.cut(&cluster.nodes()[old]);
        let cut = Instant::now();
        let others: Vec<_> = (0..NODES)
            .filter(|node| *node != old)
            .map(|node| &cluster.mongo.nodes[node])
            .collect();
        let (elected, replicated) = tokio::task::block_in_place(|| {
            let new = loop {
                assert!(
                    cut.elapsed() < RECOVERY_LIMIT,
                    "no other primary was elected"
                );
                if let Some(new) = others.iter().find(|node| node.is_primary()) {
                    break new;
                }
            };
            let elected = Instant::now();
            let concern = doc! { "w": "majority", "wtimeout": 60_000 };
            new.admin(doc! { "appendOplogNote": 1, "data": {}, "writeConcern": concern });
            (elected, Instant::now())
        });
        wait_for(200, elected).await;
        stop.store(true, Ordering::Relaxed);
        posters.join_all().await;

        let sent = sent.lock().expect("the posts");
        let resumed = sent
            .iter()
            .filter(|post| post.status == 201 && post.answered > elected);
        let resumed = resumed
            .map(|post| post.answered)
            .min()
            .expect("an answered post");
        let waited = sent
            .iter()
            .filter(|post| post.at < elected && post.answered > cut);
        let (answered, refused): (Vec<_>, Vec<_>) = waited.partition(|post| post.status == 201);
        let (elected, replicated, resumed) = (elected - cut, replicated - cut, resumed - cut);
        announce(&format!(
            "a primary is cut off: another one is elected after {elected:.1?}, a majority takes a write of the bare \
             driver after {replicated:.1?}, a post is answered after {resumed:.1?}; of the posts that waited {} were \
             answered and {} refused",
            answered.len(),
            refused.len()
        ));
        Self {
            elected,
            replicated,
            resumed,
            answered: answered.len(),
            refused: refused.len(),
        }
    }
}

/// The time limit of a post outlasts the election, so no post fails: those that were sent to the
/// old primary are stored by the new one.
#[test]
fn posting_resumes_soon_after_another_primary_is_elected() {
    on_network(PROMPT, async |cluster| {
        let failover = Failover::measure(cluster).await;
        assert!(
            failover.resumed < failover.elected + RESUME_LIMIT,
            "{failover:?}"
        );
        assert!(
            failover.refused == 0 && failover.answered >= CLIENTS / 2,
            "{failover:?}"
        );
    });
}

/// With MongoDB's defaults a majority takes no write for long after the election. Once it does,
/// posts do not wait any longer.
#[test]
fn posting_resumes_as_soon_as_a_majority_takes_writes() {
    on_network(&[], async |cluster| {
        let failover = Failover::measure(cluster).await;
        assert!(
            failover.resumed < failover.replicated + RESUME_LIMIT,
            "{failover:?}"
        );
    });
}
