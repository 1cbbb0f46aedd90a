//! Calls of the committer.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::columns::{head, message, parsed};
use super::history::find_message;
use super::pool::Priority;
use super::{Sqlite, append, error, sql};
use crate::backend::Commits;
use crate::error::Result;
use crate::model::{
    Append, Batch, Head, NonceKey, ReactionAnswer, ReactionQuery, ReadState, Stored, Target,
};
use crate::types::{Message, RoomName};

/// Reads a message that is to be changed.
fn find_target(c: &Connection, target: &Target) -> rusqlite::Result<Option<Stored>> {
    let Some(message) = find_message(c, &target.room, target.seq)? else {
        return Ok(None);
    };
    let (room, seq) = (target.room.as_str(), target.seq.get());
    let mut reactions = Vec::new();
    for ReactionQuery {
        emoji,
        users,
        first,
    } in &target.reactions
    {
        let mut answer = ReactionAnswer::default();
        for user in users {
            let key = params![room, seq, emoji.as_str(), user.as_str()];
            if c.prepare_cached(sql::HAS_REACTED)?.exists(key)? {
                answer.users.push(user.clone());
            }
        }
        if *first > 0 {
            let mut list = c.prepare_cached(sql::FIRST_REACTIONS)?;
            let rows = list.query_map(params![room, seq, emoji.as_str(), first], |row| {
                parsed(row, 0)
            })?;
            answer.first = rows.collect::<rusqlite::Result<_>>()?;
        }
        reactions.push(answer);
    }
    Ok(Some(Stored {
        message,
        location: 0,
        reactions,
    }))
}

#[async_trait]
impl Commits for Sqlite {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>> {
        self.readers
            .run(Priority::Commit, move |c| {
                let mut find = c.prepare_cached(sql::HEAD)?;
                let mut read = |room: &RoomName| find.query_row([room.as_str()], head).optional();
                Ok(rooms.iter().map(|room| read(room).map_err(error)).collect())
            })
            .await
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.writer
            .run(Priority::Commit, move |c| append::append(c, &batch))
            .await
    }

    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool> {
        self.writer
            .run(Priority::Commit, move |c| append::is_last(c, &batch))
            .await
    }

    async fn targets(
        &self,
        targets: Vec<Target>,
        _: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        self.readers
            .run(Priority::Commit, move |c| {
                // One transaction, so that all of it is of the same state.
                let c = c.transaction()?;
                Ok(targets
                    .iter()
                    .map(|target| find_target(&c, target).map_err(error))
                    .collect())
            })
            .await
    }

    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
        self.readers
            .run(Priority::Commit, move |c| {
                let mut find = c.prepare_cached(sql::MESSAGE_BY_NONCE)?;
                let mut read = |(room, sender, nonce): &NonceKey| {
                    let key = [room.as_str(), sender.as_str(), nonce.as_str()];
                    find.query_row(key, |row| message(room, row)).optional()
                };
                Ok(keys.iter().map(|key| read(key).map_err(error)).collect())
            })
            .await
    }
}
