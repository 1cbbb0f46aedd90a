//! Headless Chromium by the DevTools protocol.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use super::connection::{Answer, Connection};
use super::keys::Stroke;
use super::{Point, Size, Traffic};
use crate::tools;

/// Runs a browser over two pipes and removes its profile when it ended, as it does when the test
/// process ends and the pipes close. Ctrl-C goes to the whole group and must not come before that.
const GUARD: &str = r#"
    trap '' HUP INT TERM; profile=$(mktemp -d)
    "$@" --user-data-dir="$profile" --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null 2>&1
    rm -rf "$profile""#;

const ARGUMENTS: [&str; 16] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    // Every page of a test counts as the one that is looked at.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
    "--lang=en-US",
    // A machine without a screen has no mouse either, unless it is told.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
];

/// The browser to test with: `CHAT_TEST_CHROMIUM`, else `chromium` on the `PATH`, as
/// [`tools::find`] finds it.
pub(super) fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHAT_TEST_CHROMIUM").map(PathBuf::from);
    named.or_else(|| {
        tools::find(
            "chromium",
            "the pages in a browser, which CHAT_TEST_CHROMIUM may name",
        )
    })
}

/// The connection to the Chromium that all tests of this process share.
fn connection(executable: &Path) -> Arc<Connection> {
    static CONNECTION: OnceLock<Arc<Connection>> = OnceLock::new();
    CONNECTION.get_or_init(|| start(executable)).clone()
}

fn start(executable: &Path) -> Arc<Connection> {
    let mut child = Command::new("sh")
        .args(["-c", GUARD, "sh"])
        .arg(executable)
        .args(ARGUMENTS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let input = Mutex::new(child.stdin.take().expect("stdin"));
    let output = child.stdout.take().expect("stdout");

    let write = move |message: &str| {
        let mut input = input.lock().expect("no panic under the lock");
        // If the browser ended, the answer says so.
        let _ = input.write_all(&[message.as_bytes(), &[0]].concat());
    };
    let connection = Arc::new(Connection::new(Box::new(write)));

    let reader = connection.clone();
    std::thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            let message = String::from_utf8_lossy(&message);
            reader.receive(&message, |event| event["sessionId"].as_str());
        }
        reader.end();
        let _ = child.wait();
    });
    connection
}

/// A context with cookies and storage of its own.
#[derive(Debug)]
pub(super) struct Context {
    connection: Arc<Connection>,
    id: String,
}

impl Context {
    pub(super) async fn new(executable: &Path) -> Self {
        let connection = connection(executable);
        let create = json!({ "method": "Target.createBrowserContext", "params": {} });
        let created = connection.send(create).await.expect("chromium starts");
        let id = text(&created, "browserContextId");
        Self { connection, id }
    }

    pub(super) async fn tab(&self, size: Size) -> Tab {
        let create = json!({ "method": "Target.createTarget", "params": {
            "url": "about:blank", "browserContextId": self.id, "newWindow": true,
            "width": size.width, "height": size.height,
        }});
        let created = self.connection.send(create).await.expect("a page");
        let target = text(&created, "targetId");
        let attach = json!({ "method": "Target.attachToTarget", "params": { "targetId": target, "flatten": true } });
        let attached = self
            .connection
            .send(attach)
            .await
            .expect("a session with the page");

        let tab = Tab {
            connection: self.connection.clone(),
            target,
            session: text(&attached, "sessionId"),
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.command(&format!("{domain}.enable"), json!({})).await;
        }
        tab.command(
            "Emulation.setFocusEmulationEnabled",
            json!({ "enabled": true }),
        )
        .await;
        tab
    }

    /// Allows something that a page must ask for, such as `notifications`.
    pub(super) async fn grant(&self, permission: &str) {
        let grant = json!({ "method": "Browser.grantPermissions", "params": {
            "permissions": [permission], "browserContextId": self.id,
        }});
        self.connection.send(grant).await.expect("granted");
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let dispose = json!({ "method": "Target.disposeBrowserContext", "params": { "browserContextId": self.id } });
        drop(self.connection.send(dispose));
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Tab {
    connection: Arc<Connection>,
    target: String,
    session: String,
}

impl Tab {
    pub(super) async fn command(&self, method: &str, parameters: Value) -> Value {
        let answer = self.try_command(method, parameters).await;
        answer.unwrap_or_else(|refused| panic!("{method}: {refused}"))
    }

    async fn try_command(&self, method: &str, parameters: Value) -> Answer {
        let command = json!({ "method": method, "params": parameters, "sessionId": self.session });
        self.connection.send(command).await
    }

    pub(super) async fn navigate(&self, url: &str) {
        let opened = self.command("Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// The value of an expression, or the exception. `null` while the page is being replaced.
    pub(super) async fn evaluate(&self, expression: &str) -> Answer {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let Ok(mut answer) = self.try_command("Runtime.evaluate", parameters).await else {
            return Ok(Value::Null);
        };

        let exception = &answer["exceptionDetails"];
        if exception.is_null() {
            return Ok(answer["result"]["value"].take());
        }
        let thrown = &exception["exception"];
        Err(thrown["description"]
            .as_str()
            .map_or_else(|| exception.to_string(), str::to_owned))
    }

    pub(super) async fn press(&self, stroke: &Stroke) {
        for (method, parameters) in stroke.devtools() {
            self.command(method, parameters).await;
        }
    }

    pub(super) async fn hover(&self, at: Point) {
        let moved = json!({ "type": "mouseMoved", "x": at.x, "y": at.y });
        self.command("Input.dispatchMouseEvent", moved).await;
    }

    pub(super) async fn click(&self, at: Point) {
        self.hover(at).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": at.x, "y": at.y, "button": "left", "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event).await;
        }
    }

    pub(super) async fn tap(&self, at: Point) {
        let points = json!([{ "x": at.x, "y": at.y }]);
        for (kind, points) in [("touchStart", points), ("touchEnd", json!([]))] {
            let event = json!({ "type": kind, "touchPoints": points });
            self.command("Input.dispatchTouchEvent", event).await;
        }
    }

    pub(super) async fn wheel(&self, at: Point, down: f64) {
        let event =
            json!({ "type": "mouseWheel", "x": at.x, "y": at.y, "deltaX": 0, "deltaY": down });
        self.command("Input.dispatchMouseEvent", event).await;
    }

    pub(super) async fn resize(&self, size: Size) {
        let metrics = json!({
            "width": size.width, "height": size.height,
            "deviceScaleFactor": size.scale, "mobile": size.touch,
        });
        self.command("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        self.command(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": size.touch }),
        )
        .await;
    }

    pub(super) async fn picture(&self) -> String {
        let taken = self
            .command("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        text(&taken, "data")
    }

    /// Exceptions, errors on the console, and what the browser itself reports as an error. Requests
    /// that failed are among these only where `with_failed_requests`.
    pub(super) fn errors(&self, with_failed_requests: bool) -> Vec<String> {
        self.connection.with_events(&self.session, |events| {
            let errors = events
                .iter()
                .filter_map(|event| error_of(event, with_failed_requests));
            errors.collect()
        })
    }

    pub(super) fn forget_errors(&self) {
        self.connection.with_events(&self.session, |events| {
            events.retain(|event| error_of(event, true).is_none());
        });
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.connection.with_events(&self.session, |events| {
            let mut traffic = Traffic::default();
            for event in events.iter() {
                traffic.add(event);
            }
            traffic
        })
    }

    pub(super) fn forget_traffic(&self) {
        self.connection.with_events(&self.session, |events| {
            let is_network = |event: &Value| {
                event["method"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("Network."))
            };
            events.retain(|event| !is_network(event));
        });
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let close =
            json!({ "method": "Target.closeTarget", "params": { "targetId": self.target } });
        drop(self.connection.send(close));
        self.connection.forget(&self.session);
    }
}

impl Traffic {
    fn add(&mut self, event: &Value) {
        let parameters = &event["params"];
        let id = parameters["requestId"].as_str().unwrap_or_default();
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.sent.push(url.to_owned());
                self.open.insert(id.to_owned(), url.to_owned());
            }
            Some("Network.loadingFinished") => {
                self.open.remove(id);
                self.bytes += parameters["encodedDataLength"].as_f64().unwrap_or(0.0) as u64;
            }
            Some("Network.loadingFailed") => {
                self.open.remove(id);
            }
            _ => {}
        }
    }
}

fn error_of(event: &Value, with_failed_requests: bool) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => {
            let details = &parameters["exceptionDetails"];
            let thrown = details["exception"]["description"].as_str();
            Some(thrown.map_or_else(|| details.to_string(), str::to_owned))
        }
        "Runtime.consoleAPICalled" => {
            (parameters["type"] == "error").then(|| parameters["args"].to_string())
        }
        "Log.entryAdded" => {
            let entry = &parameters["entry"];
            let counts = with_failed_requests || entry["source"] != "network";
            (entry["level"] == "error" && counts)
                .then(|| format!("{}: {}", entry["url"], entry["text"]))
        }
        _ => None,
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field}: {answer}"))
        .to_owned()
}
