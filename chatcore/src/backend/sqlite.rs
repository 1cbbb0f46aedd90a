//! The embedded store: one SQLite file in WAL mode, held by one process.
//!
//! One thread writes and a few read, each with a connection of its own. A lock on the file keeps
//! other processes out, which is what makes it right that the committer remembers
//! room heads, and that followers hear of every message.

mod accounts;
mod append;
mod columns;
mod lock;
mod moderation;
mod pool;
mod schema;
mod sql;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use self::columns::message;
use self::lock::FileLock;
use self::pool::{Pool, Priority};
use super::Backend;
use crate::error::{Error, Result};
use crate::model::{
    Append, Batch, Head, Joined, NonceKey, Page, ReactionAnswer, ReactionQuery, ReadMark,
    ReadState, Stored, Target,
};
use crate::options::Options;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, Room, RoomName, Seq, Topic, UserRoom, Username};

/// How long a statement waits for a lock that another program holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const READERS: usize = 3;

struct Sqlite {
    writer: Pool,
    readers: Pool,
    /// The threads of both pools have it.
    lock: Weak<FileLock>,
    session_idle: Duration,
}

/// Opens or creates the file at `path`.
pub(crate) async fn open(path: PathBuf, options: &Options) -> Result<Arc<dyn Backend>> {
    let session_idle = options.session_idle;
    let opened = tokio::task::spawn_blocking(move || -> Result<Sqlite> {
        let lock = Arc::new(FileLock::acquire(&path)?);
        let mut writer = connect(lock.path())?;
        schema::prepare(&mut writer)?;
        let readers = (0..READERS)
            .map(|_| connect(lock.path()))
            .collect::<Result<Vec<_>>>()?;
        lock.check()?;

        let writer = Pool::start("chat-writer", vec![writer], Some(&lock))?;
        let readers = Pool::start("chat-reader", readers, Some(&lock))?;
        Ok(Sqlite {
            writer,
            readers,
            lock: Arc::downgrade(&lock),
            session_idle,
        })
    });
    let sqlite = opened.await.map_err(|e| Error::Open(e.to_string()))??;
    Ok(Arc::new(sqlite))
}

fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|e| Error::Open(format!("{}: {e}", path.display())))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(sql::ALL.len());
    Ok(connection)
}

fn error(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(e.to_string()),
        None => Error::Corrupt(e.to_string()),
        Some(_) => Error::Unavailable(e.to_string()),
    }
}

/// Reads a value that was valid when it was written.
fn parsed<T: std::str::FromStr<Err = crate::Invalid>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    let value = row.get(column)?;
    Seq::new(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let value = row.get(column)?;
    Timestamp::from_micros(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        seq: seq(row, 0)?,
        timestamp: time(row, 1)?,
        departures: row.get(2)?,
        restricted: row.get(3)?,
        closings: row.get(4)?,
        change: change(row, 5)?,
    })
}

fn change(row: &Row<'_>, column: usize) -> rusqlite::Result<ChangeSeq> {
    let value = row.get(column)?;
    ChangeSeq::new(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Reads one message, if it exists.
fn find_message(c: &Connection, room: &RoomName, seq: Seq) -> rusqlite::Result<Option<Message>> {
    let key = params![room.as_str(), seq.get() - 1, 1];
    let read = |row: &Row<'_>| message(room, row);
    let found = c
        .prepare_cached(sql::MESSAGES_AFTER)?
        .query_row(key, read)
        .optional()?;
    Ok(found.filter(|message| message.seq == seq))
}

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

fn create_room(connection: &Connection, room: &RoomName, now: Timestamp) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(sql::CREATE_ROOM)?;
    Ok(insert.execute(params![room.as_str(), now.as_micros()])? == 1)
}

#[async_trait]
impl Backend for Sqlite {
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

    async fn by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
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

    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| create_room(c, &room, now))
            .await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let after = page.after.as_ref().map_or("", RoomName::as_str);
                c.prepare_cached(sql::ROOMS)?
                    .query_map(params![after, page.limit], |row| parsed(row, 0))?
                    .collect()
            })
            .await
    }

    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let read = |row: &Row<'_>| {
                    let Head {
                        seq: last_seq,
                        timestamp,
                        change: last_change,
                        ..
                    } = head(row)?;
                    let last_timestamp = (last_seq > Seq::ZERO).then_some(timestamp);
                    let owner = moderation::owner(row, 8)?;
                    let has_topic = row.get_ref(10)?.as_str_or_null()?.is_some();
                    Ok(Room {
                        name: room.clone(),
                        last_seq,
                        last_change,
                        last_timestamp,
                        created_at: time(row, 6)?,
                        users: row.get::<_, i64>(9)?.unsigned_abs(),
                        private: row.get(7)?,
                        owner,
                        topic: has_topic.then(|| parsed(row, 10)).transpose()?,
                    })
                };
                c.prepare_cached(sql::ROOM)?
                    .query_row([room.as_str()], read)
                    .optional()
            })
            .await
    }

    async fn users(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.readers
            .run(Priority::Normal, move |c| {
                // One transaction, so that both queries see the same state.
                let c = c.transaction()?;
                if c.prepare_cached(sql::HEAD)?
                    .query_row([room.as_str()], head)
                    .optional()?
                    .is_none()
                {
                    return Ok(None);
                }
                let after = page.after.as_ref().map_or("", Username::as_str);
                let mut list = c.prepare_cached(sql::USERS)?;
                let users = list.query_map(params![room.as_str(), after, page.limit], |row| {
                    parsed(row, 0)
                })?;
                users.collect::<rusqlite::Result<_>>().map(Some)
            })
            .await
    }

    async fn join(
        &self,
        room: RoomName,
        user: Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                if !invited {
                    create_room(&c, &room, now)?;
                }
                let joined = moderation::join(&c, &room, &user, invited, now)?;
                c.commit()?;
                Ok(joined)
            })
            .await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                moderation::leave(&c, &room, &user)?;
                let exists = c
                    .prepare_cached(sql::HEAD)?
                    .query_row([room.as_str()], head)
                    .optional()?
                    .is_some();
                c.commit()?;
                Ok(exists)
            })
            .await
    }

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

    async fn changed(&self, room: RoomName, after: ChangeSeq, limit: u32) -> Result<Vec<Message>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![room.as_str(), after.get(), limit];
                c.prepare_cached(sql::CHANGED)?
                    .query_map(key, |row| message(&room, row))?
                    .collect()
            })
            .await
    }

    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                Ok(c.prepare_cached(sql::SET_TOPIC)?
                    .execute([room.as_str(), topic.as_str()])?
                    > 0)
            })
            .await
    }

    async fn mentioned_at(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let key = params![user.as_str(), i64::MAX, limit];
                let mut list = c.prepare_cached(sql::MENTIONS)?;
                list.query_map(key, |row| Ok((parsed(row, 0)?, seq(row, 1)?)))?
                    .collect()
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

    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq> {
        self.readers
            .run(Priority::Normal, move |c| {
                let mut find = c.prepare_cached(sql::READ_MARK)?;
                let found = find
                    .query_row([user.as_str(), room.as_str()], |row| seq(row, 0))
                    .optional()?;
                Ok(found.unwrap_or(Seq::ZERO))
            })
            .await
    }

    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<()> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                for ReadMark { user, room, seq } in &marks {
                    let mark = params![user.as_str(), room.as_str(), seq.get()];
                    c.prepare_cached(sql::MARK_READ)?.execute(mark)?;
                }
                c.commit()
            })
            .await
    }

    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let read = |row: &Row<'_>| {
                    Ok(UserRoom {
                        room: parsed(row, 0)?,
                        last_seq: seq(row, 1)?,
                        read_seq: seq(row, 2)?,
                        mentions: 0,
                    })
                };
                let after = page.after.as_ref().map_or("", RoomName::as_str);
                let key = params![user.as_str(), after, page.limit];
                c.prepare_cached(sql::ROOMS_OF)?
                    .query_map(key, read)?
                    .collect()
            })
            .await
    }

    async fn ping(&self) -> Result<()> {
        let lock = self.lock.clone();
        // Through the writer, because a store that cannot be written is not ready.
        self.writer
            .run(Priority::Normal, move |c| {
                c.prepare_cached(sql::HEAD)?
                    .query_row([""], head)
                    .optional()?;
                Ok(lock
                    .upgrade()
                    .map_or(Err(Error::Closed), |lock| lock.check()))
            })
            .await?
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        self.writer.close().await;
        Ok(())
    }
}
