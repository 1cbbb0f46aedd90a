//! Deleting a message: its place in the bucket is blanked, and its sender's counter goes down.
//!
//! What was stored under a nonce is found by it still, so `nonces` stays as it is.

use async_trait::async_trait;
use mongodb::bson::raw::CString;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};

use super::buckets::Bucket;
use super::documents::{corrupt, seq, text, user_id};
use super::step::{self, Step, Writer};
use super::{Inner, find};
use crate::error::Result;
use crate::types::{Range, RoomName, Seq, Username};

/// A message that is to be deleted: where it is, and whose.
pub(super) struct Erasure {
    room: RoomName,
    /// The first place of its bucket, and its position there.
    first: Seq,
    at: i64,
    pub(super) sender: Username,
}

impl Erasure {
    /// Finds a message that is not deleted.
    pub(super) async fn find(mongo: &Inner, room: &RoomName, place: Seq) -> Result<Option<Self>> {
        let Some(before) = Seq::new(place.get() - 1) else { return Ok(None) };
        let read = |document: &RawDocument| {
            let bucket = Bucket::new(room, document)?;
            let message = bucket.in_range(Range::After(before), 1)?.pop();
            let content = message.filter(|message| message.seq == place).and_then(|message| message.content);
            let at = place.get() - bucket.first.get();
            let erasure = |sender| Self { room: room.clone(), first: bucket.first, at, sender };
            Ok(content.map(|content| erasure(content.sender)))
        };
        Ok(mongo.find(find::messages(room, Range::After(before), 1, None), read).await?.pop().flatten())
    }

    /// Blanks the message, unless it is.
    pub(super) fn blank(&self) -> mongodb::error::Result<RawDocumentBuf> {
        let field = |name| CString::try_from(format!("messages.{}.{name}", self.at));
        let mut found = rawdoc! {
            "_id": { "room": self.room.as_str(), "seq": self.first.get() },
            "_id.room": self.room.as_str(),
        };
        found.append(field("text")?, rawdoc! { "$ne": "" });
        let mut blank = RawDocumentBuf::new();
        blank.append(field("sender")?, "");
        blank.append(field("text")?, "");
        blank.append(field("verified")?, false);
        Ok(step::update("messages", rawdoc! { "q": found, "u": { "$set": blank } }))
    }

    /// The plan of a deletion on a standalone mongod.
    pub(super) fn plan(&self, number: i64) -> RawDocumentBuf {
        let plan = rawdoc! {
            "number": number,
            "room": self.room.as_str(),
            "first": self.first.get(),
            "at": self.at,
            "sender": self.sender.as_str(),
        };
        step::update("state", rawdoc! { "q": { "_id": "deletion" }, "u": { "$set": plan }, "upsert": true })
    }

    pub(super) fn read(plan: &RawDocument) -> Result<(Self, i64)> {
        let erasure = Self {
            room: text(plan, "room")?,
            first: seq(plan, "first")?,
            at: plan.get_i64("at").map_err(corrupt)?,
            sender: text(plan, "sender")?,
        };
        Ok((erasure, plan.get_i64("number").map_err(corrupt)?))
    }
}

/// Takes a message from its sender's counter. `deletions` tells a reader who adds tallies up that the
/// counter went down meanwhile.
pub(super) fn uncount() -> RawDocumentBuf {
    rawdoc! { "message_count": -1_i64, "deletions": 1_i64 }
}

#[async_trait]
impl Step for Erasure {
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool> {
        if writer.write(self.blank()?).await?.n == 0 {
            return Ok(false);
        }
        let counter =
            rawdoc! { "q": { "_id": user_id(&self.sender) }, "u": { "$inc": uncount() }, "upsert": true };
        match writer.write(step::update("counters", counter)).await?.duplicate {
            None => Ok(true),
            // Another process made it just now.
            Some(_) => Err(super::replica_set::again()),
        }
    }
}

/// The place of a message that a change of its bucket blanked.
pub(super) fn blanked(key: &RawDocument, updated: &Document) -> Result<Vec<Seq>> {
    let first = seq(key.get_document("_id").map_err(corrupt)?, "seq")?;
    let positions = updated.iter().filter_map(|(field, value)| {
        let at = field.strip_prefix("messages.")?.strip_suffix(".text")?;
        value.as_str().filter(|text| text.is_empty())?;
        at.parse::<i64>().ok()
    });
    Ok(positions.filter_map(|at| Seq::new(first.get().saturating_add(at))).collect())
}

/// The plan of the last deletion.
pub(super) fn last_plan() -> Document {
    doc! { "_id": "deletion" }
}
