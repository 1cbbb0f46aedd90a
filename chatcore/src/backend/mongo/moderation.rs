//! Private rooms, and bans.

use std::collections::HashSet;

use async_trait::async_trait;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::find::Query;
use super::step::{self, Step, Writer};
use super::{Inner, Mongo, documents, find};
use crate::account::NameKey;
use crate::backend::{AccessControl, Rooms};
use crate::error::{Error, Result};
use crate::model::{Access, Joined, Page, ReadMark, Signal};
use crate::timestamp::Timestamp;
use crate::types::{Privacy, Room, RoomName, Seq, Topic, UserRoom, Username};

/// Has a query read the newest state, which a guard checks, or what a majority has.
type State = fn(Query) -> Query;
const NEWEST: State = Query::newest;
const MAJORITY: State = |query| query;

/// A room with an owner is made.
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
            .write(step::insert("counters", room))
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
                .write(step::update(
                    "members",
                    rawdoc! { "q": q, "u": u, "upsert": true },
                ))
                .await?;
            tell(writer, &Signal::RoomClosed(self.room.clone())).await?;
        }
        Ok(true)
    }
}

/// A user is a member no more, and perhaps banned.
struct Departure<'a> {
    room: &'a RoomName,
    user: &'a Username,
    /// When the user is banned, if that is why.
    banned: Option<Timestamp>,
    /// Whether those who follow the room may have to stop.
    closes: bool,
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
            writer.write(step::update("bans", ban)).await?;
        }
        let leave = step::delete_all("members", find::member(self.room, self.user))?;
        let left = writer.write(leave).await?.n;

        if is_atomic {
            // Last, because commits meet other changes here, and are to wait for them as little as
            // possible.
            self.move_head(writer, left).await?;
        } else if left > 0 {
            let id = documents::room_id(self.room);
            let uncounted = rawdoc! { "q": { "_id": id }, "u": { "$inc": { "members": -left } } };
            writer.write(step::update("counters", uncounted)).await?;
        }
        if self.closes {
            tell(
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
        let mut change =
            rawdoc! { "$inc": { "members": -left, "departures": 1_i64, "closings": closings } };
        if self.banned.is_some() {
            change.append(mongodb::bson::cstr!("$set"), rawdoc! { "restricted": true });
        }
        let room = rawdoc! { "q": { "_id": documents::room_id(self.room) }, "u": change };
        writer.write(step::update("counters", room)).await.map(drop)
    }
}

/// A user becomes a member, if the room lets the user in.
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
        let unreadable = |e: Error| mongodb::error::Error::custom(e.to_string());
        let stands = writer
            .mongo
            .stands_to_one(self.room, self.user)
            .await
            .map_err(unreadable)?;
        let (closings, privacy) = match stands {
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
            .write(step::update("members", statement))
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
        match writer.write(step::update("counters", head)).await?.n {
            0 => Err(super::replica_set::again()),
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

/// A ban is lifted. With the last one, everyone may post in a public room again.
struct Pardon<'a> {
    room: &'a RoomName,
    user: &'a Username,
    /// Set if there was a ban to lift.
    lifted: bool,
}

#[async_trait]
impl Step for Pardon<'_> {
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let ban = find::ban(self.room, &NameKey::from(self.user));
        self.lifted = writer.write(step::delete_all("bans", ban)?).await?.n > 0;

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
        writer.write(step::update("counters", room)).await?;
        Ok(true)
    }
}

/// Tells every process, together with the change, who may have to stop following a room.
async fn tell(writer: &mut Writer<'_>, signal: &Signal) -> mongodb::error::Result<()> {
    if writer.is_in_transaction() {
        let signal = documents::new_signal(signal);
        writer
            .write(step::insert("signals", RawDocumentBuf::try_from(&signal)?))
            .await?;
    }
    Ok(())
}

impl Inner {
    /// How a room stands to each of these users.
    async fn stands_to(
        &self,
        room: &RoomName,
        users: &[Username],
        state: State,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        let found = self
            .find(state(find::room(room)), documents::access)
            .await?
            .pop();
        let Some(everyone) = found else {
            return Ok(None);
        };
        let (mut members, mut banned) = (HashSet::new(), HashSet::new());
        if everyone.restricted && !users.is_empty() {
            let names: Vec<_> = users.iter().map(NameKey::from).collect();
            let bans = self.find(state(find::bans_of(room, &names)), documents::banned);
            let among = async {
                match everyone.privacy {
                    Privacy::Private => {
                        self.find(state(find::members_among(room, users)), documents::member)
                            .await
                    }
                    Privacy::Public => Ok(Vec::new()),
                }
            };
            let (found, among) = futures_util::future::try_join(bans, among).await?;
            banned.extend(found.iter().map(NameKey::from));
            members.extend(among);
        }
        let of = |user: &Username| Access {
            member: members.contains(user),
            banned: banned.contains(&NameKey::from(user)),
            ..everyone.clone()
        };
        let all = users.iter().map(of).collect();
        Ok(Some((everyone, all)))
    }

    /// The closings of a room, and how it stood to one user since.
    async fn stands_to_one(
        &self,
        room: &RoomName,
        user: &Username,
    ) -> Result<Option<(i64, Access)>> {
        let heads = find::heads(std::slice::from_ref(room));
        let Some((_, head)) = self.find(heads, documents::head).await?.pop() else {
            return Ok(None);
        };
        let stands = self
            .stands_to(room, std::slice::from_ref(user), NEWEST)
            .await?;
        Ok(stands.and_then(|(_, mut each)| Some((head.closings, each.pop()?))))
    }

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
        self.change(&mut step).await?;
        Ok(step.joined)
    }

    pub(super) async fn leave(&self, room: &RoomName, user: &Username) -> Result<bool> {
        // Who is no member holds up nobody.
        let membership = find::members_among(room, std::slice::from_ref(user));
        if !self.find(membership, |_| Ok(())).await?.is_empty() {
            let access = self.stands_to(room, &[], NEWEST).await?;
            let closes = access.is_some_and(|(access, _)| access.privacy == Privacy::Private);
            self.change(&mut Departure {
                room,
                user,
                banned: None,
                closes,
            })
            .await?;
        }
        self.room_exists(room).await
    }
}

#[async_trait]
impl Rooms for Mongo {
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.run_change(|this| async move { this.create_room(&room, now).await })
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
        self.run_change(|this| async move { this.change(&mut step).await })
            .await
    }

    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(|this| async move { this.find(find::rooms(&page), documents::room_name).await })
            .await
    }

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(|this| async move {
            this.find(find::private_rooms(&user, &page), documents::room_name)
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
        self.run_change(|this| async move { this.set_topic(&room, &topic).await })
            .await
    }

    async fn members(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.run(|this| async move {
            let users = this
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
        self.run_change(move |this| async move { this.join(&room, &user, invited, now).await })
            .await
    }

    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run_change(|this| async move { this.leave(&room, &user).await })
            .await
    }

    async fn read_mark(&self, user: Username, room: RoomName) -> Result<Seq> {
        self.run(|this| async move { this.read_mark(&user, &room).await })
            .await
    }

    async fn store_read_marks(&self, marks: Vec<ReadMark>) -> Result<()> {
        self.run_change(|this| async move { this.mark_read(&marks).await })
            .await
    }
}

#[async_trait]
impl AccessControl for Mongo {
    async fn access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Option<(Access, Vec<Access>)>> {
        self.run(|this| async move { this.stands_to(&room, &users, MAJORITY).await })
            .await
    }

    async fn newest_access(
        &self,
        room: RoomName,
        users: Vec<Username>,
    ) -> Result<Vec<Option<Access>>> {
        self.run_commit(|this| async move {
            let stands = this.stands_to(&room, &users, NEWEST).await?;
            Ok(match stands {
                None => vec![None; users.len()],
                Some((_, each)) => each.into_iter().map(Some).collect(),
            })
        })
        .await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.run_change(|this| async move {
            let mut step = Departure {
                room: &room,
                user: &user,
                banned: Some(now),
                closes: true,
            };
            this.change(&mut step).await.map(drop)
        })
        .await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run_change(|this| async move {
            let mut step = Pardon {
                room: &room,
                user: &user,
                lifted: false,
            };
            this.change(&mut step).await?;
            Ok(step.lifted)
        })
        .await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.run(|this| async move { this.find(find::bans(&room, &page), documents::banned).await })
            .await
    }
}
