//! Changes of messages over HTTP: edits, reactions and deletions, by one user on many connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_testkit::http::Client;
use chatcore::{ChatStore, NewMessage};
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{TEXT, shares};

const USER: &str = "writer";
const PASSWORD: &str = "correct horse";

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new message, for comparison.
    Post,
    /// Another text for the connection's own message.
    Edit,
    /// A reaction to that message that comes, and goes with the next request.
    Reaction,
    /// The deletion of a message; those deleted at the same time were posted at the same time.
    Deletion,
    /// The deletion of a message; those deleted at the same time were posted far apart.
    ScatteredDeletion,
}

/// Connections of one user, each with a message of its own.
#[derive(Debug)]
pub struct Changers {
    clients: Vec<(Client, i64)>,
    room: String,
    /// Numbers the texts, so that no edit repeats one.
    texts: u64,
}

impl Changers {
    /// Registers the user, and posts a message for each connection.
    pub async fn new(
        store: &ChatStore,
        address: SocketAddr,
        room: &str,
        connections: usize,
    ) -> Self {
        let account = json!({ "username": USER, "password": PASSWORD });
        let registered = Client::new(address).post("/auth/register", &account).await;
        assert_eq!(registered.status, 201, "{}", registered.text());
        let mut clients = Vec::new();
        for _ in 0..connections {
            let seq = post(store, room).await;
            clients.push((Client::new(address).with_session(&registered), seq));
        }
        Self {
            clients,
            room: room.to_owned(),
            texts: 0,
        }
    }

    /// Makes `n` changes of one kind. Messages that are to be deleted are posted before the time
    /// begins.
    pub async fn make(&mut self, store: &ChatStore, kind: Kind, n: u64) -> Duration {
        let mut to_delete = Vec::new();
        if matches!(kind, Kind::Deletion | Kind::ScatteredDeletion) {
            let mut posts = JoinSet::new();
            for (_, share) in shares(self.clients.len(), n) {
                let (store, room) = (store.clone(), self.room.clone());
                posts.spawn(async move {
                    let mut posted = Vec::new();
                    for _ in 0..share {
                        posted.push(post(&store, &room).await);
                    }
                    posted
                });
            }
            to_delete = posts.join_all().await.concat();
            if kind == Kind::Deletion {
                to_delete.sort_unstable();
            }
        }

        let count = self.clients.len();
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for ((mut client, own), (at, share)) in self.clients.drain(..).zip(shares(count, n)) {
            let path = format!("/chat/{}/messages", self.room);
            let texts = self.texts + at as u64 * n;
            let new = json!({ "text": TEXT }).to_string();
            let mine: Vec<_> = to_delete.iter().copied().skip(at).step_by(count).collect();
            tasks.spawn(async move {
                for i in 0..share {
                    let reply = match kind {
                        Kind::Post => client.send(Method::POST, &path, &new).await,
                        Kind::Edit => {
                            let text =
                                json!({ "text": format!("{TEXT} {}", texts + i) }).to_string();
                            client
                                .send(Method::PATCH, &format!("{path}/{own}"), &text)
                                .await
                        }
                        Kind::Reaction => {
                            let method = if i % 2 == 0 {
                                Method::PUT
                            } else {
                                Method::DELETE
                            };
                            client
                                .send(method, &format!("{path}/{own}/reactions/%F0%9F%91%8D"), "")
                                .await
                        }
                        Kind::Deletion | Kind::ScatteredDeletion => {
                            let seq = mine[usize::try_from(i).unwrap_or(0)];
                            client
                                .send(Method::DELETE, &format!("{path}/{seq}"), "")
                                .await
                        }
                    };
                    assert!([200, 201, 204].contains(&reply.status), "{}", reply.text());
                }
                (client, own)
            });
        }
        self.clients = tasks.join_all().await;
        self.texts += count as u64 * n;
        started.elapsed()
    }
}

async fn post(store: &ChatStore, room: &str) -> i64 {
    let (room, sender) = (room.parse().expect("a name"), USER.parse().expect("a name"));
    let message = NewMessage::new(room, sender, TEXT.parse().expect("a text"));
    let posted = store
        .post(NewMessage {
            verified: true,
            ..message
        })
        .await;
    posted.expect("stored").message.seq.get()
}
