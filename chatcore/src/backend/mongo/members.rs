//! Memberships: joining, leaving, and being removed.

use async_trait::async_trait;
use mongodb::bson::{RawDocumentBuf, cstr, rawdoc};

use super::access_lookup::{NEWEST, access_of, access_of_one};
use super::error::{custom, retry};
use super::step::{Step, Writer};
use super::store::Store;
use super::{commands, documents, find};
use crate::account::NameKey;
use crate::error::Result;
use crate::model::{Joined, Signal};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Username};

/// The end of a membership, and perhaps a ban.
pub(super) struct Departure<'a> {
    pub(super) room: &'a RoomName,
    pub(super) user: &'a Username,
    /// Time of the ban, if there is one.
    pub(super) banned: Option<Timestamp>,
    /// True if those who follow the room may have to stop.
    pub(super) closes: bool,
}

#[async_trait]
impl Step for Departure<'_> {
    fn changes_members_of(&self) -> Option<&RoomName> {
        Some(self.room)
    }

    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let is_atomic = writer.is_in_transaction();
        if !is_atomic {
            // First, so that a crash in between costs the committer a look at the head, and lets
            // nobody post who has lost the right to.
            self.move_head(writer, 0).await?;
        }

        if let Some(at) = self.banned {
            let ban = rawdoc! {
                "q": RawDocumentBuf::try_from(&find::ban(self.room, &NameKey::from(self.user)))?,
                "u": { "$setOnInsert": { "username": self.user.as_str(), "banned_at": at.as_micros() } },
                "upsert": true,
            };
            writer.write(commands::update("bans", ban)).await?;
        }
        let leave = commands::delete("members", find::member(self.room, self.user))?;
        let left = writer.write(leave).await?.n;

        if is_atomic {
            // Last, because commits meet other writes here, and are to wait for them as little as
            // possible.
            self.move_head(writer, left).await?;
        } else if left > 0 {
            let id = documents::room_id(self.room);
            let uncounted = rawdoc! { "q": { "_id": id }, "u": { "$inc": { "members": -left } } };
            writer
                .write(commands::update("counters", uncounted))
                .await?;
        }
        if self.closes {
            publish_with(
                writer,
                &Signal::Evicted(self.room.clone(), self.user.clone()),
            )
            .await?;
        }
        Ok(true)
    }
}

impl Departure<'_> {
    /// Moves the head of the room, so that no batch is stored that rests on what was before.
    async fn move_head(&self, writer: &mut Writer<'_>, left: i64) -> mongodb::error::Result<()> {
        let closings = i64::from(self.closes);
        let mut update =
            rawdoc! { "$inc": { "members": -left, "departures": 1_i64, "closings": closings } };
        if self.banned.is_some() {
            update.append(cstr!("$set"), rawdoc! { "restricted": true });
        }
        let room = rawdoc! { "q": { "_id": documents::room_id(self.room) }, "u": update };
        writer
            .write(commands::update("counters", room))
            .await
            .map(drop)
    }
}

/// A new membership, if the room lets the user in.
struct Joining<'a> {
    room: &'a RoomName,
    user: &'a Username,
    invited: bool,
    now: Timestamp,
    joined: Joined,
}

#[async_trait]
impl Step for Joining<'_> {
    fn changes_members_of(&self) -> Option<&RoomName> {
        Some(self.room)
    }

    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let access = access_of_one(writer.connection, self.room, self.user);
        let (closings, privacy) = match access.await.map_err(custom)? {
            None => return Ok(self.refuse(Joined::NoSuchRoom)),
            Some((_, access))
                if access.privacy == Privacy::Private && !access.member && !self.invited =>
            {
                return Ok(self.refuse(Joined::NoSuchRoom));
            }
            Some((_, access)) if access.banned => return Ok(self.refuse(Joined::Banned)),
            Some((closings, access)) => (closings, access.privacy),
        };
        self.joined = Joined::Member;

        let member = RawDocumentBuf::try_from(&find::member(self.room, self.user))?;
        let joined = RawDocumentBuf::try_from(&documents::new_member(privacy, self.now))?;
        let statement = rawdoc! { "q": member, "u": { "$setOnInsert": joined }, "upsert": true };
        if writer
            .write(commands::update("members", statement))
            .await?
            .upserted
            .is_empty()
        {
            // A membership that is there is not written again: a removal would be undone.
            return Ok(false);
        }
        // Refused by a ban, or the end of a membership, after the look above.
        let head = rawdoc! {
            "q": { "_id": documents::room_id(self.room), "closings": closings },
            "u": { "$inc": { "members": 1_i64 } },
        };
        match writer.write(commands::update("counters", head)).await?.n {
            0 => Err(retry()),
            _ => Ok(true),
        }
    }
}

impl Joining<'_> {
    fn refuse(&mut self, joined: Joined) -> bool {
        self.joined = joined;
        false
    }
}

/// Publishes a signal together with the other writes of a step, where there are other processes.
pub(super) async fn publish_with(
    writer: &mut Writer<'_>,
    signal: &Signal,
) -> mongodb::error::Result<()> {
    if writer.is_in_transaction() {
        let signal = documents::new_signal(signal);
        writer
            .write(commands::insert(
                "signals",
                RawDocumentBuf::try_from(&signal)?,
            ))
            .await?;
    }
    Ok(())
}

impl Store {
    pub(super) async fn join(
        &self,
        room: &RoomName,
        user: &Username,
        invited: bool,
        now: Timestamp,
    ) -> Result<Joined> {
        if !invited {
            self.create_room(room, now).await?;
        }
        let mut step = Joining {
            room,
            user,
            invited,
            now,
            joined: Joined::NoSuchRoom,
        };
        self.deployment
            .run_step(&self.connection, &mut step)
            .await?;
        Ok(step.joined)
    }

    pub(super) async fn leave(&self, room: &RoomName, user: &Username) -> Result<bool> {
        // Without a membership nothing is written, so that no batch is held up.
        let membership = find::members_among(room, std::slice::from_ref(user));
        if !self
            .connection
            .find(membership, |_| Ok(()))
            .await?
            .is_empty()
        {
            let access = access_of(&self.connection, room, &[], NEWEST).await?;
            let closes = access.is_some_and(|(access, _)| access.privacy == Privacy::Private);
            self.deployment
                .run_step(
                    &self.connection,
                    &mut Departure {
                        room,
                        user,
                        banned: None,
                        closes,
                    },
                )
                .await?;
        }
        self.room_exists(room).await
    }
}
