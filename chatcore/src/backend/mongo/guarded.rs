//! A batch on a standalone mongod, which has no transactions.
//!
//! A batch is stored in this order:
//!
//! 1. the plan: its number, and which places in which rooms it takes;
//! 2. the messages, in order;
//! 3. members, then counters;
//! 4. the heads, journaled.
//!
//! The server's journal is one sequence, so a crash keeps a beginning of this list: whatever is
//! there, the plan is; and if a counter has grown, all messages are there. Counters and heads carry
//! the number of the batch that changed them last and are only changed by a higher one, so each
//! step may be repeated. After a crash the plan says where to look: the messages that arrived, up
//! to the first that did not, are counted and the rest of the plan is dropped.
//!
//! Nothing above the old heads is shown before step 4 is done. That is why one process at a time
//! holds the database: it alone knows.

mod repair;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::{Collection, Database};

use super::access::is_of_nonces;
use super::buckets;
use super::lease::Lease;
use super::names::OpenNames;
use super::step::{Step, Writer};
use super::{Inner, documents, error, find};
use crate::backend::{Append, Batch, BatchId, Head};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Seq, Username};

pub(super) struct Guarded {
    lease: Lease,
    /// Held while a batch is being stored, or a deletion, or another change.
    progress: tokio::sync::Mutex<Progress>,
    /// The durable heads of the rooms that a batch is being stored in.
    heads: Mutex<HashMap<RoomName, Head>>,
    /// How often messages that had arrived were taken back.
    withdrawals: AtomicU64,
}

#[derive(Default)]
struct Progress {
    /// The number of the last batch that was begun.
    number: i64,
    /// The last batch, and whether its last step is known to be done.
    last: Option<(BatchId, bool)>,
    /// The last batch that was settled. A repeat of it is not a batch of its own: some of it may be
    /// stored.
    settled: Option<BatchId>,
    /// Whether a deletion was begun and is not known to be done.
    deleting: bool,
    /// Names that are not claimed. Claims are made by this process alone.
    open: OpenNames,
}

/// What steps 3 and 4 need to know of a batch.
struct Effects<'a> {
    number: i64,
    counts: Cow<'a, [(Username, i64)]>,
    rooms: Vec<Effect<'a>>,
}

struct Effect<'a> {
    room: &'a RoomName,
    head: Head,
    members: &'a [Username],
    created_at: Timestamp,
}

impl Guarded {
    /// Takes the lease. What another process left half done has to be [settled](Self::settle).
    pub(super) async fn open(database: &Database) -> Result<Self> {
        let lease = Lease::acquire(database).await?;
        let state: Collection<Document> = database.collection("state");
        let plan = state.find_one(doc! { "_id": "batch" }).await.map_err(error)?;
        let number = plan.as_ref().and_then(|plan| plan.get_i64("number").ok()).unwrap_or(0);
        // Not known to be done.
        let last = plan.map(|_| (BatchId([0; 12]), false));
        let progress = Progress { number, last, settled: None, deleting: true, open: OpenNames::default() };
        let progress = tokio::sync::Mutex::new(progress);
        Ok(Self { lease, progress, heads: Mutex::default(), withdrawals: AtomicU64::new(0) })
    }

    /// Fails if another process has the store.
    pub(super) fn may_read(&self) -> Result<()> {
        self.lease.may_read()
    }

    pub(super) fn may_write(&self) -> Result<()> {
        self.lease.may_write()
    }

    pub(super) async fn close(&self) {
        // Not while a batch is being stored.
        let _progress = self.progress.lock().await;
        self.lease.release().await;
    }

    /// The head up to which a room may be shown, if a batch is being stored in it.
    pub(super) fn committed_head(&self, room: &RoomName) -> Result<Option<Head>> {
        self.lease.may_read()?;
        Ok(self.heads.lock().unwrap_or_else(PoisonError::into_inner).get(room).copied())
    }

    pub(super) fn withdrawals(&self) -> u64 {
        self.withdrawals.load(Ordering::Acquire)
    }

    pub(super) async fn holds(&self, batch: &Batch) -> bool {
        self.progress.lock().await.last == Some((batch.id, true))
    }

    /// Completes or cuts off a batch that was begun and not finished, and completes a deletion.
    pub(super) async fn settle(&self, mongo: &Inner) -> Result<()> {
        let mut progress = self.progress.lock().await;
        self.settle_locked(mongo, &mut progress).await
    }

    async fn settle_locked(&self, mongo: &Inner, progress: &mut Progress) -> Result<()> {
        if let Some((id, false)) = progress.last {
            self.may_write()?;
            progress.number = self.repair(mongo).await?.max(progress.number);
            progress.last = None;
            progress.settled = Some(id);
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        if progress.deleting {
            self.may_write()?;
            progress.number = self.repeat_deletion(mongo).await?.max(progress.number);
            progress.deleting = false;
        }
        Ok(())
    }

    /// Makes a change while no batch is being stored, so that none counts on what was before.
    pub(super) async fn change(&self, mongo: &Inner, step: &dyn Step) -> Result<bool> {
        let mut progress = self.progress.lock().await;
        // Nor one that was begun and would be completed after this.
        self.settle_locked(mongo, &mut progress).await?;
        self.may_write()?;
        if let Some(name) = step.claims() {
            // Before, because an error leaves open whether it was done.
            progress.open.forget(&name);
        }
        step.make(&mut Writer::new(mongo, None)).await.map_err(error)
    }

    pub(super) async fn append(&self, mongo: &Inner, batch: &Batch) -> Result<Append> {
        let mut progress = self.progress.lock().await;
        let repeat = match progress.last {
            Some((id, true)) if id == batch.id => return Ok(Append::Committed),
            Some((id, false)) if id == batch.id => true,
            _ if progress.settled == Some(batch.id) => {
                return Err(Error::Unavailable("it was settled, whole or in part".into()));
            }
            _ => false,
        };
        if !repeat {
            self.settle_locked(mongo, &mut progress).await?;
            if head_moved(mongo, batch).await? {
                return Ok(Append::HeadMoved);
            }
            if progress.open.is_any_claimed(mongo, &batch.guests).await? {
                return Ok(Append::NameClaimed);
            }
            self.may_write()?;
            progress.number += 1;
            progress.last = Some((batch.id, false));
            let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.extend(
                batch.rooms.iter().map(|room| (room.room.clone(), room.after.unwrap_or(Head::EMPTY))),
            );
        }
        let stored = self.store(mongo, batch, progress.number, repeat).await.map_err(begun)?;
        progress.last = (stored == Append::Committed).then_some((batch.id, true));
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(stored)
    }

    async fn store(&self, mongo: &Inner, batch: &Batch, number: i64, repeat: bool) -> Result<Append> {
        self.step(mongo, plan(batch, number)).await?;
        // A repeat finds buckets of the first attempt and goes on behind them.
        let messages = rawdoc! {
            "insert": "messages",
            "documents": buckets::new_buckets(batch),
            "ordered": !repeat,
        };
        if let Some(index) = self.step(mongo, messages).await?.filter(|index| !repeat || is_of_nonces(index))
        {
            self.withdraw(mongo, batch).await?;
            return Ok(if is_of_nonces(&index) { Append::NonceTaken } else { Append::HeadMoved });
        }
        let effects = Effects {
            number,
            counts: Cow::Borrowed(&batch.counts),
            rooms: batch
                .rooms
                .iter()
                .map(|room| Effect {
                    room: &room.room,
                    head: room.head(),
                    members: &room.members,
                    created_at: room.created_at(),
                })
                .collect(),
        };
        self.apply(mongo, effects).await?;
        Ok(Append::Committed)
    }

    /// Removes the messages of a batch that was refused halfway. Nobody has seen them.
    async fn withdraw(&self, mongo: &Inner, batch: &Batch) -> Result<()> {
        let id = documents::batch_id(batch.id);
        for room in &batch.rooms {
            let after = room.after.unwrap_or(Head::EMPTY).seq;
            self.remove(mongo, &room.room, after, room.head().seq, id).await?;
        }
        Ok(())
    }

    async fn remove(
        &self,
        mongo: &Inner,
        room: &RoomName,
        after: Seq,
        last: Seq,
        id: ObjectId,
    ) -> Result<()> {
        self.may_write()?;
        let mut filter = find::places(room, after, last);
        filter.insert("batch", id);
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        mongo.collection("messages").delete_many(filter).await.map_err(error)?;
        Ok(())
    }

    /// Steps 3 and 4.
    async fn apply(&self, mongo: &Inner, effects: Effects<'_>) -> Result<()> {
        let Effects { number, counts, rooms } = effects;
        if rooms.is_empty() {
            return Ok(());
        }
        let members = documents::new_members(rooms.iter().map(|r| (r.room, r.members, r.created_at)));
        if !members.is_empty() {
            self.step(mongo, rawdoc! { "update": "members", "updates": members, "ordered": false }).await?;
        }
        let older = |id| older(id, number);
        let grow = |n| rawdoc! { "$inc": { "message_count": n }, "$set": { "batch": number } };
        let mut updates = RawArrayBuf::new();
        mongo.counters.add_statements(&mut updates, &counts, older, grow);
        for Effect { room, head, created_at, .. } in rooms {
            let mut set = documents::new_head(head);
            set.append(cstr!("batch"), number);
            updates.push(rawdoc! {
                "q": older(documents::room_id(room).into()),
                "u": { "$set": set, "$setOnInsert": documents::first_head(created_at) },
                "upsert": true,
            });
        }
        let last = rawdoc! {
            "update": "counters",
            "updates": updates,
            // One after the other all the same; it is a duplicate that does not end the command.
            "ordered": false,
            // Journals everything before it too.
            "writeConcern": { "w": 1, "j": true },
        };
        self.step(mongo, last).await?;
        // Not before they are journaled: a crash could take them back.
        mongo.counters.remember(&counts);
        Ok(())
    }

    /// One command; returns the index that found a document there already.
    async fn step(&self, mongo: &Inner, command: RawDocumentBuf) -> Result<Option<Document>> {
        self.may_write()?;
        Ok(mongo.write(command, None).await.map_err(error)?.duplicate)
    }
}

/// Matches no document that the batch or deletion of this number, or a later one, has changed. An
/// upsert then meets that document and is refused as a duplicate, which is what a repeat should be.
fn older(id: RawBson, number: i64) -> RawDocumentBuf {
    rawdoc! { "_id": id, "batch": { "$not": { "$gte": number } } }
}

/// What was begun may still be completed, so nobody can be told that nothing was stored.
fn begun(e: Error) -> Error {
    match e {
        Error::Full => Error::Unavailable("it is full".into()),
        other => other,
    }
}

/// Step 1.
fn plan(batch: &Batch, number: i64) -> RawDocumentBuf {
    let rooms: RawArrayBuf = batch
        .rooms
        .iter()
        .map(|room| {
            let after = room.after.unwrap_or(Head::EMPTY).seq.get();
            rawdoc! { "room": room.room.as_str(), "after": after, "last": room.head().seq.get() }
        })
        .collect();
    let update = rawdoc! {
        "q": { "_id": "batch" },
        "u": { "$set": { "number": number, "id": documents::batch_id(batch.id), "rooms": rooms } },
        "upsert": true,
    };
    let mut updates = RawArrayBuf::new();
    updates.push(update);
    rawdoc! { "update": "state", "updates": updates }
}

/// Whether a room has another head than the batch expects. Nobody else writes, so what is true now
/// stays true.
async fn head_moved(mongo: &Inner, batch: &Batch) -> Result<bool> {
    let rooms: Vec<_> = batch.rooms.iter().map(|room| room.room.clone()).collect();
    let stored: HashMap<_, _> = mongo.find(find::heads(&rooms), documents::head).await?.into_iter().collect();
    Ok(batch.rooms.iter().any(|room| stored.get(room.room.as_str()).copied() != room.after))
}
