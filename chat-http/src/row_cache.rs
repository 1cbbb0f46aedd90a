//! Rows of messages that were drawn lately, and messages that were quoted in them.

use bytes::Bytes;
use chatcore::{ChangeSeq, RoomName, Seq, SharedMessage};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::revision::Revision;
use crate::texts::Language;

/// Bytes of all rows that are kept.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// About the bytes of a row, and of what the cache needs beside it.
const USUAL_BYTES: u64 = 1024;
const BYTES_BESIDE: u64 = 128;
/// Quoted messages that are kept: about 16 MB of the longest.
const MAX_QUOTED: usize = 1_024;

/// Form of a drawn row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowForm {
    /// As it stands on a page.
    Html,
    /// As a JSON string, quotation marks included, as it stands in a frame.
    JsonString,
    /// Beginning of the text alone, as a JSON string.
    Line,
}

/// Everything that decides how a row looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RowKey {
    pub(crate) message: Revision,
    /// The message that it answers, if that can be read.
    pub(crate) quoted: Option<Revision>,
    /// Language of the words in it.
    pub(crate) language: Language,
    pub(crate) form: RowForm,
}

/// A quoted message, not older than a change of its room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QuotedKey {
    pub(crate) room: RoomName,
    pub(crate) seq: Seq,
    pub(crate) after: ChangeSeq,
}

#[derive(Clone)]
struct BySize;

impl Weighter<RowKey, Bytes> for BySize {
    fn weight(&self, _: &RowKey, row: &Bytes) -> u64 {
        BYTES_BESIDE + row.len() as u64
    }
}

/// Rows of messages that were drawn lately, at most [`MAX_BYTES`] of them.
///
/// A key holds the state of all that is drawn, so a row never gets old: one that changed has
/// another.
pub(crate) struct RowCache {
    rows: Cache<RowKey, Bytes, BySize>,
    quoted: Cache<QuotedKey, SharedMessage>,
}

impl RowCache {
    pub(crate) fn new() -> Self {
        let items = usize::try_from(MAX_BYTES / USUAL_BYTES).unwrap_or_default();
        Self {
            rows: Cache::with_weighter(items, MAX_BYTES, BySize),
            quoted: Cache::new(MAX_QUOTED),
        }
    }

    pub(crate) fn get(&self, key: &RowKey) -> Option<Bytes> {
        self.rows.get(key)
    }

    pub(crate) fn insert(&self, key: RowKey, row: Bytes) {
        self.rows.insert(key, row);
    }

    /// Returns a quoted message, which the first of those who want it at the same time reads.
    pub(crate) async fn quoted<E>(
        &self,
        key: &QuotedKey,
        read: impl Future<Output = Result<SharedMessage, E>>,
    ) -> Result<SharedMessage, E> {
        self.quoted.get_or_insert_async(key, read).await
    }
}
