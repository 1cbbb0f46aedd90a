//! A batch on a standalone mongod, which has no transactions.
//!
//! A batch is stored in this order:
//!
//! 1. the plan: its number, which places in which rooms it takes, and the commands of its changes;
//! 2. the messages, in order;
//! 3. a mark in the plan that the batch is complete. A batch without messages has it from the
//!    start, and one without changes never needs it;
//! 4. the changes;
//! 5. mentions in the messages, members, then counters;
//! 6. the heads.
//!
//! Each step is journaled before the next begins, so a crash keeps a beginning of this list:
//! whatever is there, the plan is; and if a counter has grown, all messages are there. One
//! journaled step at the end would not do: if mongod restarts between two steps, the driver sends
//! the next one to the new process, which has lost the steps before it. Counters and heads carry
//! the number of the batch that changed them last and are only changed by a higher one, and the
//! commands of changes give the same result each time and in any order, so each step may be repeated. A plan is
//! written once: a repeat does not take the mark back.
//!
//! After a crash the plan says what to do. With the mark, nothing can refuse the batch any more:
//! its changes are made again, and all that follows. Without it, none of the changes was begun, and
//! they are dropped; the messages that arrived, up to the first that did not, are counted and the
//! rest of the plan is dropped. A batch that is refused, so that its messages are taken back, does
//! not have the mark.
//!
//! Nothing above the old heads is shown before step 6 is done. That is why one process at a time
//! holds the database: it alone knows. A change replaces the state that was shown before, so a
//! reader who meets one that is under way waits until the batch is stored.

mod repair;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, RawArrayBuf, RawBson, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::{Collection, Database};

use super::access::{Written, is_of_nonces};
use super::documents::HeadMove;
use super::lease::Lease;
use super::names::OpenNames;
use super::step::{self, Step, Writer};
use super::{Inner, buckets, changes, counters, documents, error, find};
use crate::error::{Error, Result};
use crate::model::{Append, Batch, BatchId, CountChange, Head, RoomBatch};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Seq, Username};

/// Counters of a batch that have a statement each, because that costs less than to find out which of
/// them are there.
const MAX_UNKNOWN: usize = 8;

pub(super) struct Standalone {
    lease: Lease,
    /// Held while a batch is being stored, or another change is made.
    progress: tokio::sync::Mutex<Progress>,
    /// The durable heads of the rooms that a batch is being stored in.
    heads: Mutex<HashMap<RoomName, Committed>>,
    /// Number of batches with changes that were begun. Grows under the lock of `heads`.
    revisions: AtomicU64,
    /// How often messages that had arrived were taken back.
    withdrawals: AtomicU64,
}

/// A room that a batch is being stored in.
#[derive(Clone, Copy)]
struct Committed {
    head: Head,
    /// Tells that the batch changes messages of the room.
    changes: bool,
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
    /// Tells that the number of members of a room may be wrong: a change of it was begun and is not
    /// known to be done.
    recounts: bool,
    /// Names that are not claimed. Claims are made by this process alone.
    open: OpenNames,
}

/// Effects of a batch, for steps 5 and 6.
struct Effects<'a> {
    number: i64,
    /// Tells that some of them may have been made before, so that members have to be counted.
    repeats: bool,
    counts: Cow<'a, [CountChange]>,
    mentions: Option<RawDocumentBuf>,
    rooms: Vec<Effect<'a>>,
}

struct Effect<'a> {
    room: &'a RoomName,
    head: HeadMove,
    members: &'a [Username],
    created_at: Timestamp,
}

impl<'a> From<&'a RoomBatch> for Effect<'a> {
    fn from(part: &'a RoomBatch) -> Self {
        let (room, members) = (&part.room, &part.members);
        Self {
            room,
            head: HeadMove::from(part),
            members,
            created_at: part.created_at(),
        }
    }
}

/// Change of the number of a room's members.
enum Members {
    /// So many joined.
    Joined(i64),
    /// There are so many.
    Counted(i64),
}

/// Counts the members of a room.
async fn count_members(mongo: &Inner, room: &RoomName) -> Result<i64> {
    let counted = mongo
        .collection("members")
        .count_documents(find::members_of(room))
        .await
        .map_err(error)?;
    Ok(i64::try_from(counted).unwrap_or(i64::MAX))
}

impl Standalone {
    /// Takes the lease. What another process left half done has to be [settled](Self::settle).
    pub(super) async fn open(database: &Database) -> Result<Self> {
        let lease = Lease::acquire(database).await?;
        let state: Collection<Document> = database.collection("state");
        let plan = state
            .find_one(doc! { "_id": "batch" })
            .await
            .map_err(error)?;
        let number = plan
            .as_ref()
            .and_then(|plan| plan.get_i64("number").ok())
            .unwrap_or(0);
        // Not known to be done.
        let last = plan.map(|_| (BatchId([0; 12]), false));
        let progress = Progress {
            number,
            last,
            settled: None,
            recounts: true,
            open: OpenNames::default(),
        };
        let progress = tokio::sync::Mutex::new(progress);
        Ok(Self {
            lease,
            progress,
            heads: Mutex::default(),
            revisions: AtomicU64::new(0),
            withdrawals: AtomicU64::new(0),
        })
    }

    /// Fails if another process has the store.
    pub(super) fn may_read(&self) -> Result<()> {
        self.lease.may_read()
    }

    pub(super) fn may_write(&self) -> Result<()> {
        self.lease.may_write()
    }

    pub(super) async fn close(&self, mongo: &Inner) {
        // Not while a batch is being stored.
        let progress = self.progress.lock().await;
        if !progress.recounts
            && let Err(error) = repair::forget_members_plan(mongo).await
        {
            tracing::debug!(%error, "the next start counts the members of a room again");
        }
        self.lease.release().await;
    }

    /// The head up to which a room may be shown, if a batch is being stored in it.
    pub(super) fn committed_head(&self, room: &RoomName) -> Result<Option<Head>> {
        self.lease.may_read()?;
        Ok(self.heads().get(room).map(|committed| committed.head))
    }

    fn heads(&self) -> MutexGuard<'_, HashMap<RoomName, Committed>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that grows with each batch that changes messages; `None` while messages of
    /// the room are being changed.
    pub(super) fn revision(&self, room: &RoomName) -> Option<u64> {
        let heads = self.heads();
        let is_changing = heads.get(room).is_some_and(|committed| committed.changes);
        (!is_changing).then(|| self.revisions.load(Ordering::Acquire))
    }

    pub(super) fn withdrawals(&self) -> u64 {
        self.withdrawals.load(Ordering::Acquire)
    }

    pub(super) async fn is_stored(&self, batch: &Batch) -> bool {
        self.progress.lock().await.last == Some((batch.id, true))
    }

    /// Completes or cuts off a batch that was begun and not finished.
    pub(super) async fn resolve(&self, mongo: &Inner) -> Result<()> {
        self.settled(mongo).await.map(drop)
    }

    /// The same, and no batch is stored until the guard is dropped.
    pub(super) async fn settled(&self, mongo: &Inner) -> Result<impl Send> {
        let mut progress = self.progress.lock().await;
        self.settle_locked(mongo, &mut progress).await?;
        Ok(progress)
    }

    async fn settle_locked(&self, mongo: &Inner, progress: &mut Progress) -> Result<()> {
        if let Some((id, false)) = progress.last {
            self.may_write()?;
            progress.number = self.repair(mongo).await?.max(progress.number);
            progress.last = None;
            progress.settled = Some(id);
            self.heads().clear();
        }
        if progress.recounts {
            self.may_write()?;
            self.recount_members(mongo).await?;
            progress.recounts = false;
        }
        Ok(())
    }

    /// Makes a change while no batch is being stored, so that none counts on what was before.
    pub(super) async fn change(&self, mongo: &Inner, step: &mut dyn Step) -> Result<bool> {
        let mut progress = self.progress.lock().await;
        // Nor one that was begun and would be completed after this.
        self.settle_locked(mongo, &mut progress).await?;
        self.may_write()?;
        if let Some(name) = step.claims() {
            // Before, because an error leaves open whether it was done.
            progress.open.forget(&name);
        }
        if let Some(room) = step.changes_members_of() {
            progress.recounts = true;
            self.step(mongo, repair::members_plan(room)).await?;
        }

        let made = step
            .make(&mut Writer::new(mongo, None))
            .await
            .map_err(error)?;
        progress.recounts = false;
        Ok(made)
    }

    pub(super) async fn append(&self, mongo: &Inner, batch: &Batch) -> Result<Append> {
        let mut progress = self.progress.lock().await;
        let repeat = match progress.last {
            Some((id, true)) if id == batch.id => return Ok(Append::Committed),
            Some((id, false)) if id == batch.id => true,
            _ if progress.settled == Some(batch.id) => {
                return Err(Error::Unavailable(
                    "it was settled, whole or in part".into(),
                ));
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
            self.begin(batch);
        }
        let stored = self
            .store(mongo, batch, progress.number, repeat)
            .await
            .map_err(begun)?;
        progress.last = (stored == Append::Committed).then_some((batch.id, true));
        self.heads().clear();
        Ok(stored)
    }

    /// Holds readers to what was committed before the batch.
    fn begin(&self, batch: &Batch) {
        let committed = |part: &RoomBatch| Committed {
            head: part.after.unwrap_or(Head::EMPTY),
            changes: !part.changes.is_empty(),
        };
        let mut heads = self.heads();
        heads.extend(
            batch
                .rooms
                .iter()
                .map(|part| (part.room.clone(), committed(part))),
        );
        if changes::has_changes(batch) {
            self.revisions.fetch_add(1, Ordering::AcqRel);
        }
    }

    async fn store(
        &self,
        mongo: &Inner,
        batch: &Batch,
        number: i64,
        repeat: bool,
    ) -> Result<Append> {
        let changes = changes::commands(batch).map_err(error)?;
        // A repeat meets the plan of the first attempt, and leaves it as it is.
        for command in plan(batch, number, &changes) {
            self.step(mongo, command).await?;
        }

        let new_buckets = buckets::new_buckets(batch);
        if !new_buckets.is_empty() {
            // A repeat finds buckets of the first attempt and goes on behind them.
            let messages =
                rawdoc! { "insert": "messages", "documents": new_buckets, "ordered": !repeat };
            let refused = self.step(mongo, messages).await?;
            if let Some(index) = refused.filter(|index| !repeat || is_of_nonces(index)) {
                self.withdraw(mongo, batch).await?;
                return Ok(if is_of_nonces(&index) {
                    Append::NonceTaken
                } else {
                    Append::HeadMoved
                });
            }
            if !changes.is_empty() {
                self.step(mongo, complete(number)).await?;
            }
        }
        self.make_changes(mongo, changes).await?;

        let effects = Effects {
            number,
            repeats: repeat,
            counts: Cow::Borrowed(&batch.counts),
            mentions: changes::mentions_of_posts(batch),
            rooms: batch.rooms.iter().map(Effect::from).collect(),
        };
        self.apply(mongo, effects).await?;
        Ok(Append::Committed)
    }

    /// Makes step 4. The commands wait for the journal together. Each is waited for, also when
    /// another has failed: one that came late could not be refused.
    async fn make_changes(&self, mongo: &Inner, commands: Vec<RawDocumentBuf>) -> Result<()> {
        let made = commands
            .into_iter()
            .map(|command| self.step(mongo, command));
        join_all(made)
            .await
            .into_iter()
            .try_for_each(|made| made.map(drop))
    }

    /// Removes the messages of a batch that was refused halfway. Nobody has seen them.
    async fn withdraw(&self, mongo: &Inner, batch: &Batch) -> Result<()> {
        let id = documents::batch_id(batch.id);
        for room in batch.rooms.iter().filter(|room| !room.messages.is_empty()) {
            let after = room.after.unwrap_or(Head::EMPTY).seq;
            self.remove(mongo, &room.room, after, room.head().seq, id)
                .await?;
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
        let mut filter = find::places(room, after, last);
        filter.insert("batch", id);
        let delete = step::delete_all("messages", filter).map_err(error)?;
        self.withdrawals.fetch_add(1, Ordering::AcqRel);
        self.step(mongo, delete).await?;
        Ok(())
    }

    /// Makes steps 5 and 6.
    async fn apply(&self, mongo: &Inner, effects: Effects<'_>) -> Result<()> {
        let Effects {
            number,
            repeats,
            counts,
            mentions,
            rooms,
        } = effects;
        if rooms.is_empty() {
            return Ok(());
        }
        if let Some(mentions) = mentions {
            self.step(mongo, mentions).await?;
        }
        let joined = self.add_members(mongo, &rooms, repeats).await?;

        let (known, new) = by_presence(mongo, &counts).await?;
        let older = |id| older(id, number);
        let grow = |count: &CountChange| {
            rawdoc! { "$inc": counters::increments(count), "$set": { "batch": number } }
        };
        let mut updates = RawArrayBuf::new();
        counters::add_statements(&mut updates, &known, older, grow);
        for count in &new {
            let id = documents::user_id(&count.user);
            updates.push(rawdoc! { "q": older(id.into()), "u": grow(count), "upsert": true });
        }

        for (
            Effect {
                room,
                head,
                created_at,
                ..
            },
            members,
        ) in rooms.iter().zip(joined)
        {
            let mut set = head.fields();
            set.append(cstr!("batch"), number);
            let mut change = RawDocumentBuf::new();
            // A room whose messages are changed is there.
            let may_be_new = head.change.is_none();
            if may_be_new {
                change.append(cstr!("$setOnInsert"), documents::first_head(*created_at));
            }
            match members {
                Members::Joined(n) => change.append(cstr!("$inc"), rawdoc! { "members": n }),
                Members::Counted(n) => set.append(cstr!("members"), n),
            }
            change.append(cstr!("$set"), set);
            let head = older(documents::room_id(room).into());
            updates.push(rawdoc! { "q": head, "u": change, "upsert": may_be_new });
        }
        let last = rawdoc! {
            "update": "counters",
            "updates": updates,
            // One after the other all the same; it is a duplicate that does not end the command.
            "ordered": false,
        };
        self.step(mongo, last).await?;
        Ok(())
    }

    /// Makes the senders of a batch members.
    async fn add_members(
        &self,
        mongo: &Inner,
        rooms: &[Effect<'_>],
        repeats: bool,
    ) -> Result<Vec<Members>> {
        let statements =
            documents::new_members(rooms.iter().map(|r| (r.room, r.members, r.created_at)));
        let mut joined = vec![0; rooms.len()];
        if !statements.is_empty() {
            let command = rawdoc! { "update": "members", "updates": statements, "ordered": false };
            let written = self.write(mongo, command).await?;
            let of_statement: Vec<usize> = rooms
                .iter()
                .enumerate()
                .flat_map(|(at, room)| room.members.iter().map(move |_| at))
                .collect();
            let upserted = written
                .upserted
                .iter()
                .filter_map(|statement| of_statement.get(*statement));
            upserted.for_each(|room| joined[*room] += 1);
        }
        if !repeats {
            return Ok(joined.into_iter().map(Members::Joined).collect());
        }

        let mut counted = Vec::new();
        for room in rooms {
            counted.push(Members::Counted(count_members(mongo, room.room).await?));
        }
        Ok(counted)
    }

    /// Runs a write command. Returns the fields of the index that refused a document, if one did.
    async fn step(&self, mongo: &Inner, command: RawDocumentBuf) -> Result<Option<Document>> {
        Ok(self.write(mongo, command).await?.duplicate)
    }

    /// Runs a write command and waits until it is journaled.
    async fn write(&self, mongo: &Inner, mut command: RawDocumentBuf) -> Result<Written> {
        self.may_write()?;
        command.append(cstr!("writeConcern"), step::journaled());
        mongo.write(command, None).await.map_err(error)
    }
}

/// Splits counts into those whose counter is there, and those that may have to create it.
async fn by_presence(
    mongo: &Inner,
    counts: &[CountChange],
) -> Result<(Vec<CountChange>, Vec<CountChange>)> {
    if counts.len() <= MAX_UNKNOWN {
        return Ok((Vec::new(), counts.to_vec()));
    }

    let present = mongo
        .find(find::counters(counts), documents::counted)
        .await?;
    let present: HashSet<Username> = present.into_iter().collect();
    Ok(counts
        .iter()
        .cloned()
        .partition(|count| present.contains(&count.user)))
}

/// Matches no document that the batch of this number, or a later one, has changed. An
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

/// Commands in a document of a plan end with the one that brings them to this size.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// Step 1. The commands of the changes are kept as they are sent: in the plan, and those that make
/// it too large in documents that are written before it.
pub(super) fn plan(batch: &Batch, number: i64, changes: &[RawDocumentBuf]) -> Vec<RawDocumentBuf> {
    let place = |part: &RoomBatch| {
        let after = part.after.unwrap_or(Head::EMPTY).seq.get();
        let mut place =
            rawdoc! { "room": part.room.as_str(), "after": after, "last": part.head().seq.get() };
        if let Some(change) = part.changes.last() {
            place.append(cstr!("change"), change.number().get());
        }
        place
    };
    let count = |CountChange {
                     user,
                     added,
                     removed,
                 }: &CountChange| {
        rawdoc! { "user": user.as_str(), "added": *added, "removed": *removed }
    };

    let mut parts = parts(changes);
    let (first, parts) = (parts.remove(0), parts);
    let mut commands = Vec::new();
    for (commands_of_part, at) in parts.into_iter().zip(1_i64..) {
        let part = rawdoc! { "number": number, "changes": commands_of_part };
        let place = rawdoc! { "_id": { "batch": at } };
        commands.push(step::update(
            "state",
            rawdoc! { "q": place, "u": { "$set": part }, "upsert": true },
        ));
    }

    let has_messages = batch.rooms.iter().any(|part| !part.messages.is_empty());
    let counts = batch
        .counts
        .iter()
        .filter(|_| !changes.is_empty())
        .map(count);
    let plan = rawdoc! {
        "number": number,
        "id": documents::batch_id(batch.id),
        "rooms": batch.rooms.iter().map(place).collect::<RawArrayBuf>(),
        "is_complete": !has_messages,
        "counts": counts.collect::<RawArrayBuf>(),
        "changes": first,
        "more_changes": i64::try_from(commands.len()).unwrap_or(i64::MAX),
    };
    let older = rawdoc! { "_id": "batch", "number": { "$not": { "$gte": number } } };
    commands.push(step::update(
        "state",
        rawdoc! { "q": older, "u": { "$set": plan }, "upsert": true },
    ));
    commands
}

/// Splits commands so that each part fits into a document. There is at least one part.
fn parts(commands: &[RawDocumentBuf]) -> Vec<RawArrayBuf> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), RawArrayBuf::new(), 0);
    for command in commands {
        if bytes >= FULL_BYTES {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += command.as_bytes().len();
        part.push(Binary {
            subtype: BinarySubtype::Generic,
            bytes: command.as_bytes().to_vec(),
        });
    }
    parts.push(part);
    parts
}

/// Step 3.
pub(super) fn complete(number: i64) -> RawDocumentBuf {
    let mark = rawdoc! { "$set": { "is_complete": true } };
    step::update(
        "state",
        rawdoc! { "q": { "_id": "batch", "number": number }, "u": mark },
    )
}

/// Whether a room has another head than the batch expects. Nobody else writes, so what is true now
/// stays true.
async fn head_moved(mongo: &Inner, batch: &Batch) -> Result<bool> {
    let rooms: Vec<_> = batch.rooms.iter().map(|room| room.room.clone()).collect();
    // One that cannot be read counts as moved: the committer looks at each head, and fails that
    // room.
    let read = |document: &_| Ok(documents::head(document).ok());
    let stored: HashMap<_, _> = mongo
        .find(find::heads(&rooms), read)
        .await?
        .into_iter()
        .flatten()
        .collect();
    Ok(batch
        .rooms
        .iter()
        .any(|room| !room.follows(stored.get(room.room.as_str()).copied())))
}
