//! Rooms: creating, describing and listing them.

use async_trait::async_trait;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::error::error;
use super::members::publish_with;
use super::scheduler::Mongo;
use super::step::{Step, Writer};
use super::store::Store;
use super::{commands, documents, find};
use crate::backend::Rooms;
use crate::error::Result;
use crate::model::{Joined, Page, ReadMark, Signal};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, Room, RoomName, Seq, Topic, UserRoom, Username};

/// A new room with an owner.
struct NewRoom {
    room: RoomName,
    owner: Username,
    privacy: Privacy,
    now: Timestamp,
}

#[async_trait]
impl Step for NewRoom {
    fn changes_members_of(&self) -> Option<&RoomName> {
        (self.privacy == Privacy::Private).then_some(&self.room)
    }

    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let mut room = find::room_counter(&self.room);
        room.extend(documents::new_room_of(&self.owner, self.privacy, self.now));
        let room = RawDocumentBuf::try_from(&room)?;
        if writer
            .write(commands::insert("counters", room))
            .await?
            .duplicate
            .is_some()
        {
            return Ok(false);
        }
        if self.privacy == Privacy::Private {
            let member = doc! { "$setOnInsert": documents::new_member(self.privacy, self.now) };
            let (q, u) = (find::member(&self.room, &self.owner), member);
            let (q, u) = (RawDocumentBuf::try_from(&q)?, RawDocumentBuf::try_from(&u)?);
            writer
                .write(commands::update(
                    "members",
                    rawdoc! { "q": q, "u": u, "upsert": true },
                ))
                .await?;
            publish_with(writer, &Signal::PrivateRoomCreated(self.room.clone())).await?;
        }
        Ok(true)
    }
}

#[async_trait]
impl Rooms for Mongo {
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.run_write(|this| async move { this.create_room(&room, now).await })
            .await
    }

    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool> {
        let mut step = NewRoom {
            room,
            owner,
            privacy,
            now,
        };
        self.run_write(
            |this| async move { this.deployment.run_step(&this.connection, &mut step).await },
        )
        .await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(|this| async move {
            this.connection
                .find(find::rooms(&page), documents::room_name)
                .await
        })
        .await
    }

    async fn all_rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        let rooms = find::all_rooms(&page);
        let name = documents::room_name;
        self.run(|this| async move { this.connection.find(rooms, name).await })
            .await
    }

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(|this| async move {
            this.connection
                .find(find::private_rooms(&user, &page), documents::room_name)
                .await
        })
        .await
    }

    async fn rooms_of(&self, user: Username, page: Page<RoomName>) -> Result<Vec<UserRoom>> {
        self.run(|this| async move { this.rooms_of(&user, &page).await })
            .await
    }

    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.run(|this| async move { this.room(&room).await }).await
    }

    async fn set_topic(&self, room: RoomName, topic: Topic) -> Result<bool> {
        self.run_write(|this| async move { this.set_topic(&room, &topic).await })
            .await
    }

    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.run(|this| async move {
            let users = this
                .connection
                .find(find::members(&room, &page), documents::member)
                .await?;
            // A room with members exists; only an empty answer needs the question.
            let exists = !users.is_empty() || this.room_exists(&room).await?;
            Ok(exists.then_some(users))
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
        self.run_write(move |this| async move { this.join(&room, &user, invited, now).await })
            .await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run_write(|this| async move { this.leave(&room, &user).await })
            .await
    }

    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq> {
        self.run(|this| async move { this.read_mark(&user, &room).await })
            .await
    }

    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()> {
        self.run_write(|this| async move { this.store_read_marks(&marks).await })
            .await
    }
}

impl Store {
    pub(super) async fn room(&self, room: &RoomName) -> Result<Option<Room>> {
        let bound = self.deployment.progress_in(room)?.head;
        let mut found = self
            .connection
            .find(find::room(room), documents::room)
            .await?;
        let Some(mut room) = found.pop() else {
            return Ok(None);
        };
        if let Some(head) = bound {
            room.last_change = room.last_change.min(head.change);
            if head.seq < room.last_seq {
                room.last_seq = head.seq;
                room.last_timestamp = (head.seq > Seq::ZERO).then_some(head.timestamp);
            }
        }
        Ok(Some(room))
    }

    pub(super) async fn room_exists(&self, room: &RoomName) -> Result<bool> {
        Ok(!self
            .connection
            .find(find::heads(std::slice::from_ref(room)), |_| Ok(()))
            .await?
            .is_empty())
    }

    pub(super) async fn create_room(&self, room: &RoomName, now: Timestamp) -> Result<bool> {
        let created = doc! { "$setOnInsert": documents::new_room(now) };
        let counters = self.connection.collection("counters");
        let create = counters
            .update_one(find::room_counter(room), created)
            .upsert(true);
        let done = self.connection.limited(create).await.map_err(error)?;
        Ok(done.upserted_id.is_some())
    }

    /// Sets the topic of a room. Returns false if there is no such room.
    pub(super) async fn set_topic(&self, room: &RoomName, topic: &Topic) -> Result<bool> {
        let update = match topic.as_str() {
            "" => doc! { "$unset": { "topic": true } },
            topic => doc! { "$set": { "topic": topic } },
        };
        let counters = self.connection.collection("counters");
        let done = self
            .connection
            .limited(counters.update_one(find::room_counter(room), update))
            .await
            .map_err(error)?;
        Ok(done.matched_count > 0)
    }
}
