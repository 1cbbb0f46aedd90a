//! Headless Firefox by WebDriver `BiDi`. <https://w3c.github.io/webdriver-bidi/>

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc};
use tokio_tungstenite::tungstenite::Message;

use super::connection::{Answer, Connection};
use super::keys::Stroke;
use super::{Point, Size};
use crate::tools;

/// Runs a browser with a new profile, and ends both when its standard input closes, which the death
/// of the test process does too. Nothing of it asks the network for updates or experiments. It has
/// a mouse, which a machine without a screen has not.
const GUARD: &str = r#"
    trap '' HUP INT TERM; profile=$(mktemp -d)
    cat >"$profile/user.js" <<'END'
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("intl.accept_languages", "en-US");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("nimbus.rollouts.enabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("ui.allPointerCapabilities", 6);
user_pref("ui.primaryPointerCapabilities", 6);
END
    "$@" --headless --no-remote --remote-debugging-port=0 --profile "$profile" & firefox=$!
    read -r _; kill -9 $firefox; wait; rm -rf "$profile""#;

/// The browser to test with: `CHAT_TEST_FIREFOX`, else `firefox-esr` on the `PATH`, as
/// [`tools::find`] finds it.
pub(super) fn find() -> Option<PathBuf> {
    let named = std::env::var_os("CHAT_TEST_FIREFOX").map(PathBuf::from);
    named.or_else(|| {
        tools::find(
            "firefox-esr",
            "the pages in Firefox, which CHAT_TEST_FIREFOX may name",
        )
    })
}

/// The connection to the Firefox that all tests of this process share.
async fn connection(executable: &Path) -> Arc<Connection> {
    static CONNECTION: OnceCell<Arc<Connection>> = OnceCell::const_new();
    CONNECTION.get_or_init(|| start(executable)).await.clone()
}

async fn start(executable: &Path) -> Arc<Connection> {
    let mut child = Command::new("sh")
        .args(["-c", GUARD, "sh"])
        .arg(executable)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let listening = stderr.by_ref().map_while(Result::ok).find_map(|line| {
        line.strip_prefix("WebDriver BiDi listening on ")
            .map(|url| format!("{url}/session"))
    });
    let url = listening.expect("firefox listens");
    // Read on, so that the browser never waits for somebody to read.
    std::thread::spawn(move || stderr.for_each(drop));

    let (outgoing, to_send) = mpsc::unbounded_channel();
    let write = move |message: &str| {
        let _ = outgoing.send(message.to_owned());
    };
    let connection = Arc::new(Connection::new(Box::new(write)));
    // A runtime of its own, because the one of the first test ends with that test.
    let runs = connection.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(serve(&url, &runs, to_send, child));
        runs.end();
    });

    let session = json!({ "method": "session.new", "params": { "capabilities": {} } });
    connection.send(session).await.expect("a session");
    let events =
        json!({ "method": "session.subscribe", "params": { "events": ["log.entryAdded"] } });
    connection.send(events).await.expect("subscribed");
    connection
}

/// Carries messages in both directions. Holds the process, whose standard input keeps it alive.
async fn serve(
    url: &str,
    connection: &Connection,
    mut to_send: mpsc::UnboundedReceiver<String>,
    _held: Child,
) {
    let (socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("the browser's socket");
    let (mut write, mut read) = socket.split();
    loop {
        tokio::select! {
            Some(message) = to_send.recv() => {
                if write.send(Message::text(message)).await.is_err() {
                    return;
                }
            }
            received = read.next() => match received {
                Some(Ok(Message::Text(text))) => {
                    connection.receive(&text, |event| event["params"]["source"]["context"].as_str());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// A context with cookies and storage of its own.
#[derive(Debug)]
pub(super) struct Context {
    connection: Arc<Connection>,
    id: String,
}

impl Context {
    pub(super) async fn new(executable: &Path) -> Self {
        let connection = connection(executable).await;
        let create = json!({ "method": "browser.createUserContext", "params": {} });
        let created = connection.send(create).await.expect("a user context");
        let id = created["userContext"].as_str().expect("its id").to_owned();
        Self { connection, id }
    }

    pub(super) async fn tab(&self, size: Size) -> Tab {
        let create = json!({ "method": "browsingContext.create", "params": { "type": "window", "userContext": self.id } });
        let created = self.connection.send(create).await.expect("a page");
        let context = created["context"].as_str().expect("its id").to_owned();
        let tab = Tab {
            connection: self.connection.clone(),
            context,
        };
        tab.resize(size).await;
        tab
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let remove =
            json!({ "method": "browser.removeUserContext", "params": { "userContext": self.id } });
        drop(self.connection.send(remove));
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Tab {
    connection: Arc<Connection>,
    context: String,
}

impl Tab {
    async fn try_command(&self, method: &str, mut parameters: Value) -> Answer {
        parameters["context"] = json!(self.context);
        self.connection
            .send(json!({ "method": method, "params": parameters }))
            .await
    }

    async fn command(&self, method: &str, parameters: Value) -> Value {
        let answer = self.try_command(method, parameters).await;
        answer.unwrap_or_else(|refused| panic!("{method}: {refused}"))
    }

    pub(super) async fn navigate(&self, url: &str) {
        self.command(
            "browsingContext.navigate",
            json!({ "url": url, "wait": "interactive" }),
        )
        .await;
    }

    /// The value of an expression, or the exception. `null` while the page is being replaced.
    pub(super) async fn evaluate(&self, expression: &str) -> Answer {
        let as_json = format!("(async () => JSON.stringify(await ({expression}) ?? null))()");
        let evaluate = json!({ "method": "script.evaluate", "params": {
            "expression": as_json, "target": { "context": self.context }, "awaitPromise": true, "userActivation": true,
        }});
        let Ok(answer) = self.connection.send(evaluate).await else {
            return Ok(Value::Null);
        };

        if answer["type"] == "exception" {
            return Err(answer["exceptionDetails"]["text"].to_string());
        }
        let value = answer["result"]["value"].as_str().unwrap_or("null");
        Ok(serde_json::from_str(value).expect("JSON"))
    }

    pub(super) async fn press(&self, stroke: &Stroke) {
        let keys = json!({ "type": "key", "id": "keyboard", "actions": stroke.webdriver() });
        self.command("input.performActions", json!({ "actions": [keys] }))
            .await;
    }

    pub(super) async fn hover(&self, at: Point) {
        self.point(json!([{ "type": "pointerMove", "x": at.x as i64, "y": at.y as i64 }]))
            .await;
    }

    pub(super) async fn click(&self, at: Point) {
        let actions = json!([
            { "type": "pointerMove", "x": at.x as i64, "y": at.y as i64 },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.point(actions).await;
    }

    async fn point(&self, actions: Value) {
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.command("input.performActions", json!({ "actions": [mouse] }))
            .await;
    }

    pub(super) async fn resize(&self, size: Size) {
        let viewport = json!({ "width": size.width, "height": size.height });
        self.command(
            "browsingContext.setViewport",
            json!({ "viewport": viewport }),
        )
        .await;
    }

    pub(super) async fn picture(&self) -> String {
        let taken = self
            .command("browsingContext.captureScreenshot", json!({}))
            .await;
        taken["data"].as_str().expect("a picture").to_owned()
    }

    /// Exceptions and errors on the console; sockets that failed only where `with_failed_requests`.
    pub(super) fn errors(&self, with_failed_requests: bool) -> Vec<String> {
        self.connection.with_events(&self.context, |events| {
            let errors = events
                .iter()
                .filter(|event| event["params"]["level"] == "error");
            let texts = errors.filter_map(|event| event["params"]["text"].as_str());
            let counts = |text: &&str| with_failed_requests || !text.contains("ws://");
            texts.filter(counts).map(str::to_owned).collect()
        })
    }

    pub(super) fn forget_errors(&self) {
        self.connection.with_events(&self.context, Vec::clear);
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let close =
            json!({ "method": "browsingContext.close", "params": { "context": self.context } });
        drop(self.connection.send(close));
        self.connection.forget(&self.context);
    }
}
