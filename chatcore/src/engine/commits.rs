//! Posts and changes, on their way to the committer.

use super::{Engine, within};
use crate::account::NameKey;
use crate::actor::Actor;
use crate::committer::Change;
use crate::error::Result;
use crate::mentions;
use crate::shared::SharedMessage;
use crate::types::{MessageText, NewMessage, Posted, Privacy, RoomName, Seq, Username};

impl Engine {
    /// Posts a message.
    pub(crate) async fn post(&self, message: NewMessage) -> Result<Posted> {
        self.check_open()?;
        let mentions = self.mentioned_in(&message.room, &message.text).await?;
        let posted = self.committer.post(message, mentions);
        let posted = within(self.options.timeout * 2, posted).await?;
        self.counters.count_post(posted.repeated);
        Ok(posted)
    }

    /// Edits a message on behalf of an actor, or of the program itself.
    pub(crate) async fn edit(
        &self,
        room: &RoomName,
        seq: Seq,
        text: MessageText,
        actor: Option<Actor>,
    ) -> Result<SharedMessage> {
        let mentions = self.mentioned_in(room, &text).await?;
        self.change(
            room,
            seq,
            Change::Edit {
                actor,
                text,
                mentions,
            },
        )
        .await
    }

    /// Changes a message, as the committer decides.
    pub(crate) async fn change(
        &self,
        room: &RoomName,
        seq: Seq,
        change: Change,
    ) -> Result<SharedMessage> {
        self.check_open()?;
        let changed = self.committer.change(room.clone(), seq, change);
        let changed = within(self.options.timeout * 2, changed).await?;
        self.counters.count_change();
        Ok(changed.into())
    }

    /// Returns the users whom a text mentions in a room: in a private one, its members. A name that
    /// has an account, in any case, is that of the account; any other one is as it is written.
    async fn mentioned_in(&self, room: &RoomName, text: &MessageText) -> Result<Vec<Username>> {
        let names = mentions::named_in(text);
        if names.is_empty() {
            return Ok(names);
        }

        let keys = names.iter().map(NameKey::from).collect();
        let owners = self.call(self.backend.account_names(keys)).await?;
        let mut mentioned = Vec::with_capacity(names.len());
        for (name, owner) in names.into_iter().zip(owners) {
            let name = owner.unwrap_or(name);
            if !mentioned.contains(&name) {
                mentioned.push(name);
            }
        }
        if self.privacy(room).await? != Some(Privacy::Private) {
            return Ok(mentioned);
        }

        // A mention in a private room must not fill the list of a user who may not read it.
        let access = self.backend.access(room.clone(), mentioned.clone());
        let access = self.call(access).await?.map(|(_, each)| each);
        let members = mentioned
            .into_iter()
            .zip(access.unwrap_or_default())
            .filter(|(_, access)| access.member && !access.banned);
        Ok(members.map(|(name, _)| name).collect())
    }
}
