//! Watching one room: its messages and their changes, its topic, who is present and who types.

use std::fmt;

use tokio::sync::watch;

use super::PresenceGuard;
use super::room_reader::RoomReader;
use crate::engine::{AccessSource, Found, NextChanges};
use crate::error::Result;
use crate::position::Position;
use crate::presence::Presence;
use crate::shared::SharedMessage;
use crate::types::{ChangeSeq, RoomName, Topic, Username};

/// Update of a room.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// Messages, in `seq` order: at least one, at most 64.
    Messages(Vec<SharedMessage>),
    /// Messages that changed, as they are now, in the order of their changes: at least one, at most
    /// 64. All of them were given before. Several changes of one message may come as one.
    Changed(Vec<SharedMessage>),
    /// The watcher was to begin after a change that the room does not have. Read again what is
    /// shown; later changes follow.
    Resync,
    /// The room has another topic.
    Topic(Topic),
    /// Users who are present now.
    Presence(Presence),
    /// Users who type. That holds for 5 seconds, unless it comes again.
    Typing(Vec<Username>),
}

/// A watcher of a room, and the presence of the user who watches. Made by
/// [`UserStore::watch`](crate::UserStore::watch).
#[derive(Debug)]
#[non_exhaustive]
pub struct RoomWatch {
    /// The watcher.
    pub watcher: Watcher,
    /// The presence of the user, unless it is [`Anonymous`](crate::Actor::Anonymous). It ends when
    /// this is dropped.
    pub presence: Option<PresenceGuard>,
}

/// A [`Follower`](crate::Follower) that also gives the messages that change, and the topic, and, if
/// it was made by [`ChatStore::watch`](crate::ChatStore::watch), who is present in the room and who
/// types.
///
/// It holds a [`Position`]: the `seq` of the last message, and the number of the last change.
/// A reader that resumes at both ends with exactly what the store holds.
///
/// ```
/// use chatcore::{ChangeSeq, ChatStore, NewMessage, Update};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
/// let room = "general".parse()?;
/// let post = NewMessage::new("general".parse()?, "ann".parse()?, "helo".parse()?);
/// let posted = store.post(post).await?.message;
///
/// let mut watcher = store.follow(&room, posted.seq).with_changes(ChangeSeq::ZERO);
/// store.edit_message(&room, posted.seq, "hello".parse()?).await?;
/// let Update::Changed(changed) = watcher.next().await? else { panic!() };
/// assert_eq!(changed[0].text(), Some("hello"));
/// let position = watcher.position(); // kept for the next time
/// # store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Watcher {
    room: RoomReader,
    wake: watch::Receiver<()>,
    began_at: Position,
    /// Numbers of the last message and the last change that were given.
    position: Position,
    gives: Gives,
    seen: Seen,
}

/// Updates that a watcher gives besides messages and the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    /// Changed messages.
    Changes,
    /// Changed messages, who is present, and who types.
    ChangesAndPresence,
}

/// Numbers of the last signals that were given.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    late: u64,
    topic: u64,
    presence: u64,
    typing: u64,
}

/// An update that is ready to be given, and the state of the watcher after it.
struct Next {
    update: Option<Update>,
    change: ChangeSeq,
    seen: Seen,
    access: AccessSource,
}

impl Watcher {
    pub(crate) fn new(room: RoomReader, after: Position, gives: Gives) -> Self {
        let seen = Seen {
            late: room.feed.late_changes(),
            topic: room.feed.topic_number(),
            ..Seen::default()
        };
        if gives == Gives::ChangesAndPresence {
            room.engine.feed.begin_watch(&room.feed);
        }

        Self {
            wake: room.feed.subscribe(),
            room,
            began_at: after,
            position: after,
            gives,
            seen,
        }
    }

    /// Returns the room that is watched.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room.feed.name
    }

    /// Returns the `seq` of the last message that was given, and the number of the last change.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Waits for the next update. Of several changes of presence only the latest is given.
    ///
    /// # Cancellation
    ///
    /// The future may be dropped at any time: no message or change is skipped or given twice.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable); calling again goes on where it was.
    /// [`Error::Closed`](crate::Error::Closed): there will be nothing more.
    /// [`Error::RoomNotFound`](crate::Error::RoomNotFound) if the room is private and the user who
    /// watches is not, or no longer, a member, [`Error::Banned`](crate::Error::Banned) if the user
    /// was banned.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            // Before the reads, so that whatever comes after them wakes.
            self.wake.mark_unchanged();
            let room = &self.room;
            let found = room
                .engine
                .next_messages(&room.feed, self.position.seq)
                .await?;
            if let Some(last) = found.messages.last().map(|message| message.seq) {
                room.check_access(found.access).await?;
                self.position.seq = last;
                return Ok(Update::Messages(found.messages));
            }

            let mut next = self.next_change().await?;
            if found.access == AccessSource::Store {
                next.access = AccessSource::Store;
            }
            self.room.check_access(next.access).await?;
            self.position.change = next.change;
            self.seen = next.seen;
            if let Some(update) = next.update {
                return Ok(update);
            }
            // The sender lives as long as the room's feed.
            let _ = self.wake.changed().await;
        }
    }

    /// Reads what changed, where there is no new message.
    async fn next_change(&self) -> Result<Next> {
        let room = &self.room;
        let mut next = Next {
            update: None,
            change: self.position.change,
            seen: self.seen,
            access: AccessSource::Cache,
        };
        match room
            .engine
            .next_changes(&room.feed, self.position.change)
            .await?
        {
            NextChanges::None => next.update = self.next_signal(&mut next.seen),
            NextChanges::Gone(last) => {
                next.change = last;
                next.update = Some(Update::Resync);
            }
            NextChanges::Some(Found { messages, access }) => {
                let given = self.given_before(messages);
                next.access = access;
                next.change = given
                    .last()
                    .and_then(|message| message.change)
                    .unwrap_or(self.position.change);
                next.update = (!given.is_empty()).then_some(Update::Changed(given));
            }
        }
        Ok(next)
    }

    /// Returns the first changed messages, as far as they were given as messages before. A message
    /// comes before a change to it, at whatever process the watcher resumes.
    fn given_before(&self, mut changed: Vec<SharedMessage>) -> Vec<SharedMessage> {
        let after = self.position.seq;
        let given = changed.iter().take_while(|message| message.seq <= after);
        changed.truncate(given.count());
        changed
    }

    /// Returns what is new besides messages and changes, and notes it in `seen`.
    fn next_signal(&self, seen: &mut Seen) -> Option<Update> {
        let feed = &self.room.feed;
        if let Some(late) = feed.late_after(seen.late) {
            seen.late = late.number;
            let changed = self.older_when_given(late.value);
            if !changed.is_empty() {
                return Some(Update::Changed(changed));
            }
        }
        if let Some(topic) = feed.topic_after(seen.topic) {
            seen.topic = topic.number;
            return Some(Update::Topic(topic.value));
        }
        if self.gives == Gives::Changes {
            return None;
        }
        if let Some(presence) = feed.presence_after(seen.presence) {
            seen.presence = presence.number;
            return Some(Update::Presence(presence.value));
        }

        let typing = feed.typing_after(seen.typing)?;
        seen.typing = typing.number;
        (!typing.value.is_empty()).then_some(Update::Typing(typing.value))
    }

    /// Returns the changed messages that arrived late and may have been given here without their
    /// change: those after the position at which the watcher began, with a change that is not after
    /// the one at which it began.
    fn older_when_given(&self, mut late: Vec<SharedMessage>) -> Vec<SharedMessage> {
        late.retain(|message| {
            message.seq > self.began_at.seq
                && message.seq <= self.position.seq
                && message.change <= Some(self.began_at.change)
        });
        late
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.gives == Gives::ChangesAndPresence {
            let room = &self.room;
            room.engine.feed.end_watch(&room.feed);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("room", self.room())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
