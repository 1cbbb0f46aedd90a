//! Clients that post without a session, as the original app's do: by plain requests, some of which
//! have no nonce.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chat_client::wire::{Message, NewMessage, Posted, Problem};
use hyper::Method;
use tokio::sync::Mutex;

use super::caller::{Attempts, Called, Caller, Failure};
use super::{Answered, Record, Unanswered, lock, room_name};
use crate::http::Client;

/// A plain client, with its one connection.
pub(super) type PlainClient = Arc<Mutex<Client>>;

pub(super) struct Poster {
    caller: Caller<PlainClient>,
    number: usize,
    rooms: usize,
}

impl Poster {
    pub(super) fn new(caller: Caller<PlainClient>, number: usize, rooms: usize) -> Self {
        Self {
            caller: caller.starting_at(number),
            number,
            rooms,
        }
    }

    pub(super) async fn run(mut self) {
        let sender = format!("client{}", self.number);
        let mut n = 0_usize;
        while !self.caller.record.is_stopped() {
            n += 1;
            let mut message =
                NewMessage::new(format!("{sender} says {n}")).from_sender(sender.clone());
            if !n.is_multiple_of(3) {
                message = message.with_nonce(format!("n{n}"));
            }
            self.post(room_name((self.number + n) % self.rooms), message)
                .await;
        }
    }

    /// Posts a message, again and again until there is an answer if it has a nonce.
    async fn post(&mut self, room: String, message: NewMessage) {
        let attempts = match message.nonce {
            Some(_) => Attempts::UntilAnswered,
            None => Attempts::One,
        };
        let path = format!("/chat/{}/messages", room.replace(' ', "%20"));
        let body = serde_json::to_vec(&message).expect("JSON");
        let called = self
            .caller
            .call(attempts, |client| post(client, &path, &body))
            .await;
        let sender = message.sender.clone().unwrap_or_default();
        record(&self.caller.record, &room, &sender, &message, called);
    }
}

async fn post(client: PlainClient, path: &str, body: &[u8]) -> Result<Message, Failure> {
    let json = Some("application/json");
    let mut client = client.lock().await;
    let sent = client.request(Method::POST, path, json, body.to_vec().into());
    let reply = sent.await.map_err(|_| Failure::NoAnswer)?;
    match reply.status {
        200 | 201 => Ok(reply.read::<Posted>().message),
        _ => Err(Failure::Refused(reply.read::<Problem>())),
    }
}

/// Records the outcome of a post, and returns what was answered.
pub(super) fn record(
    record: &Record,
    room: &str,
    sender: &str,
    message: &NewMessage,
    called: Called<Message>,
) -> Option<Answered> {
    let (room, sender, text) = (room.to_owned(), sender.to_owned(), message.text.clone());
    match called.answer {
        Some(Ok(stored)) => {
            if (&stored.room, &stored.sender, &stored.text) != (&room, &sender, &text) {
                record.wrong(format!("{text} was answered with {stored:?}"));
            }
            let answered = Answered {
                room,
                sender,
                text,
                seq: stored.seq,
                timestamp: stored.timestamp,
                reply_to: message.reply_to,
            };
            lock(&record.answered).push(answered.clone());
            record.posts.fetch_add(1, Ordering::Relaxed);
            Some(answered)
        }
        Some(Err(problem)) => {
            record.wrong(format!("{text}: {problem}"));
            None
        }
        None => {
            lock(&record.unanswered).push(Unanswered { room, sender, text });
            None
        }
    }
}
