//! Reads of messages, counters and mentions.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{message, parsed, seq};
use super::pool::Priority;
use super::{Sqlite, sql};
use crate::backend::History;
use crate::error::Result;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, RoomName, Seq, Username};

/// Reads one message, if it exists.
pub(super) fn find_message(
    c: &Connection,
    room: &RoomName,
    seq: Seq,
) -> rusqlite::Result<Option<Message>> {
    let key = params![room.as_str(), seq.get() - 1, 1];
    let read = |row: &Row<'_>| message(room, row);
    let found = c
        .prepare_cached(sql::MESSAGES_AFTER)?
        .query_row(key, read)
        .optional()?;
    Ok(found.filter(|message| message.seq == seq))
}

#[async_trait]
impl History for Sqlite {
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let (query, bound, newest_first) = match range {
                    Range::Newest => (sql::MESSAGES_BEFORE, i64::MAX, true),
                    Range::Before(seq) => (sql::MESSAGES_BEFORE, seq.get(), true),
                    Range::After(seq) => (sql::MESSAGES_AFTER, seq.get(), false),
                    Range::Since(time) => (sql::MESSAGES_SINCE, time.as_micros(), false),
                };
                let mut read = c.prepare_cached(query)?;
                let rows = read.query_map(params![room.as_str(), bound, limit], |row| {
                    message(&room, row)
                })?;
                let mut messages = rows.collect::<rusqlite::Result<Vec<_>>>()?;
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
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![room.as_str(), after.get(), limit];
                c.prepare_cached(sql::CHANGED)?
                    .query_map(key, |row| message(&room, row))?
                    .collect()
            })
            .await
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        self.readers
            .run(Priority::Normal, move |c| {
                let count = c
                    .prepare_cached(sql::MESSAGE_COUNT)?
                    .query_row([user.as_str()], |row| row.get::<_, i64>(0));
                Ok(count.optional()?.unwrap_or(0).unsigned_abs())
            })
            .await
    }

    async fn mentions(
        &self,
        user: Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.readers
            .run(Priority::Normal, move |c| {
                // One transaction, so that no message goes between the two queries.
                let c = c.transaction()?;
                let mut list = c.prepare_cached(sql::MENTIONS)?;
                let key = params![user.as_str(), before.as_micros(), limit];
                let places = list.query_map(key, |row| Ok((parsed(row, 0)?, seq(row, 1)?)))?;
                let places = places.collect::<rusqlite::Result<Vec<_>>>()?;
                places
                    .iter()
                    .filter_map(|(room, seq)| find_message(&c, room, *seq).transpose())
                    .collect()
            })
            .await
    }

    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![user.as_str(), i64::MAX, limit];
                let mut list = c.prepare_cached(sql::MENTIONS)?;
                list.query_map(key, |row| Ok((parsed(row, 0)?, seq(row, 1)?)))?
                    .collect()
            })
            .await
    }
}
