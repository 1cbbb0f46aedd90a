//! Clients that change messages: they delete, edit and react.
//!
//! Each text and each reaction is changed by one client, one change after the other. After an
//! attempt without an answer the client asks for nothing else there, because the attempt may have
//! its effect late.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::caller::{Attempts, Caller};
use super::posting::Post;
use super::{Answered, Place, READERS, lock, message_path, reader_name, room_name, text_of};

/// The pause of each client between two deletions.
const DELETION_PAUSE: Duration = Duration::from_millis(10);
/// The same between two reactions.
const REACTION_PAUSE: Duration = Duration::from_millis(5);
/// Latest messages among which a reactor picks one.
const REACTED: usize = 20;
/// Emoji of reactors, and their percent-encoding.
const EMOJI: [(&str, &str); 3] = [
    ("👍", "%F0%9F%91%8D"),
    ("🦀", "%F0%9F%A6%80"),
    ("👋🏽", "%F0%9F%91%8B%F0%9F%8F%BD"),
];

pub(super) struct Deleter {
    caller: Caller,
}

impl Deleter {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    pub(super) async fn run(mut self) {
        while !self.caller.record.is_stopped() {
            tokio::time::sleep(DELETION_PAUSE).await;
            if let Some(latest) = self.caller.record.latest(0) {
                self.delete(latest).await;
            }
        }
    }

    async fn delete(&mut self, message: Answered) {
        let path = message_path(&message.room, message.seq);
        let called = self
            .caller
            .call(Method::DELETE, &path, None, Attempts::UntilAnswered)
            .await;
        let record = &self.caller.record;
        match called.status() {
            Some(204) => drop(lock(&record.deleted).insert(message.place())),
            Some(_) => record.wrong(format!("DELETE {path}: {}", called.text())),
            None => drop(lock(&record.perhaps_deleted).insert(message.place())),
        }
    }
}

/// Posts with the session of an account, edits what it posted, and mentions readers.
pub(super) struct Author {
    caller: Caller,
    name: String,
    number: usize,
    rooms: usize,
}

impl Author {
    pub(super) fn new(caller: Caller, name: String, number: usize, rooms: usize) -> Self {
        Self {
            caller: caller.starting_at(number),
            name,
            number,
            rooms,
        }
    }

    pub(super) async fn run(mut self) {
        let mut last: Option<Answered> = None;
        let mut n = 0_usize;
        while !self.caller.record.is_stopped() {
            n += 1;
            let room = room_name((self.number + n / 2) % self.rooms);
            let reply_to = last.filter(|last| last.room == room).map(|last| last.seq);
            let text = format!("{} says {n}{}", self.name, mention(self.number + n));
            let (sender, nonce) = (self.name.clone(), Some(format!("n{n}")));
            last = Post {
                room,
                sender,
                text,
                nonce,
                reply_to,
            }
            .send(&mut self.caller)
            .await;
            if let Some(message) = &last {
                self.edit(message, n).await;
            }
        }
    }

    /// Edits a message a few times.
    async fn edit(&mut self, message: &Answered, n: usize) {
        let path = message_path(&message.room, message.seq);
        for edit in 1..=n % 4 {
            let text = format!(
                "{} says {n}, edit {edit}{}",
                self.name,
                mention(self.number + n + edit)
            );
            let record = self.caller.record.clone();
            lock(&record.texts)
                .entry(message.place())
                .or_default()
                .unanswered = Some(text.clone());

            let body = json!({ "text": text });
            let called = self
                .caller
                .call(Method::PATCH, &path, Some(&body), Attempts::UntilAnswered)
                .await;
            match called.status() {
                Some(200) => {
                    let edited = called.json();
                    // It may be deleted in the step that edits it.
                    if edited["text"] != text && edited["deleted"] != true {
                        record.wrong(format!("PATCH {path} to {text} was answered with {edited}"));
                    }
                    let mut texts = lock(&record.texts);
                    let asked = texts.entry(message.place()).or_default();
                    (asked.answered, asked.unanswered) = (Some(text), None);
                    record.edits.fetch_add(1, Ordering::Relaxed);
                }
                Some(409) => {
                    lock(&record.found_deleted).insert(message.place());
                    return;
                }
                Some(_) => record.wrong(format!("PATCH {path}: {}", called.text())),
                None => return,
            }
            if called.is_doubtful {
                return;
            }
        }
    }
}

/// Returns what mentions a reader at the end of a text, or nobody.
fn mention(number: usize) -> String {
    match number % (READERS + 1) {
        reader if reader < READERS => format!(" @{}", reader_name(reader).to_uppercase()),
        _ => String::new(),
    }
}

/// Adds reactions to messages, and removes some of them again.
pub(super) struct Reactor {
    caller: Caller,
    name: String,
    number: usize,
    /// Messages at which an attempt may still have an effect, or that are deleted.
    left_alone: HashSet<Place>,
}

impl Reactor {
    pub(super) fn new(caller: Caller, name: String, number: usize) -> Self {
        Self {
            caller: caller.starting_at(number),
            name,
            number,
            left_alone: HashSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut n = self.number;
        while !self.caller.record.is_stopped() {
            tokio::time::sleep(REACTION_PAUSE).await;
            n += 1;
            let latest = self.caller.record.latest(n * 7 % REACTED);
            if let Some(message) =
                latest.filter(|message| !self.left_alone.contains(&message.place()))
            {
                self.react(&message, EMOJI[n % EMOJI.len()]).await;
            }
        }
    }

    /// Adds a reaction, or removes it if it is there.
    async fn react(&mut self, message: &Answered, (emoji, encoded): (&'static str, &str)) {
        let record = self.caller.record.clone();
        let key = (message.place(), self.name.clone(), emoji);
        let is_added = {
            let mut reactions = lock(&record.reactions);
            let asked = reactions.entry(key.clone()).or_default();
            let is_added = asked.answered != Some(true);
            asked.unanswered = Some(is_added);
            is_added
        };

        let method = if is_added {
            Method::PUT
        } else {
            Method::DELETE
        };
        let path = format!(
            "{}/reactions/{encoded}",
            message_path(&message.room, message.seq)
        );
        let called = self
            .caller
            .call(method.clone(), &path, None, Attempts::UntilAnswered)
            .await;
        match called.status() {
            Some(200) => {
                let answer = called.json();
                // The message may be deleted in the step that adds the reaction.
                let is_gone = answer["reactions"] == json!([]);
                if has_reacted(&answer, &self.name, emoji) != is_added && !is_gone {
                    record.wrong(format!("{method} {path} was answered with {answer}"));
                }
                let mut reactions = lock(&record.reactions);
                let asked = reactions.entry(key).or_default();
                (asked.answered, asked.unanswered) = (Some(is_added), None);
                record.reacted.fetch_add(1, Ordering::Relaxed);
            }
            Some(409) => {
                lock(&record.found_deleted).insert(message.place());
                self.left_alone.insert(message.place());
            }
            Some(_) => record.wrong(format!("{method} {path}: {}", called.text())),
            None => {}
        }
        if called.is_doubtful {
            self.left_alone.insert(message.place());
        }
    }
}

/// Returns true if a message, or an answer with its reactions, has this one.
pub(super) fn has_reacted(message: &Value, user: &str, emoji: &str) -> bool {
    let reactions = message["reactions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = reactions
        .iter()
        .find(|reaction| text_of(reaction, "emoji") == emoji);
    let users = found
        .and_then(|reaction| reaction["users"].as_array())
        .map(Vec::as_slice);
    users.unwrap_or_default().iter().any(|name| name == user)
}
