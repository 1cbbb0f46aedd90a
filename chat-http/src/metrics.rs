//! Counters of the server, as Prometheus text.

use std::fmt::Write as _;
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

    /// The text exposition format, version 0.0.4.
    pub(crate) fn render(&self, live: &LiveCounts) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let one = |value: String| [(String::new(), value)];
        let connections = self.connections.load(Ordering::Relaxed);
        family(
            "chat_http_connections",
            "gauge",
            "Open connections.",
            &one(connections.to_string()),
        );
        let sockets = self.sockets.load(Ordering::Relaxed);
        family(
            "chat_http_sockets",
            "gauge",
            "Open WebSockets.",
            &one(sockets.to_string()),
        );
        for (name, help, value) in [
            (
                "chat_live_rooms",
                "Rooms whose end is in memory.",
                live.rooms,
            ),
            ("chat_live_followers", "Followers of rooms.", live.followers),
            ("chat_live_presences", "Presences in rooms.", live.present),
            ("chat_live_users", "Users who are connected.", live.users),
            (
                "chat_live_message_bytes",
                "Memory of the messages of live rooms.",
                live.bytes,
            ),
        ] {
            family(name, "gauge", help, &one(value.to_string()));
        }
        let classes: Vec<_> = (1..=5)
            .zip(&self.answers[1..])
            .map(|(class, n)| {
                (
                    format!("{{code=\"{class}xx\"}}"),
                    n.load(Ordering::Relaxed).to_string(),
                )
            })
            .collect();
        family(
            "chat_http_responses_total",
            "counter",
            "Answers by class of status.",
            &classes,
        );
        let posts = self.posts.load(Ordering::Relaxed);
        family(
            "chat_posts_total",
            "counter",
            "Messages stored by this process.",
            &one(posts.to_string()),
        );
        let repeats = self.repeats.load(Ordering::Relaxed);
        family(
            "chat_posts_repeated_total",
            "counter",
            "Posts whose nonce was known.",
            &one(repeats.to_string()),
        );
        text
    }
}
