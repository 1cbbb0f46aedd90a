//! Every query and every filter, in one place so that a test can ask MongoDB how it runs each.

mod accounts;
mod counters;
mod marks;
mod members;
mod messages;
mod presence;
mod reactions;
mod rooms;

use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::action::Action as _;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::Hint;

pub(super) use self::accounts::*;
pub(super) use self::counters::*;
pub(super) use self::marks::*;
pub(super) use self::members::*;
pub(super) use self::messages::*;
pub(super) use self::presence::*;
pub(super) use self::reactions::*;
pub(super) use self::rooms::*;
use super::error::error;
use crate::error::Result;
use crate::model::ReadState;
use crate::types::RoomName;

/// A `find` command.
pub(super) struct Query {
    pub(super) collection: &'static str,
    pub(super) filter: Document,
    sort: Document,
    projection: Document,
    /// The keys of the index to use, where the server would have to try which one is best.
    hint: Option<Document>,
    pub(super) limit: u32,
    /// Reads the primary's newest state, which a failover may still take back, where the answer
    /// is only a guess that a guard checks.
    pub(super) newest_state: bool,
}

impl Query {
    fn one(collection: &'static str, filter: Document) -> Self {
        let (sort, projection) = (Document::new(), Document::new());
        Self {
            collection,
            filter,
            sort,
            projection,
            hint: None,
            limit: 1,
            newest_state: false,
        }
    }

    /// Returns the query as a command whose answer is one reply.
    pub(super) fn command(self) -> Document {
        let limit = i64::from(self.limit);
        let mut command = doc! {
            "find": self.collection,
            "filter": self.filter,
            "sort": self.sort,
            "projection": self.projection,
            "limit": limit,
            "batchSize": limit,
            "singleBatch": true,
        };
        command.extend(
            self.hint
                .map(|keys| ("hint".to_owned(), Bson::Document(keys))),
        );
        command
    }

    /// Has the query read the newest state.
    pub(super) fn newest(self) -> Self {
        Self {
            newest_state: true,
            ..self
        }
    }

    /// Has the query read a state.
    pub(super) fn of(self, state: ReadState) -> Self {
        Self {
            newest_state: state == ReadState::Newest,
            ..self
        }
    }

    /// Runs the query and reads each document with `read`.
    pub(super) async fn run<T>(
        self,
        collection: &Collection<RawDocumentBuf>,
        mut read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        // A negative limit asks for one reply, which has 101 documents unless it may have more.
        let find = collection
            .find(self.filter)
            .sort(self.sort)
            .projection(self.projection)
            .batch_size(self.limit)
            .limit(-i64::from(self.limit))
            .optional(self.hint, |find, keys| find.hint(Hint::Keys(keys)));
        let mut batches = find.batch().await.map_err(error)?;
        let mut values = Vec::new();
        while let Some(batch) = batches.try_next().await.map_err(error)? {
            for document in batch.doc_slices().map_err(error)? {
                let document = document.map_err(|e| crate::Error::Corrupt(e.to_string()))?;
                if let Some(document) = document.as_document() {
                    values.push(read(document)?);
                }
            }
        }
        Ok(values)
    }
}

/// Returns the filter for the ids between two bounds of one room. An `_id` is a document, and
/// documents compare field by field, so the index on `_id` serves ranges within a room; `_id.room`
/// is for the router of a sharded cluster.
fn within(
    room: &RoomName,
    field: &str,
    above: impl Into<Bson>,
    below: impl Into<Bson>,
) -> Document {
    doc! {
        "_id": { "$gt": { "room": room.as_str(), field: above.into() }, "$lt": { "room": room.as_str(), field: below.into() } },
        "_id.room": room.as_str(),
    }
}

pub(super) fn limit(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
