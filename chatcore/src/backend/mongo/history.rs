//! Reads of what is stored: messages, changes, mentions and counts.

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::RawDocument;

use super::buckets::Bucket;
use super::find::{self, Query};
use super::scheduler::Mongo;
use super::store::Store;
use super::{changes, documents};
use crate::backend::History;
use crate::error::Result;
use crate::model::{Head, NonceKey, ReadState, Target};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Message, Range, RoomName, Seq, Username};

#[async_trait]
impl History for Mongo {
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.run(|this| async move { this.messages(&room, range, limit).await })
            .await
    }

    async fn changed_messages(
        &self,
        room: RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.run(move |this| async move { this.changed(&room, after, limit).await })
            .await
    }

    async fn message_count(&self, user: Username) -> Result<u64> {
        if let Some(count_batcher) = &self.count_batcher {
            return count_batcher.message_count(user).await;
        }
        let one = |this: Arc<Store>| async move { this.message_counts(&[user]).await };
        Ok(self.run(one).await?.pop().unwrap_or(0))
    }

    async fn mentions(
        &self,
        user: Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        self.run(move |this| async move { this.mentions(&user, before, limit).await })
            .await
    }

    async fn newest_mentions(&self, user: Username, limit: u32) -> Result<Vec<(RoomName, Seq)>> {
        self.run(move |this| async move {
            this.connection
                .find(
                    find::mentions(&user, Timestamp::MAX, limit),
                    documents::message_key,
                )
                .await
        })
        .await
    }
}

/// Messages in `seq` order.
#[derive(Default)]
struct PageOfMessages {
    messages: Vec<Message>,
    /// True if some of them, or of those stored with them, were changed.
    has_changes: bool,
}

impl Store {
    /// Reads messages. Not what is being stored just now, which is not durable yet.
    async fn messages(&self, room: &RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        loop {
            let before = self.deployment.progress_in(room)?;
            let mut page = self.read_posted(room, range, limit, before.head).await?;
            let overlaid = match page.has_changes {
                true => {
                    changes::overlay(
                        &self.connection,
                        room,
                        &mut page.messages,
                        ReadState::Durable,
                    )
                    .await
                }
                false => Ok(()),
            };

            // The second look is for a batch that began while the messages were read.
            let after = self.deployment.progress_in(room)?;
            let is_steady = before.revision.is_some() && before.revision == after.revision;
            if page.has_changes && !is_steady {
                // Some of these changes may be of a batch whose other changes were not there yet.
                let _no_batch_is_being_stored = self.deployment.settle(&self.connection).await?;
                return self.read_messages(room, range, limit).await;
            }
            overlaid?;

            let is_committed = page
                .messages
                .last()
                .zip(after.head)
                .is_none_or(|(last, head)| last.seq <= head.seq);
            // Messages that arrived may have been taken back meanwhile.
            if is_committed && before.withdrawals == after.withdrawals {
                return Ok(page.messages);
            }
        }
    }

    /// Reads a page while no batch is being stored.
    async fn read_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let mut page = self.read_posted(room, range, limit, None).await?;
        if page.has_changes {
            let messages = &mut page.messages;
            changes::overlay(&self.connection, room, messages, ReadState::Durable).await?;
        }
        Ok(page.messages)
    }

    /// Reads a page from the buckets alone.
    async fn read_posted(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        bound: Option<Head>,
    ) -> Result<PageOfMessages> {
        let milestone = match range {
            Range::Since(time) => self.last_milestone(room, time).await?,
            _ => Seq::ZERO,
        };
        let query = find::messages(room, range, milestone, limit, bound);
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
        // The buckets were not full. A room has no hole, so the numbers of the rest are known.
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
        let query = find::messages(room, range, Seq::ZERO, limit, bound);
        let rest = self
            .read_buckets(room, range, limit, query, &mut page.has_changes)
            .await?;
        let at = if is_backward { 0 } else { page.messages.len() };
        page.messages.splice(at..at, rest.into_iter().flatten());
        Ok(page)
    }

    /// Returns the last `seq` of the last milestone that is no later than a time; 0 if there is none.
    async fn last_milestone(&self, room: &RoomName, time: Timestamp) -> Result<Seq> {
        let query = find::last_milestone(room, time);
        let read = |document: &RawDocument| documents::seq(document, "last_seq");
        let found = self.connection.find(query, read).await?;
        Ok(found.first().copied().unwrap_or(Seq::ZERO))
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
        self.connection.find(query, read).await
    }

    /// Returns the message that was stored under a nonce.
    pub(super) async fn by_nonce(&self, key: &NonceKey) -> Result<Option<Message>> {
        let read = |document: &RawDocument| {
            let bucket = Bucket::new(&key.0, document)?;
            Ok((bucket.by_nonce(key)?, bucket.is_changed()))
        };
        let Some((Some(mut message), is_changed)) =
            self.connection.find(find::by_nonce(key), read).await?.pop()
        else {
            return Ok(None);
        };
        if is_changed {
            changes::overlay(
                &self.connection,
                &key.0,
                std::slice::from_mut(&mut message),
                ReadState::Durable,
            )
            .await?;
        }
        Ok(Some(message))
    }

    /// Reads messages that changed after `after`.
    async fn changed(&self, room: &RoomName, after: ChangeSeq, limit: u32) -> Result<Vec<Message>> {
        let bound = self
            .deployment
            .progress_in(room)?
            .head
            .map(|head| head.change);
        let query = find::changed(room, after, bound, limit);
        let mut changed = self
            .connection
            .find(query, |document| changes::message(room, document))
            .await?;
        // On a standalone mongod, for a batch that began while they were read.
        if let Some(bound) = self
            .deployment
            .progress_in(room)?
            .head
            .map(|head| head.change)
        {
            changed.retain(|message| message.change <= Some(bound));
        }
        Ok(changed)
    }

    /// Reads the newest messages before a time that mention a user.
    async fn mentions(
        &self,
        user: &Username,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let keys = self
            .connection
            .find(find::mentions(user, before, limit), documents::message_key)
            .await?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let target = |(room, seq)| Target {
            room,
            seq,
            reactions: Vec::new(),
        };
        let targets: Vec<_> = keys.into_iter().map(target).collect();
        let found = self.targets(&targets, ReadState::Durable).await?;
        let messages: Result<Vec<_>> = found.into_iter().filter_map(Result::transpose).collect();
        let mut messages: Vec<_> = messages?.into_iter().map(|stored| stored.message).collect();
        // One may have been edited meanwhile.
        messages.retain(|message| message.mentions().contains(user));
        Ok(messages)
    }
}
