//! A server, and people who look at its pages over a network of their own.

use chat_testkit::browser::{Browser, Engine, Page};
use chat_testkit::http::Client;
use chat_testkit::link::Link;
use chat_testkit::live::make_room;
use chatcore::NewMessage;
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{PASSWORD, Running};

/// A server on SQLite, the network to it, and the kind of browser of a test.
pub(crate) struct World {
    pub(crate) server: Running,
    pub(crate) link: Link,
    pub(crate) engine: Engine,
}

impl World {
    /// Starts a server; `None` where there is no such browser.
    pub(crate) async fn start(engine: Engine) -> Option<Self> {
        Browser::start(engine).await?;
        let server = Running::sqlite().await;
        let link = Link::start(server.address).await;
        Some(Self {
            server,
            link,
            engine,
        })
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.link.address)
    }

    /// A page of somebody who is not logged in.
    pub(crate) async fn stranger(&self) -> Page {
        let browser = Browser::start(self.engine)
            .await
            .expect("it started before");
        browser.tab().await
    }

    /// A page of a guest.
    pub(crate) async fn guest(&self, name: &str) -> Page {
        let page = self.stranger().await;
        self.log_in(&page, "login", &json!({ "username": name }))
            .await;
        page
    }

    /// A page of somebody with a new account.
    pub(crate) async fn account(&self, name: &str) -> Page {
        let page = self.stranger().await;
        let account = json!({ "username": name, "password": PASSWORD });
        self.log_in(&page, "register", &account).await;
        page
    }

    /// Logs in without a look at any page.
    pub(crate) async fn log_in(&self, page: &Page, route: &str, credentials: &Value) {
        page.open(&self.url("/healthz")).await;
        let log_in = format!(
            "fetch('/auth/{route}', {{
                method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, body: {}
            }}).then((answer) => answer.text().then(() => answer.ok))",
            json!(credentials.to_string())
        );
        assert_eq!(page.evaluate(&log_in).await, json!(true), "{credentials}");
    }

    /// A client of the API with another session of an account.
    pub(crate) async fn client(&self, name: &str) -> Client {
        let account = json!({ "username": name, "password": PASSWORD });
        let login = self.server.client().post("/auth/login", &account).await;
        assert_eq!(login.status, 200, "{}", login.text());
        self.server.client().with_session(&login)
    }

    /// Opens a room, which is created unless it exists, and waits until it is live.
    pub(crate) async fn enter(&self, page: &Page, room: &str) {
        self.open_room(page, room).await;
        page.wait_for(LIVE).await;
    }

    /// Opens a room, which is created unless it exists.
    pub(crate) async fn open_room(&self, page: &Page, room: &str) {
        make_room(self.server.address, room).await;
        page.open(&self.room_url(room)).await;
    }

    pub(crate) fn room_url(&self, room: &str) -> String {
        let room = room.replace(' ', "%20").replace('&', "%26");
        self.url(&format!("/rooms/{room}"))
    }

    /// Posts as a guest, by the API.
    pub(crate) async fn post(&self, room: &str, sender: &str, text: &str) {
        let message = json!({ "sender": sender, "text": text });
        let path = format!("/chat/{room}/messages");
        let posted = self.server.client().post(&path, &message).await;
        assert_eq!(posted.status, 201, "{}", posted.text());
    }

    /// Fills a room with this many messages of two guests.
    pub(crate) async fn seed(&self, room: &str, count: usize) {
        for chunk in (1..=count).collect::<Vec<_>>().chunks(500) {
            let posts = chunk.iter().map(|i| {
                let sender = if i % 3 == 0 { "cleo" } else { "dan" };
                self.server.store.post(NewMessage::new(
                    room.parse().expect("a name"),
                    sender.parse().expect("a name"),
                    format!("message {i} of the seed").parse().expect("a text"),
                ))
            });
            for posted in join_all(posts).await {
                posted.expect("posted");
            }
        }
    }

    /// The texts of all messages of a room, as the server has them.
    pub(crate) async fn stored(&self, room: &str) -> Vec<String> {
        let path = format!("/chat/{room}/messages?after=0&limit=200");
        let messages = self.server.client().get(&path).await.json();
        let messages = messages.as_array().expect("an array");
        messages
            .iter()
            .map(|message| message["text"].as_str().expect("a text").to_owned())
            .collect()
    }
}

/// Sends a request of the API that must be answered with one of the 200s.
pub(crate) async fn send(client: &mut Client, method: Method, path: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let reply = client.send(method, path, &body).await;
    assert!(
        (200..300).contains(&reply.status),
        "{path}: {}",
        reply.text()
    );
    if reply.body.is_empty() {
        Value::Null
    } else {
        reply.json()
    }
}

/// The page follows its room by a socket.
pub(crate) const LIVE: &str = "document.querySelector('#status')?.dataset.state === 'open'";

/// The texts of the messages that are shown, as an expression.
const TEXTS: &str = "[...document.querySelectorAll('#messages .message[data-seq] .body')].map((body) => body.innerText.trim())";

/// A message with this text is shown.
pub(crate) fn shown(text: &str) -> String {
    format!("{TEXTS}.includes({})", json!(text))
}

/// The texts of the messages that are shown.
pub(crate) async fn texts(page: &Page) -> Vec<String> {
    page.get(TEXTS).await
}

/// The numbers of the messages that are shown.
pub(crate) async fn seqs(page: &Page) -> Vec<i64> {
    page.get("[...document.querySelectorAll('#messages .message[data-seq]')].map((row) => Number(row.dataset.seq))").await
}

/// The field for a new message.
pub(crate) const FIELD: &str = "#composer textarea";

/// Writes a message by the keyboard.
pub(crate) async fn say(page: &Page, text: &str) {
    page.click(FIELD).await;
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            page.press("Shift+Enter").await;
        }
        page.type_text(line).await;
    }
    page.press("Enter").await;
}

/// The text of an element has these words in it.
pub(crate) fn says(selector: &str, words: &str) -> String {
    format!(
        "[...document.querySelectorAll({})].some((element) => element.innerText.includes({}))",
        json!(selector),
        json!(words)
    )
}

/// An element is shown.
pub(crate) fn visible(selector: &str) -> String {
    format!(
        "document.querySelector({})?.checkVisibility({{ visibilityProperty: true }})",
        json!(selector)
    )
}

/// Opens the menu of a message and chooses from it.
pub(crate) async fn act(page: &Page, seq: i64, action: &str) {
    page.hover(&format!("#m{seq} .meta, #m{seq} .body")).await;
    page.click(&format!("#m{seq} .row-tools [data-do=menu]"))
        .await;
    page.click(&format!("#row-menu [data-do={action}]")).await;
}
