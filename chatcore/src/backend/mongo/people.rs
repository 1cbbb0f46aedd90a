//! What users have read, and who is connected where.

use std::collections::HashMap;

use mongodb::bson::{RawArrayBuf, rawdoc};
use mongodb::options::{Acknowledgment, WriteConcern};

use super::{Inner, Mode, documents, error, find};
use crate::error::{Error, Result};
use crate::model::ReadMark;
use crate::model::{Head, Page, ProcessId, ProcessPresence, Signal};
use crate::types::{RoomName, Seq, UserRoom, Username};

/// What passes is not worth a wait for the journal.
fn light() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Nodes(1)).build()
}

impl Inner {
    pub(super) async fn read_mark(&self, user: &Username, room: &RoomName) -> Result<Seq> {
        let found = self
            .find(
                find::marks(user, std::slice::from_ref(room)),
                documents::mark,
            )
            .await?;
        Ok(found.first().map_or(Seq::ZERO, |(_, seq)| *seq))
    }

    pub(super) async fn mark_read(&self, marks: &[ReadMark]) -> Result<()> {
        let forward = |ReadMark { user, room, seq }: &ReadMark| {
            rawdoc! {
                "q": { "_id": { "user": user.as_str(), "room": room.as_str() } },
                "u": { "$max": { "seq": seq.get() } },
                "upsert": true,
            }
        };
        let updates: RawArrayBuf = marks.iter().map(forward).collect();
        let command = rawdoc! { "update": "marks", "updates": updates, "ordered": false };
        match self.write(command, None).await.map_err(error)?.duplicate {
            None => Ok(()),
            Some(_) => Err(Error::Unavailable(
                "another process made one of the marks just now".into(),
            )),
        }
    }

    pub(super) async fn rooms_of(
        &self,
        user: &Username,
        page: &Page<RoomName>,
    ) -> Result<Vec<UserRoom>> {
        let rooms = self
            .find(find::memberships(user, page), documents::room_name)
            .await?;
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let read: HashMap<_, _> = self
            .find(find::marks(user, &rooms), documents::mark)
            .await?
            .into_iter()
            .collect();
        // After the marks, so that no mark lies after the end that is shown with it.
        let ends: HashMap<_, _> = self
            .find(find::ends(&rooms), documents::head)
            .await?
            .into_iter()
            .collect();
        let seen = |room: RoomName| UserRoom {
            last_seq: ends
                .get(room.as_str())
                .map_or(Seq::ZERO, |head: &Head| head.seq),
            read_seq: read.get(&room).copied().unwrap_or(Seq::ZERO),
            mentions: 0,
            room,
        };
        Ok(rooms.into_iter().map(seen).collect())
    }

    pub(super) async fn attend(&self, room: &RoomName, attendance: &ProcessPresence) -> Result<()> {
        let Mode::ReplicaSet(replica_set) = &self.mode else {
            return Ok(());
        };
        let peers = &replica_set.peers;
        let is_on = peers.is_on.lock().await;
        if !*is_on {
            return Ok(());
        }
        let (presence, here) = (
            self.collection("presence"),
            find::presence_at(room, peers.id),
        );
        if attendance.users.is_empty() {
            self.limited(presence.delete_one(here).write_concern(light()))
                .await
                .map_err(error)?;
        } else {
            let document = documents::new_attendance(attendance);
            let replace = presence
                .replace_one(here, document)
                .upsert(true)
                .write_concern(light());
            self.limited(replace).await.map_err(error)?;
        }
        Ok(())
    }

    pub(super) async fn attendance(
        &self,
        room: &RoomName,
    ) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        let read = |document: &_| {
            Ok((
                documents::process(document)?,
                documents::attendance(document)?,
            ))
        };
        let mut all = self.find(find::presence(room), read).await?;
        all.retain(|(process, _)| !self.is_me(*process));
        Ok(all)
    }

    pub(super) async fn announce(&self, signal: &Signal) -> Result<()> {
        let signals = self.collection("signals");
        let insert = signals
            .insert_one(documents::new_signal(signal))
            .write_concern(light());
        self.limited(insert).await.map_err(error)?;
        Ok(())
    }

    /// Whether that is this process.
    pub(super) fn is_me(&self, process: ProcessId) -> bool {
        matches!(&self.mode, Mode::ReplicaSet(replica_set) if replica_set.peers.id.bytes() == process.0)
    }
}
