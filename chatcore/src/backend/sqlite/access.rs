//! Access to rooms, and bans from them.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{owner, parsed};
use super::pool::Priority;
use super::{Sqlite, sql};
use crate::account::NameKey;
use crate::backend::AccessControl;
use crate::error::Result;
use crate::model::{Access, Page};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

/// Reads the access of a user, or of everyone, to a room.
pub(super) fn find_access(
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

#[async_trait]
impl AccessControl for Sqlite {
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.readers
            .run(Priority::Normal, move |c| {
                // One transaction, so that all queries see the same state.
                let c = c.transaction()?;
                let Some(everyone) = find_access(&c, &room, None)? else {
                    return Ok(None);
                };
                let each = users
                    .iter()
                    .filter_map(|user| find_access(&c, &room, Some(user)).transpose());
                Ok(Some((everyone, each.collect::<rusqlite::Result<_>>()?)))
            })
            .await
    }

    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.readers
            .run(Priority::Commit, move |c| {
                users
                    .iter()
                    .map(|user| find_access(c, &room, Some(user)))
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
