//! Clients that post without a session.

use std::sync::atomic::Ordering;

use hyper::Method;
use serde_json::{Value, json};

use super::caller::{Attempts, Caller};
use super::{Answered, Record, Unanswered, lock, number_of, room_name, room_path, text_of};

pub(super) struct Poster {
    caller: Caller,
    number: usize,
    rooms: usize,
}

impl Poster {
    pub(super) fn new(caller: Caller, number: usize, rooms: usize) -> Self {
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
            let room = room_name((self.number + n) % self.rooms);
            let nonce = (!n.is_multiple_of(3)).then(|| format!("n{n}"));
            let (sender, text) = (sender.clone(), format!("{sender} says {n}"));
            Post {
                room,
                sender,
                text,
                nonce,
                reply_to: None,
            }
            .send(&mut self.caller)
            .await;
        }
    }
}

/// A message to be posted.
pub(super) struct Post {
    pub(super) room: String,
    pub(super) sender: String,
    pub(super) text: String,
    /// The post is repeated until there is an answer if it has a nonce.
    pub(super) nonce: Option<String>,
    pub(super) reply_to: Option<i64>,
}

impl Post {
    /// Posts the message and records the answer.
    pub(super) async fn send(self, caller: &mut Caller) -> Option<Answered> {
        let mut body = json!({ "sender": self.sender, "text": self.text });
        if let Some(nonce) = &self.nonce {
            body["nonce"] = json!(nonce);
        }
        if let Some(seq) = self.reply_to {
            body["reply_to"] = json!(seq);
        }
        let attempts = if self.nonce.is_some() {
            Attempts::UntilAnswered
        } else {
            Attempts::One
        };
        let path = format!("{}/messages", room_path(&self.room));
        let called = caller
            .call(Method::POST, &path, Some(&body), attempts)
            .await;

        match called.status() {
            Some(201) => Some(self.answered(&caller.record, &called.json())),
            Some(200) if self.nonce.is_some() => {
                Some(self.answered(&caller.record, &called.json()))
            }
            Some(_) => {
                caller
                    .record
                    .wrong(format!("{}: {}", self.text, called.text()));
                None
            }
            None => {
                let Self {
                    room, sender, text, ..
                } = self;
                lock(&caller.record.unanswered).push(Unanswered { room, sender, text });
                None
            }
        }
    }

    fn answered(self, record: &Record, message: &Value) -> Answered {
        let Self {
            room,
            sender,
            text,
            reply_to,
            ..
        } = self;
        if text_of(message, "text") != text
            || text_of(message, "sender") != sender
            || text_of(message, "room") != room
        {
            record.wrong(format!("{text} was answered with {message}"));
        }

        let (seq, timestamp) = (
            number_of(message, "seq"),
            text_of(message, "timestamp").to_owned(),
        );
        let answered = Answered {
            room,
            sender,
            text,
            seq,
            timestamp,
            reply_to,
        };
        lock(&record.answered).push(answered.clone());
        record.posts.fetch_add(1, Ordering::Relaxed);
        answered
    }
}
