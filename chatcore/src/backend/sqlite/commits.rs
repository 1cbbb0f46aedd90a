//! Calls of the committer.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::columns::{head, message, parsed};
use super::database::Sqlite;
use super::error::error;
use super::history::find_message;
use super::statement::Statements as _;
use super::{append, sql};
use crate::backend::Commits;
use crate::error::Result;
use crate::model::{
    Append, Batch, Head, NonceKey, ReactionAnswer, ReactionQuery, ReadState, Stored, Target,
};
use crate::types::{Message, RoomName};

#[async_trait]
impl Commits for Sqlite {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>> {
        self.read_for_commit(move |c| {
            let mut find = c.prepare_cached(sql::HEAD)?;
            let mut read = |room: &RoomName| find.query_row([room.as_str()], head).optional();
            Ok(rooms.iter().map(|room| read(room).map_err(error)).collect())
        })
        .await
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.write_for_commit(move |c| append::append(c, &batch))
            .await
    }

    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool> {
        self.write_for_commit(move |c| append::is_last(c, &batch))
            .await
    }

    async fn targets(
        &self,
        targets: Vec<Target>,
        _: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        self.read_for_commit(move |c| {
            // One transaction, so that all queries see the same state.
            let c = c.transaction()?;
            Ok(targets
                .iter()
                .map(|target| find_target(&c, target).map_err(error))
                .collect())
        })
        .await
    }

    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
        self.read_for_commit(move |c| {
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

/// Reads a message that is to be changed.
fn find_target(c: &Connection, target: &Target) -> rusqlite::Result<Option<Stored>> {
    let Some(message) = find_message(c, &target.room, target.seq)? else {
        return Ok(None);
    };

    let reactions = target
        .reactions
        .iter()
        .map(|query| find_reactions(c, target, query))
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Stored {
        message,
        location: 0,
        reactions,
    }))
}

/// Answers a question about the reactions with one emoji.
fn find_reactions(
    c: &Connection,
    target: &Target,
    query: &ReactionQuery,
) -> rusqlite::Result<ReactionAnswer> {
    let (room, seq, emoji) = (target.room.as_str(), target.seq.get(), query.emoji.as_str());
    let mut answer = ReactionAnswer::default();

    for user in &query.users {
        let key = params![room, seq, emoji, user.as_str()];
        if c.prepare_cached(sql::HAS_REACTED)?.exists(key)? {
            answer.users.push(user.clone());
        }
    }

    if query.first > 0 {
        let key = params![room, seq, emoji, query.first];
        answer.first = c.list(sql::FIRST_REACTIONS, key, |row| parsed(row, 0))?;
    }

    Ok(answer)
}
