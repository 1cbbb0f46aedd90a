//! Repair of what a crash has left half done.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocument, RawDocumentBuf, doc, rawdoc};

use super::{Effect, Effects, Standalone, count_members};
use crate::backend::mongo::buckets::Bucket;
use crate::backend::mongo::documents::{HeadMove, change_seq, corrupt, is_there, seq, text};
use crate::backend::mongo::{Inner, changes, documents, error, find, step};
use crate::error::{Error, Result};
use crate::model::{CountChange, Head};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, RoomName, Seq, Username};

/// Plan of the last batch, as it was stored.
struct Plan {
    number: i64,
    id: ObjectId,
    rooms: Vec<Part>,
    /// Tells that all messages are there and the changes may have been begun.
    is_complete: bool,
    counts: Vec<CountChange>,
    changes: Vec<RawDocumentBuf>,
    /// Number of documents that hold the rest of the changes.
    more_changes: i64,
}

/// A plan's part of a room.
struct Part {
    room: RoomName,
    after: Seq,
    last: Seq,
    change: Option<ChangeSeq>,
}

impl Plan {
    fn read(plan: &RawDocument) -> Result<Self> {
        Ok(Self {
            number: plan.get_i64("number").map_err(corrupt)?,
            id: plan.get_object_id("id").map_err(corrupt)?,
            rooms: documents_of(plan, "rooms")?
                .into_iter()
                .map(Part::read)
                .collect::<Result<_>>()?,
            is_complete: plan.get_bool("is_complete").map_err(corrupt)?,
            counts: documents_of(plan, "counts")?
                .into_iter()
                .map(count)
                .collect::<Result<_>>()?,
            changes: commands(plan)?,
            more_changes: plan.get_i64("more_changes").map_err(corrupt)?,
        })
    }
}

impl Part {
    fn read(part: &RawDocument) -> Result<Self> {
        Ok(Self {
            room: text(part, "room")?,
            after: seq(part, "after")?,
            last: seq(part, "last")?,
            change: is_there(part, "change")
                .then(|| change_seq(part, "change"))
                .transpose()?,
        })
    }
}

fn documents_of<'a>(document: &'a RawDocument, key: &str) -> Result<Vec<&'a RawDocument>> {
    let read = |value: mongodb::bson::RawBsonRef<'a>| {
        value
            .as_document()
            .ok_or_else(|| corrupt(format!("no document in {key}")))
    };
    let list = document.get_array(key).map_err(corrupt)?;
    list.into_iter()
        .map(|value| read(value.map_err(corrupt)?))
        .collect()
}

fn count(document: &RawDocument) -> Result<CountChange> {
    Ok(CountChange {
        user: text(document, "user")?,
        added: document.get_i64("added").map_err(corrupt)?,
        removed: document.get_i64("removed").map_err(corrupt)?,
    })
}

fn commands(plan: &RawDocument) -> Result<Vec<RawDocumentBuf>> {
    let read = |value: mongodb::bson::RawBsonRef<'_>| {
        let binary = value
            .as_binary()
            .ok_or_else(|| corrupt("a command is no binary"))?;
        RawDocumentBuf::from_bytes(binary.bytes.to_vec()).map_err(corrupt)
    };
    let list = plan.get_array("changes").map_err(corrupt)?;
    list.into_iter()
        .map(|value| read(value.map_err(corrupt)?))
        .collect()
}

impl Standalone {
    /// Brings changes, counters, members and heads in line with the last plan, as far as it
    /// arrived; returns the number of that plan. Changes nothing if they are.
    pub(super) async fn repair(&self, mongo: &Inner) -> Result<i64> {
        let state: Collection<RawDocumentBuf> = mongo.database.collection("state");
        let Some(plan) = state
            .find_one(doc! { "_id": "batch" })
            .await
            .map_err(error)?
        else {
            return Ok(0);
        };
        let broken = |e: Error| Error::Corrupt(format!("the plan of the last batch: {e}"));
        let Plan {
            number,
            id,
            rooms: parts,
            is_complete,
            counts,
            changes,
            more_changes,
        } = Plan::read(&plan).map_err(broken)?;
        let has_changes = is_complete && !changes.is_empty();

        let mut arrived = Vec::new();
        for part in &parts {
            let messages = arrived_messages(mongo, part, id).await?;
            let end = messages.span.map_or(part.after, |(_, head)| head.seq);
            if end < part.last {
                self.remove(mongo, &part.room, end, part.last, id).await?;
            }
            arrived.push(messages);
        }

        let mut posted: BTreeMap<Username, i64> = BTreeMap::new();
        let mut rooms = Vec::new();
        for (part, arrived) in parts.iter().zip(&arrived) {
            for (sender, n) in &arrived.senders {
                *posted.entry(sender.clone()).or_insert(0) += n;
            }
            let head = HeadMove {
                last: arrived.span.map(|(_, head)| (head.seq, head.timestamp)),
                change: part.change.filter(|_| has_changes),
            };
            if head.last.is_some() || head.change.is_some() {
                let created_at = arrived
                    .span
                    .map_or(Timestamp::EPOCH, |(created_at, _)| created_at);
                rooms.push(Effect {
                    room: &part.room,
                    head,
                    members: &arrived.members,
                    created_at,
                });
            }
        }
        // The heads go last: where they are, everything is, and members may have left since.
        let names: Vec<_> = rooms.iter().map(|effect| effect.room.clone()).collect();
        let applied = mongo
            .find(find::heads(&names), |d| {
                Ok(d.get_i64("batch").unwrap_or(0) >= number)
            })
            .await?;
        if applied.len() == names.len() && applied.into_iter().all(|applied| applied) {
            return Ok(number);
        }

        let posted = || {
            posted.into_iter().map(|(user, added)| CountChange {
                user,
                added,
                removed: 0,
            })
        };
        let counts = if has_changes {
            counts
        } else {
            posted().collect()
        };
        if has_changes {
            for command in changes {
                self.step(mongo, command).await?;
            }
            for at in 1..=more_changes {
                let part = doc! { "_id": { "batch": at }, "number": number };
                let part = state.find_one(part).await.map_err(error)?;
                let part =
                    part.ok_or_else(|| corrupt("a part of the plan of the last batch is missing"))?;
                for command in commands(&part)? {
                    self.step(mongo, command).await?;
                }
            }
        }
        let messages = arrived.iter().flat_map(|arrived| &arrived.mentioning);
        let mentions = changes::new_mentions(messages.map(|message| {
            (
                &message.room,
                message.seq,
                message.timestamp,
                message.mentions(),
            )
        }));
        let effects = Effects {
            number,
            repeats: true,
            counts: Cow::Owned(counts),
            mentions,
            rooms,
        };
        self.apply(mongo, effects).await?;
        Ok(number)
    }

    /// Counts the members of the room whose members were changed last.
    pub(super) async fn recount_members(&self, mongo: &Inner) -> Result<()> {
        let state: Collection<RawDocumentBuf> = mongo.database.collection("state");
        let Some(plan) = state
            .find_one(doc! { "_id": "members" })
            .await
            .map_err(error)?
        else {
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
}

/// Notes that the members of a room are about to change, so that they are counted after a crash.
pub(super) fn members_plan(room: &RoomName) -> RawDocumentBuf {
    let plan = rawdoc! { "room": room.as_str() };
    step::update(
        "state",
        rawdoc! { "q": { "_id": "members" }, "u": { "$set": plan }, "upsert": true },
    )
}

/// Forgets the last such note: the change is done.
pub(super) async fn forget_members_plan(mongo: &Inner) -> Result<()> {
    mongo
        .collection("state")
        .delete_one(doc! { "_id": "members" })
        .await
        .map(drop)
        .map_err(error)
}

/// What is there of a batch's part of a room.
#[derive(Default)]
struct Arrived {
    /// The time of the first message and the place of the last.
    span: Option<(Timestamp, Head)>,
    senders: BTreeMap<Username, i64>,
    members: Vec<Username>,
    /// Messages that mention users.
    mentioning: Vec<Message>,
}

/// Reads the messages of a part that belong to the batch `id`, up to the first bucket that is
/// missing.
async fn arrived_messages(mongo: &Inner, part: &Part, id: ObjectId) -> Result<Arrived> {
    let Part {
        room, after, last, ..
    } = part;
    let mut arrived = Arrived::default();
    if last <= after {
        return Ok(arrived);
    }
    let most = u32::try_from(last.get() - after.get()).unwrap_or(u32::MAX);
    let query = find::batch_buckets(room, *after, *last, most);
    let mut expected = after.next();
    let stored = mongo.find(query, |d| {
        let bucket = Bucket::new(room, d)?;
        let follows = bucket.first == expected && bucket.batch() == Some(id);
        expected = if follows {
            bucket.last.next()
        } else {
            Seq::ZERO
        };
        if follows {
            Ok((bucket.all()?, bucket.head()?))
        } else {
            Ok((Vec::new(), Head::EMPTY))
        }
    });
    for (messages, head) in stored
        .await?
        .into_iter()
        .take_while(|(messages, _)| !messages.is_empty())
    {
        let first = messages
            .first()
            .map_or(head.timestamp, |message| message.timestamp);
        arrived.span = Some((arrived.span.map_or(first, |(first, _)| first), head));
        for message in messages {
            if let Some(sender) = message.sender() {
                *arrived.senders.entry(sender.clone()).or_insert(0) += 1;
            }
            if !message.mentions().is_empty() {
                arrived.mentioning.push(message);
            }
        }
    }
    arrived.members = arrived.senders.keys().cloned().collect();
    Ok(arrived)
}
