//! Rooms, their members, and how far they are read.

use hyper::{Method, StatusCode};

use super::Client;
use crate::error::{Error, Result};
use crate::transport::path;
use crate::wire::{NewRoom, NewTopic, ReadMark, Room, StoredReadMark, UserRoom};

impl Client {
    /// Lists the rooms that one may know of, by name: at most `limit`, which is 1 to 1,000, after
    /// the name `after`.
    ///
    /// # Errors
    ///
    /// Those of calls.
    pub async fn rooms(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        self.get(format!("/chat/{}", path(&[], &names(after, limit))))
            .await
    }

    /// Returns the state of a room.
    ///
    /// # Errors
    ///
    /// Refused with `404` if there is no such room, or one may not know of it; those of calls.
    pub async fn room(&self, room: &str) -> Result<Room> {
        self.get(path(&["chat", room], &[])).await
    }

    /// Creates a public room, unless it exists. Returns true if it did not exist before, as far as
    /// the last attempt can tell.
    ///
    /// # Errors
    ///
    /// Refused with `403` if the room is private; those of calls.
    pub async fn create_room(&self, room: &str) -> Result<bool> {
        self.create(room, NewRoom { private: false }).await
    }

    /// Creates a private room of one's own.
    ///
    /// # Errors
    ///
    /// Refused with `409` if the room is public; as [`create_room`](Self::create_room).
    pub async fn create_private_room(&self, room: &str) -> Result<bool> {
        self.create(room, NewRoom { private: true }).await
    }

    async fn create(&self, room: &str, new: NewRoom) -> Result<bool> {
        let path = path(&["chat", room], &[]);
        let answer = self.send_body(Method::PUT, path, &new).await?;
        Ok(answer.status == StatusCode::CREATED)
    }

    /// Sets the topic of one's own room. An empty one removes it.
    ///
    /// # Errors
    ///
    /// Refused with `403` if it is another's; those of calls.
    pub async fn set_topic(&self, room: &str, topic: impl Into<String>) -> Result<Room> {
        let body = NewTopic {
            topic: topic.into(),
        };
        let path = path(&["chat", room], &[]);
        self.send_body(Method::PATCH, path, &body).await?.json()
    }

    /// Lists the members of a room, by name: at most `limit`, which is 1 to 1,000, after the name
    /// `after`.
    ///
    /// # Errors
    ///
    /// Refused with `404` if there is no such room; those of calls.
    pub async fn members(
        &self,
        room: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>> {
        self.get(path(&["chat", room, "users"], &names(after, limit)))
            .await
    }

    /// Becomes a member of a room. A post does so too.
    ///
    /// # Errors
    ///
    /// Refused with `401` without a session; those of calls.
    pub async fn join(&self, room: &str) -> Result<()> {
        let path = path(&["chat", room, "join"], &[]);
        self.send(Method::POST, path).await.map(drop)
    }

    /// Ends the membership in a room.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn leave(&self, room: &str) -> Result<()> {
        let path = path(&["chat", room, "leave"], &[]);
        self.send(Method::POST, path).await.map(drop)
    }

    /// Lists the rooms that the user is a member of, by name, with unread counts: at most `limit`,
    /// which is 1 to 1,000, after the name `after`.
    ///
    /// # Errors
    ///
    /// Refused with `401` without a session; those of calls.
    pub async fn my_rooms(&self, after: Option<&str>, limit: u32) -> Result<Vec<UserRoom>> {
        let username = self.username().await?;
        self.get(path(&["users", &username, "rooms"], &names(after, limit)))
            .await
    }

    /// Marks a room as read up to a `seq`, and returns the mark, which only moves forward.
    ///
    /// # Errors
    ///
    /// Refused with `401` without a session; those of calls.
    pub async fn mark_read(&self, room: &str, seq: i64) -> Result<i64> {
        let path = path(&["chat", room, "read"], &[]);
        let answer = self
            .send_body(Method::POST, path, &ReadMark { seq })
            .await?;
        Ok(answer.json::<StoredReadMark>()?.read_seq)
    }

    /// Invites the user of an account into one's own private room.
    ///
    /// # Errors
    ///
    /// Refused with `404` if the name has no account, and with `403` in another's room; those of
    /// calls.
    pub async fn invite(&self, room: &str, username: &str) -> Result<()> {
        let path = path(&["chat", room, "members", username], &[]);
        self.send(Method::PUT, path).await.map(drop)
    }

    /// Removes a user from one's own private room.
    ///
    /// # Errors
    ///
    /// As [`invite`](Self::invite).
    pub async fn remove(&self, room: &str, username: &str) -> Result<()> {
        let path = path(&["chat", room, "members", username], &[]);
        self.send(Method::DELETE, path).await.map(drop)
    }

    /// Lists the names that are banned from one's own room: at most `limit`, which is 1 to 1,000,
    /// after the name `after`.
    ///
    /// # Errors
    ///
    /// Refused with `403` in another's room; those of calls.
    pub async fn bans(&self, room: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        self.get(path(&["chat", room, "bans"], &names(after, limit)))
            .await
    }

    /// Bans a name, in any case, from one's own room.
    ///
    /// # Errors
    ///
    /// Refused with `403` in another's room; those of calls.
    pub async fn ban(&self, room: &str, username: &str) -> Result<()> {
        let path = path(&["chat", room, "bans", username], &[]);
        self.send(Method::PUT, path).await.map(drop)
    }

    /// Lifts a ban. Returns false if the name was not banned.
    ///
    /// # Errors
    ///
    /// Refused with `403` in another's room; those of calls.
    pub async fn unban(&self, room: &str, username: &str) -> Result<bool> {
        let path = path(&["chat", room, "bans", username], &[]);
        match self.send(Method::DELETE, path).await {
            Ok(_) => Ok(true),
            Err(Error::Refused { problem, .. }) if problem.status == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the query of a page of names.
fn names(after: Option<&str>, limit: u32) -> [(&'static str, Option<String>); 2] {
    [
        ("after", after.map(str::to_owned)),
        ("limit", Some(limit.to_string())),
    ]
}
