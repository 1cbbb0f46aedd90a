//! A batch on a standalone mongod, which has no transactions.
//!
//! A batch is stored in this order:
//!
//! 1. the plan: its number, which numbers in which rooms it takes, and the commands of its changes;
//! 2. the messages, in order;
//! 3. the flag `is_complete` in the plan. A batch without messages has it from the
//!    start, and one without changes never needs it;
//! 4. the changes;
//! 5. mentions in the messages, members, then counters;
//! 6. the heads.
//!
//! Each command is journaled before the next begins; counters and heads are one. So a crash keeps
//! a beginning of this list: whatever is there, the plan is; and if a counter has grown, all
//! messages are there. One
//! journaled step at the end would not do: if mongod restarts between two steps, the driver sends
//! the next one to the new process, which has lost the steps before it. Counters and heads carry
//! the number of the batch that changed them last and are only changed by a higher one, and the
//! commands of changes give the same result each time and in any order, so each step may be
//! repeated. A plan is written once: a repeat does not take the flag back.
//!
//! After a crash the plan says what to do. With the flag, nothing can refuse the batch any more:
//! its changes are made again, and all that follows. Without it, none of the changes was begun, and
//! they are dropped; the messages that arrived, up to the first that did not, are counted and the
//! rest of the plan is dropped. A batch that is refused, so that its messages are taken back, does
//! not have the flag.
//!
//! Nothing above the old heads is shown before step 6 is done. That is why one process at a time
//! holds the database: it alone knows. A change replaces the state that was shown before, so a
//! reader who meets one that is under way waits until the batch is stored.

mod effects;
mod journal;
pub(super) mod plan;
mod repair;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongodb::{Collection, Database};

use self::effects::{Effect, Effects};
use self::journal::Journal;
use super::connection::{Connection, is_of_nonces};
use super::deployment::{Deployment, RoomProgress};
use super::error::error;
use super::lease::Lease;
use super::names::OpenNames;
use super::step::{Step, Writer};
use super::{buckets, changes, documents, find};
use crate::backend::EventSink;
use crate::error::{Error, Result};
use crate::model::{Append, Batch, BatchId, Head, ProcessId, ProcessPresence, RoomBatch};
use crate::types::RoomName;

pub(super) struct Standalone {
    lease: Lease,
    /// Locked while a batch is being stored, or another write is made.
    progress: tokio::sync::Mutex<Progress>,
    /// The durable heads of the rooms that a batch is being stored in.
    heads: Mutex<HashMap<RoomName, Committed>>,
    /// Number of batches with changes that were begun. Grows under the lock of `heads`.
    revisions: AtomicU64,
    /// Number of times that messages which had arrived were taken back.
    withdrawals: AtomicU64,
}

/// A room that a batch is being stored in.
#[derive(Clone, Copy)]
struct Committed {
    head: Head,
    /// True if the batch changes messages of the room.
    changes: bool,
}

#[derive(Default)]
struct Progress {
    /// Number of the last batch that was begun.
    number: i64,
    /// Last batch. The flag is true once its last step is known to be done.
    last: Option<(BatchId, bool)>,
    /// The last batch that was settled. A repeat of it is not a batch of its own: some of it may be
    /// stored.
    settled: Option<BatchId>,
    /// True if the number of members of a room may be wrong: a change of it was begun and is not
    /// known to be done.
    recounts: bool,
    /// Names that are not claimed. Claims are made by this process alone.
    open: OpenNames,
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

    fn journal<'a>(&'a self, connection: &'a Connection) -> Journal<'a> {
        Journal {
            connection,
            lease: &self.lease,
            withdrawals: &self.withdrawals,
        }
    }

    fn heads(&self) -> MutexGuard<'_, HashMap<RoomName, Committed>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn settle_locked(&self, connection: &Connection, progress: &mut Progress) -> Result<()> {
        if let Some((id, false)) = progress.last {
            self.may_write()?;
            progress.number = repair::repair(self.journal(connection))
                .await?
                .max(progress.number);
            progress.last = None;
            progress.settled = Some(id);
            self.heads().clear();
        }
        if progress.recounts {
            self.may_write()?;
            repair::recount_members(self.journal(connection)).await?;
            progress.recounts = false;
        }
        Ok(())
    }

    /// Notes the committed heads of a batch's rooms. Readers see nothing beyond them until the
    /// batch is stored.
    fn begin(&self, batch: &Batch) {
        let committed = |room_batch: &RoomBatch| Committed {
            head: room_batch.after.unwrap_or(Head::EMPTY),
            changes: !room_batch.changes.is_empty(),
        };
        let mut heads = self.heads();
        heads.extend(
            batch
                .rooms
                .iter()
                .map(|room_batch| (room_batch.room.clone(), committed(room_batch))),
        );
        if changes::has_changes(batch) {
            self.revisions.fetch_add(1, Ordering::AcqRel);
        }
    }

    async fn store(
        &self,
        connection: &Connection,
        batch: &Batch,
        number: i64,
        repeat: bool,
    ) -> Result<Append> {
        let journal = self.journal(connection);
        let changes = changes::commands_of(batch).map_err(error)?;
        // A repeat meets the plan of the first attempt, and leaves it as it is.
        for command in plan::commands_of(batch, number, &changes) {
            journal.step(command).await?;
        }

        let new_buckets = buckets::new_buckets(batch);
        if !new_buckets.is_empty() {
            // A repeat finds buckets of the first attempt and goes on behind them.
            let messages =
                rawdoc! { "insert": "messages", "documents": new_buckets, "ordered": !repeat };
            let refused = journal.step(messages).await?;
            if let Some(index) = refused.filter(|index| !repeat || is_of_nonces(index)) {
                self.withdraw(connection, batch).await?;
                return Ok(if is_of_nonces(&index) {
                    Append::NonceTaken
                } else {
                    Append::HeadMoved
                });
            }
            if !changes.is_empty() {
                journal.step(plan::complete(number)).await?;
            }
        }
        make_changes(journal, changes).await?;

        let effects = Effects {
            number,
            repeats: repeat,
            counts: Cow::Borrowed(&batch.counts),
            mentions: changes::mentions_of_posts(batch),
            rooms: batch.rooms.iter().map(Effect::from).collect(),
        };
        effects.apply(journal).await?;
        Ok(Append::Committed)
    }

    /// Removes the messages of a batch that was refused halfway. Nobody has seen them.
    async fn withdraw(&self, connection: &Connection, batch: &Batch) -> Result<()> {
        let journal = self.journal(connection);
        let id = documents::batch_id(batch.id);
        for room in batch.rooms.iter().filter(|room| !room.messages.is_empty()) {
            let after = room.after.unwrap_or(Head::EMPTY).seq;
            journal
                .remove(&room.room, after, room.head().seq, id)
                .await?;
        }
        Ok(())
    }
}

/// Makes step 4. The commands wait for the journal together. Each is waited for, also when another
/// has failed: one that came late could not be refused.
async fn make_changes(journal: Journal<'_>, commands: Vec<RawDocumentBuf>) -> Result<()> {
    let made = commands.into_iter().map(|command| journal.step(command));
    join_all(made)
        .await
        .into_iter()
        .try_for_each(|made| made.map(drop))
}

#[async_trait]
impl Deployment for Standalone {
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns true, because the mongod may have been a replica set, whose slots are still there.
    fn reads_slots(&self) -> bool {
        true
    }

    async fn start(&self, connection: &Connection) -> Result<()> {
        self.settle(connection).await.map(drop)
    }

    async fn append(&self, connection: &Connection, batch: &Arc<Batch>) -> Result<Append> {
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
            self.settle_locked(connection, &mut progress).await?;
            if head_moved(connection, batch).await? {
                return Ok(Append::HeadMoved);
            }
            if progress
                .open
                .is_any_claimed(connection, &batch.guests)
                .await?
            {
                return Ok(Append::NameClaimed);
            }
            self.may_write()?;
            progress.number += 1;
            progress.last = Some((batch.id, false));
            self.begin(batch);
        }
        let stored = self
            .store(connection, batch, progress.number, repeat)
            .await
            .map_err(begun)?;
        progress.last = (stored == Append::Committed).then_some((batch.id, true));
        self.heads().clear();
        Ok(stored)
    }

    async fn is_stored(&self, _: &Connection, batch: &Batch) -> Result<bool> {
        Ok(self.progress.lock().await.last == Some((batch.id, true)))
    }

    /// Runs a step while no batch is being stored, so that none counts on what was before.
    async fn run_step(&self, connection: &Connection, step: &mut dyn Step) -> Result<bool> {
        let mut progress = self.progress.lock().await;
        // A batch that was begun would be completed after this.
        self.settle_locked(connection, &mut progress).await?;
        self.may_write()?;
        if let Some(name) = step.claims() {
            // Before, because an error leaves open whether it was done.
            progress.open.forget(&name);
        }
        if let Some(room) = step.changes_members_of() {
            progress.recounts = true;
            self.journal(connection)
                .step(plan::members_plan(room))
                .await?;
        }

        let made = step
            .make(&mut Writer::new(connection, None))
            .await
            .map_err(error)?;
        progress.recounts = false;
        Ok(made)
    }

    async fn settle<'a>(&'a self, connection: &Connection) -> Result<Box<dyn Send + 'a>> {
        let mut progress = self.progress.lock().await;
        self.settle_locked(connection, &mut progress).await?;
        Ok(Box::new(progress))
    }

    fn progress_in(&self, room: &RoomName) -> Result<RoomProgress> {
        self.lease.may_read()?;
        let heads = self.heads();
        let committed = heads.get(room);
        let is_changing = committed.is_some_and(|committed| committed.changes);
        Ok(RoomProgress {
            head: committed.map(|committed| committed.head),
            revision: (!is_changing).then(|| self.revisions.load(Ordering::Acquire)),
            withdrawals: self.withdrawals.load(Ordering::Acquire),
        })
    }

    fn may_write(&self) -> Result<()> {
        self.lease.may_write()
    }

    async fn watch(&self, _: &Connection, sink: &dyn EventSink) -> Result<()> {
        self.lease.watch(sink).await
    }

    fn is_me(&self, _: ProcessId) -> bool {
        true
    }

    async fn publish_presence(
        &self,
        _: &Connection,
        _: &RoomName,
        _: &ProcessPresence,
    ) -> Result<()> {
        Ok(())
    }

    async fn close(&self, connection: &Connection) {
        // Not while a batch is being stored.
        let progress = self.progress.lock().await;
        if !progress.recounts
            && let Err(error) = plan::forget_members_plan(connection).await
        {
            tracing::debug!(%error, "the next start counts the members of a room again");
        }
        self.lease.release().await;
    }
}

/// Makes an error say that the result is unknown: a batch that was begun may still be completed.
fn begun(e: Error) -> Error {
    match e {
        Error::Full => Error::Unavailable("it is full".into()),
        other => other,
    }
}

/// Returns true if a room has another head than the batch expects. Nobody else writes, so the
/// answer stays true.
async fn head_moved(connection: &Connection, batch: &Batch) -> Result<bool> {
    let rooms: Vec<_> = batch.rooms.iter().map(|room| room.room.clone()).collect();
    // One that cannot be read counts as moved: the committer looks at each head, and fails that
    // room.
    let read = |document: &_| Ok(documents::head(document).ok());
    let stored: HashMap<_, _> = connection
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
