//! Messages that are to be changed, or were asked for one by one, and their reactions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::RawDocument;

use super::buckets::Bucket;
use super::documents::{self, corrupt, seq, text};
use super::scheduler::LOOKUPS;
use super::store::Store;
use super::{changes, find};
use crate::error::{Error, Result};
use crate::model::{ReactionAnswer, ReactionQuery, ReadState, Stored, Target};
use crate::types::{Emoji, Message, Reaction, RoomName, Seq, Username};

/// Messages that are asked for at once: as many of the largest states fit into a reply of 16 MiB.
const MAX_KEYS: usize = 200;

/// A message: its room and its `seq`.
type MessageKey = (RoomName, Seq);
/// A reaction of a user.
type UserReaction = (RoomName, Seq, Emoji, Username);

fn user_reaction(document: &RawDocument) -> Result<UserReaction> {
    let id = document.get_document("_id").map_err(corrupt)?;
    Ok((
        text(id, "room")?,
        seq(id, "seq")?,
        text(id, "emoji")?,
        text(id, "user")?,
    ))
}

/// Messages that were found, by key.
#[derive(Default)]
struct Found {
    messages: BTreeMap<MessageKey, Result<Stored>>,
    /// Messages in buckets of which some message was changed.
    in_changed_buckets: Vec<MessageKey>,
    /// Error of a document that does not even say which messages it holds.
    unreadable: Option<Error>,
}

impl Found {
    fn add(&mut self, key: MessageKey, message: Result<Message>, location: Result<i64>) {
        let stored = message.and_then(|message| {
            Ok(Stored {
                message,
                location: location?,
                reactions: Vec::new(),
            })
        });
        self.messages.insert(key, stored);
    }

    fn add_changed(&mut self, document: &RawDocument) {
        match documents::message_key(document) {
            Ok(key) => {
                let message = changes::message(&key.0, document);
                self.add(key, message, changes::location(document));
            }
            Err(unreadable) => self.unreadable = Some(unreadable),
        }
    }

    /// Adds those of `wanted` that a bucket holds.
    fn add_of_bucket(
        &mut self,
        document: &RawDocument,
        wanted: &BTreeSet<MessageKey>,
    ) -> Result<()> {
        let room = documents::room_name(document)?;
        let bucket = Bucket::new(&room, document)?;
        let held = (room.clone(), bucket.first)..=(room.clone(), bucket.last);
        for key in wanted.range(held) {
            let message = bucket.at(key.1);
            let message =
                message.and_then(|message| message.ok_or_else(|| corrupt("a bucket is short")));
            self.add(key.clone(), message, Ok(bucket.first.get()));
            if bucket.is_changed() {
                self.in_changed_buckets.push(key.clone());
            }
        }
        Ok(())
    }

    fn lacks(&self, key: &MessageKey) -> bool {
        !self.messages.contains_key(key)
    }

    /// Makes an error of each message that has neither its text nor a newer state.
    fn refuse_blank(&mut self) {
        for stored in self.messages.values_mut() {
            let message = stored.as_ref().map(|stored| &stored.message);
            if message.is_ok_and(|message| message.change.is_none() && message.is_deleted()) {
                *stored = Err(corrupt("a message has no text and no change"));
            }
        }
    }
}

/// Reactions that were asked about, as far as they are known.
#[derive(Default)]
struct Reactions {
    there: HashSet<UserReaction>,
    /// First users behind those whom the message names.
    behind: HashMap<(RoomName, Seq, Emoji), Vec<Username>>,
}

/// Returns the reaction that a query is about, unless the message has none with that emoji.
fn asked<'a>(message: &'a Message, query: &ReactionQuery) -> Option<&'a Reaction> {
    let content = message.content.as_ref()?;
    content
        .reactions
        .iter()
        .find(|reaction| reaction.emoji == query.emoji)
}

/// Returns true if the message itself names the first `n` users who reacted, or all of them.
fn names_first(reaction: &Reaction, n: usize) -> bool {
    let named = reaction.users.len();
    n <= named || u64::try_from(named).is_ok_and(|named| named >= reaction.count)
}

impl Reactions {
    fn answer(&self, message: &Message, query: &ReactionQuery) -> ReactionAnswer {
        let Some(reaction) = asked(message, query) else {
            return ReactionAnswer::default();
        };
        let reacted = |user: &&Username| {
            let key = (
                message.room.clone(),
                message.seq,
                query.emoji,
                (*user).clone(),
            );
            reaction.users.contains(user) || self.there.contains(&key)
        };
        let behind = self
            .behind
            .get(&(message.room.clone(), message.seq, query.emoji));
        let first = reaction.users.iter().chain(behind.into_iter().flatten());
        ReactionAnswer {
            users: query.users.iter().filter(reacted).cloned().collect(),
            first: first
                .take(usize::try_from(query.first).unwrap_or(usize::MAX))
                .cloned()
                .collect(),
        }
    }
}

impl Store {
    /// Reads messages that are to be changed, in the order asked for.
    pub(super) async fn targets(
        &self,
        targets: &[Target],
        state: ReadState,
    ) -> Result<Vec<Result<Option<Stored>>>> {
        let _no_batch_is_being_stored = self.deployment.settle(&self.connection).await?;

        let keys: BTreeSet<MessageKey> = targets
            .iter()
            .map(|target| (target.room.clone(), target.seq))
            .collect();
        let mut found = self.find_messages(keys, state).await?;
        let reactions = self.find_reactions(targets, &found, state).await?;

        let one = |target: &Target| {
            let key = (target.room.clone(), target.seq);
            let Some(stored) = found.messages.get_mut(&key) else {
                return found.unreadable.clone().map_or(Ok(None), Err);
            };
            let mut stored = stored.clone()?;
            let answers = target
                .reactions
                .iter()
                .map(|query| reactions.answer(&stored.message, query));
            stored.reactions = answers.collect();
            Ok(Some(stored))
        };
        Ok(targets.iter().map(one).collect())
    }

    async fn find_messages(&self, keys: BTreeSet<MessageKey>, state: ReadState) -> Result<Found> {
        let mut found = Found::default();

        // A reply may be too small for all of them. One that has nothing new says that the rest is
        // not there.
        let mut wanted = keys;
        while !wanted.is_empty() {
            let before = wanted.len();
            let list: Vec<_> = wanted.iter().cloned().collect();
            for keys in list.chunks(MAX_KEYS) {
                let read = |document: &RawDocument| {
                    if let Err(unreadable) = found.add_of_bucket(document, &wanted) {
                        found.unreadable = Some(unreadable);
                    }
                    Ok(())
                };
                self.connection
                    .find(find::buckets_at(keys).of(state), read)
                    .await?;
            }
            wanted.retain(|key| found.lacks(key));
            if wanted.len() == before {
                break;
            }
        }

        // Read after its bucket, so the new state of a message is there if the old one is not.
        let changed = std::mem::take(&mut found.in_changed_buckets);
        self.find_changed(&changed, state, &mut found).await?;
        found.refuse_blank();
        Ok(found)
    }

    async fn find_changed(
        &self,
        keys: &[MessageKey],
        state: ReadState,
        found: &mut Found,
    ) -> Result<()> {
        for keys in keys.chunks(MAX_KEYS) {
            let read = |document: &RawDocument| {
                found.add_changed(document);
                Ok(())
            };
            self.connection
                .find(find::changes_at(keys).of(state), read)
                .await?;
        }
        Ok(())
    }

    /// Reads the answers that the messages themselves do not have.
    async fn find_reactions(
        &self,
        targets: &[Target],
        found: &Found,
        state: ReadState,
    ) -> Result<Reactions> {
        let missing = MissingReactions::of(targets, found);
        let mut reactions = Reactions::default();
        if !missing.users.is_empty() {
            let query = find::reactions_among(&missing.users).of(state);
            reactions.there = self
                .connection
                .find(query, user_reaction)
                .await?
                .into_iter()
                .collect();
        }

        let one = async |(room, seq, emoji, limit): (RoomName, Seq, Emoji, u32)| {
            let query = find::first_reactions(&room, seq, emoji, limit).of(state);
            let users = self
                .connection
                .find(query, |document| Ok(user_reaction(document)?.3))
                .await?;
            Ok::<_, Error>(((room, seq, emoji), users))
        };
        reactions.behind = futures_util::stream::iter(missing.behind)
            .map(one)
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        Ok(reactions)
    }
}

/// Questions about reactions that the messages themselves do not answer.
#[derive(Default)]
struct MissingReactions {
    /// Users of whom it is not known whether they reacted.
    users: Vec<(RoomName, Seq, Emoji, Username)>,
    /// Reactions of whose first users more are needed: that many.
    behind: Vec<(RoomName, Seq, Emoji, u32)>,
}

impl MissingReactions {
    fn of(targets: &[Target], found: &Found) -> Self {
        let mut this = Self::default();
        for target in targets {
            let stored = found.messages.get(&(target.room.clone(), target.seq));
            let Some(Ok(Stored { message, .. })) = stored else {
                continue;
            };
            for query in &target.reactions {
                if let Some(reaction) = asked(message, query) {
                    this.add(target, query, reaction);
                }
            }
        }
        this
    }

    fn add(&mut self, target: &Target, query: &ReactionQuery, reaction: &Reaction) {
        let (room, seq, emoji) = (&target.room, target.seq, query.emoji);
        if !names_first(reaction, usize::MAX) {
            let users = query.users.iter();
            let unknown = users.filter(|user| !reaction.users.contains(user));
            self.users
                .extend(unknown.map(|user| (room.clone(), seq, emoji, user.clone())));
        }

        let wanted = usize::try_from(query.first).unwrap_or(usize::MAX);
        if !names_first(reaction, wanted) {
            let more = find::limit(wanted.saturating_sub(reaction.users.len()));
            self.behind.push((room.clone(), seq, emoji, more));
        }
    }
}
