//! What a crash has left half done, and deletions, which are done so that it can be completed.

use std::collections::BTreeMap;

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::{Effect, Effects, Guarded, begun, count_members, older};
use crate::backend::mongo::buckets::Bucket;
use crate::backend::mongo::deletion::{self, Erasure};
use crate::backend::mongo::{Inner, documents, error, find, step};
use crate::backend::{Deletion, Head};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Seq, Username};

impl Guarded {
    /// Brings counters, members and heads in line with the messages of the last plan that arrived;
    /// returns the number of that plan. Changes nothing if they are.
    pub(super) async fn repair(&self, mongo: &Inner) -> Result<i64> {
        let state = mongo.collection("state");
        let Some(plan) = state.find_one(doc! { "_id": "batch" }).await.map_err(error)? else {
            return Ok(0);
        };
        let broken = |e: &dyn std::fmt::Display| Error::Corrupt(format!("the plan of the last batch: {e}"));
        let number = plan.get_i64("number").map_err(|e| broken(&e))?;
        let id = plan.get_object_id("id").map_err(|e| broken(&e))?;
        let mut arrived = Vec::new();
        for room in
            plan.get_array("rooms").map_err(|e| broken(&e))?.iter().filter_map(|room| room.as_document())
        {
            let name: RoomName = room.get_str("room").map_err(|e| broken(&e))?.parse()?;
            let place =
                |key| room.get_i64(key).ok().and_then(Seq::new).ok_or_else(|| broken(&"a place is missing"));
            let (after, last) = (place("after")?, place("last")?);
            let room = arrived_messages(mongo, &name, after, last, id).await?;
            let end = room.span.map_or(after, |(_, head)| head.seq);
            self.remove(mongo, &name, end, last, id).await?;
            arrived.push((room, name));
        }
        let mut counts: BTreeMap<Username, i64> = BTreeMap::new();
        let mut rooms = Vec::new();
        for (room, name) in &arrived {
            for (sender, n) in &room.senders {
                *counts.entry(sender.clone()).or_insert(0) += n;
            }
            if let Some((created_at, head)) = room.span {
                rooms.push(Effect { room: name, head, members: &room.members, created_at });
            }
        }
        // The heads go last: where they are, everything is, and members may have left since.
        let names: Vec<_> = rooms.iter().map(|effect| effect.room.clone()).collect();
        let applied =
            mongo.find(find::heads(&names), |d| Ok(d.get_i64("batch").unwrap_or(0) >= number)).await?;
        if applied.len() == names.len() && applied.into_iter().all(|applied| applied) {
            return Ok(number);
        }
        let effects = Effects { number, repeats: true, counts: counts.into_iter().collect(), rooms };
        self.apply(mongo, effects).await?;
        Ok(number)
    }

    /// Deletes a message. The plan of it says after a crash what to complete; the sender's counter
    /// carries the number, as it does for a batch, so that a repeat changes nothing.
    ///
    /// To be called by whom batches come from, between two of them: it settles the last one.
    pub(in crate::backend::mongo) async fn delete(
        &self,
        mongo: &Inner,
        room: &RoomName,
        seq: Seq,
    ) -> Result<Option<Deletion>> {
        let mut progress = self.progress.lock().await;
        self.settle_locked(mongo, &mut progress).await?;
        let Some(erasure) = Erasure::find(mongo, room, seq).await? else { return Ok(None) };
        progress.number += 1;
        progress.deleting = true;
        let deleted = async {
            self.step(mongo, erasure.plan(progress.number)).await?;
            self.erase(mongo, &erasure, progress.number).await
        };
        deleted.await.map_err(begun)?;
        progress.deleting = false;
        Ok(Some(Deletion { sender: erasure.sender }))
    }

    async fn erase(&self, mongo: &Inner, erasure: &Erasure, number: i64) -> Result<()> {
        self.step(mongo, erasure.blank().map_err(error)?).await?;
        let counter = rawdoc! {
            "q": older(documents::user_id(&erasure.sender).into(), number),
            "u": { "$inc": deletion::uncount(), "$set": { "batch": number } },
            "upsert": true,
        };
        self.step(mongo, step::update("counters", counter)).await?;
        Ok(())
    }

    /// Counts the members of the room whose members were changed last.
    pub(super) async fn recount_members(&self, mongo: &Inner) -> Result<()> {
        let state: Collection<RawDocumentBuf> = mongo.database.collection("state");
        let Some(plan) = state.find_one(doc! { "_id": "members" }).await.map_err(error)? else {
            return Ok(());
        };
        let room: RoomName = documents::text(&plan, "room")?;
        let members = count_members(mongo, &room).await?;
        let counted = rawdoc! {
            "q": { "_id": documents::room_id(&room) },
            "u": { "$set": { "members": members } },
        };
        self.step(mongo, step::update("counters", counted)).await?;
        Ok(())
    }

    /// Does again what the last deletion may not have done; returns its number.
    pub(super) async fn repeat_deletion(&self, mongo: &Inner) -> Result<i64> {
        let state: Collection<RawDocumentBuf> = mongo.database.collection("state");
        let Some(plan) = state.find_one(deletion::last_plan()).await.map_err(error)? else { return Ok(0) };
        let (erasure, number) = Erasure::read(&plan)?;
        self.erase(mongo, &erasure, number).await?;
        Ok(number)
    }
}

/// Notes that the members of a room are about to change, so that they are counted after a crash.
pub(super) fn members_plan(room: &RoomName) -> RawDocumentBuf {
    let plan = rawdoc! { "room": room.as_str() };
    step::update("state", rawdoc! { "q": { "_id": "members" }, "u": { "$set": plan }, "upsert": true })
}

/// Forgets the last such note: the change is done.
pub(super) async fn forget_members_plan(mongo: &Inner) -> Result<()> {
    mongo.collection("state").delete_one(doc! { "_id": "members" }).await.map(drop).map_err(error)
}

/// What is there of a batch's part of a room.
#[derive(Default)]
struct Arrived {
    /// The time of the first message and the place of the last.
    span: Option<(Timestamp, Head)>,
    senders: BTreeMap<Username, i64>,
    members: Vec<Username>,
}

/// Reads the messages between `after` and `last` that belong to the batch `id`, up to the first
/// bucket that is missing.
async fn arrived_messages(
    mongo: &Inner,
    room: &RoomName,
    after: Seq,
    last: Seq,
    id: ObjectId,
) -> Result<Arrived> {
    let most = u32::try_from(last.get() - after.get()).unwrap_or(u32::MAX);
    let query = find::batch_buckets(room, after, last, most);
    let mut expected = after.next();
    let stored = mongo.find(query, |d| {
        let bucket = Bucket::new(room, d)?;
        let follows = bucket.first == expected && bucket.batch() == Some(id);
        expected = if follows { bucket.last.next() } else { Seq::ZERO };
        if follows { Ok((bucket.all()?, bucket.head()?)) } else { Ok((Vec::new(), Head::EMPTY)) }
    });
    let mut arrived = Arrived::default();
    for (messages, head) in stored.await?.into_iter().take_while(|(messages, _)| !messages.is_empty()) {
        let first = messages.first().map_or(head.timestamp, |message| message.timestamp);
        arrived.span = Some((arrived.span.map_or(first, |(first, _)| first), head));
        for content in messages.into_iter().filter_map(|message| message.content) {
            *arrived.senders.entry(content.sender).or_insert(0) += 1;
        }
    }
    arrived.members = arrived.senders.keys().cloned().collect();
    Ok(arrived)
}
