//! Messages are stored in buckets: one document for up to [`CAPACITY`] messages of one room that
//! are committed together.
//!
//! An insert of a document costs the server much more than the bytes in it. A bucket is never added
//! to, so a room's buckets and its heads meet: none reaches over the head that a batch follows.
//!
//! With the first change of one of its messages, a bucket is marked as `changed`: the newest state
//! of that message is then in `changes`, over the one in the bucket. Of a message whose text was
//! replaced or deleted the bucket keeps nothing but the time.
//!
//! Every [`MILESTONE_EVERY`]th message makes its bucket a milestone: only those are in the index by
//! time. It tells where a search for a time begins, and a bucket that is not in it costs no write
//! there.
//!
//! A message's `seq` is its position in the bucket after that of the first. Nonces stand beside the
//! messages, because the unique index must hold nothing of those without one.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawArray, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, rawdoc};

use super::documents::{self, batch_id, corrupt, seq, time};
use crate::error::Result;
use crate::model::{Batch, BatchMessage, Head, NonceKey, RoomBatch};
use crate::types::{Message, Range, RoomName, Seq};

/// The most messages in a bucket.
pub(super) const CAPACITY: usize = 16;
/// A bucket ends with the message that brings its texts to this size.
const FULL_BYTES: usize = 16 * 1024;

/// Interval of milestones, in messages.
const MILESTONE_EVERY: i64 = 64;

/// Returns the buckets of a batch, as the documents of an `insert` command.
pub(super) fn new_buckets(batch: &Batch) -> RawArrayBuf {
    let id = batch_id(batch.id);
    let mut buckets = RawArrayBuf::new();
    for room in &batch.rooms {
        let mut rest = room.messages.as_slice();
        while !rest.is_empty() {
            let (bucket, behind) = rest.split_at(size(rest));
            buckets.push(new_bucket(&room.room, bucket, id));
            rest = behind;
        }
    }
    buckets
}

/// Returns the first `seq` of each new message's bucket.
pub(super) fn locations(room_batch: &RoomBatch) -> Vec<i64> {
    let mut locations = Vec::with_capacity(room_batch.messages.len());
    let mut rest = room_batch.messages.as_slice();
    while let Some(first) = rest.first() {
        let n = size(rest);
        locations.resize(locations.len() + n, first.seq.get());
        rest = &rest[n..];
    }
    locations
}

/// Returns how many of the messages go into the next bucket: at least one.
fn size(messages: &[BatchMessage]) -> usize {
    let mut bytes = 0;
    let before_full = messages.iter().take(CAPACITY).take_while(|message| {
        let open = bytes < FULL_BYTES;
        bytes += message.content.text.as_str().len();
        open
    });
    before_full.count()
}

fn new_bucket(room: &RoomName, messages: &[BatchMessage], batch: ObjectId) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return document;
    };
    let list: RawArrayBuf = messages
        .iter()
        .map(
            |BatchMessage {
                 timestamp, content, ..
             }| {
                let mut message = rawdoc! { "timestamp": timestamp.as_micros() };
                documents::append_posted(&mut message, content);
                message
            },
        )
        .collect();
    document.append(
        cstr!("_id"),
        rawdoc! { "room": room.as_str(), "seq": first.seq.get() },
    );
    document.append(cstr!("last_seq"), last.seq.get());
    document.append(cstr!("last_timestamp"), last.timestamp.as_micros());
    if is_milestone(first.seq, last.seq) {
        document.append(cstr!("milestone"), last.timestamp.as_micros());
    }
    document.append(cstr!("messages"), list);
    document.append(cstr!("batch"), batch);
    let with_nonce = messages
        .iter()
        .filter_map(|message| Some((message, message.nonce.as_ref()?)));
    let nonces: RawArrayBuf = with_nonce
        .map(|(message, nonce)| {
            rawdoc! {
                "sender": message.content.sender.as_str(),
                "nonce": nonce.as_str(),
                "seq": message.seq.get(),
            }
        })
        .collect();
    if !nonces.is_empty() {
        document.append(cstr!("nonces"), nonces);
    }
    document
}

/// Returns true if one of the messages from `first` to `last` makes their bucket a milestone.
fn is_milestone(first: Seq, last: Seq) -> bool {
    last.get() / MILESTONE_EVERY > (first.get() - 1) / MILESTONE_EVERY
}

/// A bucket as it came from the database.
pub(super) struct Bucket<'a> {
    room: &'a RoomName,
    document: &'a RawDocument,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(room: &'a RoomName, document: &'a RawDocument) -> Result<Self> {
        let first = seq(document.get_document("_id").map_err(corrupt)?, "seq")?;
        Ok(Self {
            room,
            document,
            first,
            last: seq(document, "last_seq")?,
        })
    }

    pub(super) fn head(&self) -> Result<Head> {
        Ok(Head {
            seq: self.last,
            timestamp: time(self.document, "last_timestamp")?,
            ..Head::EMPTY
        })
    }

    pub(super) fn batch(&self) -> Option<ObjectId> {
        self.document.get_object_id("batch").ok()
    }

    fn list(&self) -> Result<&'a RawArray> {
        self.document.get_array("messages").map_err(corrupt)
    }

    /// Returns the messages, as they were posted, from the `seq` `first` up to `last`.
    fn messages(&self, first: Seq, last: Seq) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut seq = self.first;
        for message in self.list()? {
            if seq > last {
                break;
            }
            if seq >= first {
                let message = message.map_err(corrupt)?;
                let message = message
                    .as_document()
                    .ok_or_else(|| corrupt("a message is no document"))?;
                messages.push(self.message(seq, message)?);
            }
            seq = seq.next();
        }
        Ok(messages)
    }

    fn message(&self, seq: Seq, document: &RawDocument) -> Result<Message> {
        Ok(Message {
            room: self.room.clone(),
            seq,
            timestamp: time(document, "timestamp")?,
            change: None,
            content: documents::posted(document)?,
        })
    }

    /// Returns true if a message of it was ever changed.
    pub(super) fn is_changed(&self) -> bool {
        self.document.get_bool("changed").unwrap_or(false)
    }

    /// Returns the message at a `seq`.
    pub(super) fn at(&self, seq: Seq) -> Result<Option<Message>> {
        Ok(self.messages(seq, seq)?.pop())
    }

    pub(super) fn all(&self) -> Result<Vec<Message>> {
        self.messages(self.first, self.last)
    }

    /// Returns the messages in `range`, at most `limit`: the oldest, or for [`Range::Newest`] and
    /// [`Range::Before`] the newest.
    pub(super) fn in_range(&self, range: Range, limit: usize) -> Result<Vec<Message>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let number = |n: i64| Seq::new(n).unwrap_or(Seq::ZERO);
        let up_to = |last: i64| self.messages(number(last.saturating_sub(limit) + 1), number(last));
        match range {
            Range::Newest => up_to(self.last.get()),
            Range::Before(seq) => up_to(self.last.get().min(seq.get() - 1)),
            Range::After(seq) => {
                let first = self.first.max(seq.next());
                self.messages(first, number(first.get().saturating_add(limit) - 1))
            }
            Range::Since(time) => {
                let mut messages = self.all()?;
                messages.retain(|message| message.timestamp > time);
                messages.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                Ok(messages)
            }
        }
    }

    /// Returns the message that was stored under a nonce.
    pub(super) fn by_nonce(&self, (_, sender, nonce): &NonceKey) -> Result<Option<Message>> {
        for entry in self.document.get_array("nonces").map_err(corrupt)? {
            let entry = entry.map_err(corrupt)?;
            let entry = entry
                .as_document()
                .ok_or_else(|| corrupt("a nonce is no document"))?;
            let is = |key, value| entry.get_str(key).is_ok_and(|stored| stored == value);
            if is("sender", sender.as_str()) && is("nonce", nonce.as_str()) {
                return self.at(seq(entry, "seq")?);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BatchId;
    use crate::testing;
    use crate::types::Content;

    fn messages(texts: &[&str]) -> Vec<BatchMessage> {
        let message = |(n, text): (i64, &&str)| BatchMessage {
            content: Content {
                verified: n % 2 == 0,
                ..testing::content(text)
            },
            nonce: (n % 3 == 0).then(|| format!("n{n}").parse().expect("a nonce")),
            ..testing::batch_message(n)
        };
        (5..).zip(texts).map(message).collect()
    }

    fn room_batch(messages: &[BatchMessage]) -> RoomBatch {
        let room = "a".parse().expect("a name");
        RoomBatch {
            room,
            after: None,
            messages: messages.to_vec(),
            changes: Vec::new(),
            members: Vec::new(),
            after_is_durable: true,
            assumes_members: false,
        }
    }

    fn buckets(messages: &[BatchMessage]) -> Vec<RawDocumentBuf> {
        let rooms = vec![room_batch(messages)];
        let batch = Batch {
            id: BatchId([1; 12]),
            rooms,
            counts: Vec::new(),
            guests: Vec::new(),
        };
        let all = new_buckets(&batch);
        all.into_iter()
            .map(|b| {
                b.expect("BSON")
                    .as_document()
                    .expect("a document")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_bucket_ends_with_its_capacity_and_with_its_size() {
        let sizes = |texts: &[&str]| {
            let room = "a".parse().expect("a name");
            let size = |b: &RawDocumentBuf| {
                Bucket::new(&room, b)
                    .expect("a bucket")
                    .all()
                    .expect("read")
                    .len()
            };
            buckets(&messages(texts))
                .iter()
                .map(size)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&["x"]), [1]);
        assert_eq!(sizes(&["x"; 16]), [16]);
        assert_eq!(sizes(&["x"; 40]), [16, 16, 8]);
        let long = "𝄞".repeat(4_000);
        let texts = [&*long, &long, "x", "y", &long, &long, "z"];
        assert_eq!(sizes(&texts), [2, 4, 1]);
        assert_eq!(
            locations(&room_batch(&messages(&texts))),
            [5, 5, 7, 7, 7, 7, 11]
        );
    }

    #[test]
    fn every_64th_message_makes_a_milestone() {
        let seq = |n| Seq::new(n).expect("a seq");
        let is = |first, last| is_milestone(seq(first), seq(last));
        assert!(!is(1, 16) && !is(63, 63) && !is(65, 80) && !is(112, 127));
        assert!(is(64, 64) && is(49, 64) && is(60, 70) && is(64, 79) && is(128, 128));
    }

    #[test]
    fn a_bucket_gives_back_its_messages_by_range_and_by_nonce() {
        let stored = messages(&["a", "b", "c", "d", "e"]);
        let [bucket] = buckets(&stored).try_into().expect("one");
        let room = "a".parse().expect("a name");
        let bucket = Bucket::new(&room, &bucket).expect("a bucket");
        let all: Vec<_> = stored
            .iter()
            .map(|message| message.to_message(&room))
            .collect();
        assert_eq!(bucket.all().expect("read"), all);
        assert_eq!(bucket.head().expect("a head").timestamp, all[4].timestamp);
        let seq = |n| Seq::new(n).expect("a seq");
        let read = |range, limit| bucket.in_range(range, limit).expect("read");
        for limit in 1..=6 {
            let newest = |n: usize| &all[n.saturating_sub(limit)..n];
            let oldest = |n: usize| &all[n..(n + limit).min(5)];
            assert_eq!(read(Range::Newest, limit), newest(5));
            for n in 0..=5 {
                let number = 5 + i64::try_from(n).expect("small");
                assert_eq!(read(Range::Before(seq(number)), limit), newest(n));
                assert_eq!(read(Range::After(seq(number - 1)), limit), oldest(n));
                let time = testing::time(10 * number - 1);
                assert_eq!(read(Range::Since(time), limit), oldest(n));
            }
        }
        for BatchMessage {
            seq,
            content,
            nonce,
            ..
        } in &stored
        {
            let key = |n: &str| {
                (
                    room.clone(),
                    content.sender.clone(),
                    n.parse().expect("a nonce"),
                )
            };
            let name = nonce.as_ref().map_or("none", |nonce| nonce.as_str());
            let found = bucket.by_nonce(&key(name)).expect("read");
            assert_eq!(
                found.map(|message| message.seq),
                nonce.as_ref().map(|_| *seq)
            );
        }
    }
}
