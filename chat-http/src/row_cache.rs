//! Rows of messages that were drawn lately.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::revision::Revision;
use crate::texts::Language;

/// Bytes of all rows that are kept.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// About the bytes of a row, and of what the cache needs beside it.
const USUAL_BYTES: u64 = 1024;
const BYTES_BESIDE: u64 = 128;

/// Everything that decides how a row looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RowKey {
    pub(crate) message: Revision,
    /// The message that it answers, if that can be read.
    pub(crate) quoted: Option<Revision>,
    /// Language of the words in it.
    pub(crate) language: Language,
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
/// A key holds the state of all that is drawn, so a row never gets old: one that changed has another.
pub(crate) struct RowCache(Cache<RowKey, Bytes, BySize>);

impl RowCache {
    pub(crate) fn new() -> Self {
        let items = usize::try_from(MAX_BYTES / USUAL_BYTES).unwrap_or_default();
        Self(Cache::with_weighter(items, MAX_BYTES, BySize))
    }

    pub(crate) fn get(&self, key: &RowKey) -> Option<Bytes> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: RowKey, row: Bytes) {
        self.0.insert(key, row);
    }
}
