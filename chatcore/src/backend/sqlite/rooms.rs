//! Rooms, their members, and the members' read marks.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::access::find_access;
use super::columns::{head, optional, parsed, seq, time};
use super::database::Sqlite;
use super::sql;
use super::statement::Statements as _;
use crate::backend::Rooms;
use crate::error::Result;
use crate::model::{Head, Joined, Page, ReadMark};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, Room, RoomName, Seq, Topic, UserRoom, Username};

#[async_trait]
impl Rooms for Sqlite {
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.write(move |c| create_room(c, &room, now)).await
    }

    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(move |c| {
            let c = c.transaction()?;

            let private = privacy == Privacy::Private;
            let new = params![room.as_str(), now.as_micros(), owner.as_str(), private];
            let is_created = c.run(sql::CREATE_ROOM_FOR, new)? > 0;
            if is_created && private {
                join(&c, &room, &owner, true, now)?;
            }

            c.commit()?;
            Ok(is_created)
        })
        .await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", RoomName::as_str);
            c.list(sql::ROOMS, params![after, page.limit], |row| parsed(row, 0))
        })
        .await
    }

    async fn all_rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", RoomName::as_str);
            c.list(sql::ALL_ROOMS, params![after, page.limit], |row| {
                parsed(row, 0)
            })
        })
        .await
    }

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", RoomName::as_str);
            let key = params![user.as_str(), after, page.limit];
            c.list(sql::PRIVATE_ROOMS, key, |row| parsed(row, 0))
        })
        .await
    }

    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", RoomName::as_str);
            let key = params![user.as_str(), after, page.limit];
            c.list(sql::ROOMS_OF, key, user_room)
        })
        .await
    }

    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.read(move |c| c.find(sql::ROOM, [room.as_str()], |row| describe(&room, row)))
            .await
    }

    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool> {
        self.write(move |c| Ok(c.run(sql::SET_TOPIC, [room.as_str(), topic.as_str()])? > 0))
            .await
    }

    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.read(move |c| {
            // One transaction, so that both queries see the same state.
            let c = c.transaction()?;
            if !exists(&c, &room)? {
                return Ok(None);
            }

            let after = page.after.as_ref().map_or("", Username::as_str);
            let key = params![room.as_str(), after, page.limit];
            c.list(sql::MEMBERS, key, |row| parsed(row, 0)).map(Some)
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
        self.write(move |c| {
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
        self.write(move |c| {
            let c = c.transaction()?;
            let key = [room.as_str(), user.as_str()];
            if c.run(sql::LEAVE, key)? > 0 {
                c.run(sql::COUNT_DEPARTURE, [room.as_str()])?;
            }
            let exists = exists(&c, &room)?;

            c.commit()?;
            Ok(exists)
        })
        .await
    }

    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq> {
        self.read(move |c| {
            let key = [user.as_str(), room.as_str()];
            let found = c.find(sql::READ_MARK, key, |row| seq(row, 0))?;
            Ok(found.unwrap_or(Seq::ZERO))
        })
        .await
    }

    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()> {
        self.write(move |c| {
            let c = c.transaction()?;
            for ReadMark { user, room, seq } in &marks {
                let mark = params![user.as_str(), room.as_str(), seq.get()];
                c.run(sql::MARK_READ, mark)?;
            }
            c.commit()
        })
        .await
    }
}

fn exists(c: &Connection, room: &RoomName) -> rusqlite::Result<bool> {
    let head = c.find(sql::HEAD, [room.as_str()], head)?;

    Ok(head.is_some())
}

fn create_room(c: &Connection, room: &RoomName, now: Timestamp) -> rusqlite::Result<bool> {
    let created = c.run(sql::CREATE_ROOM, params![room.as_str(), now.as_micros()])?;

    Ok(created > 0)
}

fn join(
    c: &Connection,
    room: &RoomName,
    user: &Username,
    invited: bool,
    now: Timestamp,
) -> rusqlite::Result<Joined> {
    let access = match find_access(c, room, Some(user))? {
        Some(access) => access,
        None => return Ok(Joined::NoSuchRoom),
    };
    if access.privacy == Privacy::Private && !access.member && !invited {
        return Ok(Joined::NoSuchRoom);
    }

    if access.banned {
        return Ok(Joined::Banned);
    }

    let member = params![room.as_str(), user.as_str(), now.as_micros()];
    c.run(sql::JOIN, member)?;
    Ok(Joined::Member)
}

/// Reads a row of [`sql::ROOM`].
fn describe(room: &RoomName, row: &Row<'_>) -> rusqlite::Result<Room> {
    let Head {
        seq: last_seq,
        timestamp,
        change: last_change,
        ..
    } = head(row)?;

    Ok(Room {
        name: room.clone(),
        last_seq,
        last_change,
        last_timestamp: (last_seq > Seq::ZERO).then_some(timestamp),
        created_at: time(row, 6)?,
        members: row.get::<_, i64>(9)?.unsigned_abs(),
        private: row.get(7)?,
        owner: optional(row, 8, parsed)?,
        topic: optional(row, 10, parsed)?,
    })
}

/// Reads a row of [`sql::ROOMS_OF`].
fn user_room(row: &Row<'_>) -> rusqlite::Result<UserRoom> {
    Ok(UserRoom {
        room: parsed(row, 0)?,
        last_seq: seq(row, 1)?,
        read_seq: seq(row, 2)?,
        mentions: 0,
    })
}
