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
        let to_delete = match kind {
            Kind::Deletion => {
                let mut posted = self.post_all(store, n).await;
                posted.sort_unstable();
                posted
            }
            Kind::ScatteredDeletion => self.post_all(store, n).await,
            Kind::Post | Kind::Edit | Kind::Reaction => Vec::new(),
        };

        let count = self.clients.len();
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for ((client, own), (at, share)) in self.clients.drain(..).zip(shares(count, n)) {
            let mut changer = Changer {
                client,
                own,
                path: format!("/chat/{}/messages", self.room),
                texts: self.texts + at as u64 * n,
                to_delete: to_delete.iter().copied().skip(at).step_by(count).collect(),
            };
            tasks.spawn(async move {
                for number in 0..share {
                    changer.change(kind, number).await;
                }
                (changer.client, changer.own)
            });
        }
        self.clients = tasks.join_all().await;
        self.texts += count as u64 * n;
        started.elapsed()
    }

    /// Posts `n` messages, and returns their numbers in the order of the answers.
    async fn post_all(&self, store: &ChatStore, n: u64) -> Vec<i64> {
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
        posts.join_all().await.concat()
    }
}

/// One client that changes messages of a room.
struct Changer {
    client: Client,
    /// Number of the message that this client alone edits and reacts to.
    own: i64,
    path: String,
    /// Number from which on its texts differ from all others.
    texts: u64,
    to_delete: Vec<i64>,
}

impl Changer {
    async fn change(&mut self, kind: Kind, number: u64) {
        let Self { path, own, .. } = &*self;
        let (method, path, body) = match kind {
            Kind::Post => (
                Method::POST,
                path.clone(),
                json!({ "text": TEXT }).to_string(),
            ),
            Kind::Edit => {
                let text = format!("{TEXT} {}", self.texts + number);
                let body = json!({ "text": text }).to_string();
                (Method::PATCH, format!("{path}/{own}"), body)
            }
            Kind::Reaction => {
                let method = match number % 2 {
                    0 => Method::PUT,
                    _ => Method::DELETE,
                };
                let path = format!("{path}/{own}/reactions/%F0%9F%91%8D");
                (method, path, String::new())
            }
            Kind::Deletion | Kind::ScatteredDeletion => {
                let seq = self.to_delete[usize::try_from(number).unwrap_or(0)];
                (Method::DELETE, format!("{path}/{seq}"), String::new())
            }
        };
        let reply = self.client.send(method, &path, &body).await;
        assert!([200, 201, 204].contains(&reply.status), "{}", reply.text());
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
