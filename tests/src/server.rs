//! The server as a real process, which a test may kill.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

/// A running `chat-http`. Killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Address that it listens on.
    pub address: SocketAddr,
    log: Option<JoinHandle<String>>,
}

/// Options of a server.
#[derive(Debug, Clone)]
pub struct Start {
    /// The command line before the arguments.
    program: Vec<OsString>,
    arguments: Vec<String>,
}

impl Start {
    /// The binary at `executable`, on `store` and any free port, without a limit on posts.
    #[must_use]
    pub fn new(executable: impl AsRef<Path>, store: &str) -> Self {
        let arguments = [
            "--store",
            store,
            "--listen",
            "127.0.0.1:0",
            "--post-rate",
            "0",
        ];
        Self {
            program: vec![executable.as_ref().as_os_str().to_owned()],
            arguments: arguments.map(str::to_owned).into(),
        }
    }

    /// On a host of a network of its own.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn on(mut self, host: &crate::network::Host) -> Self {
        self.program.splice(0..0, host.prefix());
        self.with("--listen", &format!("{}:0", host.address()))
    }

    /// With more arguments; a later one replaces an earlier one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Some(at) = self.arguments.iter().position(|argument| argument == name) {
            self.arguments.drain(at..at + 2);
        }
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// The command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    ///
    /// Its standard error, if it ended instead.
    pub fn run(&self) -> Result<Server, String> {
        Server::spawn(self.command())
    }
}

impl Server {
    /// Waits until a command started as [`Start::command`] listens.
    ///
    /// # Errors
    ///
    /// Its standard error, if it ended instead.
    pub fn spawn(mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let mut stderr = child.stderr.take().ok_or("no stderr")?;
        // Read all along, so that the server never waits for somebody to read.
        let log = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line);
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok());
        match address {
            Some(address) if read.is_ok() => Ok(Self {
                child,
                address,
                log: Some(log),
            }),
            _ => {
                let _ = child.wait();
                Err(log.join().unwrap_or_default())
            }
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`. Returns what it had written to standard error.
    pub fn kill(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }

    /// Its resident memory in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory that it has had, in KiB.
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
