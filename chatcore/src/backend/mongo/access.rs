//! Access to rooms, and bans.

use async_trait::async_trait;
use mongodb::bson::rawdoc;

use super::access_lookup::{MAJORITY, NEWEST, access_of};
use super::members::Departure;
use super::scheduler::Mongo;
use super::step::{Step, Writer};
use super::{commands, documents, find};
use crate::account::NameKey;
use crate::backend::AccessControl;
use crate::error::Result;
use crate::model::{Access, Page};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Username};

/// The end of a ban. With the last one, everyone may post in a public room again.
struct Unban<'a> {
    room: &'a RoomName,
    user: &'a Username,
    /// True if there was a ban to lift.
    lifted: bool,
}

#[async_trait]
impl Step for Unban<'_> {
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let ban = find::ban(self.room, &NameKey::from(self.user));
        self.lifted = writer.write(commands::delete("bans", ban)?).await?.n > 0;

        let any = Page {
            after: None,
            limit: 1,
        };
        let restricted = writer.finds(find::bans(self.room, &any)).await?;
        // Counted, so that bans and pardons at the same time meet here, and see each other.
        let room = rawdoc! {
            "q": { "_id": documents::room_id(self.room), "private": false },
            "u": { "$set": { "restricted": restricted }, "$inc": { "pardons": 1_i64 } },
        };
        writer.write(commands::update("counters", room)).await?;
        Ok(true)
    }
}

#[async_trait]
impl AccessControl for Mongo {
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.run(|this| async move { access_of(&this.connection, &room, &users, MAJORITY).await })
            .await
    }

    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.run_commit(|this| async move {
            let access = access_of(&this.connection, &room, &users, NEWEST).await?;
            Ok(match access {
                None => vec![None; users.len()],
                Some((_, each)) => each.into_iter().map(Some).collect(),
            })
        })
        .await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.run_write(|this| async move {
            let mut step = Departure {
                room: &room,
                user: &user,
                banned: Some(now),
                closes: true,
            };
            this.deployment
                .run_step(&this.connection, &mut step)
                .await
                .map(drop)
        })
        .await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run_write(|this| async move {
            let mut step = Unban {
                room: &room,
                user: &user,
                lifted: false,
            };
            this.deployment
                .run_step(&this.connection, &mut step)
                .await?;
            Ok(step.lifted)
        })
        .await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.run(|this| async move {
            this.connection
                .find(find::bans(&room, &page), documents::banned)
                .await
        })
        .await
    }
}
