//! Private rooms, bans, and messages that are deleted.

use std::collections::HashSet;

use async_trait::async_trait;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::deletion::Erasure;
use super::find::Query;
use super::step::{self, Step, Writer};
use super::{Inner, Mode, Mongo, documents, error, find};
use crate::account::Fold;
use crate::backend::{Access, Deletion, Joined, Moderation, Page, Signal};
use crate::error::Result;
use crate::timestamp::Timestamp;
use crate::types::{Privacy, RoomName, Seq, Username};

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
    async fn make(&self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let mut room = find::room_counter(&self.room);
        room.extend(documents::new_room_of(&self.owner, self.privacy, self.now));
        let room = RawDocumentBuf::try_from(&room)?;
        if writer.write(step::insert("counters", room)).await?.duplicate.is_some() {
            return Ok(false);
        }
        if self.privacy == Privacy::Private {
            let member = doc! { "$setOnInsert": documents::new_member(self.privacy, self.now) };
            let (q, u) = (find::member(&self.room, &self.owner), member);
            let (q, u) = (RawDocumentBuf::try_from(&q)?, RawDocumentBuf::try_from(&u)?);
            writer.write(step::update("members", rawdoc! { "q": q, "u": u, "upsert": true })).await?;
            tell(writer, &self.room).await?;
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
    async fn make(&self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        let closings = i64::from(self.closes);
        let mut change = rawdoc! { "$inc": { "departures": 1_i64, "closings": closings } };
        if let Some(at) = self.banned {
            change.append(mongodb::bson::cstr!("$set"), rawdoc! { "restricted": true });
            let ban = rawdoc! {
                "q": RawDocumentBuf::try_from(&find::ban(self.room, &Fold::from(self.user)))?,
                "u": { "$setOnInsert": { "username": self.user.as_str(), "banned_at": at.as_micros() } },
                "upsert": true,
            };
            writer.write(step::update("bans", ban)).await?;
        }
        // In this order a crash in between costs the committer a look at the head, no more.
        let room = rawdoc! { "q": { "_id": documents::room_id(self.room) }, "u": change };
        writer.write(step::update("counters", room)).await?;
        writer.write(step::delete_all("members", find::member(self.room, self.user))?).await?;
        if self.closes {
            tell(writer, self.room).await?;
        }
        Ok(true)
    }
}

/// Tells every process, together with the change, that a room may be closed to who follows it.
async fn tell(writer: &mut Writer<'_>, room: &RoomName) -> mongodb::error::Result<()> {
    if writer.is_in_transaction() {
        let signal = documents::new_signal(&Signal::RoomClosed(room.clone()));
        writer.write(step::insert("signals", RawDocumentBuf::try_from(&signal)?)).await?;
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
        let found = self.find(state(find::room(room)), documents::access).await?.pop();
        let Some(everyone) = found else { return Ok(None) };
        let (mut members, mut banned) = (HashSet::new(), HashSet::new());
        if everyone.restricted && !users.is_empty() {
            let names: Vec<_> = users.iter().map(Fold::from).collect();
            let bans = self.find(state(find::bans_of(room, &names)), documents::banned);
            let among = async {
                match everyone.privacy {
                    Privacy::Private => {
                        self.find(state(find::members_among(room, users)), documents::member).await
                    }
                    Privacy::Public => Ok(Vec::new()),
                }
            };
            let (found, among) = futures_util::future::try_join(bans, among).await?;
            banned.extend(found.iter().map(Fold::from));
            members.extend(among);
        }
        let of = |user: &Username| Access {
            member: members.contains(user),
            banned: banned.contains(&Fold::from(user)),
            ..everyone.clone()
        };
        let all = users.iter().map(of).collect();
        Ok(Some((everyone, all)))
    }

    /// How a room stands to one user.
    async fn stands_to_one(&self, room: &RoomName, user: &Username) -> Result<Option<Access>> {
        let stands = self.stands_to(room, std::slice::from_ref(user), NEWEST).await?;
        Ok(stands.and_then(|(_, mut each)| each.pop()))
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
        let privacy = match self.stands_to_one(room, user).await? {
            None => return Ok(Joined::NoSuchRoom),
            // Not written again: a removal at the same time would be undone.
            Some(access) if access.member && !access.banned => return Ok(Joined::Member),
            Some(Access { privacy: Privacy::Private, .. }) if !invited => return Ok(Joined::NoSuchRoom),
            Some(access) if access.banned => return Ok(Joined::Banned),
            Some(access) => access.privacy,
        };
        let joined = doc! { "$setOnInsert": documents::new_member(privacy, now) };
        let members = self.collection("members");
        members.update_one(find::member(room, user), joined).upsert(true).await.map_err(error)?;
        // A ban at the same time either finds the member or is found here.
        if self.stands_to_one(room, user).await?.is_some_and(|access| access.banned) {
            self.drop_member(room, user).await?;
            return Ok(Joined::Banned);
        }
        Ok(Joined::Member)
    }

    async fn drop_member(&self, room: &RoomName, user: &Username) -> Result<()> {
        self.collection("members").delete_one(find::member(room, user)).await.map(drop).map_err(error)
    }

    pub(super) async fn leave(&self, room: &RoomName, user: &Username) -> Result<bool> {
        // Who is no member holds up nobody.
        let membership = find::members_among(room, std::slice::from_ref(user));
        if !self.find(membership, |_| Ok(())).await?.is_empty() {
            let access = self.stands_to(room, &[], NEWEST).await?;
            let closes = access.is_some_and(|(access, _)| access.privacy == Privacy::Private);
            self.change(&Departure { room, user, banned: None, closes }).await?;
        }
        self.room_exists(room).await
    }
}

#[async_trait]
impl Moderation for Mongo {
    async fn create_room_for(
        &self,
        room: RoomName,
        owner: Username,
        privacy: Privacy,
        now: Timestamp,
    ) -> Result<bool> {
        let step = NewRoom { room, owner, privacy, now };
        self.run(|this| async move { this.change(&step).await }).await
    }

    async fn private_rooms(&self, user: Username, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.run(
            |this| async move { this.find(find::private_rooms(&user, &page), documents::room_name).await },
        )
        .await
    }

    async fn access(&self, room: RoomName, user: Option<Username>) -> Result<Option<Access>> {
        self.run(|this| async move {
            let stands = this.stands_to(&room, user.as_slice(), MAJORITY).await?;
            Ok(stands.map(|(everyone, mut each)| each.pop().unwrap_or(everyone)))
        })
        .await
    }

    async fn admissions(&self, room: RoomName, users: Vec<Username>) -> Result<Vec<Option<Access>>> {
        self.run(|this| async move {
            let stands = this.stands_to(&room, &users, NEWEST).await?;
            Ok(match stands {
                None => vec![None; users.len()],
                Some((_, each)) => each.into_iter().map(Some).collect(),
            })
        })
        .await
    }

    async fn ban(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.run(|this| async move {
            let step = Departure { room: &room, user: &user, banned: Some(now), closes: true };
            this.change(&step).await?;
            // Who joined while that was being stored.
            this.drop_member(&room, &user).await
        })
        .await
    }

    async fn unban(&self, room: RoomName, user: Username) -> Result<bool> {
        self.run(|this| async move {
            let lifted = this.collection("bans").delete_one(find::ban(&room, &Fold::from(&user))).await;
            Ok(lifted.map_err(error)?.deleted_count > 0)
        })
        .await
    }

    async fn bans(&self, room: RoomName, page: Page<Username>) -> Result<Vec<Username>> {
        self.run(|this| async move { this.find(find::bans(&room, &page), documents::banned).await }).await
    }

    async fn delete_message(&self, room: RoomName, seq: Seq) -> Result<Option<Deletion>> {
        self.run(|this| async move {
            if let Mode::Guarded(guarded) = &this.mode {
                return guarded.delete(&this, &room, seq).await;
            }
            let Some(erasure) = Erasure::find(&this, &room, seq).await? else { return Ok(None) };
            let erased = this.change(&erasure).await?;
            Ok(erased.then_some(Deletion { sender: erasure.sender }))
        })
        .await
    }
}
