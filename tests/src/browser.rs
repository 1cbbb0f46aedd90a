//! Drives headless Chromium through the DevTools protocol, as far as the tests need it.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream as StdTcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::tools;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The browser to test with: `CHAT_TEST_CHROMIUM`, else `chromium` on the `PATH`, as
/// [`tools::find`] finds it.
///
/// # Panics
///
/// If `CI` is set and there is no browser.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHAT_TEST_CHROMIUM").map(PathBuf::from);
    named.or_else(|| {
        tools::find(
            "chromium",
            "the pages in a browser, which CHAT_TEST_CHROMIUM may name",
        )
    })
}

/// A browser with one page. Ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty profile.
    ///
    /// # Panics
    ///
    /// If it does not start, as all methods panic if the browser does not do what it is told.
    pub async fn start(executable: PathBuf) -> Self {
        let profile = tempfile::tempdir().expect("a profile");
        let mut child = Command::new(executable)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--disable-quic",
            ])
            .args(["--window-size=960,640", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let endpoint = stderr
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.strip_prefix("DevTools listening on ws://")
                    .map(str::to_owned)
            })
            .expect("chromium listens");
        // Read on, so that the browser never waits for somebody to read.
        std::thread::spawn(move || stderr.for_each(drop));
        let host = endpoint.split('/').next().expect("a host").to_owned();
        let page = page(&host).await;
        let (socket, _) = tokio_tungstenite::connect_async(page)
            .await
            .expect("the page's socket");
        let mut this = Self {
            child,
            socket,
            last_id: 0,
            _profile: profile,
        };
        this.command("Page.enable", json!({})).await;
        this
    }

    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let command = json!({ "id": self.last_id, "method": method, "params": parameters });
        self.socket
            .send(Message::text(command.to_string()))
            .await
            .expect("the browser lives");
        loop {
            let frame = self
                .socket
                .next()
                .await
                .expect("an answer")
                .expect("the browser lives");
            let Message::Text(text) = frame else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == self.last_id {
                return answer;
            }
        }
    }

    /// Opens an address.
    pub async fn open(&mut self, url: &str) {
        let opened = self.command("Page.navigate", json!({ "url": url })).await;
        assert!(opened["result"]["errorText"].is_null(), "{url}: {opened}");
        self.wait_for("document.readyState === 'complete'").await;
    }

    /// Runs no scripts of pages from now on; those of the test still run.
    pub async fn disable_scripts(&mut self) {
        self.command(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": true }),
        )
        .await;
    }

    /// Runs this in every page from now on, before its own scripts.
    pub async fn run_first(&mut self, script: &str) {
        self.command(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        )
        .await;
    }

    /// The value of a JavaScript expression; `null` while a page is being replaced.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.command("Runtime.evaluate", parameters).await;
        answer["result"]["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn wait_for(&mut self, condition: &str) {
        let started = Instant::now();
        while self.evaluate(&format!("Boolean({condition})")).await != json!(true) {
            if started.elapsed() > PATIENCE {
                let page = self.evaluate("document.documentElement.outerHTML").await;
                panic!(
                    "never true: {condition}\n{}",
                    page.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types into the element that a selector finds.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        let found = self
            .evaluate(&format!(
                "document.querySelector({}).focus() || true",
                json!(selector)
            ))
            .await;
        assert_eq!(found, json!(true), "{selector}");
        self.command("Input.insertText", json!({ "text": text }))
            .await;
    }

    /// Clicks the element that a selector finds.
    pub async fn click(&mut self, selector: &str) {
        let clicked = self
            .evaluate(&format!(
                "document.querySelector({}).click() || true",
                json!(selector)
            ))
            .await;
        assert_eq!(clicked, json!(true), "{selector}");
    }

    /// Writes a picture of the page as PNG.
    pub async fn screenshot(&mut self, file: &std::path::Path) {
        let taken = self
            .command("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        let data = taken["result"]["data"].as_str().expect("a picture");
        let picture = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("Base64");
        std::fs::write(file, picture).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket of the page that the browser opened by itself.
async fn page(host: &str) -> String {
    let started = Instant::now();
    loop {
        let listens = StdTcpStream::connect(host).is_ok();
        let address = host.parse().expect("an address");
        if listens {
            let list = crate::http::Client::new(address)
                .get("/json/list")
                .await
                .json();
            let targets = list.as_array().cloned().unwrap_or_default();
            let page = targets.iter().find(|target| target["type"] == "page");
            if let Some(socket) = page.and_then(|page| page["webSocketDebuggerUrl"].as_str()) {
                return socket.to_owned();
            }
        }
        assert!(started.elapsed() < PATIENCE, "chromium opened no page");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
