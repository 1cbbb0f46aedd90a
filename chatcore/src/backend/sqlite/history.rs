//! Reads of messages, counters and mentions.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::columns::{message, parsed, seq};
use super::database::Sqlite;
use super::sql;
use super::statement::Statements as _;
use crate::backend::History;
use crate::error::Result;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, RoomName, Seq, Username};

#[async_trait]
impl History for Sqlite {
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.read(move |c| {
            let (sql, bound, newest_first) = match range {
                Range::Newest => (sql::MESSAGES_BEFORE, i64::MAX, true),
                Range::Before(seq) => (sql::MESSAGES_BEFORE, seq.get(), true),
                Range::After(seq) => (sql::MESSAGES_AFTER, seq.get(), false),
                Range::Since(time) => (sql::MESSAGES_SINCE, time.as_micros(), false),
            };

            let key = params![room.as_str(), bound, limit];
            let mut messages = c.list(sql, key, |row| message(&room, row))?;
            if newest_first {
                messages.reverse();
            }
            Ok(messages)
        })
        .await
    }

    async fn changed_messages(
        &self,
        room: RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.read(move |c| {
            let key = params![room.as_str(), after.get(), limit];
            c.list(sql::CHANGED, key, |row| message(&room, row))
        })
        .await
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        self.read(move |c| {
            let count = c.find(sql::MESSAGE_COUNT, [user.as_str()], |row| row.get(0))?;
            Ok(count.map_or(0, i64::unsigned_abs))
        })
        .await
    }

    async fn mentions(
        &self,
        user: Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.read(move |c| {
            // One transaction, so that no message is deleted between the two queries.
            let c = c.transaction()?;
            let key = params![user.as_str(), before.as_micros(), limit];
            let found = c.list(sql::MENTIONS, key, message_key)?;

            found
                .iter()
                .filter_map(|(room, seq)| find_message(&c, room, *seq).transpose())
                .collect()
        })
        .await
    }

    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.read(move |c| {
            let key = params![user.as_str(), i64::MAX, limit];
            c.list(sql::MENTIONS, key, message_key)
        })
        .await
    }
}

/// Reads a row of [`sql::MENTIONS`].
fn message_key(row: &Row<'_>) -> rusqlite::Result<(RoomName, Seq)> {
    Ok((parsed(row, 0)?, seq(row, 1)?))
}

/// Reads one message, if it exists.
pub(super) fn find_message(
    c: &Connection,
    room: &RoomName,
    seq: Seq,
) -> rusqlite::Result<Option<Message>> {
    let key = params![room.as_str(), seq.get() - 1, 1];
    let found = c.find(sql::MESSAGES_AFTER, key, |row| message(room, row))?;

    Ok(found.filter(|message| message.seq == seq))
}
