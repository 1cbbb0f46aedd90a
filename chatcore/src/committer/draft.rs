//! A message while the changes of one batch are made to it.

use std::collections::HashMap;

use super::request::Change;
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::{MessageChange, ReactionChange, ReactionQuery, Stored};
use crate::timestamp::Timestamp;
use crate::types::{
    ChangeSeq, Content, Emoji, MAX_REACTION_USERS, MAX_REACTIONS, Message, MessageText, Reaction,
    Username,
};

/// Ranks for the reactions that come with one change.
const RANKS: i64 = 1_024;

/// A message that is being changed.
pub(super) struct Draft {
    before: Stored,
    /// Content after the changes so far; `None` once it is deleted.
    content: Option<Content>,
    reactions: HashMap<Emoji, KnownReactions>,
    /// Rank of the next reaction that comes.
    rank: i64,
}

/// Reactions with one emoji, as far as the changes of the batch need them.
struct KnownReactions {
    /// Users with a change in this batch who react now. A reaction that came with the batch has its
    /// rank.
    users: HashMap<Username, Option<i64>>,
    /// Users with a change in this batch who reacted before it.
    before: Vec<Username>,
    /// The first users. More than a message lists, if some of them may go.
    first: Vec<Username>,
}

impl KnownReactions {
    /// Returns the users that the message lists.
    fn listed(&self) -> Vec<Username> {
        self.first
            .iter()
            .take(MAX_REACTION_USERS)
            .cloned()
            .collect()
    }
}

impl Draft {
    /// Begins with a stored message and the answers to these queries. `last_change` is the number
    /// of the last change in the room.
    pub(super) fn new(before: Stored, queries: &[ReactionQuery], last_change: ChangeSeq) -> Self {
        let content = before.message.content.clone();
        let listed = |emoji| {
            content
                .iter()
                .flat_map(|content| &content.reactions)
                .find(|reaction| reaction.emoji == emoji)
                .map(|reaction| reaction.users.clone())
                .unwrap_or_default()
        };

        let known = |(query, answer): (&ReactionQuery, &crate::model::ReactionAnswer)| {
            let first = if query.first == 0 {
                listed(query.emoji)
            } else {
                answer.first.clone()
            };
            let known = KnownReactions {
                users: answer
                    .users
                    .iter()
                    .map(|user| (user.clone(), None))
                    .collect(),
                before: answer.users.clone(),
                first,
            };
            (query.emoji, known)
        };
        let reactions = queries.iter().zip(&before.reactions).map(known).collect();

        Self {
            content,
            reactions,
            rank: last_change.next().get().saturating_mul(RANKS),
            before,
        }
    }

    /// Returns true if the actor's account wrote the message, or if the message is deleted.
    pub(super) fn is_by(&self, actor: &Actor) -> bool {
        self.content
            .as_ref()
            .is_none_or(|content| content.verified && actor.account() == Some(&content.sender))
    }

    /// Makes a change. An error leaves the message as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], [`Error::MessageDeleted`], [`Error::TooManyReactions`].
    pub(super) fn apply(
        &mut self,
        change: &Change,
        room_owner: Option<&Username>,
        now: Timestamp,
    ) -> Result<()> {
        match change {
            Change::Edit {
                actor,
                text,
                mentions,
            } => self.edit(actor.as_ref(), text, mentions, now),
            Change::Delete { actor } => self.delete(actor.as_ref(), room_owner),
            Change::React {
                actor,
                emoji,
                is_added,
            } => {
                let user = actor
                    .username()
                    .ok_or(Error::Forbidden("only a user with a name may react"))?;
                match is_added {
                    true => self.add_reaction(*emoji, user),
                    false => self.remove_reaction(*emoji, user),
                }
            }
        }
    }

    fn edit(
        &mut self,
        actor: Option<&Actor>,
        text: &MessageText,
        mentions: &[Username],
        now: Timestamp,
    ) -> Result<()> {
        let is_allowed = actor.is_none_or(|actor| self.is_by(actor));
        let sent_at = self.before.message.timestamp;
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        if !is_allowed {
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

    fn delete(&mut self, actor: Option<&Actor>, room_owner: Option<&Username>) -> Result<()> {
        let is_room_owner =
            |actor: &Actor| room_owner.is_some_and(|owner| actor.account() == Some(owner));
        if actor.is_some_and(|actor| !self.is_by(actor) && !is_room_owner(actor)) {
            return Err(Error::Forbidden(
                "only who wrote a message, or the owner of the room, may delete it",
            ));
        }

        self.content = None;
        Ok(())
    }

    fn add_reaction(&mut self, emoji: Emoji, user: &Username) -> Result<()> {
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        let Some(known) = self.reactions.get_mut(&emoji) else {
            return Ok(());
        };
        if known.users.contains_key(user) {
            return Ok(());
        }

        let reaction = find_or_add(&mut content.reactions, emoji)?;
        // The user comes after all others. Only where all others are listed is there room.
        if known.first.len() as u64 == reaction.count {
            known.first.push(user.clone());
        }
        reaction.count += 1;
        reaction.users = known.listed();

        known.users.insert(user.clone(), Some(self.rank));
        self.rank += 1;
        Ok(())
    }

    fn remove_reaction(&mut self, emoji: Emoji, user: &Username) -> Result<()> {
        let content = self.content.as_mut().ok_or(Error::MessageDeleted)?;
        let Some(known) = self.reactions.get_mut(&emoji) else {
            return Ok(());
        };
        if known.users.remove(user).is_none() {
            return Ok(());
        }

        known.first.retain(|first| first != user);
        let mut reactions = content.reactions.iter_mut();
        if let Some(reaction) = reactions.find(|reaction| reaction.emoji == emoji) {
            reaction.count = reaction.count.saturating_sub(1);
            reaction.users = known.listed();
        }
        content.reactions.retain(|reaction| reaction.count > 0);
        Ok(())
    }

    /// Returns true if the message is not as it was before.
    pub(super) fn is_changed(&self) -> bool {
        self.content != self.before.message.content || self.reaction_changes().next().is_some()
    }

    /// Returns the sender, if the message is deleted and was not before.
    pub(super) fn deleted_sender(&self) -> Option<&Username> {
        let sender = self.before.message.sender()?;

        self.content.is_none().then_some(sender)
    }

    /// Returns the message as it is after the changes, without the number of its change.
    pub(super) fn message(&self) -> Message {
        Message {
            content: self.content.clone(),
            ..self.before.message.clone()
        }
    }

    /// Returns the change that makes the message `after`, which has the number of the change.
    pub(super) fn to_change(&self, after: &Message) -> MessageChange {
        MessageChange {
            before: self.before.clone(),
            after: after.clone(),
            reactions: self.reaction_changes().collect(),
        }
    }

    /// Returns the reactions that come or go. None does if the message is deleted: all go then.
    fn reaction_changes(&self) -> impl Iterator<Item = ReactionChange> {
        self.reactions
            .iter()
            .filter(|_| self.content.is_some())
            .flat_map(|(emoji, known)| {
                let come = known
                    .users
                    .iter()
                    .filter_map(|(user, rank)| Some((user, Some((*rank)?))));
                let gone = known
                    .before
                    .iter()
                    .filter(|user| !known.users.contains_key(*user))
                    .map(|user| (user, None));

                come.chain(gone).map(|(user, rank)| ReactionChange {
                    emoji: *emoji,
                    user: user.clone(),
                    rank,
                    was_there: known.before.contains(user),
                })
            })
    }
}

/// Returns the reaction with this emoji, which is new if there was none.
fn find_or_add(reactions: &mut Vec<Reaction>, emoji: Emoji) -> Result<&mut Reaction> {
    let at = match reactions
        .iter()
        .position(|reaction| reaction.emoji == emoji)
    {
        Some(at) => at,
        None if reactions.len() >= MAX_REACTIONS => return Err(Error::TooManyReactions),
        None => {
            reactions.push(Reaction {
                emoji,
                count: 0,
                users: Vec::new(),
            });
            reactions.len() - 1
        }
    };
    Ok(&mut reactions[at])
}
