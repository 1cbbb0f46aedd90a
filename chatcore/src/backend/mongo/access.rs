//! The ways to the database that the rest of the backend goes.

use std::time::Duration;

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{CollectionOptions, ReadConcern};
use mongodb::{ClientSession, Collection};
use tokio::time::timeout;

use super::buckets::Bucket;
use super::find::{self, Query};
use super::{DUPLICATE_KEY, Inner, Mode, documents, error, pending_counts};
use crate::error::{Error, Result};
use crate::model::{Head, NonceKey, ReadState};
use crate::timestamp::Timestamp;
use crate::types::{Message, Range, Room, RoomName, Seq, Topic, Username};

/// Reads of a count that a flush may come between. One flush is rare; as many as this are none.
const MAX_READS: u32 = 16;

/// What the server answered to an `insert`, `update` or `delete` command.
pub(super) struct Written {
    /// Documents inserted, matched or deleted, and those that an upsert made.
    pub(super) n: i64,
    /// Positions of the statements that made a document by an upsert.
    pub(super) upserted: Vec<usize>,
    /// The fields of the unique index that refused a document.
    pub(super) duplicate: Option<Document>,
}

/// Whether these are the fields of the index that keeps nonces unique.
pub(super) fn is_of_nonces(index: &Document) -> bool {
    index.contains_key("nonces.nonce")
}

/// The time of a command is over.
pub(super) struct Late;

impl From<Late> for Error {
    fn from(_: Late) -> Self {
        Self::Unavailable("it did not answer in time".into())
    }
}

impl From<Late> for mongodb::error::Error {
    fn from(_: Late) -> Self {
        std::io::Error::from(std::io::ErrorKind::TimedOut).into()
    }
}

/// Messages in `seq` order.
#[derive(Default)]
struct PageOfMessages {
    messages: Vec<Message>,
    /// Tells that some of them, or of those stored with them, were changed.
    has_changes: bool,
}

impl Inner {
    /// Runs a command, and gives it up when its time is over: on a connection that died without a
    /// word it has no end, and whatever waits for it is held up. The driver closes the connection
    /// of a command that is dropped; a session can begin its next transaction.
    ///
    /// On a standalone mongod a command is waited for, because a write that comes late cannot be
    /// refused there.
    pub(super) async fn limited<T, E: From<Late>>(
        &self,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.limited_to(self.timeout, command).await
    }

    /// The same for a command in a transaction, which leaves time to repeat it or to abort the
    /// transaction on another connection.
    pub(super) async fn limited_step<T, E: From<Late>>(
        &self,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.limited_to(self.timeout / 2, command).await
    }

    async fn limited_to<T, E: From<Late>>(
        &self,
        limit: Duration,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let command = command.into_future();
        match &self.mode {
            Mode::ReplicaSet(_) => timeout(limit, command)
                .await
                .unwrap_or_else(|_| Err(Late.into())),
            Mode::Standalone(_) => command.await,
        }
    }

    /// Runs a write command. Any error but a duplicate key is an `Err`.
    pub(super) async fn write(
        &self,
        command: RawDocumentBuf,
        session: Option<&mut ClientSession>,
    ) -> mongodb::error::Result<Written> {
        let run = self.database.run_raw_command(command);
        let reply = match session {
            Some(session) => self.limited_step(run.session(session)).await,
            None => self.limited(run).await,
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(e) => match (&*e.kind, e.server_response()) {
                (ErrorKind::Command(c), Some(response)) if c.code == DUPLICATE_KEY => {
                    let duplicate = response
                        .get_document("keyPattern")
                        .ok()
                        .and_then(|keys| keys.try_into().ok());
                    let duplicate = Some(duplicate.unwrap_or_default());
                    return Ok(Written {
                        n: 0,
                        upserted: Vec::new(),
                        duplicate,
                    });
                }
                _ => return Err(e),
            },
        };
        let n = reply
            .get_i64("n")
            .or_else(|_| reply.get_i32("n").map(i64::from))
            .unwrap_or(0);
        let mut duplicate: Option<Document> = None;
        for failed in reply
            .get_array("writeErrors")
            .into_iter()
            .flatten()
            .filter_map(|e| e.as_document())
        {
            if failed.get_i32("code").ok() != Some(DUPLICATE_KEY) {
                return Err(mongodb::error::Error::custom(failed.to_string()));
            }
            let index = failed
                .get_document("keyPattern")
                .cloned()
                .unwrap_or_default();
            // A repeat of an insert meets its own messages; what matters beside them is a nonce.
            if duplicate.is_none() || is_of_nonces(&index) {
                duplicate = Some(index);
            }
        }
        if let Ok(concern) = reply.get_document("writeConcernError") {
            return Err(mongodb::error::Error::custom(concern.to_string()));
        }
        let upserted = reply
            .get_array("upserted")
            .into_iter()
            .flatten()
            .filter_map(|made| made.as_document());
        let upserted = upserted
            .filter_map(|made| usize::try_from(made.get_i32("index").ok()?).ok())
            .collect();
        Ok(Written {
            n,
            upserted,
            duplicate,
        })
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Runs a query and reads each document with `read`.
    pub(super) async fn find<T>(
        &self,
        query: Query,
        read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        let concern = match &self.mode {
            Mode::ReplicaSet(_) if !query.newest_state => Some(ReadConcern::majority()),
            _ => None,
        };
        let mut options = CollectionOptions::default();
        options.read_concern = concern;
        let collection = self
            .database
            .collection_with_options::<RawDocumentBuf>(query.collection, options);
        self.limited(query.run(&collection, read)).await
    }

    /// The head up to which a room may be shown, where a batch is not seen all at once.
    pub(super) fn committed_head(&self, room: &RoomName) -> Result<Option<Head>> {
        match &self.mode {
            Mode::Standalone(guarded) => guarded.committed_head(room),
            Mode::ReplicaSet(_) => Ok(None),
        }
    }

    pub(super) async fn messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let Mode::Standalone(guarded) = &self.mode else {
            return Ok(self.read_messages(room, range, limit, None).await?.messages);
        };
        // What is being stored just now is not durable yet, so it is not shown. The second look is
        // for a batch that began while the messages were read.
        loop {
            let bound = guarded.committed_head(room)?;
            let (withdrawals, revision) = (guarded.withdrawals(), guarded.revision(room));
            let PageOfMessages {
                mut messages,
                has_changes,
            } = self.read_posted(room, range, limit, bound).await?;
            let overlaid = match has_changes {
                true => self.overlay(room, &mut messages, ReadState::Durable).await,
                false => Ok(()),
            };

            let late = guarded.committed_head(room)?;
            if has_changes && (revision.is_none() || guarded.revision(room) != revision) {
                // Some of these changes may be of a batch whose other changes were not there yet.
                let _no_batch_is_being_stored = guarded.settled(self).await?;
                return Ok(self.read_messages(room, range, limit, None).await?.messages);
            }
            overlaid?;

            match (messages.last(), late) {
                (Some(last), Some(late)) if last.seq > late.seq => {}
                // Something that was being stored was taken back meanwhile.
                _ if guarded.withdrawals() != withdrawals => {}
                _ => return Ok(messages),
            }
        }
    }

    /// Reads a page: its buckets, and if one of them is marked as changed, the newest states of its
    /// messages.
    async fn read_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        bound: Option<Head>,
    ) -> Result<PageOfMessages> {
        let mut page = self.read_posted(room, range, limit, bound).await?;
        if page.has_changes {
            self.overlay(room, &mut page.messages, ReadState::Durable)
                .await?;
        }
        Ok(page)
    }

    /// Reads a page from the buckets alone.
    async fn read_posted(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        bound: Option<Head>,
    ) -> Result<PageOfMessages> {
        let query = find::messages(room, range, limit, bound);
        let asked = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let mut page = PageOfMessages::default();
        let mut buckets = self
            .read_buckets(room, range, limit, query, &mut page.has_changes)
            .await?;
        let is_complete = buckets.len() < asked;
        let is_backward = matches!(range, Range::Newest | Range::Before(_));
        if is_backward {
            buckets.reverse();
        }
        page.messages = buckets.into_iter().flatten().collect();

        let missing = i64::from(limit) - i64::try_from(page.messages.len()).unwrap_or(i64::MAX);
        let (Some(first), Some(last)) = (page.messages.first(), page.messages.last()) else {
            return Ok(page);
        };
        if is_complete || missing <= 0 {
            return Ok(page);
        }
        // The buckets were not full. A room has no hole, so the places of the rest are known.
        let after = if is_backward {
            (first.seq.get() - 1 - missing).max(0)
        } else {
            last.seq.get()
        };
        let missing = if is_backward {
            first.seq.get() - 1 - after
        } else {
            missing
        };
        let (Some(after), Ok(limit @ 1..)) = (Seq::new(after), u32::try_from(missing)) else {
            return Ok(page);
        };
        let range = Range::After(after);
        let query = find::messages(room, range, limit, bound);
        let rest = self
            .read_buckets(room, range, limit, query, &mut page.has_changes)
            .await?;
        let at = if is_backward { 0 } else { page.messages.len() };
        page.messages.splice(at..at, rest.into_iter().flatten());
        Ok(page)
    }

    /// Reads at most `limit` messages of a range, bucket by bucket as the query finds them. Sets
    /// `has_changes` if one of the buckets is marked as changed.
    async fn read_buckets(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        query: Query,
        has_changes: &mut bool,
    ) -> Result<Vec<Vec<Message>>> {
        let mut wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = |document: &RawDocument| {
            if wanted == 0 {
                return Ok(Vec::new());
            }
            let bucket = Bucket::new(room, document)?;
            *has_changes |= bucket.is_changed();
            let messages = bucket.in_range(range, wanted)?;
            wanted -= messages.len();
            Ok(messages)
        };
        self.find(query, read).await
    }

    /// Returns the message that was stored under a nonce.
    pub(super) async fn by_nonce(&self, key: &NonceKey) -> Result<Option<Message>> {
        let read = |document: &RawDocument| {
            let bucket = Bucket::new(&key.0, document)?;
            Ok((bucket.by_nonce(key)?, bucket.is_changed()))
        };
        let Some((Some(mut message), is_changed)) =
            self.find(find::by_nonce(key), read).await?.pop()
        else {
            return Ok(None);
        };
        if is_changed {
            self.overlay(
                &key.0,
                std::slice::from_mut(&mut message),
                ReadState::Durable,
            )
            .await?;
        }
        Ok(Some(message))
    }

    /// Runs a query in a transaction.
    pub(super) async fn find_in<T>(
        &self,
        query: Query,
        session: &mut ClientSession,
        mut read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> mongodb::error::Result<Vec<T>> {
        let command = RawDocumentBuf::try_from(&query.command())?;
        let reply = self
            .limited_step(self.database.run_raw_command(command).session(session))
            .await?;
        let batch = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        let documents = batch
            .into_iter()
            .flatten()
            .filter_map(|document| document.as_document());
        let unreadable = |e: Error| mongodb::error::Error::custom(e.to_string());
        documents
            .map(|document| read(&RawDocumentBuf::try_from(document)?).map_err(unreadable))
            .collect()
    }

    /// Number of messages of each of these users, in the same order.
    pub(super) async fn message_counts(&self, users: &[Username]) -> Result<Vec<u64>> {
        // A standalone mongod may have been a replica set.
        let tallies = match &self.mode {
            Mode::ReplicaSet(replica_set) if !replica_set.pending_counts.defers() => 0,
            Mode::ReplicaSet(_) | Mode::Standalone(_) => pending_counts::SLOTS,
        };
        let mut counts = vec![None; users.len()];
        // Parts only grow, so their sum was true at some moment of the read, as long as the counter
        // did not go down meanwhile.
        let mut deletions = vec![0; users.len()];
        for _ in 0..MAX_READS {
            let mut parts = pending_counts::Parts::of(users);
            self.find(find::counts(users, tallies), |document| parts.add(document))
                .await?;
            for (at, parts) in parts.of_each().enumerate() {
                let before =
                    std::mem::replace(&mut deletions[at], pending_counts::deletions(parts));
                let is_steady = deletions[at] == before || tallies == 0;
                counts[at] =
                    counts[at].or_else(|| pending_counts::sum(parts).filter(|_| is_steady));
            }
            if let Some(counts) = counts.iter().copied().collect() {
                return Ok(counts);
            }
        }
        Err(Error::Unavailable(
            "a counter holds more of a tally than the tally says".into(),
        ))
    }

    pub(super) async fn room(&self, room: &RoomName) -> Result<Option<Room>> {
        let bound = self.committed_head(room)?;
        let mut found = self.find(find::room(room), documents::room).await?;
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
            .find(find::heads(std::slice::from_ref(room)), |_| Ok(()))
            .await?
            .is_empty())
    }

    pub(super) async fn create_room(&self, room: &RoomName, now: Timestamp) -> Result<bool> {
        let created = doc! { "$setOnInsert": documents::new_room(now) };
        let counters = self.collection("counters");
        let create = counters
            .update_one(find::room_counter(room), created)
            .upsert(true);
        let done = self.limited(create).await.map_err(error)?;
        Ok(done.upserted_id.is_some())
    }

    /// Sets what a room is about. Returns false if there is no such room.
    pub(super) async fn set_topic(&self, room: &RoomName, topic: &Topic) -> Result<bool> {
        let change = match topic.as_str() {
            "" => doc! { "$unset": { "topic": true } },
            topic => doc! { "$set": { "topic": topic } },
        };
        let counters = self.collection("counters");
        let done = self
            .limited(counters.update_one(find::room_counter(room), change))
            .await
            .map_err(error)?;
        Ok(done.matched_count > 0)
    }
}
