//! Rooms, their members, and the members' read marks.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::access::find_access;
use super::columns::{head, owner, parsed, seq, time};
use super::pool::Priority;
use super::{Sqlite, sql};
use crate::backend::Rooms;
use crate::error::Result;
use crate::model::{Head, Joined, Page, ReadMark};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, Room, RoomName, Seq, Topic, UserRoom, Username};

fn create_room(connection: &Connection, room: &RoomName, now: Timestamp) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(sql::CREATE_ROOM)?;
    Ok(insert.execute(params![room.as_str(), now.as_micros()])? == 1)
}

fn join(
    c: &Connection,
    room: &RoomName,
    user: &Username,
    invited: bool,
    now: Timestamp,
) -> rusqlite::Result<Joined> {
    let joined = match find_access(c, room, Some(user))? {
        None => Joined::NoSuchRoom,
        Some(access) if access.privacy == Privacy::Private && !access.member && !invited => {
            Joined::NoSuchRoom
        }
        Some(access) if access.banned => Joined::Banned,
        Some(_) => Joined::Member,
    };
    if joined == Joined::Member {
        c.prepare_cached(sql::JOIN)?.execute(params![
            room.as_str(),
            user.as_str(),
            now.as_micros()
        ])?;
    }
    Ok(joined)
}

/// Ends a membership and counts the departure, if there was one.
fn leave(c: &Connection, room: &RoomName, user: &Username) -> rusqlite::Result<()> {
    if c.prepare_cached(sql::LEAVE)?
        .execute([room.as_str(), user.as_str()])?
        > 0
    {
        c.prepare_cached(sql::COUNT_DEPARTURE)?
            .execute([room.as_str()])?;
    }
    Ok(())
}

#[async_trait]
impl Rooms for Sqlite {
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| create_room(c, &room, now))
            .await
    }

    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                let private = privacy == Privacy::Private;
                let new = params![room.as_str(), now.as_micros(), owner.as_str(), private];
                let created = c.prepare_cached(sql::CREATE_ROOM_FOR)?.execute(new)? > 0;
                if created && private {
                    join(&c, &room, &owner, true, now)?;
                }
                c.commit()?;
                Ok(created)
            })
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

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let after = page.after.as_ref().map_or("", RoomName::as_str);
                let key = params![user.as_str(), after, page.limit];
                c.prepare_cached(sql::PRIVATE_ROOMS)?
                    .query_map(key, |row| parsed(row, 0))?
                    .collect()
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
                    let owner = owner(row, 8)?;
                    let has_topic = row.get_ref(10)?.as_str_or_null()?.is_some();
                    Ok(Room {
                        name: room.clone(),
                        last_seq,
                        last_change,
                        last_timestamp,
                        created_at: time(row, 6)?,
                        members: row.get::<_, i64>(9)?.unsigned_abs(),
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

    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                Ok(c.prepare_cached(sql::SET_TOPIC)?
                    .execute([room.as_str(), topic.as_str()])?
                    > 0)
            })
            .await
    }

    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
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
                let joined = join(&c, &room, &user, invited, now)?;
                c.commit()?;
                Ok(joined)
            })
            .await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                leave(&c, &room, &user)?;
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

    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()> {
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
}
