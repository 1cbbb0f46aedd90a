//! Works out the results of changes of stored messages before they are committed.
//!
//! A message is taken from memory, if this process stored or changed it last, else from the store.
//! The guards of the batch make sure that a message from memory was up to date. Where no batch is
//! committed for a request, because it changes nothing or is refused, nothing is guarded: such an
//! answer is worked out again from the store.

use std::collections::{HashMap, HashSet};

use super::authorization::{ActorsByRoom, Denials, find_denials, read_access};
use super::calls::Calls;
use super::draft::Draft;
use super::outcomes::{MessageKey, Outcomes};
use super::pending::Pending;
use super::recent::Recent;
use super::request::{Change, ChangeRequest};
use super::rooms::RoomCache;
use crate::error::{Error, Result};
use crate::model::{ReactionQuery, ReadState, Stored, Target};
use crate::timestamp::Timestamp;
use crate::types::{MAX_REACTION_USERS, RoomName, Username};

/// The results of the changes among the requests of a batch.
pub(super) enum Resolved {
    /// The requests that are left can be committed.
    Ready(Outcomes),
    /// The newest state of the store is not durable yet: try again in a moment.
    NotDurable,
}

/// Works out the changes of one batch.
pub(super) struct ChangeResolver<'a> {
    pub(super) calls: &'a Calls,
    pub(super) rooms: &'a RoomCache,
    pub(super) recent: &'a Recent,
    pub(super) now: Timestamp,
}

/// The source from which messages that are to be changed are read.
#[derive(Clone, Copy)]
enum Source {
    /// Memory if it has them, else the store.
    Recent,
    Store(ReadState),
}

/// The messages that are to be changed.
#[derive(Default)]
struct Drafts {
    by_key: HashMap<MessageKey, Draft>,
    unreadable: HashMap<MessageKey, Error>,
    /// Keys of drafts that come from memory.
    from_memory: HashSet<MessageKey>,
}

/// A change that is refused, and the error that says why.
type Refused = (ChangeRequest, Error);

impl ChangeResolver<'_> {
    /// Reads the messages that are to be changed, and makes the changes to them in memory. Requests
    /// that are refused are answered and removed. So are those that change nothing, if the batch
    /// has nothing else.
    pub(super) async fn resolve(&self, pending: &mut Vec<Pending>) -> Result<Resolved> {
        if pending.iter().all(|request| request.as_change().is_none()) {
            return Ok(Resolved::Ready(Outcomes::default()));
        }

        let outcomes = match self.work_out(pending, Source::Recent).await? {
            Some(outcomes) => outcomes,
            None => self.work_out_from_store(pending, ReadState::Newest).await?,
        };
        let has_posts = pending.iter().any(|request| request.as_post().is_some());
        if has_posts || outcomes.has_changes() {
            return Ok(Resolved::Ready(outcomes));
        }

        self.answer_unchanged(pending).await
    }

    /// Answers requests that change nothing. Nothing is committed for them, so the messages must be
    /// durable already.
    async fn answer_unchanged(&self, pending: &mut Vec<Pending>) -> Result<Resolved> {
        let durable = self
            .work_out_from_store(pending, ReadState::Durable)
            .await?;
        if durable.has_changes() {
            return Ok(Resolved::NotDurable);
        }

        for request in pending.drain(..) {
            if let Pending::Change(change) = request {
                durable.answer(change);
            }
        }
        Ok(Resolved::Ready(durable))
    }

    async fn work_out_from_store(
        &self,
        pending: &mut Vec<Pending>,
        state: ReadState,
    ) -> Result<Outcomes> {
        self.work_out(pending, Source::Store(state))
            .await?
            // `None` is for answers from memory alone.
            .ok_or_else(|| Error::Corrupt("a change has no outcome".into()))
    }

    /// Makes the changes in memory. Returns `None`, and leaves the requests as they are, if an
    /// answer that no commit guards would rest on memory.
    async fn work_out(
        &self,
        pending: &mut Vec<Pending>,
        source: Source,
    ) -> Result<Option<Outcomes>> {
        let targets = targets(pending);
        let mut drafts = self.read_drafts(&targets, source).await?;
        let owners = self.room_owners(pending, &drafts).await?;

        let refused = self.apply(pending, &mut drafts, &owners);
        if drafts.answers_from_memory(&refused) {
            let refused = refused.into_iter();
            pending.extend(refused.map(|(change, _)| Pending::Change(change)));
            return Ok(None);
        }
        self.answer_refused(pending, refused, &drafts).await?;

        let order = targets
            .into_iter()
            .map(|target| (target.room, target.seq))
            .collect();
        Ok(Some(Outcomes::new(drafts.by_key, order)))
    }

    /// Reads the messages from memory and from the store.
    async fn read_drafts(&self, targets: &[Target], source: Source) -> Result<Drafts> {
        let mut drafts = Drafts::default();
        let mut to_read = Vec::new();
        for target in targets {
            let recent = match source {
                Source::Recent => self.find_recent(target),
                Source::Store(_) => None,
            };
            match recent {
                Some(stored) => {
                    let key = drafts.insert(target, self.draft(target, stored));
                    drafts.from_memory.insert(key);
                }
                None => to_read.push(target.clone()),
            }
        }
        if to_read.is_empty() {
            return Ok(drafts);
        }

        let state = match source {
            Source::Recent => ReadState::Newest,
            Source::Store(state) => state,
        };
        let found = self
            .calls
            .retry(|| self.calls.backend.targets(to_read.clone(), state))
            .await?;
        for (target, found) in to_read.iter().zip(found) {
            match found {
                Ok(Some(stored)) => drop(drafts.insert(target, self.draft(target, stored))),
                Ok(None) => drafts.insert_unreadable(target, Error::MessageNotFound),
                Err(error) => drafts.insert_unreadable(target, error),
            }
        }
        Ok(drafts)
    }

    fn find_recent(&self, target: &Target) -> Option<Stored> {
        self.recent
            .find(target, self.rooms.last_change(&target.room))
    }

    fn draft(&self, target: &Target, stored: Stored) -> Draft {
        let last_change = self.rooms.last_change(&target.room);

        Draft::new(stored, &target.reactions, last_change)
    }

    /// Reads the owners of rooms in which somebody deletes the message of another user.
    async fn room_owners(
        &self,
        pending: &[Pending],
        drafts: &Drafts,
    ) -> Result<HashMap<RoomName, Username>> {
        let mut asked = ActorsByRoom::default();
        for change in pending.iter().filter_map(Pending::as_change) {
            if let Change::Delete { actor: Some(actor) } = &change.change
                && let Some(draft) = drafts.get(change)
                && !draft.is_by(actor)
            {
                asked.insert(&change.room, actor.clone());
            }
        }

        let mut owners = HashMap::new();
        for answer in read_access(self.calls, asked).await {
            let mut access = answer.access?.into_iter().flatten();
            let owner = access.next().and_then(|access| access.owner);
            owners.extend(owner.map(|owner| (answer.room, owner)));
        }
        Ok(owners)
    }

    /// Makes the changes to the drafts. Removes the requests that are refused, and returns them.
    fn apply(
        &self,
        pending: &mut Vec<Pending>,
        drafts: &mut Drafts,
        owners: &HashMap<RoomName, Username>,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        for request in std::mem::take(pending) {
            let Pending::Change(change) = request else {
                pending.push(request);
                continue;
            };
            match drafts.apply(&change, owners.get(&change.room), self.now) {
                Ok(()) => pending.push(Pending::Change(change)),
                Err(error) => refused.push((change, error)),
            }
        }
        refused
    }

    /// Answers refused requests, and fails those that change nothing of actors who may not take
    /// part. No commit guards these answers, so the store is asked for the actors' access again.
    async fn answer_refused(
        &self,
        pending: &mut Vec<Pending>,
        refused: Vec<Refused>,
        drafts: &Drafts,
    ) -> Result<()> {
        let unchanged = pending
            .iter()
            .filter_map(Pending::as_change)
            .filter(|change| !drafts.is_changed(change));
        let mut actors = ActorsByRoom::default();
        for change in unchanged.chain(refused.iter().map(|(change, _)| change)) {
            if let Some(actor) = change.change.actor() {
                actors.insert(&change.room, actor.clone());
            }
        }
        let denials = match actors.is_empty() {
            true => Denials::default(),
            false => find_denials(self.calls, actors).await?,
        };

        let denial = |change: &ChangeRequest| {
            let denial = denials.get(&change.room, change.change.actor());
            denial.cloned()
        };
        for (change, error) in refused {
            let error = denial(&change).unwrap_or(error);
            Pending::Change(change).fail(&error);
        }
        for request in std::mem::take(pending) {
            let unchanged = request
                .as_change()
                .filter(|change| !drafts.is_changed(change));
            match unchanged.and_then(denial) {
                Some(error) => request.fail(&error),
                None => pending.push(request),
            }
        }
        Ok(())
    }
}

impl Drafts {
    fn get(&self, change: &ChangeRequest) -> Option<&Draft> {
        self.by_key.get(&(change.room.clone(), change.seq))
    }

    fn insert(&mut self, target: &Target, draft: Draft) -> MessageKey {
        let key = (target.room.clone(), target.seq);
        self.by_key.insert(key.clone(), draft);
        key
    }

    fn insert_unreadable(&mut self, target: &Target, error: Error) {
        self.unreadable
            .insert((target.room.clone(), target.seq), error);
    }

    fn apply(
        &mut self,
        change: &ChangeRequest,
        room_owner: Option<&Username>,
        now: Timestamp,
    ) -> Result<()> {
        let key = (change.room.clone(), change.seq);
        match self.by_key.get_mut(&key) {
            Some(draft) => draft.apply(&change.change, room_owner, now),
            None => Err(self
                .unreadable
                .get(&key)
                .cloned()
                .unwrap_or(Error::MessageNotFound)),
        }
    }

    /// Returns true if a request changes its message.
    fn is_changed(&self, change: &ChangeRequest) -> bool {
        self.get(change).is_some_and(Draft::is_changed)
    }

    /// Returns true if a message from memory was used for a request that is refused or changes
    /// nothing.
    fn answers_from_memory(&self, refused: &[Refused]) -> bool {
        let is_unchanged =
            |key: &MessageKey| self.by_key.get(key).is_none_or(|draft| !draft.is_changed());
        let mut refused = refused
            .iter()
            .map(|(change, _)| (change.room.clone(), change.seq));

        self.from_memory.iter().any(is_unchanged)
            || refused.any(|key| self.from_memory.contains(&key))
    }
}

/// Returns the messages that are to be changed, each once, with the questions about their
/// reactions.
fn targets(pending: &[Pending]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut index: HashMap<MessageKey, usize> = HashMap::new();

    for request in pending.iter().filter_map(Pending::as_change) {
        let key = (request.room.clone(), request.seq);
        let at = *index.entry(key).or_insert_with(|| {
            targets.push(Target {
                room: request.room.clone(),
                seq: request.seq,
                reactions: Vec::new(),
            });
            targets.len() - 1
        });
        ask_about_reaction(&mut targets[at].reactions, &request.change);
    }

    targets
}

/// Adds the question that a change of a reaction needs the answer to.
fn ask_about_reaction(queries: &mut Vec<ReactionQuery>, change: &Change) {
    let Change::React {
        actor,
        emoji,
        is_added,
    } = change
    else {
        return;
    };
    let Some(user) = actor.username() else { return };

    let at = match queries.iter().position(|query| query.emoji == *emoji) {
        Some(at) => at,
        None => {
            queries.push(ReactionQuery {
                emoji: *emoji,
                users: Vec::new(),
                first: 0,
            });
            queries.len() - 1
        }
    };
    let query = &mut queries[at];

    if !query.users.contains(user) {
        query.users.push(user.clone());
    }
    if !is_added {
        // One who goes makes room for the next in the list.
        query.first = query.first.max(MAX_REACTION_USERS as u32) + 1;
    }
}
