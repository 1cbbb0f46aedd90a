//! Partitions of a replica set of three nodes with two servers: packets between hosts are dropped, and nobody is
//! told. Each host is a network namespace, which needs root on Linux.
//!
//! The random run cuts a few times. `CHAT_PARTITION_CUTS=28` makes it a long one, and
//! `CHAT_PARTITION_SEED` repeats an earlier one.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chat_testkit::announce;
use chat_testkit::checker::Load;
use chat_testkit::http::Client;
use chat_testkit::mongod::{Deployment, with_database};
use chat_testkit::network::{Host, Network};
use chat_testkit::server::{Server, Start};

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
const NODES: usize = 3;
/// One for the clients, the nodes, and two servers.
const HOSTS: u8 = 6;
const ELECTION_TIMEOUT: Duration = Duration::from_secs(2);
const CLIENTS: usize = 16;
const ROOMS: usize = 3;
/// Posts that must be answered between two cuts, so that each meets a working system.
const BETWEEN: u64 = 150;
/// How long a cut lasts: shorter than any time limit, and longer than all of them.
const CUT_MILLIS: std::ops::Range<u64> = 500..9_000;
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// One at a time: each wants the whole machine.
static MACHINE: Mutex<()> = Mutex::new(());

/// Lets a secondary notice within 2 s that the node it replicates from is cut off, and take another one. By
/// default it waits for 6 s, then tries to connect for 7 s, and no majority takes a write meanwhile.
const PROMPT: &[&str] =
    &["oplogNetworkTimeoutBufferSeconds=1", "oplogFetcherSteadyStateMaxFetcherRestarts=0"];

/// Runs a test with the clients on a host of their own, and mongods with these parameters.
fn on_network(parameters: &[&str], run: impl AsyncFnOnce(&Cluster<'_>) + Send) {
    let _machine = MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(network) = Network::start(HOSTS, "partitions of a replica set") else { return };
    network.block_on(async || {
        let (nodes, servers) = network.hosts()[1..].split_at(NODES);
        let mongo = Deployment::start_on(nodes, ELECTION_TIMEOUT, parameters);
        let store = with_database(&mongo.uri(), "partition");
        let start = |host: &Host| Start::new(SERVER, &store).on(host).run().expect("it starts");
        let servers = servers.iter().map(start).collect();
        run(&Cluster { servers, mongo, network: &network }).await;
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

    /// Waits until each server reaches its store again.
    async fn recover(&self) {
        let started = Instant::now();
        for address in self.addresses() {
            let is_ready = async || Client::new(address).get("/readyz").await.status == 200;
            while !is_ready().await {
                assert!(started.elapsed() < RECOVERY_LIMIT, "{address} does not recover");
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
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

/// Posts and deletions while hosts and pairs of hosts lose sight of each other, checked like the crash run.
#[test]
fn random_cuts_lose_double_and_reorder_nothing() {
    on_network(PROMPT, async |cluster| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
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
        announce(&format!(
            "partitions: {cuts} cuts survived, {} posts answered, {} of them deleted, {} lost, {} doubled, {} not \
             answered ({} of them stored), {} faults",
            verdict.answered,
            verdict.deleted,
            verdict.lost,
            verdict.doubled,
            verdict.unanswered,
            verdict.unanswered_stored,
            verdict.faults.len()
        ));
        assert!(verdict.is_clean(), "{verdict:#?}");
        assert!(verdict.answered as u64 >= BETWEEN * (cuts + 1) && verdict.deleted > 0);
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
    let is_primary = |at: usize| cluster.mongo.primary().is_some_and(|primary| primary + 1 == at);
    let role = if is_primary(one) { " (primary)" } else { "" };
    let other = 1 + random.below(hosts.len() - 1);
    if one == other || random.below(2) == 0 {
        cluster.network.cut(&hosts[one]);
        return format!("{}{role} cut off", name(one));
    }
    cluster.network.cut_pair(&hosts[one], &hosts[other]);
    format!("{}{role} cut from {}", name(one), name(other))
}
