//! Calls of the committer.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::scheduler::{LOOKUPS, Mongo};
use super::{buckets, changes, documents, find};
use crate::backend::Commits;
use crate::error::{Error, Result};
use crate::model::{
    Append, Batch, Head, MessageChange, NonceKey, ReadState, RoomBatch, Stored, Target,
};
use crate::types::{Message, RoomName};

#[async_trait]
impl Commits for Mongo {
    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Result<Option<Head>>>> {
        self.run_commit(|this| async move {
            drop(this.deployment.settle(&this.connection).await?);
            let read = |document: &_| {
                let room = documents::room_name(document).map_err(|e| e.to_string());
                Ok((room, documents::head(document).map(|(_, head)| head)))
            };
            let found = this.connection.find(find::heads(&rooms), read).await?;
            let mut found: HashMap<_, _> = found
                .into_iter()
                .filter_map(|(room, head)| Some((room.ok()?, head)))
                .collect();
            Ok(rooms
                .iter()
                .map(|room| found.remove(room).transpose())
                .collect())
        })
        .await
    }

    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.run_commit(
            |this| async move { this.deployment.append(&this.connection, &batch).await },
        )
        .await
    }

    async fn is_stored(&self, batch: Arc<Batch>) -> Result<bool> {
        self.run_commit(
            |this| async move { this.deployment.is_stored(&this.connection, &batch).await },
        )
        .await
    }

    async fn targets(
        &self,
        targets: Vec<Target>,
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        self.run_commit(move |this| async move { this.targets(&targets, state).await })
            .await
    }

    fn locations_of(&self, room_batch: &RoomBatch) -> Vec<i64> {
        buckets::locations(room_batch)
    }

    fn location_after(&self, change: &MessageChange) -> i64 {
        changes::location_after(change)
    }

    async fn messages_by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Result<Option<Message>>>> {
        self.run_commit(|this| async move {
            let one = async |key: NonceKey| match this.by_nonce(&key).await {
                Err(unreadable @ Error::Corrupt(_)) => Ok(Err(unreadable)),
                found => Ok(Ok(found?)),
            };
            futures_util::stream::iter(keys)
                .map(one)
                .buffered(LOOKUPS)
                .try_collect()
                .await
        })
        .await
    }
}
