//! Read marks, and the rooms of a user with them.

use std::collections::HashMap;

use mongodb::bson::{RawArrayBuf, rawdoc};

use super::error::error;
use super::store::Store;
use super::{documents, find};
use crate::error::{Error, Result};
use crate::model::{Head, Page, ReadMark};
use crate::types::{RoomName, Seq, UserRoom, Username};

impl Store {
    pub(super) async fn read_mark(&self, user: &Username, room: &RoomName) -> Result<Seq> {
        let found = self
            .connection
            .find(
                find::marks(user, std::slice::from_ref(room)),
                documents::read_mark,
            )
            .await?;
        Ok(found.first().map_or(Seq::ZERO, |(_, seq)| *seq))
    }

    pub(super) async fn store_read_marks(&self, marks: &[ReadMark]) -> Result<()> {
        let forward = |ReadMark { user, room, seq }: &ReadMark| {
            rawdoc! {
                "q": { "_id": { "user": user.as_str(), "room": room.as_str() } },
                "u": { "$max": { "seq": seq.get() } },
                "upsert": true,
            }
        };
        let updates: RawArrayBuf = marks.iter().map(forward).collect();
        let command = rawdoc! { "update": "marks", "updates": updates, "ordered": false };
        match self
            .connection
            .write(command, None)
            .await
            .map_err(error)?
            .duplicate
        {
            None => Ok(()),
            Some(_) => Err(Error::Unavailable(
                "another process wrote one of the read marks just now".into(),
            )),
        }
    }

    pub(super) async fn rooms_of(
        &self,
        user: &Username,
        page: &Page<RoomName>,
    ) -> Result<Vec<UserRoom>> {
        let rooms = self
            .connection
            .find(find::memberships(user, page), documents::room_name)
            .await?;
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let read: HashMap<_, _> = self
            .connection
            .find(find::marks(user, &rooms), documents::read_mark)
            .await?
            .into_iter()
            .collect();
        // After the marks, so that no mark lies after the end that is shown with it.
        let ends: HashMap<_, _> = self
            .connection
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
}
