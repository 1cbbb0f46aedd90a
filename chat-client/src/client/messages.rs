//! Messages: posted, read and changed.

use std::time::Duration;

use hyper::{Method, StatusCode};

use super::Client;
use crate::error::{Error, Result};
use crate::transport::path;
use crate::wire::{Message, MessageCount, MessageText, NewMessage, Posted, Reaction, Reactions};

/// Messages of a room to read.
///
/// `Since` and `After` give the **oldest** of the messages that they cover, so that a reader who
/// asks again with the last message it got never skips one. `Newest` and `Before` give the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Page {
    /// The end of the room.
    #[default]
    Newest,
    /// Messages strictly newer than a time, RFC 3339.
    Since(String),
    /// Messages above a `seq`.
    After(i64),
    /// Messages below a `seq`.
    Before(i64),
}

/// Result of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Post {
    /// The message as it is stored.
    pub message: Message,
    /// True if it was there already: an earlier post had the same nonce.
    pub is_repeat: bool,
}

impl Client {
    /// Posts a message. When this returns, the message is durable.
    ///
    /// A message without a nonce gets a random one, so that it is stored once however often it is
    /// sent. If this fails without an answer, the message is stored once or not at all; post it
    /// with the same nonce to find out.
    ///
    /// # Errors
    ///
    /// Refused with `409` if the nonce was used for another text; those of calls.
    pub async fn post(&self, room: &str, message: impl Into<NewMessage>) -> Result<Post> {
        let mut message = message.into();
        if message.nonce.is_none() {
            message.nonce = Some(random_nonce()?);
        }

        let path = path(&["chat", room, "messages"], &[]);
        let answer = self.send_body(Method::POST, path, &message).await?;
        Ok(Post {
            message: answer.json::<Posted>()?.message,
            is_repeat: answer.status == StatusCode::OK,
        })
    }

    /// Reads messages of a room, oldest first: at most `limit`, which is 1 to 200. A room that does
    /// not exist has none.
    ///
    /// # Errors
    ///
    /// Those of calls.
    pub async fn messages(&self, room: &str, page: Page, limit: u32) -> Result<Vec<Message>> {
        self.get(messages_path(room, page, limit, None)).await
    }

    /// Reads messages after a `seq`, or waits up to `wait` for the first one. Asks once.
    pub(crate) async fn wait_for_messages(
        &self,
        room: &str,
        after: i64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Message>> {
        let path = messages_path(room, Page::After(after), limit, Some(wait));
        self.poll(path, wait).await
    }

    /// Reads one message as it is now.
    ///
    /// # Errors
    ///
    /// Refused with `404` if there is no such message; those of calls.
    pub async fn message(&self, room: &str, seq: i64) -> Result<Message> {
        self.get(message_path(room, seq)).await
    }

    /// Reads the messages of a room that changed after a change, as they are now, each once, by
    /// their last change: at most `limit`, which is 1 to 200.
    ///
    /// # Errors
    ///
    /// Refused with `410` if what came after `change` is not kept any more; those of calls.
    pub async fn changes(&self, room: &str, change: i64, limit: u32) -> Result<Vec<Message>> {
        self.get(changes_path(room, change, limit, None)).await
    }

    /// Reads changes, or waits up to `wait` for the first one. Asks once.
    pub(crate) async fn wait_for_changes(
        &self,
        room: &str,
        after: i64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Message>> {
        self.poll(changes_path(room, after, limit, Some(wait)), wait)
            .await
    }

    /// Replaces the text of a message of one's own.
    ///
    /// An edit that is made again after a lost answer replaces an edit that another device made in
    /// between.
    ///
    /// # Errors
    ///
    /// Refused with `403` if it is not one's own, and with `409` if it is deleted; those of calls.
    pub async fn edit(&self, room: &str, seq: i64, text: impl Into<String>) -> Result<Message> {
        let body = MessageText { text: text.into() };
        let path = message_path(room, seq);
        self.send_body(Method::PATCH, path, &body).await?.json()
    }

    /// Deletes a message of one's own, or in one's own room. Its `seq` stays.
    ///
    /// # Errors
    ///
    /// Refused with `403` if one may not; those of calls.
    pub async fn delete(&self, room: &str, seq: i64) -> Result<()> {
        let path = message_path(room, seq);
        self.send(Method::DELETE, path).await.map(drop)
    }

    /// Adds a reaction, and returns all reactions to the message.
    ///
    /// # Errors
    ///
    /// Refused with `409` if the message is deleted or has 20 different emoji; those of calls.
    pub async fn add_reaction(&self, room: &str, seq: i64, emoji: &str) -> Result<Vec<Reaction>> {
        self.change_reaction(Method::PUT, room, seq, emoji).await
    }

    /// Takes a reaction back, and returns all reactions to the message.
    ///
    /// # Errors
    ///
    /// As [`add_reaction`](Self::add_reaction).
    pub async fn remove_reaction(
        &self,
        room: &str,
        seq: i64,
        emoji: &str,
    ) -> Result<Vec<Reaction>> {
        self.change_reaction(Method::DELETE, room, seq, emoji).await
    }

    async fn change_reaction(
        &self,
        method: Method,
        room: &str,
        seq: i64,
        emoji: &str,
    ) -> Result<Vec<Reaction>> {
        let seq = seq.to_string();
        let path = path(&["chat", room, "messages", &seq, "reactions", emoji], &[]);
        let reactions: Reactions = self.send(method, path).await?.json()?;
        Ok(reactions.reactions)
    }

    /// Lists the messages that mention the user, newest first, older than `before`: at most
    /// `limit`, which is 1 to 200.
    ///
    /// # Errors
    ///
    /// Refused with `401` without a session; those of calls.
    pub async fn mentions(&self, before: Option<&str>, limit: u32) -> Result<Vec<Message>> {
        let username = self.username().await?;
        let query = [
            ("before", before.map(str::to_owned)),
            ("limit", Some(limit.to_string())),
        ];
        self.get(path(&["users", &username, "mentions"], &query))
            .await
    }

    /// Returns the number of stored messages of a user.
    ///
    /// # Errors
    ///
    /// Those of calls.
    pub async fn message_count(&self, username: &str) -> Result<u64> {
        let count: MessageCount = self.get(path(&["users", username, "count"], &[])).await?;
        Ok(count.message_count)
    }
}

fn message_path(room: &str, seq: i64) -> String {
    path(&["chat", room, "messages", &seq.to_string()], &[])
}

fn messages_path(room: &str, page: Page, limit: u32, wait: Option<Duration>) -> String {
    let (mut since, mut after, mut before) = (None, None, None);
    match page {
        Page::Newest => {}
        Page::Since(time) => since = Some(time),
        Page::After(seq) => after = Some(seq.to_string()),
        Page::Before(seq) => before = Some(seq.to_string()),
    }
    let query = [
        ("since", since),
        ("after", after),
        ("before", before),
        ("limit", Some(limit.to_string())),
        ("wait", wait.map(seconds)),
    ];
    path(&["chat", room, "messages"], &query)
}

fn changes_path(room: &str, after: i64, limit: u32, wait: Option<Duration>) -> String {
    let query = [
        ("after", Some(after.to_string())),
        ("limit", Some(limit.to_string())),
        ("wait", wait.map(seconds)),
    ];
    path(&["chat", room, "changes"], &query)
}

fn seconds(wait: Duration) -> String {
    wait.as_secs().to_string()
}

/// Returns 128 random bits in hexadecimal digits.
fn random_nonce() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::Invalid(format!("there are no random numbers for a nonce: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
