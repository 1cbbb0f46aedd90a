//! The processes that are measured. Each is this same executable in another role, so that what is
//! measured is what was built, in the same profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use chat_http::{App, Settings};
use chat_testkit::server::Server;
use chatcore::ChatStore;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::mounts::PREFIX;
use crate::{fixed, mounts, raw};

/// Open files that are not the sockets of a benchmark.
const SPARE: usize = 256;
/// The unit of the times in `/proc`, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Program that the chat is mounted in.
#[derive(Debug, Clone, Copy)]
pub enum Host {
    /// axum, whose router it is merged into.
    Axum,
    /// axum, which serves it by `nest_service`.
    AxumNested,
    /// hyper, and nothing else.
    Hyper,
}

/// Task of a process, besides measuring others.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// The chat server on a store.
    Chat(&'a str),
    /// The chat on a store, mounted in another program.
    Mounted(Host, &'a str),
    /// hyper, answering every request with what is in a file.
    Fixed(&'a Path),
    /// A service in axum that answers every request with what is in a file.
    FixedInAxum(&'a Path),
    /// A listener that writes given frames to all its connections.
    Raw,
}

/// Plays the part of a process that a benchmark starts, and does not return then. A benchmark calls
/// it first.
pub fn play_role() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("role") {
        // Inherited by what is started.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        return;
    }
    let (role, argument) = (
        arguments.next().unwrap_or_default(),
        arguments.next().unwrap_or_default(),
    );
    Runtime::new()
        .expect("a runtime")
        .block_on(play(&role, &argument));
    std::process::exit(0);
}

async fn play(role: &str, argument: &str) {
    // Before it says that it listens.
    let app = match role {
        "chat" => Some(app(argument, "").await),
        "axum" | "axum-nested" | "hyper" => Some(app(argument, PREFIX).await),
        _ => None,
    };
    let is_fixed = ["fixed", "fixed-in-axum"].contains(&role);
    let answer = is_fixed.then(|| fixed::read(&fs::read(argument).expect("an answer")));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!(
        "listening on http://{}",
        listener.local_addr().expect("its number")
    );
    match (role, app, answer) {
        ("chat", Some(app), _) => chat_http::run(listener, app, std::future::pending()).await,
        ("axum", Some(app), _) => {
            mounts::serve_in_axum(listener, Router::new().merge(app)).await;
        }
        ("axum-nested", Some(app), _) => {
            mounts::serve_in_axum(listener, mounts::nested(app)).await;
        }
        ("hyper", Some(app), _) => mounts::serve_in_hyper(listener, app).await,
        ("fixed", _, Some(answer)) => fixed::serve(listener, answer).await,
        ("fixed-in-axum", _, Some(answer)) => {
            mounts::serve_in_axum(listener, mounts::nested(answer)).await;
        }
        _ => raw::serve(listener).await,
    }
}

async fn app(store: &str, prefix: &str) -> App {
    let store = ChatStore::open(store).await.expect("a store");
    // All sockets come from one address.
    let settings = Settings {
        post_rate: 0,
        connections_per_address: Some(0),
        ..Settings::default()
    };
    let app = App::builder(store).settings(settings);
    app.mount_at(prefix).build().expect("an application")
}

/// As many sockets as are wanted, or as the system lets one process have.
#[must_use]
pub fn sockets(wanted: usize) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    wanted.min(
        usize::try_from(files)
            .unwrap_or(wanted)
            .saturating_sub(SPARE),
    )
}

/// The server's own executable, if it has been built in the profile of this benchmark.
#[must_use]
pub fn built() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    Some(this.parent()?.parent()?.join("chat-http")).filter(|file| file.is_file())
}

/// Starts a process.
#[must_use]
pub fn start(role: Role<'_>) -> Server {
    let this = std::env::current_exe().expect("this executable");
    start_executable(&this, role)
}

/// Starts an older build of the same benchmark, to compare with.
#[must_use]
pub fn start_executable(executable: &Path, role: Role<'_>) -> Server {
    let mut command = Command::new(executable);
    command
        .arg("role")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match role {
        Role::Chat(store) => command.args(["chat", store]),
        Role::Mounted(Host::Axum, store) => command.args(["axum", store]),
        Role::Mounted(Host::AxumNested, store) => command.args(["axum-nested", store]),
        Role::Mounted(Host::Hyper, store) => command.args(["hyper", store]),
        Role::Fixed(file) => command.arg("fixed").arg(file),
        Role::FixedInAxum(file) => command.arg("fixed-in-axum").arg(file),
        Role::Raw => command.arg("raw"),
    };
    Server::spawn(command).expect("it starts")
}

/// The time that a process has kept the processors busy.
#[must_use]
pub fn busy(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap_or_default();
    // The name may hold spaces; what follows it does not. User and system time are the 14th and
    // 15th field, the name is the 2nd.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u32>().ok())
        .sum();
    TICK * ticks
}
