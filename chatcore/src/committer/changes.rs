//! Changes of stored messages: who may make them, and what becomes of the message.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::Worker;
use super::moderation::LOOKUPS;
use super::pending::{Pending, PendingChange};
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::feed::{AccessRequest, Permission};
use crate::model::{
    Head, MessageChange, ReactionAnswer, ReactionChange, ReactionQuery, ReadState, Stored, Target,
};
use crate::timestamp::Timestamp;
use crate::types::{
    ChangeSeq, Content, Emoji, MAX_REACTION_USERS, MAX_REACTIONS, Message, MessageText, Reaction,
    RoomName, Seq, Username,
};

/// Room for the positions of reactions that come with one change.
const POSITIONS: i64 = 1_024;

/// A change of a message, and who wants it.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Replaces the text.
    Edit {
        actor: Option<Username>,
        text: MessageText,
        mentions: Vec<Username>,
    },
    /// Deletes the message.
    Delete { actor: Option<Username> },
    /// Adds the reaction of a user, or removes it.
    React {
        user: Username,
        verified: bool,
        emoji: Emoji,
        is_added: bool,
    },
}

impl Change {
    /// Returns who acts, and whether the name is proved; `None` for the program itself.
    pub(super) fn actor(&self) -> Option<(&Username, bool)> {
        match self {
            Self::Edit { actor, .. } | Self::Delete { actor } => {
                actor.as_ref().map(|actor| (actor, true))
            }
            Self::React { user, verified, .. } => Some((user, *verified)),
        }
    }
}

type Place = (RoomName, Seq);

/// Where messages that are to be changed come from.
#[derive(Clone, Copy)]
enum Source {
    /// Memory if it has them, else the store.
    Recent,
    Store(ReadState),
}

/// Messages to be changed, as the changes of one batch leave them.
#[derive(Default)]
pub(super) struct Outcomes {
    of: HashMap<Place, Outcome>,
    /// In the order of the first request for each.
    order: Vec<Place>,
}

struct Outcome {
    draft: Draft,
    /// The message with the number of its change.
    message: Message,
    is_changed: bool,
}

impl Outcomes {
    pub(super) fn answer(&self, request: PendingChange) {
        let found = self.of.get(&(request.room, request.seq));
        let answer = found
            .map(|outcome| outcome.message.clone())
            .ok_or(Error::MessageNotFound);
        let _ = request.reply.send(answer);
    }

    /// Numbers the changes of each room after its head, in the order of the first request for each
    /// message.
    pub(super) fn number(
        &mut self,
        head: impl Fn(&RoomName) -> Head,
    ) -> HashMap<RoomName, Vec<MessageChange>> {
        let mut changes: HashMap<RoomName, Vec<MessageChange>> = HashMap::new();
        for place in &self.order {
            let Some(outcome) = self.of.get_mut(place).filter(|outcome| outcome.is_changed) else {
                continue;
            };
            let of_room = changes.entry(place.0.clone()).or_default();
            let last = of_room
                .last()
                .map_or_else(|| head(&place.0).change, MessageChange::number);
            outcome.message.change = Some(last.next());
            of_room.push(outcome.draft.change(&outcome.message));
        }
        changes
    }

    /// Returns about how many bytes the changed messages take.
    pub(super) fn bytes(&self) -> usize {
        self.of
            .values()
            .filter(|outcome| outcome.is_changed)
            .map(|outcome| outcome.message.weight())
            .sum()
    }

    /// Returns the rooms of messages that are changed.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        let is_changed = |place: &&Place| {
            self.of
                .get(*place)
                .is_some_and(|outcome| outcome.is_changed)
        };
        self.order.iter().filter(is_changed).map(|(room, _)| room)
    }

    /// Returns the senders of messages that are deleted.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &Username> {
        self.of.values().filter_map(|outcome| {
            let before = outcome.draft.before.message.sender();
            before.filter(|_| outcome.draft.content.is_none())
        })
    }
}

impl Worker {
    /// Reads the messages that are to be changed, and works out what becomes of them. Requests that
    /// are refused are answered and removed. So are those that change nothing, if there is nothing
    /// else; returns `None` if that cannot be answered yet.
    pub(super) async fn resolve_changes(
        &self,
        pending: &mut Vec<Pending>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Outcomes>> {
        if pending.iter().all(|request| request.as_change().is_none()) {
            return Ok(Some(Outcomes::default()));
        }
        let recent = self
            .work_out(pending, now, deadline, Source::Recent)
            .await?;
        let outcomes = match recent {
            Some(outcomes) => outcomes,
            None => {
                self.read_and_work_out(pending, now, deadline, ReadState::Newest)
                    .await?
            }
        };
        let is_idle = pending.iter().all(|request| request.as_post().is_none());
        if !is_idle || outcomes.rooms().next().is_some() {
            return Ok(Some(outcomes));
        }

        // Nothing is committed, so what is answered must be durable already.
        let durable = self
            .read_and_work_out(pending, now, deadline, ReadState::Durable)
            .await?;
        if durable.rooms().next().is_some() {
            return Ok(None);
        }
        for request in pending.drain(..) {
            if let Pending::Change(change) = request {
                durable.answer(change);
            }
        }
        Ok(Some(durable))
    }

    async fn read_and_work_out(
        &self,
        pending: &mut Vec<Pending>,
        now: Timestamp,
        deadline: Instant,
        state: ReadState,
    ) -> Result<Outcomes> {
        let outcomes = self
            .work_out(pending, now, deadline, Source::Store(state))
            .await?;
        // Only what is kept in memory may not do.
        outcomes.ok_or_else(|| Error::Corrupt("a change has no outcome".into()))
    }

    /// Works out what becomes of the messages. Returns `None`, and leaves all as it is, if what is
    /// kept in memory was used for a request that changes nothing or is refused: no guard of a
    /// commit tells whether that was up to date.
    async fn work_out(
        &self,
        pending: &mut Vec<Pending>,
        now: Timestamp,
        deadline: Instant,
        source: Source,
    ) -> Result<Option<Outcomes>> {
        let targets = targets(pending);
        let last_change = |room: &RoomName| {
            self.rooms
                .get(room)
                .map_or(ChangeSeq::ZERO, |known| known.head.change)
        };
        let mut drafts = HashMap::new();
        let mut missing = HashMap::new();
        let mut unknown = Vec::new();
        let mut recent = HashSet::new();
        for target in &targets {
            let found = match source {
                Source::Recent => self.recent.find(target, last_change(&target.room)),
                Source::Store(_) => None,
            };
            let place = (target.room.clone(), target.seq);
            match found {
                Some(stored) => {
                    let draft = Draft::new(stored, &target.reactions, last_change(&target.room));
                    drafts.insert(place.clone(), draft);
                    recent.insert(place);
                }
                None => unknown.push(target.clone()),
            }
        }

        let state = match source {
            Source::Recent => ReadState::Newest,
            Source::Store(state) => state,
        };
        let found = match unknown.is_empty() {
            true => Vec::new(),
            false => {
                self.persist(deadline, || self.backend.targets(unknown.clone(), state))
                    .await?
            }
        };
        for (target, found) in unknown.iter().zip(found) {
            let place = (target.room.clone(), target.seq);
            match found {
                Ok(Some(stored)) => {
                    let draft = Draft::new(stored, &target.reactions, last_change(&target.room));
                    drop(drafts.insert(place, draft));
                }
                Ok(None) => drop(missing.insert(place, Error::MessageNotFound)),
                Err(error) => drop(missing.insert(place, error)),
            }
        }
        let owners = self.owners_for(pending, &drafts, deadline).await?;

        let mut refused: Vec<(PendingChange, Error)> = Vec::new();
        for request in std::mem::take(pending) {
            let Pending::Change(change) = request else {
                pending.push(request);
                continue;
            };
            let place = (change.room.clone(), change.seq);
            let applied = match drafts.get_mut(&place) {
                Some(draft) => draft.apply(&change.change, owners.get(&change.room), now),
                None => Err(missing
                    .get(&place)
                    .cloned()
                    .unwrap_or(Error::MessageNotFound)),
            };
            match applied {
                Ok(()) => pending.push(Pending::Change(change)),
                Err(error) => refused.push((change, error)),
            }
        }
        let is_unguarded =
            |place: &Place| drafts.get(place).is_none_or(|draft| !draft.is_changed());
        let mut doubtful = refused
            .iter()
            .map(|(change, _)| (change.room.clone(), change.seq));
        if doubtful.any(|place| recent.contains(&place)) || recent.iter().any(is_unguarded) {
            pending.extend(
                refused
                    .into_iter()
                    .map(|(change, _)| Pending::Change(change)),
            );
            return Ok(None);
        }
        self.refuse_without_commit(pending, refused, &drafts, deadline)
            .await?;

        let order: Vec<_> = targets
            .into_iter()
            .map(|target| (target.room, target.seq))
            .collect();
        let outcome = |(place, draft): (Place, Draft)| {
            let (message, is_changed) = (draft.message(), draft.is_changed());
            (
                place,
                Outcome {
                    draft,
                    message,
                    is_changed,
                },
            )
        };
        Ok(Some(Outcomes {
            of: drafts.into_iter().map(outcome).collect(),
            order,
        }))
    }

    /// Answers refused requests, and refuses those that change nothing to whoever may not take
    /// part. No commit decides that for them, so the store is asked again.
    async fn refuse_without_commit(
        &self,
        pending: &mut Vec<Pending>,
        refused: Vec<(PendingChange, Error)>,
        drafts: &HashMap<Place, Draft>,
        deadline: Instant,
    ) -> Result<()> {
        let is_idle = |change: &PendingChange| {
            drafts
                .get(&(change.room.clone(), change.seq))
                .is_none_or(|draft| !draft.is_changed())
        };
        let idle = pending
            .iter()
            .filter_map(Pending::as_change)
            .filter(|change| is_idle(change));
        let mut asked: BTreeMap<RoomName, BTreeSet<(Username, bool)>> = BTreeMap::new();
        for change in idle.chain(refused.iter().map(|(change, _)| change)) {
            if let Some((actor, verified)) = change.change.actor() {
                asked
                    .entry(change.room.clone())
                    .or_default()
                    .insert((actor.clone(), verified));
            }
        }
        if asked.is_empty() && refused.is_empty() {
            return Ok(());
        }

        let mut denied: HashMap<(RoomName, Username, bool), Error> = HashMap::new();
        let look_up = |(room, actors): (RoomName, BTreeSet<(Username, bool)>)| async move {
            let names: Vec<_> = actors.iter().map(|(name, _)| name.clone()).collect();
            let ask = || self.backend.newest_access(room.clone(), names.clone());
            self.persist(deadline, ask)
                .await
                .map(|found| (room, actors, found))
        };
        let found: Vec<_> = stream::iter(asked)
            .map(look_up)
            .buffer_unordered(LOOKUPS)
            .collect()
            .await;
        for found in found {
            let (room, actors, found) = found?;
            for ((actor, verified), access) in actors.into_iter().zip(found) {
                let visitor = AccessRequest {
                    actor: Actor::named(actor.clone(), verified),
                    permission: Permission::Participate,
                };
                if let Err(error) = visitor.check(access.as_ref()) {
                    denied.insert((room.clone(), actor, verified), error);
                }
            }
        }

        let denial = |change: &PendingChange| {
            let (actor, verified) = change.change.actor()?;
            denied.get(&(change.room.clone(), actor.clone(), verified))
        };
        for (change, error) in refused {
            let error = denial(&change).cloned().unwrap_or(error);
            Pending::Change(change).fail(&error);
        }
        for request in std::mem::take(pending) {
            match request
                .as_change()
                .filter(|change| is_idle(change))
                .and_then(denial)
                .cloned()
            {
                Some(error) => request.fail(&error),
                None => pending.push(request),
            }
        }
        Ok(())
    }

    /// Looks up the owners of rooms in which somebody deletes the message of another user.
    async fn owners_for(
        &self,
        pending: &[Pending],
        drafts: &HashMap<Place, Draft>,
        deadline: Instant,
    ) -> Result<HashMap<RoomName, Username>> {
        let mut owners = HashMap::new();
        let mut asked: HashMap<&RoomName, &Username> = HashMap::new();
        for request in pending {
            if let Pending::Change(PendingChange {
                room,
                seq,
                change: Change::Delete { actor },
                ..
            }) = request
                && let Some(actor) = actor
                && let Some(draft) = drafts.get(&(room.clone(), *seq))
                && !draft.is_by(actor)
            {
                asked.insert(room, actor);
            }
        }
        let look_up = |(room, actor): (RoomName, Username)| async move {
            let ask = || {
                self.backend
                    .newest_access(room.clone(), vec![actor.clone()])
            };
            self.persist(deadline, ask).await.map(|found| (room, found))
        };
        let asked: Vec<_> = asked
            .into_iter()
            .map(|(room, actor)| (room.clone(), actor.clone()))
            .collect();
        let found: Vec<_> = stream::iter(asked)
            .map(look_up)
            .buffer_unordered(LOOKUPS)
            .collect()
            .await;
        for found in found {
            let (room, access) = found?;
            let owner = access
                .into_iter()
                .flatten()
                .next()
                .and_then(|access| access.owner);
            owners.extend(owner.map(|owner| (room, owner)));
        }
        Ok(owners)
    }
}

/// Returns the messages that are to be changed, each once, with what has to be known of their
/// reactions.
fn targets(pending: &[Pending]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut index: HashMap<Place, usize> = HashMap::new();
    for request in pending {
        let Pending::Change(PendingChange {
            room, seq, change, ..
        }) = request
        else {
            continue;
        };
        let at = *index.entry((room.clone(), *seq)).or_insert_with(|| {
            targets.push(Target {
                room: room.clone(),
                seq: *seq,
                reactions: Vec::new(),
            });
            targets.len() - 1
        });
        let Change::React {
            user,
            emoji,
            is_added,
            ..
        } = change
        else {
            continue;
        };
        let queries = &mut targets[at].reactions;
        let query = match queries.iter_mut().find(|query| query.emoji == *emoji) {
            Some(query) => query,
            None => {
                queries.push(ReactionQuery {
                    emoji: *emoji,
                    users: Vec::new(),
                    first: 0,
                });
                let Some(last) = queries.last_mut() else {
                    continue;
                };
                last
            }
        };
        if !query.users.contains(user) {
            query.users.push(user.clone());
        }
        if !is_added {
            // Whoever goes may make room for the next.
            query.first = query.first.max(MAX_REACTION_USERS as u32) + 1;
        }
    }
    targets
}

/// A message that is being changed.
struct Draft {
    before: Stored,
    content: Option<Content>,
    /// Reactions with each emoji that is asked for, as far as they are known.
    known: HashMap<Emoji, KnownReactions>,
    /// Position of the next reaction that comes.
    position: i64,
}

/// Reactions with one emoji, as far as they matter.
struct KnownReactions {
    /// Users out of those who want a change who react now, each with the position of a new
    /// reaction.
    users: HashMap<Username, Option<i64>>,
    /// Users out of those who want a change who reacted before.
    before: Vec<Username>,
    /// The first users, more than are listed if some of them may go.
    first: Vec<Username>,
}

impl Draft {
    fn new(before: Stored, queries: &[ReactionQuery], last: ChangeSeq) -> Self {
        let content = before.message.content.clone();
        let listed = |emoji| {
            let reactions = content.iter().flat_map(|content| &content.reactions);
            let found = reactions
                .into_iter()
                .find(|reaction| reaction.emoji == emoji);
            found
                .map(|reaction| reaction.users.clone())
                .unwrap_or_default()
        };
        let known = queries
            .iter()
            .zip(&before.reactions)
            .map(|(query, answer)| {
                let ReactionAnswer { users, first } = answer.clone();
                let first = if query.first == 0 {
                    listed(query.emoji)
                } else {
                    first
                };
                let before = users.clone();
                let users = users.into_iter().map(|user| (user, None)).collect();
                (
                    query.emoji,
                    KnownReactions {
                        users,
                        before,
                        first,
                    },
                )
            });
        let known = known.collect();
        Self {
            content,
            known,
            position: last.next().get().saturating_mul(POSITIONS),
            before,
        }
    }

    /// Returns true if the account of this name wrote the message.
    fn is_by(&self, actor: &Username) -> bool {
        self.content
            .as_ref()
            .is_none_or(|content| content.verified && content.sender == *actor)
    }

    /// Makes a change. An error leaves the message as it was.
    fn apply(&mut self, change: &Change, owner: Option<&Username>, now: Timestamp) -> Result<()> {
        match change {
            Change::Edit {
                actor,
                text,
                mentions,
            } => self.edit(actor.as_ref(), text, mentions, now),
            Change::Delete { actor } => {
                if actor
                    .as_ref()
                    .is_some_and(|actor| !self.is_by(actor) && owner != Some(actor))
                {
                    return Err(Error::Forbidden(
                        "only who wrote a message, or the owner of the room, may delete it",
                    ));
                }
                self.content = None;
                Ok(())
            }
            Change::React {
                user,
                emoji,
                is_added: true,
                ..
            } => self.add_reaction(*emoji, user),
            Change::React {
                user,
                emoji,
                is_added: false,
                ..
            } => self.remove_reaction(*emoji, user),
        }
    }

    fn edit(
        &mut self,
        actor: Option<&Username>,
        text: &MessageText,
        mentions: &[Username],
        now: Timestamp,
    ) -> Result<()> {
        let sent_at = self.before.message.timestamp;
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        if actor.is_some_and(|actor| !content.verified || content.sender != *actor) {
            return Err(Error::Forbidden(
                "only the account that wrote a message may edit it",
            ));
        }
        if content.text != *text {
            content.text = text.clone();
            content.mentions = mentions.to_vec();
            content.edited_at = Some(now.max(sent_at));
        }
        Ok(())
    }

    fn add_reaction(&mut self, emoji: Emoji, user: &Username) -> Result<()> {
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        let Some(known) = self.known.get_mut(&emoji) else {
            return Ok(());
        };
        if known.users.contains_key(user) {
            return Ok(());
        }
        if !content
            .reactions
            .iter()
            .any(|reaction| reaction.emoji == emoji)
        {
            if content.reactions.len() >= MAX_REACTIONS {
                return Err(Error::TooManyReactions);
            }
            content.reactions.push(Reaction {
                emoji,
                count: 0,
                users: Vec::new(),
            });
        }
        let Some(reaction) = content
            .reactions
            .iter_mut()
            .find(|reaction| reaction.emoji == emoji)
        else {
            return Ok(());
        };

        // Behind all who are not known by name, if there are such.
        if known.first.len() as u64 == reaction.count {
            known.first.push(user.clone());
        }
        reaction.count += 1;
        reaction.users = known
            .first
            .iter()
            .take(MAX_REACTION_USERS)
            .cloned()
            .collect();
        known.users.insert(user.clone(), Some(self.position));
        self.position += 1;
        Ok(())
    }

    fn remove_reaction(&mut self, emoji: Emoji, user: &Username) -> Result<()> {
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        let Some(known) = self.known.get_mut(&emoji) else {
            return Ok(());
        };
        if known.users.remove(user).is_none() {
            return Ok(());
        }
        known.first.retain(|first| first != user);
        if let Some(reaction) = content
            .reactions
            .iter_mut()
            .find(|reaction| reaction.emoji == emoji)
        {
            reaction.count = reaction.count.saturating_sub(1);
            reaction.users = known
                .first
                .iter()
                .take(MAX_REACTION_USERS)
                .cloned()
                .collect();
        }
        content.reactions.retain(|reaction| reaction.count > 0);
        Ok(())
    }

    fn is_changed(&self) -> bool {
        self.content != self.before.message.content || self.reactions().next().is_some()
    }

    /// Returns the reactions that come or go.
    fn reactions(&self) -> impl Iterator<Item = ReactionChange> {
        self.known
            .iter()
            .filter(|_| self.content.is_some())
            .flat_map(|(emoji, known)| {
                let come = known
                    .users
                    .iter()
                    .filter_map(|(user, position)| Some((user, Some((*position)?))));
                let gone = known
                    .before
                    .iter()
                    .filter(|user| !known.users.contains_key(*user));
                come.chain(gone.map(|user| (user, None)))
                    .map(|(user, position)| ReactionChange {
                        emoji: *emoji,
                        user: user.clone(),
                        position,
                        was_there: known.before.contains(user),
                    })
            })
    }

    fn message(&self) -> Message {
        Message {
            content: self.content.clone(),
            ..self.before.message.clone()
        }
    }

    fn change(&self, after: &Message) -> MessageChange {
        let reactions = self.reactions().collect();
        MessageChange {
            before: self.before.clone(),
            after: after.clone(),
            reactions,
        }
    }
}
