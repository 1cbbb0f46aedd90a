//! Hosts with addresses of their own, whose packets a test may drop.
//!
//! A host is a network namespace of Linux with one link to a bridge. The bridge is in a namespace
//! of its own, so that the network of the machine is not touched. This needs root, and `ip` and
//! `bridge` of iproute2. The namespaces end with the test process.

use std::ffi::OsString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A link address that no host has.
const NOWHERE: &str = "02:00:00:00:ff:ff";
/// States of a port of a bridge.
const DISABLED: &str = "0";
const FORWARDING: &str = "3";

/// Removes the namespaces and ends what runs in them, once its standard input is closed, which the
/// death of this process does too. A signal to the whole group, such as Ctrl-C, ends only this
/// process. The first one is where this process itself has threads.
const GUARD: &str = r#"
    exec 2>/dev/null; trap '' HUP INT TERM; read -r _
    ip netns delete "$1"; shift
    for namespace; do ip netns pids "$namespace" | xargs -r kill -9; ip netns delete "$namespace"; done"#;

/// Some hosts on one network. Removed when this is dropped.
#[derive(Debug)]
pub struct Network {
    switch: String,
    /// All of them reach each other, as long as nothing is cut.
    hosts: Vec<Host>,
    guard: Child,
}

/// One host of a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    number: u8,
    namespace: String,
}

impl Network {
    /// Starts a network of `hosts` hosts, or says on standard error that `what` is not tested and
    /// returns `None` where this process may not make one. The first host is the one for
    /// [`Network::block_on`].
    ///
    /// # Panics
    ///
    /// If `CI` is set and `ip` is not there, or if `ip` fails with the rights that it needs.
    #[must_use]
    pub fn start(hosts: u8, what: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        crate::tools::find("ip", what)?;
        let prefix = format!(
            "chat{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let switch = format!("{prefix}-switch");
        if let Err(refused) = run("ip", &format!("netns add {switch}")) {
            let is_forbidden = ["Operation not permitted", "Permission denied"];
            assert!(
                is_forbidden.iter().any(|reason| refused.contains(reason)),
                "{refused}"
            );
            crate::announce(&format!(
                "NOT RUN: {what}; it needs root, to make network namespaces: {}",
                refused.trim()
            ));
            return None;
        }
        let hosts: Vec<_> = (0..hosts)
            .map(|number| Host {
                number,
                namespace: format!("{prefix}-{number}"),
            })
            .collect();
        let mut guard = Command::new("sh");
        guard
            .args(["-c", GUARD, "sh"])
            .args(hosts.iter().map(|host| &host.namespace))
            .arg(&switch);
        let guard = guard.stdin(Stdio::piped()).spawn().expect("a shell");
        let this = Self {
            switch,
            hosts,
            guard,
        };
        this.connect();
        Some(this)
    }

    fn connect(&self) {
        let switch = &self.switch;
        ip(&format!("-n {switch} link add bridge type bridge"));
        ip(&format!("-n {switch} link set bridge up"));
        for host in &self.hosts {
            host.connect_to(switch);
        }
        // Fixed neighbours: a host that looks in vain for another one would refuse its own packets.
        for (one, other) in self.pairs() {
            one.set_neighbour(other, &other.link_address());
        }
    }

    /// The hosts, by their numbers.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Drops all packets from and to this host.
    pub fn cut(&self, host: &Host) {
        self.set_port(host, DISABLED);
    }

    /// Drops all packets between these two hosts.
    pub fn cut_pair(&self, one: &Host, other: &Host) {
        one.set_neighbour(other, NOWHERE);
        other.set_neighbour(one, NOWHERE);
    }

    /// Lets all packets through again.
    pub fn heal(&self) {
        for host in &self.hosts {
            self.set_port(host, FORWARDING);
        }
        for (one, other) in self.pairs() {
            one.set_neighbour(other, &other.link_address());
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        let pairs = self
            .hosts
            .iter()
            .flat_map(|one| self.hosts.iter().map(move |other| (one, other)));
        pairs.filter(|(one, other)| one != other)
    }

    fn set_port(&self, host: &Host, state: &str) {
        let (switch, port) = (&self.switch, host.port());
        must(
            "bridge",
            &format!("-n {switch} link set dev {port} state {state}"),
        );
    }

    /// Runs something on the first host: every socket, thread and process that it makes is there.
    pub fn block_on<T: Send>(&self, run: impl AsyncFnOnce() -> T + Send) -> T {
        let on_host = || {
            self.hosts[0].enter();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(run())
        };
        // A thread of its own, because a thread that went to a host stays there.
        let ended = std::thread::scope(|scope| scope.spawn(on_host).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, self.number + 1)
    }

    /// Returns the beginning of a command line that runs on this host.
    pub(crate) fn prefix(&self) -> impl Iterator<Item = OsString> + use<> {
        ["ip", "netns", "exec", &self.namespace]
            .map(OsString::from)
            .into_iter()
    }

    fn link_address(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.number + 1)
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    fn connect_to(&self, switch: &str) {
        let (port, namespace) = (self.port(), &self.namespace);
        ip(&format!("netns add {namespace}"));

        let peer = format!(
            "name eth0 address {} netns {namespace}",
            self.link_address()
        );
        ip(&format!(
            "-n {switch} link add {port} type veth peer {peer}"
        ));
        ip(&format!("-n {switch} link set {port} master bridge up"));

        let address = self.address();
        ip(&format!("-n {namespace} address add {address}/24 dev eth0"));
        ip(&format!("-n {namespace} link set lo up"));
        ip(&format!("-n {namespace} link set eth0 up"));
    }

    fn set_neighbour(&self, other: &Self, link_address: &str) {
        let (namespace, address) = (&self.namespace, other.address());
        ip(&format!(
            "-n {namespace} neigh replace {address} lladdr {link_address} dev eth0 nud permanent"
        ));
    }

    /// Moves the calling thread to this host, and all that it starts from now on.
    fn enter(&self) {
        let namespace =
            File::open(format!("/var/run/netns/{}", self.namespace)).expect("the namespace");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("its network");
    }
}

fn ip(arguments: &str) {
    must("ip", arguments);
}

/// Runs a program with arguments that spaces separate.
fn must(program: &str, arguments: &str) {
    run(program, arguments).unwrap_or_else(|refused| panic!("{program} {arguments}: {refused}"));
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let run = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .map_err(|e| e.to_string())?;
    if run.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&run.stderr).into_owned())
    }
}
