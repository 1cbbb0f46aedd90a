//! Tools that the tests and benchmarks of the workspace share: real mongods, real server processes,
//! clients, and networks that fail.

pub mod browser;
pub mod checker;
pub mod http;
pub mod link;
pub mod live;
pub mod mongod;
pub mod mount;
#[cfg(target_os = "linux")]
pub mod network;
pub mod proxy;
pub mod relay;
pub mod server;
pub mod tools;
pub mod view;
mod wheel;

use std::io::Write as _;

/// Writes a line that `cargo test` shows for a passing test too.
pub fn announce(line: &str) {
    // The handle, not the macro: the test harness captures only the macro.
    let _ = writeln!(std::io::stderr(), "{line}");
}
