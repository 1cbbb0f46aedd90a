//! Clients that change messages: they delete, edit and react.
//!
//! Each text and each reaction is changed by one client, one change after the other. After an
//! attempt without an answer the client asks for nothing else there, because the attempt may have
//! its effect late.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_client::Client;
use chat_client::wire::{NewMessage, Reaction};

use super::caller::{Attempts, Caller};
use super::posting::record;
use super::{Answered, MessageId, READERS, lock, reader_name, room_name};

/// The pause of each client between two deletions.
const DELETION_PAUSE: Duration = Duration::from_millis(10);
/// The same between two reactions.
const REACTION_PAUSE: Duration = Duration::from_millis(5);
/// Latest messages among which a reactor picks one.
const REACTED: usize = 20;
/// Emoji of reactors.
const EMOJI: [&str; 3] = ["👍", "🦀", "👋🏽"];

pub(super) struct Deleter {
    caller: Caller<Client>,
}

impl Deleter {
    pub(super) fn new(caller: Caller<Client>) -> Self {
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
        let (room, seq) = (message.room.as_str(), message.seq);
        let delete = |client: Client| async move { client.delete(room, seq).await };
        let called = self.caller.call(Attempts::UntilAnswered, delete).await;
        let record = &self.caller.record;
        match called.answer {
            Some(Ok(())) => drop(lock(&record.deleted).insert(message.id())),
            Some(Err(problem)) => record.wrong(format!("{message:?} was not deleted: {problem}")),
            None => drop(lock(&record.perhaps_deleted).insert(message.id())),
        }
    }
}

/// Posts with the session of an account, edits what it posted, and mentions readers.
pub(super) struct Author {
    caller: Caller<Client>,
    name: String,
    number: usize,
    rooms: usize,
}

impl Author {
    pub(super) fn new(caller: Caller<Client>, name: String, number: usize, rooms: usize) -> Self {
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
            let mut message = NewMessage::new(text).with_nonce(format!("n{n}"));
            message.reply_to = reply_to;
            let post = |client: Client| {
                let (room, message) = (room.as_str(), message.clone());
                async move { client.post(room, message).await.map(|post| post.message) }
            };
            let called = self.caller.call(Attempts::UntilAnswered, post).await;
            last = record(&self.caller.record, &room, &self.name, &message, called);
            if let Some(message) = &last {
                self.edit(message, n).await;
            }
        }
    }

    /// Edits a message a few times.
    async fn edit(&mut self, message: &Answered, n: usize) {
        for edit in 1..=n % 4 {
            let text = format!(
                "{} says {n}, edit {edit}{}",
                self.name,
                mention(self.number + n + edit)
            );
            let record = self.caller.record.clone();
            lock(&record.texts)
                .entry(message.id())
                .or_default()
                .unanswered = Some(text.clone());

            let (room, seq, new) = (message.room.as_str(), message.seq, text.as_str());
            let change = |client: Client| async move { client.edit(room, seq, new).await };
            let called = self.caller.call(Attempts::UntilAnswered, change).await;
            match called.answer {
                Some(Ok(edited)) => {
                    // It may be deleted in the step that edits it.
                    if edited.text != text && !edited.deleted {
                        record.wrong(format!("an edit to {text} was answered with {edited:?}"));
                    }
                    let mut texts = lock(&record.texts);
                    let asked = texts.entry(message.id()).or_default();
                    (asked.answered, asked.unanswered) = (Some(text), None);
                    record.edits.fetch_add(1, Ordering::Relaxed);
                }
                Some(Err(problem)) if problem.status == 409 => {
                    lock(&record.found_deleted).insert(message.id());
                    return;
                }
                Some(Err(problem)) => record.wrong(format!("no edit to {text}: {problem}")),
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
    caller: Caller<Client>,
    name: String,
    number: usize,
    /// Messages at which an attempt may still have an effect, or that are deleted.
    left_alone: HashSet<MessageId>,
}

impl Reactor {
    pub(super) fn new(caller: Caller<Client>, name: String, number: usize) -> Self {
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
            if let Some(message) = latest.filter(|message| !self.left_alone.contains(&message.id()))
            {
                self.react(&message, EMOJI[n % EMOJI.len()]).await;
            }
        }
    }

    /// Adds a reaction, or removes it if it is there.
    async fn react(&mut self, message: &Answered, emoji: &'static str) {
        let record = self.caller.record.clone();
        let key = (message.id(), self.name.clone(), emoji);
        let is_added = {
            let mut reactions = lock(&record.reactions);
            let asked = reactions.entry(key.clone()).or_default();
            let is_added = asked.answered != Some(true);
            asked.unanswered = Some(is_added);
            is_added
        };

        let (room, seq) = (message.room.as_str(), message.seq);
        let change = |client: Client| async move {
            match is_added {
                true => client.add_reaction(room, seq, emoji).await,
                false => client.remove_reaction(room, seq, emoji).await,
            }
        };
        let called = self.caller.call(Attempts::UntilAnswered, change).await;
        match called.answer {
            Some(Ok(reactions)) => {
                // The message may be deleted in the step that adds the reaction.
                let is_there = has_reacted(&reactions, &self.name, emoji);
                if is_there != is_added && !reactions.is_empty() {
                    record.wrong(format!("{key:?} became {is_added}, answered {reactions:?}"));
                }
                let mut reactions = lock(&record.reactions);
                let asked = reactions.entry(key).or_default();
                (asked.answered, asked.unanswered) = (Some(is_added), None);
                record.reacted.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(problem)) if problem.status == 409 => {
                lock(&record.found_deleted).insert(message.id());
                self.left_alone.insert(message.id());
            }
            Some(Err(problem)) => record.wrong(format!("{key:?}: {problem}")),
            None => {}
        }
        if called.is_doubtful {
            self.left_alone.insert(message.id());
        }
    }
}

/// Returns true if one of the reactions is this user's with this emoji.
pub(super) fn has_reacted(reactions: &[Reaction], user: &str, emoji: &str) -> bool {
    let found = reactions.iter().find(|reaction| reaction.emoji == emoji);
    found.is_some_and(|reaction| reaction.users.iter().any(|name| name == user))
}
