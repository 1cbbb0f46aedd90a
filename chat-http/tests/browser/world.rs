//! A server, and people who look at its pages.

use chat_testkit::browser::{Browser, Engine, Page};
use chat_testkit::live::make_room;
use serde_json::{Value, json};

use crate::support::{PASSWORD, Running};

/// A server on SQLite, and the kind of browser of a test.
pub(crate) struct World {
    pub(crate) server: Running,
    pub(crate) engine: Engine,
}

impl World {
    /// Starts a server; `None` where there is no such browser.
    pub(crate) async fn start(engine: Engine) -> Option<Self> {
        Browser::start(engine).await?;
        Some(Self {
            server: Running::sqlite().await,
            engine,
        })
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
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
        self.logged_in("login", &json!({ "username": name })).await
    }

    /// A page of somebody with an account.
    pub(crate) async fn account(&self, name: &str) -> Page {
        self.logged_in(
            "register",
            &json!({ "username": name, "password": PASSWORD }),
        )
        .await
    }

    async fn logged_in(&self, route: &str, credentials: &Value) -> Page {
        let page = self.stranger().await;
        page.open(&self.url("/healthz")).await;
        let log_in = format!(
            "fetch('/auth/{route}', {{
                method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, body: {}
            }}).then((answer) => answer.ok)",
            json!(credentials.to_string())
        );
        assert_eq!(page.evaluate(&log_in).await, json!(true), "{credentials}");
        page
    }

    /// Opens a room, and waits until it is live.
    pub(crate) async fn enter(&self, page: &Page, room: &str) {
        self.open_room(page, room).await;
        page.wait_for(LIVE).await;
    }

    /// Opens a room, which is created unless it exists.
    pub(crate) async fn open_room(&self, page: &Page, room: &str) {
        make_room(self.server.address, room).await;
        let room = room.replace(' ', "%20").replace('&', "%26");
        page.open(&self.url(&format!("/rooms/{room}"))).await;
    }

    /// Posts as a guest, by the API.
    pub(crate) async fn post(&self, room: &str, sender: &str, text: &str) {
        let message = json!({ "sender": sender, "text": text });
        let posted = self
            .server
            .client()
            .post(&format!("/chat/{room}/messages"), &message)
            .await;
        assert_eq!(posted.status, 201, "{}", posted.text());
    }
}

/// The page follows its room.
pub(crate) const LIVE: &str = "document.querySelector('#status').dataset.by === 'socket'";

/// A message with this text is shown.
pub(crate) fn shown(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#messages p')].some((body) => body.innerText === {})",
        json!(text)
    )
}

/// Writes a message by the keyboard.
pub(crate) async fn say(page: &Page, text: &str) {
    page.click("textarea[name=text]").await;
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            page.press("Shift+Enter").await;
        }
        page.type_text(line).await;
    }
    page.press("Enter").await;
}

/// The numbers of the messages that are shown.
pub(crate) async fn seqs(page: &Page) -> Vec<i64> {
    page.get("[...document.querySelectorAll('#messages li[data-seq]')].map((row) => Number(row.dataset.seq))").await
}

/// The texts of the messages that are shown.
pub(crate) async fn texts(page: &Page) -> Vec<String> {
    page.get("[...document.querySelectorAll('#messages p')].map((body) => body.innerText)")
        .await
}
