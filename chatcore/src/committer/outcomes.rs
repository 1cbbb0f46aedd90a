//! The messages that a batch changes, as it leaves them.

use std::collections::HashMap;

use super::draft::Draft;
use super::request::ChangeRequest;
use crate::error::Error;
use crate::model::{Head, MessageChange};
use crate::types::{Message, RoomName, Seq, Username};

/// Names a message.
pub(super) type MessageKey = (RoomName, Seq);

/// Messages to be changed, as the changes of one batch leave them.
#[derive(Default)]
pub(super) struct Outcomes {
    by_key: HashMap<MessageKey, Outcome>,
    /// Keys in the order of the first request for each.
    order: Vec<MessageKey>,
}

struct Outcome {
    draft: Draft,
    /// The message, with the number of its change once the changes [are
    /// numbered](Outcomes::number).
    message: Message,
    /// False if all requests for it leave it as it was.
    is_changed: bool,
}

impl From<Draft> for Outcome {
    fn from(draft: Draft) -> Self {
        Self {
            message: draft.message(),
            is_changed: draft.is_changed(),
            draft,
        }
    }
}

impl Outcomes {
    pub(super) fn new(drafts: HashMap<MessageKey, Draft>, order: Vec<MessageKey>) -> Self {
        let outcomes = drafts.into_iter().map(|(key, draft)| (key, draft.into()));

        Self {
            by_key: outcomes.collect(),
            order,
        }
    }

    /// Answers a request with the message as the batch leaves it.
    pub(super) fn answer(&self, request: ChangeRequest) {
        let answer = self
            .by_key
            .get(&(request.room, request.seq))
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

        for key in &self.order {
            let Some(outcome) = self
                .by_key
                .get_mut(key)
                .filter(|outcome| outcome.is_changed)
            else {
                continue;
            };
            let (room, _) = key;
            let in_room = changes.entry(room.clone()).or_default();
            let last = match in_room.last() {
                Some(last) => last.number(),
                None => head(room).change,
            };

            outcome.message.change = Some(last.next());
            in_room.push(outcome.draft.to_change(&outcome.message));
        }

        changes
    }

    /// Returns true if a message is changed.
    pub(super) fn has_changes(&self) -> bool {
        self.changed().next().is_some()
    }

    /// Returns about how many bytes the changed messages take.
    pub(super) fn bytes(&self) -> usize {
        self.changed().map(|outcome| outcome.message.weight()).sum()
    }

    /// Returns the senders of messages that are deleted, one for each message.
    pub(super) fn deleted_senders(&self) -> impl Iterator<Item = &Username> {
        self.by_key
            .values()
            .filter_map(|outcome| outcome.draft.deleted_sender())
    }

    fn changed(&self) -> impl Iterator<Item = &Outcome> {
        self.by_key.values().filter(|outcome| outcome.is_changed)
    }
}
