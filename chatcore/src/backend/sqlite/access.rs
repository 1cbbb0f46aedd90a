//! Access to rooms, and bans from them.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::columns::{optional, parsed};
use super::database::Sqlite;
use super::sql;
use super::statement::Statements as _;
use crate::account::NameKey;
use crate::backend::AccessControl;
use crate::error::Result;
use crate::model::{Access, Page};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

#[async_trait]
impl AccessControl for Sqlite {
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.read(move |c| {
            // One transaction, so that all queries see the same state.
            let c = c.transaction()?;
            let Some(everyone) = find_access(&c, &room, None)? else {
                return Ok(None);
            };

            let each = users
                .iter()
                .filter_map(|user| find_access(&c, &room, Some(user)).transpose())
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some((everyone, each)))
        })
        .await
    }

    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.read_for_commit(move |c| {
            users
                .iter()
                .map(|user| find_access(c, &room, Some(user)))
                .collect()
        })
        .await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.write(move |c| {
            let c = c.transaction()?;
            let key = NameKey::from(&user);
            let ban = params![room.as_str(), key.as_str(), user.as_str(), now.as_micros()];
            c.run(sql::BAN, ban)?;
            c.run(sql::RESTRICT, [room.as_str()])?;
            c.run(sql::LEAVE, [room.as_str(), user.as_str()])?;
            c.commit()
        })
        .await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.write(move |c| {
            let c = c.transaction()?;
            let key = NameKey::from(&user);
            let lifted = c.run(sql::UNBAN, [room.as_str(), key.as_str()])?;
            c.run(sql::OPEN_WITHOUT_BANS, [room.as_str()])?;
            c.commit()?;
            Ok(lifted > 0)
        })
        .await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.read(move |c| {
            let after = page.after.as_ref().map_or("", Username::as_str);
            let key = params![room.as_str(), after, page.limit];
            c.list(sql::BANS, key, |row| parsed(row, 0))
        })
        .await
    }
}

/// Reads the access of a user, or of everyone, to a room.
pub(super) fn find_access(
    c: &Connection,
    room: &RoomName,
    user: Option<&Username>,
) -> rusqlite::Result<Option<Access>> {
    let (name, name_key) = (user.map_or("", Username::as_str), user.map(NameKey::from));
    let key = [
        room.as_str(),
        name,
        name_key.as_ref().map_or("", NameKey::as_str),
    ];

    c.find(sql::ACCESS, key, |row: &Row<'_>| {
        let privacy = match row.get(0)? {
            true => Privacy::Private,
            false => Privacy::Public,
        };
        Ok(Access {
            privacy,
            restricted: row.get(1)?,
            owner: optional(row, 2, parsed)?,
            member: row.get(3)?,
            banned: row.get(4)?,
        })
    })
}
