//! Counters of the server, as Prometheus text.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chatcore::LiveCounts;
use hyper::StatusCode;

#[derive(Default)]
pub(crate) struct Metrics {
    connections: AtomicI64,
    sockets: AtomicI64,
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    posts: AtomicU64,
    repeats: AtomicU64,
}

impl Metrics {
    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn socket_opened(&self) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn socket_closed(&self) {
        self.sockets.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        if let Some(class) = self.answers.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn posted(&self, repeated: bool) {
        let counter = if repeated { &self.repeats } else { &self.posts };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all metrics in the text exposition format, version 0.0.4.
    pub(crate) fn render(&self, live: &LiveCounts) -> String {
        let mut text = String::new();
        CONNECTIONS.write(&mut text, self.connections.load(Ordering::Relaxed));
        SOCKETS.write(&mut text, self.sockets.load(Ordering::Relaxed));

        LIVE_ROOMS.write(&mut text, live.rooms);
        LIVE_FOLLOWERS.write(&mut text, live.followers);
        LIVE_PRESENCES.write(&mut text, live.present);
        LIVE_USERS.write(&mut text, live.users);
        LIVE_MESSAGE_BYTES.write(&mut text, live.bytes);

        RESPONSES.write_header(&mut text);
        for (class, count) in (1..=5).zip(&self.answers[1..]) {
            let labels = format!("{{code=\"{class}xx\"}}");
            RESPONSES.write_sample(&mut text, &labels, count.load(Ordering::Relaxed));
        }
        POSTS.write(&mut text, self.posts.load(Ordering::Relaxed));
        REPEATED_POSTS.write(&mut text, self.repeats.load(Ordering::Relaxed));
        text
    }
}

/// A metric: its name, its type and its description.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const CONNECTIONS: Metric = Metric::gauge("chat_http_connections", "Open connections.");
const SOCKETS: Metric = Metric::gauge("chat_http_sockets", "Open WebSockets.");
const LIVE_ROOMS: Metric = Metric::gauge("chat_live_rooms", "Rooms whose end is in memory.");
const LIVE_FOLLOWERS: Metric = Metric::gauge("chat_live_followers", "Followers of rooms.");
const LIVE_PRESENCES: Metric = Metric::gauge("chat_live_presences", "Presences in rooms.");
const LIVE_USERS: Metric = Metric::gauge("chat_live_users", "Users who are connected.");
const LIVE_MESSAGE_BYTES: Metric = Metric::gauge(
    "chat_live_message_bytes",
    "Memory of the messages of live rooms.",
);
const RESPONSES: Metric =
    Metric::counter("chat_http_responses_total", "Answers by class of status.");
const POSTS: Metric = Metric::counter("chat_posts_total", "Messages stored by this process.");
const REPEATED_POSTS: Metric =
    Metric::counter("chat_posts_repeated_total", "Posts whose nonce was known.");

impl Metric {
    const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = "gauge";
        Self { name, kind, help }
    }

    const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = "counter";
        Self { name, kind, help }
    }

    /// Writes a metric that has one value.
    fn write(&self, text: &mut String, value: impl Display) {
        self.write_header(text);
        self.write_sample(text, "", value);
    }

    fn write_header(&self, text: &mut String) {
        let Self { name, kind, help } = self;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn write_sample(&self, text: &mut String, labels: &str, value: impl Display) {
        let _ = writeln!(text, "{}{labels} {value}", self.name);
    }
}
