//! Private rooms and bans.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Priority, Sqlite, parsed, sql};
use crate::account::NameKey;
use crate::backend::Moderation;
use crate::error::Result;
use crate::model::{Access, Joined, Page};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

fn access(
    c: &Connection,
    room: &RoomName,
    user: Option<&Username>,
) -> rusqlite::Result<Option<Access>> {
    let (name, fold) = (user.map_or("", Username::as_str), user.map(NameKey::from));
    let key = [
        room.as_str(),
        name,
        fold.as_ref().map_or("", NameKey::as_str),
    ];
    let read = |row: &Row<'_>| {
        let private: bool = row.get(0)?;
        Ok(Access {
            privacy: if private {
                Privacy::Private
            } else {
                Privacy::Public
            },
            restricted: row.get(1)?,
            owner: owner(row, 2)?,
            member: row.get(3)?,
            banned: row.get(4)?,
        })
    };
    c.prepare_cached(sql::ACCESS)?
        .query_row(key, read)
        .optional()
}

/// The owner of a room, if it has one.
pub(super) fn owner(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Username>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

pub(super) fn join(
    c: &Connection,
    room: &RoomName,
    user: &Username,
    invited: bool,
    now: Timestamp,
) -> rusqlite::Result<Joined> {
    let joined = match access(c, room, Some(user))? {
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
pub(super) fn leave(c: &Connection, room: &RoomName, user: &Username) -> rusqlite::Result<()> {
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
impl Moderation for Sqlite {
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

    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.readers
            .run(Priority::Normal, move |c| {
                // One transaction, so that all queries see the same state.
                let c = c.transaction()?;
                let Some(everyone) = access(&c, &room, None)? else {
                    return Ok(None);
                };
                let each = users
                    .iter()
                    .filter_map(|user| access(&c, &room, Some(user)).transpose());
                Ok(Some((everyone, each.collect::<rusqlite::Result<_>>()?)))
            })
            .await
    }

    async fn admissions(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.readers
            .run(Priority::Commit, move |c| {
                users
                    .iter()
                    .map(|user| access(c, &room, Some(user)))
                    .collect()
            })
            .await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                let fold = NameKey::from(&user);
                let ban = params![room.as_str(), fold.as_str(), user.as_str(), now.as_micros()];
                c.prepare_cached(sql::BAN)?.execute(ban)?;
                c.prepare_cached(sql::RESTRICT)?.execute([room.as_str()])?;
                c.prepare_cached(sql::LEAVE)?
                    .execute([room.as_str(), user.as_str()])?;
                c.commit()
            })
            .await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.writer
            .run(Priority::Normal, move |c| {
                let c = c.transaction()?;
                let fold = NameKey::from(&user);
                let lifted = c
                    .prepare_cached(sql::UNBAN)?
                    .execute([room.as_str(), fold.as_str()])?
                    > 0;
                c.prepare_cached(sql::OPEN_WITHOUT_BANS)?
                    .execute([room.as_str()])?;
                c.commit()?;
                Ok(lifted)
            })
            .await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.readers
            .run(Priority::Normal, move |c| {
                let after = page.after.as_ref().map_or("", Username::as_str);
                let key = params![room.as_str(), after, page.limit];
                c.prepare_cached(sql::BANS)?
                    .query_map(key, |row| parsed(row, 0))?
                    .collect()
            })
            .await
    }
}
