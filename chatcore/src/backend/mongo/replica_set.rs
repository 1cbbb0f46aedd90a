//! Batches and other writes as transactions, on a replica set or a sharded cluster.
//!
//! Commits go first: they have a session of their own. All other writes share a few sessions, so
//! that however many are asked for, commits meet few of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, cstr, rawdoc};
use mongodb::error::{ErrorKind, TRANSIENT_TRANSACTION_ERROR};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{ClientSession, Database};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::connection::{Connection, Written, durable, is_of_nonces, light};
use super::deployment::{Deployment, RoomProgress};
use super::documents::{HeadMove, SLOTS};
use super::error::{error, is_worth_retry};
use super::evidence::{Evidence, EvidenceUpdate};
use super::names::Claims;
use super::peers::Peers;
use super::pending_counts::{self, PendingCounts, Split};
use super::scheduler::MAX_WRITES;
use super::step::{Step, Writer};
use super::{buckets, changes, counters, documents, evidence, find, names, watch};
use crate::backend::EventSink;
use crate::error::{Error, Reason, Result};
use crate::model::{Append, Batch, CountDelta, Head, ProcessId, ProcessPresence, RoomBatch};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Username};

const WRITE_CONFLICT: i32 = 112;
/// A batch with fewer senders looks them up in any case.
const FEW_SENDERS: usize = 16;
/// Longest pause of a commit that met another transaction, about as long as that one takes; and of
/// any other write, which gives way to commits.
const COMMIT_PAUSE: Duration = Duration::from_millis(3);
const WRITE_PAUSE: Duration = Duration::from_millis(20);

/// A replica set or a sharded cluster, with what this process holds of it.
pub(super) struct ReplicaSet {
    /// Session of every batch. A new transaction in it ends one that was left open, and a command
    /// of that one which comes late is refused; the lock makes sure that nobody waits for it any
    /// more.
    commits: Mutex<ClientSession>,
    /// Sessions of the other writes that nobody uses. There are as many as writes at once.
    idle: std::sync::Mutex<Vec<ClientSession>>,
    peers: Peers,
    pending_counts: PendingCounts,
    evidence: Evidence,
    /// True if the last look-up of many senders found no member among them. The senders of the next
    /// batch are then taken for new members; if one is a member, the transaction is stopped, and
    /// they are looked up.
    expects_new_members: AtomicBool,
}

impl ReplicaSet {
    /// Signs on, with all sessions of this process. Counts may be deferred unless users are on many
    /// shards.
    pub(super) async fn open(database: &Database, defers_counts: bool) -> Result<Self> {
        let client = database.client();
        let commits = client.start_session().await.map_err(error)?;
        let mut idle = Vec::new();
        for _ in 0..MAX_WRITES {
            idle.push(client.start_session().await.map_err(error)?);
        }

        let others = idle.iter().map(ClientSession::id);
        let (peers, slot) = Peers::join(database, commits.id(), others).await?;
        let pending_counts = PendingCounts::new(slot, defers_counts);
        Ok(Self {
            commits: Mutex::new(commits),
            idle: idle.into(),
            peers,
            pending_counts,
            evidence: Evidence::default(),
            expects_new_members: AtomicBool::new(false),
        })
    }

    /// Waits until no attempt to store a batch is under way.
    async fn commits(&self) -> MutexGuard<'_, ClientSession> {
        self.commits.lock().await
    }

    /// Plans the writes of a batch; `None` if the name of a guest in it has an account.
    async fn prepare<'a>(
        &self,
        connection: &Connection,
        session: &mut ClientSession,
        batch: &'a Arc<Batch>,
    ) -> Result<Option<Writes<'a>>> {
        let counts = self.pending_counts.split(&batch.counts);
        if self.pending_counts.is_full(&counts) {
            flush(connection, session, self.pending_counts.slot()).await?;
            self.pending_counts.flushed();
        }

        let guests = &self.pending_counts.guests;
        let claims = match batch.guests.is_empty() {
            true => None,
            false => match guests.admit(connection, &batch.guests).await? {
                Some(claims) => Some(claims),
                None => return Ok(None),
            },
        };

        Ok(Some(Writes {
            batch,
            claims,
            counts,
            joining: self.joining(connection, batch).await?,
            evidence: self.evidence.update(batch),
        }))
    }

    /// Returns the senders of each room of a batch who are no members. They are looked up, or taken
    /// for new members, after they posted, so a membership that ends later ends after the post.
    async fn joining<'a>(
        &self,
        connection: &Connection,
        batch: &'a Batch,
    ) -> Result<Vec<Vec<&'a Username>>> {
        let members = self.members_among_senders(connection, batch).await?;

        let is_new = |room: &RoomBatch, user: &Username| {
            members.is_empty() || !members.contains(&(room.room.clone(), user.clone()))
        };
        let of_room = |room: &'a RoomBatch| {
            room.members
                .iter()
                .filter(|user| is_new(room, user))
                .collect()
        };
        Ok(batch.rooms.iter().map(of_room).collect())
    }

    /// Looks up which senders of a batch are members; none if they are taken for new members.
    async fn members_among_senders(
        &self,
        connection: &Connection,
        batch: &Batch,
    ) -> Result<HashSet<(RoomName, Username)>> {
        let senders: Vec<_> = batch
            .rooms
            .iter()
            .flat_map(|room| room.members.iter().map(move |user| (&room.room, user)))
            .collect();
        let is_few = senders.len() < FEW_SENDERS;
        if senders.is_empty() || !is_few && self.expects_new_members.load(Ordering::Relaxed) {
            return Ok(HashSet::new());
        }

        let query = find::memberships_among(&senders);
        let members = connection.find(query, documents::membership).await?;
        if !is_few {
            let found_none = members.is_empty();
            self.expects_new_members
                .store(found_none, Ordering::Relaxed);
        }
        Ok(members.into_iter().collect())
    }

    /// Takes note of a batch that is stored.
    fn remember(&self, writes: &Writes<'_>) {
        self.pending_counts.remember(&writes.counts);
        if let Some(evidence) = &writes.evidence {
            self.evidence.updated(evidence);
        }
    }

    /// Stores a batch, in as many transactions as it takes until one meets no other.
    async fn append_in(
        &self,
        connection: &Connection,
        session: &mut ClientSession,
        batch: &Arc<Batch>,
    ) -> Result<Append> {
        let Some(mut writes) = self.prepare(connection, session, batch).await? else {
            return Ok(Append::NameClaimed);
        };

        let deadline = Instant::now() + connection.timeout;
        let mut commit_failed = false;
        let mut looked_up_again = false;
        loop {
            let stop = match self.attempt(connection, session, &writes, deadline).await {
                Ok(()) => {
                    self.remember(&writes);
                    return Ok(Append::Committed);
                }
                Err(stop) => stop,
            };
            commit_failed |= matches!(stop, Stop::CommitFailed(_));

            match stop {
                // The attempt before may be what refuses this one.
                Stop::Refused(_) | Stop::Duplicate(_) | Stop::MemberExists | Stop::Conflict
                    if commit_failed && self.find_stored(connection, batch).await? =>
                {
                    return Ok(Append::Committed);
                }
                Stop::Refused(refused) | Stop::Duplicate(refused) => return Ok(refused),
                Stop::MemberExists if Instant::now() < deadline => {
                    self.expects_new_members.store(false, Ordering::Relaxed);
                    if looked_up_again {
                        // A majority does not have the membership yet, so it is not found.
                        pause(WRITE_PAUSE).await;
                    }
                    looked_up_again = true;
                    writes.joining = self.joining(connection, batch).await?;
                }
                Stop::MemberExists | Stop::Conflict => return Ok(Append::HeadMoved),
                Stop::Failed(e) | Stop::CommitFailed(e)
                    if e.contains_label(TRANSIENT_TRANSACTION_ERROR)
                        && Instant::now() < deadline =>
                {
                    pause(COMMIT_PAUSE).await;
                }
                Stop::Failed(e) if !commit_failed => return Err(error(e)),
                // After a commit without an answer no error says that nothing was stored.
                Stop::Failed(e) | Stop::CommitFailed(e) => {
                    return Err(Error::Unavailable(Reason::with_cause(
                        e.kind.to_string(),
                        e,
                    )));
                }
            }
        }
    }

    /// Stores a batch in one transaction, or ends the transaction.
    async fn attempt(
        &self,
        connection: &Connection,
        session: &mut ClientSession,
        writes: &Writes<'_>,
        deadline: Instant,
    ) -> Result<(), Stop> {
        begin(connection, session).await?;

        if let Err(stop) = self.write(connection, session, writes).await {
            end(connection, session, &stop).await;
            return Err(stop);
        }
        commit(connection, session, deadline)
            .await
            .map_err(Stop::CommitFailed)
    }

    /// Makes the writes of a batch. Two processes meet at the heads; the earlier a transaction
    /// meets another, the less it has done in vain, so only new members come before them.
    async fn write(
        &self,
        connection: &Connection,
        session: &mut ClientSession,
        writes: &Writes<'_>,
    ) -> Result<(), Stop> {
        let Writes { batch, joining, .. } = writes;
        let members = new_members(batch, joining);
        if !members.is_empty() {
            let command = rawdoc! { "insert": "members", "documents": members };
            let inserted = connection.write(command, Some(session)).await?;
            if inserted.duplicate.is_some() {
                return Err(Stop::MemberExists);
            }
        }
        self.move_counters(connection, session, writes).await?;

        let new_buckets = buckets::new_buckets(batch);
        if !new_buckets.is_empty() {
            let messages = rawdoc! { "insert": "messages", "documents": new_buckets };
            match connection.write(messages, Some(session)).await?.duplicate {
                Some(index) if is_of_nonces(&index) => {
                    return Err(Stop::Duplicate(Append::NonceTaken));
                }
                Some(_) => return Err(Stop::Duplicate(Append::HeadMoved)),
                None => {}
            }
        }

        for command in changes::commands_of(batch)?
            .into_iter()
            .chain(changes::mentions_of_posts(batch))
        {
            expect_none(connection.write(command, Some(session)).await)?;
        }
        Ok(())
    }

    /// Moves the heads of the batch and the counters of its senders, in one command.
    async fn move_counters(
        &self,
        connection: &Connection,
        session: &mut ClientSession,
        Writes {
            batch,
            claims,
            counts,
            joining,
            evidence,
        }: &Writes<'_>,
    ) -> Result<(), Stop> {
        let mut updates = heads(batch, joining);
        let mut expected = batch.rooms.len() + counts.direct.len();
        if claims.is_some() || !counts.pending.is_empty() || evidence.is_some() {
            let pending = &self.pending_counts;
            updates.push(pending.statement(counts, *claims, evidence.as_ref())?);
            expected += 1;
        }
        let by_id = |id| rawdoc! { "_id": id };
        let grow = |count: &CountDelta| rawdoc! { "$inc": counters::increments(count) };
        counters::add_statements(&mut updates, &counts.direct, by_id, grow);

        let command = rawdoc! { "update": "counters", "updates": updates };
        let moved = match connection.write(command, Some(session)).await {
            Ok(moved) => moved,
            Err(e) => return Err(Stop::from_heads(e)),
        };

        let lacking = expected.saturating_sub(usize::try_from(moved.n).unwrap_or(0));
        let new = |count: &CountDelta| {
            let mut document = counters::increments(count);
            document.append(cstr!("_id"), documents::user_id(&count.user));
            document
        };
        let stop = if moved.duplicate.is_some() {
            Stop::Duplicate(Append::HeadMoved)
        } else if lacking == 0
            || counters::create_missing(connection, session, &counts.direct, lacking, new).await?
        {
            return Ok(());
        } else {
            Stop::Refused(Append::HeadMoved)
        };

        // Another head, or a name has been claimed.
        self.pending_counts.guests.mark_uncertain().await;
        Err(stop)
    }

    /// Looks for a message of the batch, which carries its id, or for the evidence of a batch that
    /// has none.
    async fn find_stored(&self, connection: &Connection, batch: &Batch) -> Result<bool> {
        let id = documents::batch_id(batch.id);
        let first = batch
            .rooms
            .iter()
            .find_map(|room_batch| Some((&room_batch.room, room_batch.messages.first()?.seq)));
        let is_at = async |newest_state| {
            let Some((room, seq)) = first else {
                let field = evidence::field(batch.id);
                let query = find::evidence(self.pending_counts.slot(), &field, newest_state);
                return Ok(!connection.find(query, |_| Ok(())).await?.is_empty());
            };
            let query = find::batch_at(room, seq, newest_state);
            let found = connection
                .find(query, |d| Ok(d.get_object_id("batch").ok()))
                .await?;
            Ok::<_, Error>(found.first() == Some(&Some(id)))
        };

        if !is_at(true).await? {
            return Ok(false);
        }
        if is_at(false).await? {
            return Ok(true);
        }
        // Neither lost nor safe.
        Err(Error::Unavailable(
            "a majority does not have the batch yet".into(),
        ))
    }

    /// Runs a step in transactions, until one meets no conflict. Returns false if a precondition
    /// failed; then nothing was written.
    async fn run_in_transaction(
        &self,
        connection: &Connection,
        step: &mut dyn Step,
    ) -> Result<bool> {
        let deadline = Instant::now() + connection.timeout;
        let mut session = self.take_session(connection).await?;

        let made = loop {
            if let Err(e) = begin(connection, &mut session).await {
                break Err(error(e));
            }
            let made = match step
                .make(&mut Writer::new(connection, Some(&mut session)))
                .await
            {
                Ok(true) => commit(connection, &mut session, deadline)
                    .await
                    .map(|()| true),
                other => {
                    let is_ended = other.as_ref().is_err_and(is_conflict);
                    abort(connection, &mut session, is_ended).await;
                    other
                }
            };
            match made {
                Err(e) if is_worth_retry(&e) && Instant::now() < deadline => {
                    pause(WRITE_PAUSE).await
                }
                made => break made.map_err(error),
            }
        };

        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(session);
        made
    }

    /// Takes a session. There is one, unless a task that had it panicked.
    async fn take_session(&self, connection: &Connection) -> Result<ClientSession> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(session) => Ok(session),
            None => connection
                .database
                .client()
                .start_session()
                .await
                .map_err(error),
        }
    }
}

#[async_trait]
impl Deployment for ReplicaSet {
    fn is_shared(&self) -> bool {
        true
    }

    fn reads_slots(&self) -> bool {
        self.pending_counts.defers()
    }

    /// Moves what another process, or this one before, left in slots.
    async fn start(&self, connection: &Connection) -> Result<()> {
        let mut session = self.commits().await;
        let own = self.pending_counts.slot();
        // Counts that no reader adds up are moved to the counters.
        let slots = if self.pending_counts.defers() {
            own..own + 1
        } else {
            0..SLOTS
        };
        for slot in slots {
            flush(connection, &mut session, slot).await?;
        }
        evidence::remove_old(connection, own).await
    }

    async fn append(&self, connection: &Connection, batch: &Arc<Batch>) -> Result<Append> {
        let mut session = self.commits().await;
        self.append_in(connection, &mut session, batch).await
    }

    /// Returns true if the batch is stored. Waits for an attempt that is still under way, and has
    /// the server refuse one that arrives late.
    async fn is_stored(&self, connection: &Connection, batch: &Batch) -> Result<bool> {
        let mut session = self.commits().await;
        let slot = self.pending_counts.slot();
        refuse_late_attempts(connection, &mut session, slot)
            .await
            .map_err(error)?;
        self.find_stored(connection, batch).await
    }

    async fn run_step(&self, connection: &Connection, step: &mut dyn Step) -> Result<bool> {
        let made = self.run_in_transaction(connection, step).await?;
        if let Some(name) = step.claims().filter(|_| made) {
            names::publish_claim(connection, &name).await?;
        }
        Ok(made)
    }

    async fn settle<'a>(&'a self, _: &Connection) -> Result<Box<dyn Send + 'a>> {
        Ok(Box::new(()))
    }

    fn progress_in(&self, _: &RoomName) -> Result<RoomProgress> {
        Ok(RoomProgress {
            head: None,
            revision: Some(0),
            withdrawals: 0,
        })
    }

    fn may_write(&self) -> Result<()> {
        Ok(())
    }

    async fn watch(&self, connection: &Connection, sink: &dyn EventSink) -> Result<()> {
        watch::watch(connection, &self.peers, sink).await
    }

    fn is_me(&self, process: ProcessId) -> bool {
        self.peers.is_me(process)
    }

    async fn publish_presence(
        &self,
        connection: &Connection,
        room: &RoomName,
        users: &ProcessPresence,
    ) -> Result<()> {
        let is_on = self.peers.is_signed_on.lock().await;
        if !*is_on {
            return Ok(());
        }

        let presence = connection.collection("presence");
        let here = find::presence_at(room, self.peers.id);
        if users.users.is_empty() {
            let delete = presence.delete_one(here).write_concern(light());
            connection.limited(delete).await.map_err(error)?;
        } else {
            let replace = presence
                .replace_one(here, documents::new_presence(users))
                .upsert(true)
                .write_concern(light());
            connection.limited(replace).await.map_err(error)?;
        }
        Ok(())
    }

    async fn close(&self, _: &Connection) {
        let _no_attempt_is_under_way = self.commits().await;
        self.peers.leave().await;
    }
}

/// Writes of a batch, as they were planned before its transaction.
struct Writes<'a> {
    batch: &'a Batch,
    /// Claims after which the batch's guests may post, if there are any.
    claims: Option<Claims>,
    counts: Split,
    /// New members of each room.
    joining: Vec<Vec<&'a Username>>,
    /// Evidence that the batch is stored, where no message is.
    evidence: Option<EvidenceUpdate>,
}

/// Moves the numbers of slot number `slot` to the counters, in a transaction of its own.
async fn flush(connection: &Connection, session: &mut ClientSession, slot: i32) -> Result<()> {
    let deadline = Instant::now() + connection.timeout;
    loop {
        begin(connection, session).await.map_err(error)?;
        let done = match pending_counts::flush(connection, session, slot).await {
            Ok(()) => commit(connection, session, deadline).await,
            Err(e) => {
                abort(connection, session, is_conflict(&e)).await;
                Err(e)
            }
        };
        match done {
            Err(e) if is_worth_retry(&e) && Instant::now() < deadline => pause(COMMIT_PAUSE).await,
            done => return done.map_err(error),
        }
    }
}

/// Reason for which the writes of a transaction stopped.
enum Stop {
    /// An update found fewer documents than the batch expects.
    Refused(Append),
    /// A document has the key of one of the batch. The server has ended the transaction.
    Duplicate(Append),
    /// A new member of the batch is a member already. The server has ended the transaction.
    MemberExists,
    /// Another transaction is moving one of the heads. The server has ended this one.
    Conflict,
    Failed(mongodb::error::Error),
    /// The transaction may be stored.
    CommitFailed(mongodb::error::Error),
}

impl Stop {
    /// Returns the reason for an error of the command that moves the heads.
    fn from_heads(e: mongodb::error::Error) -> Self {
        match is_conflict(&e) {
            true => Self::Conflict,
            false => Self::Failed(e),
        }
    }
}

impl From<mongodb::error::Error> for Stop {
    fn from(e: mongodb::error::Error) -> Self {
        Self::Failed(e)
    }
}

fn new_members(batch: &Batch, joining: &[Vec<&Username>]) -> RawArrayBuf {
    let each = batch.rooms.iter().zip(joining);
    let each = each.flat_map(|(room, joining)| joining.iter().map(move |user| (room, *user)));
    each.map(|(room, user)| documents::member_of_public(&room.room, user, room.created_at()))
        .collect()
}

/// Moves of heads that are alike, so that one statement makes all of them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Advance {
    messages: i64,
    joining: i64,
    last_timestamp: Timestamp,
    closings: i64,
    /// Number of departures, where membership is assumed.
    departures: Option<i64>,
}

impl Advance {
    /// Returns the move of a room's head from `after`.
    fn of(room: &RoomBatch, after: &Head, joining: i64) -> Self {
        let head = room.head();
        Self {
            messages: head.seq.get() - after.seq.get(),
            joining,
            last_timestamp: head.timestamp,
            closings: after.closings,
            departures: room.assumes_members.then_some(after.departures),
        }
    }

    /// Returns the statement that moves the heads of these rooms.
    fn statement(self, rooms: RawArrayBuf) -> RawDocumentBuf {
        let mut found = rawdoc! { "_id": { "$in": rooms }, "closings": self.closings };
        if let Some(departures) = self.departures {
            found.append(cstr!("departures"), departures);
        }
        let update = rawdoc! {
            "$inc": { "last_seq": self.messages, "members": self.joining },
            "$set": { "last_timestamp": self.last_timestamp.as_micros() },
        };
        rawdoc! { "q": found, "u": update, "multi": true }
    }
}

/// Returns the statements that move the heads of a batch, each where it is as the batch expects.
///
/// A statement costs the server more than a document does, so rooms whose heads move alike share
/// one. It does not look at `last_seq`: if another process has moved that, the first message which
/// it stored has the `_id` of the batch's first one, and that refuses the batch. Nothing refuses a
/// change of a message in that way, nor a message after a head that was rolled back. Such a room
/// has a statement of its own, which looks at `last_seq` and `last_change`.
fn heads(batch: &Batch, joining: &[Vec<&Username>]) -> RawArrayBuf {
    let mut statements = RawArrayBuf::new();
    let mut alike: BTreeMap<Advance, RawArrayBuf> = BTreeMap::new();
    for (room, joining) in batch.rooms.iter().zip(joining) {
        let joining = i64::try_from(joining.len()).unwrap_or(i64::MAX);
        let Some(after) = room.after else {
            statements.push(create_head(room, joining));
            continue;
        };
        if !room.changes.is_empty() || !room.after_is_durable {
            statements.push(advance_exactly(room, &after, joining));
            continue;
        }
        alike
            .entry(Advance::of(room, &after, joining))
            .or_default()
            .push(documents::room_id(&room.room));
    }

    for (advance, rooms) in alike {
        statements.push(advance.statement(rooms));
    }
    statements
}

/// Returns the statement that moves the head of a room if it is where the batch expects it.
fn advance_exactly(room: &RoomBatch, after: &Head, joining: i64) -> RawDocumentBuf {
    let mut found = rawdoc! {
        "_id": documents::room_id(&room.room),
        "closings": after.closings,
    };
    if !room.messages.is_empty() {
        found.append(cstr!("last_seq"), after.seq.get());
    }
    if !room.changes.is_empty() {
        found.append(cstr!("last_change"), after.change.get());
    }
    if room.assumes_members {
        found.append(cstr!("departures"), after.departures);
    }
    let change = rawdoc! { "$inc": { "members": joining }, "$set": HeadMove::from(room).fields() };
    rawdoc! { "q": found, "u": change }
}

/// Returns the statement that creates the head of a room, or clashes with the one that is there.
fn create_head(room: &RoomBatch, joining: i64) -> RawDocumentBuf {
    let mut head = documents::first_head(room.created_at());
    head.append(cstr!("members"), joining);
    let change = rawdoc! { "$set": HeadMove::from(room).fields(), "$setOnInsert": head };
    // No head matches.
    let found = rawdoc! { "_id": documents::room_id(&room.room), "last_seq": -1_i64 };
    rawdoc! { "q": found, "u": change, "upsert": true }
}

/// Refuses a batch whose documents another process made just now.
fn expect_none(written: mongodb::error::Result<Written>) -> Result<(), Stop> {
    match written?.duplicate {
        Some(_) => Err(Stop::Duplicate(Append::HeadMoved)),
        None => Ok(()),
    }
}

/// Begins a transaction; ends the one that a panic may have left in the session.
async fn begin(connection: &Connection, session: &mut ClientSession) -> mongodb::error::Result<()> {
    begin_with(durable(connection.timeout), connection, session).await
}

async fn begin_with(
    concern: WriteConcern,
    connection: &Connection,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    if start(concern.clone(), connection, session).await.is_ok() {
        return Ok(());
    }
    let _ = session.abort_transaction().await;
    start(concern, connection, session).await
}

async fn start(
    concern: WriteConcern,
    connection: &Connection,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    let transaction = session
        .start_transaction()
        .read_concern(ReadConcern::majority());
    connection
        .limited_step(transaction.write_concern(concern))
        .await
}

/// Has the server refuse commands of all earlier transactions of a session: it takes none whose
/// number is lower than one that it knows. In a sharded cluster only the shard that is read knows.
async fn refuse_late_attempts(
    connection: &Connection,
    session: &mut ClientSession,
    slot: i32,
) -> mongodb::error::Result<()> {
    // It writes nothing, so its end need not wait for a majority.
    begin_with(light(), connection, session).await?;
    // The first command tells the number, whatever it reads.
    let read = connection
        .find_in(find::claims(slot), session, |_| Ok(()))
        .await;
    abort(connection, session, read.is_err()).await;
    read.map(drop)
}

/// Ends a transaction whose writes were stopped.
async fn end(connection: &Connection, session: &mut ClientSession, stop: &Stop) {
    let is_ended = matches!(
        stop,
        Stop::Duplicate(_) | Stop::MemberExists | Stop::Conflict
    );
    abort(connection, session, is_ended).await;

    if let Stop::Conflict = stop {
        pause(COMMIT_PAUSE).await;
    }
}

/// Aborts a transaction. If the server has ended it already, only the session needs to know.
///
/// The command would be answered once a majority has what another transaction wrote that this one
/// met. By then the other process begins its next one, and would win again.
async fn abort(connection: &Connection, session: &mut ClientSession, is_ended: bool) {
    let abort = session.abort_transaction().into_future();
    if is_ended {
        drop(abort.now_or_never());
    } else {
        // If this fails the server ends the transaction by itself.
        let _ = connection.limited_step(abort).await;
    }
}

/// Returns true if another transaction is writing to the same document. The server has ended the
/// one that gets this error.
fn is_conflict(e: &mongodb::error::Error) -> bool {
    matches!(&*e.kind, ErrorKind::Command(command) if command.code == WRITE_CONFLICT)
}

/// Commits, and repeats the command while its result is unknown: the server knows the transaction
/// by its number and commits it once. Only an error that is labelled as transient says that the
/// transaction is no more.
async fn commit(
    connection: &Connection,
    session: &mut ClientSession,
    deadline: Instant,
) -> mongodb::error::Result<()> {
    loop {
        match connection.limited_step(session.commit_transaction()).await {
            Err(e)
                if !e.contains_label(TRANSIENT_TRANSACTION_ERROR) && Instant::now() < deadline =>
            {
                pause(COMMIT_PAUSE).await
            }
            result => return result,
        }
    }
}

/// Waits for a random while, so that two processes do not meet in step.
async fn pause(longest: Duration) {
    let random = crate::session::random().map_or(0, u64::from_le_bytes);
    let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    tokio::time::sleep(Duration::from_micros(200 + random % longest)).await;
}
