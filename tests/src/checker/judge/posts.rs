//! Posts that were sent, beside the messages that are stored.

use std::collections::{HashMap, HashSet};

use chat_client::Client;
use chat_client::wire::Message;

use super::{Stored, changes};
use crate::checker::{Answered, Asked, MessageId, Record, Unanswered, lock};

/// Lost posts that are described, so that somebody can find out why.
const MAX_DESCRIBED: usize = 5;

pub(super) struct Posts {
    pub(super) answered: Vec<Answered>,
    pub(super) unanswered: Vec<Unanswered>,
    /// Texts by which messages were edited.
    edits: HashMap<MessageId, Asked<String>>,
}

impl Posts {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            answered: lock(&record.answered).clone(),
            unanswered: lock(&record.unanswered).clone(),
            edits: lock(&record.texts).clone(),
        }
    }

    /// Checks that each answered post is stored as its answer said, and returns the number of
    /// those that are not.
    pub(super) fn check_answered(&self, stored: &Stored, faults: &mut Vec<String>) -> usize {
        let is_lost = |post: &&Answered| !self.is_stored(post, stored);
        let lost: Vec<_> = self.answered.iter().filter(is_lost).collect();
        for post in lost.iter().take(MAX_DESCRIBED) {
            let found = find(stored, post);
            let edit = self.edits.get(&post.id());
            faults.push(format!("{post:?} with {edit:?} is {found:?}"));
        }
        lost.len()
    }

    fn is_stored(&self, post: &Answered, stored: &Stored) -> bool {
        let Some(message) = find(stored, post) else {
            return false;
        };
        message.seq == post.seq
            && message.timestamp == post.timestamp
            && (message.deleted || self.has_content(post, message))
    }

    fn has_content(&self, post: &Answered, message: &Message) -> bool {
        let has_text = match self.edits.get(&post.id()) {
            Some(edit) => edit.allows(&message.text, &post.text),
            None => message.text == post.text,
        };
        has_text && message.sender == post.sender && message.reply_to == post.reply_to
    }

    /// Checks that nothing is stored that nobody sent.
    pub(super) fn check_unsent(&self, stored: &Stored, faults: &mut Vec<String>) {
        let answered = self
            .answered
            .iter()
            .map(|post| (&*post.room, &*post.sender, &*post.text));
        let unanswered = self
            .unanswered
            .iter()
            .map(|post| (&*post.room, &*post.sender, &*post.text));
        let sent: HashSet<(&str, &str, &str)> = answered.chain(unanswered).collect();

        for message in stored.values().flatten() {
            let is_edited = self
                .edits
                .contains_key(&(message.room.clone(), message.seq));
            let post = (&*message.room, &*message.sender, &*message.text);
            if !message.deleted && !is_edited && !sent.contains(&post) {
                faults.push(format!("nobody sent {message:?}"));
            }
        }
    }

    /// Checks that each sender's counter is the number of the sender's messages.
    pub(super) async fn check_counters(
        &self,
        client: &Client,
        stored: &Stored,
        faults: &mut Vec<String>,
    ) {
        let mut by_sender: HashMap<&str, u64> = HashMap::new();
        for message in stored.values().flatten().filter(|message| !message.deleted) {
            *by_sender.entry(&message.sender).or_default() += 1;
        }

        let answered = self.answered.iter().map(|post| post.sender.as_str());
        let unanswered = self.unanswered.iter().map(|post| post.sender.as_str());
        let senders: HashSet<&str> = answered.chain(unanswered).collect();
        for sender in senders {
            let count = client.message_count(sender).await.expect("a count");
            let expected = by_sender.get(sender).copied().unwrap_or(0);
            if count != expected {
                faults.push(format!(
                    "{sender} has {expected} messages and a counter of {count}"
                ));
            }
        }
    }

    /// Returns the number of posts that are stored although they were not answered.
    pub(super) fn unanswered_stored(&self, stored: &Stored) -> usize {
        let copies = copies(stored);
        let is_stored = |post: &&Unanswered| copies.contains_key(changes::origin(&post.text));
        self.unanswered.iter().filter(is_stored).count()
    }
}

fn find<'a>(stored: &'a Stored, post: &Answered) -> Option<&'a Message> {
    let index = usize::try_from(post.seq - 1).ok()?;
    stored.get(&post.room)?.get(index)
}

/// Returns the number of posts that are stored more than once.
pub(super) fn doubled(stored: &Stored) -> usize {
    copies(stored).values().filter(|count| **count > 1).count()
}

/// Returns how often each text is stored, without the additions of edits.
fn copies(stored: &Stored) -> HashMap<&str, usize> {
    let mut copies = HashMap::new();
    for message in stored.values().flatten().filter(|message| !message.deleted) {
        *copies.entry(changes::origin(&message.text)).or_default() += 1;
    }
    copies
}
