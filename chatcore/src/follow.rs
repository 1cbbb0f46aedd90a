//! Following one room, watching who is in it, and being in it.

use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{broadcast, watch};

use crate::error::{Error, Result};
use crate::feed::{AccessRequest, RoomFeed, UserUpdate};
use crate::live::NextChanges;
use crate::presence::Presence;
use crate::shared::SharedMessage;
use crate::store::ChatStore;
use crate::types::{ChangeSeq, RoomName, Seq, Topic, Username};

/// The messages of one room from a place on: in `seq` order, none left out, none twice.
///
/// Made by [`ChatStore::follow`]. It holds a place in the room and no messages, so a follower that
/// is slow, or stops for a while, costs nothing: what it has not taken yet is read from memory, or
/// from the store, when it does.
pub struct Follower {
    store: ChatStore,
    room: Arc<RoomFeed>,
    wake: watch::Receiver<()>,
    after: Seq,
    /// Who follows, unless it is the program itself.
    visitor: Option<AccessRequest>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("room", self.room())
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(
        store: ChatStore,
        room: Arc<RoomFeed>,
        after: Seq,
        visitor: Option<AccessRequest>,
    ) -> Self {
        let wake = room.listen();
        Self {
            store,
            room,
            wake,
            after,
            visitor,
        }
    }

    /// The room that is followed.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room.name
    }

    /// The place of the last message that was given.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.after
    }

    /// Waits until there are messages after the last one that was given, and gives those that are
    /// ready: at least one, at most 64.
    ///
    /// The future may be dropped at any time; nothing is skipped by it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; calling again goes on where it was. [`Error::Closed`]: there will be
    /// nothing more.
    /// [`Error::RoomNotFound`] if the room is private and the user who
    /// follows is not, or no longer, a member.
    pub async fn next(&mut self) -> Result<Vec<SharedMessage>> {
        loop {
            // Before the look, so that whatever comes after it wakes.
            self.wake.mark_unchanged();
            let (messages, afresh) = self.store.next_of(&self.room, self.after).await?;
            self.let_in(afresh).await?;
            if let Some(last) = messages.last() {
                self.after = last.seq;
                return Ok(messages);
            }
            // The sender lives as long as `room`.
            let _ = self.wake.changed().await;
        }
    }

    /// Fails unless whoever follows may do so still. Asked after what is given was read, so that
    /// whoever is let in was so when it was posted.
    async fn let_in(&self, afresh: bool) -> Result<()> {
        match &self.visitor {
            Some(visitor) => self.store.let_in(&self.room, visitor, afresh).await,
            None => Ok(()),
        }
    }

    /// Goes on as a [`Watcher`] that gives changed messages too, from after the change `after` on;
    /// but not who is there. Without `after` it gives what changes from now on.
    #[must_use]
    pub fn with_changes(self, after: Option<ChangeSeq>) -> Watcher {
        Watcher::new(self, after, false)
    }

    /// The messages as a stream of single ones. After an error it goes on where it was; it ends
    /// once the store is closed.
    pub fn into_stream(self) -> impl Stream<Item = Result<SharedMessage>> {
        let batches = stream::unfold(self, |mut follower| async move {
            match follower.next().await {
                Err(Error::Closed) => None,
                batch => Some((batch, follower)),
            }
        });
        batches
            .map_ok(|batch| stream::iter(batch).map(Ok))
            .try_flatten()
    }
}

/// What is new in a room.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// Messages, in `seq` order: at least one, at most 64.
    Messages(Vec<SharedMessage>),
    /// Messages that changed, as they are now, in the order of their changes: at least one, at most
    /// 64. All of them were given before. Several changes of one message may come as one.
    Changed(Vec<SharedMessage>),
    /// The watcher was to begin after a change that the room does not have. Read again what is
    /// shown: what changes from now on comes.
    Resync,
    /// The room has another topic.
    Topic(Topic),
    /// Who is there now.
    Presence(Presence),
    /// Who types. That holds for 5 seconds, unless it comes again.
    Typing(Vec<Username>),
}

/// A [`Follower`] that also gives the messages that change, and the topic, and, if it was made by
/// [`ChatStore::watch`], who is in the room and who types.
///
/// It holds two positions: the place of the last message, and the number of the last change.
/// Whoever resumes at both ends with exactly what the store holds.
#[derive(Debug)]
pub struct Watcher {
    follower: Follower,
    /// Number of the last change that was given; `None` until it is known where to begin.
    change: Option<ChangeSeq>,
    /// Where it began.
    began_at: (Seq, Option<ChangeSeq>),
    /// Whether it tells of people.
    people: bool,
    seen: Seen,
}

/// The numbers of what was seen last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    late: u64,
    topic: u64,
    presence: u64,
    typed: u64,
}

impl Watcher {
    pub(crate) fn new(follower: Follower, change: Option<ChangeSeq>, people: bool) -> Self {
        let (late, topic) = (follower.room.late_changes(), follower.room.topics());
        let seen = Seen {
            late,
            topic,
            ..Seen::default()
        };
        if people {
            follower.store.0.feed.begin_watch(&follower.room);
        }
        let began_at = (follower.after, change);
        Self {
            follower,
            change,
            began_at,
            people,
            seen,
        }
    }

    /// The room that is watched.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        self.follower.room()
    }

    /// Returns the place of the last message that was given, and the number of the last change,
    /// once it is known where that begins.
    #[must_use]
    pub fn position(&self) -> (Seq, Option<ChangeSeq>) {
        (self.follower.after, self.change)
    }

    /// Waits until there is something new. Of who is there, only the latest is told.
    ///
    /// The future may be dropped at any time; nothing is skipped by it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; calling again goes on where it was. [`Error::Closed`]: there will be
    /// nothing more.
    /// [`Error::RoomNotFound`] if the room is private and the user who
    /// watches is not, or no longer, a member, [`Error::Banned`] if the user
    /// was banned.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            let follower = &mut self.follower;
            // Before the looks, so that whatever comes after them wakes.
            follower.wake.mark_unchanged();
            // Before the messages, so that what they are like includes every change up to this one.
            let change = match self.change {
                Some(change) => change,
                None => {
                    let last = follower.store.last_change_of(&follower.room).await?;
                    self.began_at.1 = Some(last);
                    *self.change.insert(last)
                }
            };

            let (messages, mut afresh) = follower
                .store
                .next_of(&follower.room, follower.after)
                .await?;
            if let Some(last) = messages.last().map(|message| message.seq) {
                self.follower.let_in(afresh).await?;
                self.follower.after = last;
                return Ok(Update::Messages(messages));
            }

            let (mut next, mut seen) = (change, self.seen);
            let update = match follower
                .store
                .next_changes_of(&follower.room, change)
                .await?
            {
                NextChanges::None => self.look(&mut seen),
                NextChanges::Gone(last) => {
                    next = last;
                    Some(Update::Resync)
                }
                NextChanges::Some {
                    mut changed,
                    is_stored,
                } => {
                    afresh |= is_stored;
                    // A message comes before a change to it, at whatever server the watcher
                    // resumes.
                    let after = self.follower.after;
                    let given = changed
                        .iter()
                        .take_while(|message| message.seq <= after)
                        .count();
                    changed.truncate(given);
                    next = changed
                        .last()
                        .and_then(|message| message.change)
                        .unwrap_or(change);
                    (!changed.is_empty()).then_some(Update::Changed(changed))
                }
            };
            self.follower.let_in(afresh).await?;
            (self.change, self.seen) = (Some(next), seen);
            if let Some(update) = update {
                return Ok(update);
            }
            // The sender lives as long as `room`.
            let _ = self.follower.wake.changed().await;
        }
    }

    /// Returns what is new besides messages, and notes in `seen` what will have been seen with it.
    fn look(&self, seen: &mut Seen) -> Option<Update> {
        let room = &self.follower.room;
        // A message that was given here may have been older than the position with which the
        // watcher began.
        let (late, mut changed) = room.late_after(seen.late);
        seen.late = late;
        let given = |seq: Seq| seq > self.began_at.0 && seq <= self.follower.after;
        changed.retain(|message| given(message.seq) && message.change <= self.began_at.1);
        if !changed.is_empty() {
            return Some(Update::Changed(changed));
        }
        if let Some((number, topic)) = room.topic_after(seen.topic) {
            seen.topic = number;
            return Some(Update::Topic(topic));
        }
        if !self.people {
            return None;
        }
        if let Some((presence, present)) = room.presence_after(seen.presence) {
            seen.presence = presence;
            return Some(Update::Presence(present));
        }
        let (typed, users) = room.typing_after(seen.typed);
        seen.typed = typed;
        (!users.is_empty()).then_some(Update::Typing(users))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.people {
            self.follower.store.0.feed.end_watch(&self.follower.room);
        }
    }
}

/// What is new with one user, from whatever process. Made by [`ChatStore::watch_user`].
pub struct UserWatcher {
    store: ChatStore,
    user: Username,
    updates: broadcast::Receiver<UserUpdate>,
}

impl UserWatcher {
    pub(crate) fn new(store: ChatStore, user: Username) -> Self {
        let updates = store.0.feed.users.listen(&user);
        Self {
            store,
            user,
            updates,
        }
    }

    /// Waits until there is something new. The future may be dropped at any time; nothing is
    /// skipped by it. Of a watcher that was too slow, the updates it lost come as one
    /// [`UserUpdate::SessionsEnded`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]: there will be nothing more.
    pub async fn next(&mut self) -> Result<UserUpdate> {
        let update = tokio::select! {
            biased;
            update = self.updates.recv() => update,
            () = self.store.0.feed.closed() => return Err(Error::Closed),
        };
        match update {
            Ok(update) => Ok(update),
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(UserUpdate::SessionsEnded),
            // The sender stays while somebody listens.
            Err(broadcast::error::RecvError::Closed) => Err(Error::Closed),
        }
    }
}

impl fmt::Debug for UserWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserWatcher")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Drop for UserWatcher {
    fn drop(&mut self) {
        // This one listens no more; the others may.
        self.updates = broadcast::channel(1).1;
        self.store.0.feed.users.forget(&self.user);
    }
}

/// A user's presence in a room; ends when it is dropped. Made by [`ChatStore::attend`].
#[must_use = "the presence ends when this is dropped"]
pub struct PresenceGuard {
    store: ChatStore,
    room: Arc<RoomFeed>,
    user: Username,
}

impl PresenceGuard {
    pub(crate) fn new(store: ChatStore, room: Arc<RoomFeed>, user: Username) -> Self {
        store.0.feed.enter(&room, &user);
        Self { store, room, user }
    }
}

impl fmt::Debug for PresenceGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceGuard")
            .field("room", &self.room.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        self.store.0.feed.leave(&self.room, &self.user);
    }
}
