//! Following one room, watching who is in it, and being in it.

use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{broadcast, watch};

use crate::error::{Error, Result};
use crate::feed::{RoomFeed, UserUpdate, Visitor};
use crate::presence::Presence;
use crate::shared::SharedMessage;
use crate::store::ChatStore;
use crate::types::{RoomName, Seq, Username};

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
    visitor: Option<Visitor>,
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
    pub(crate) fn new(store: ChatStore, room: Arc<RoomFeed>, after: Seq, visitor: Option<Visitor>) -> Self {
        let wake = room.listen();
        Self { store, room, wake, after, visitor }
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

    /// Fails unless whoever follows may do so still. Asked after what is given was read, so that whoever
    /// is let in was so when it was posted.
    async fn let_in(&self, afresh: bool) -> Result<()> {
        match &self.visitor {
            Some(visitor) => self.store.let_in(&self.room, visitor, afresh).await,
            None => Ok(()),
        }
    }

    /// Goes on as a [`Watcher`] that tells what is deleted too, but not who is there.
    #[must_use]
    pub fn with_deletions(self) -> Watcher {
        Watcher::new(self, false)
    }

    /// The messages as a stream of single ones. After an error it goes on where it was; it ends once
    /// the store is closed.
    pub fn into_stream(self) -> impl Stream<Item = Result<SharedMessage>> {
        let batches = stream::unfold(self, |mut follower| async move {
            match follower.next().await {
                Err(Error::Closed) => None,
                batch => Some((batch, follower)),
            }
        });
        batches.map_ok(|batch| stream::iter(batch).map(Ok)).try_flatten()
    }
}

/// What is new in a room.
#[derive(Debug, Clone)]
pub enum Update {
    /// Messages, in `seq` order: at least one, at most 64.
    Messages(Vec<SharedMessage>),
    /// The places of messages that were deleted, whether they had been given or not. None at all
    /// means that it is not known which were: read again what is shown.
    Deleted(Vec<Seq>),
    /// Who is there now.
    Presence(Presence),
    /// Who types. That holds for 5 seconds, unless it comes again.
    Typing(Vec<Username>),
}

/// A [`Follower`] that also tells what is deleted, who is in the room and who types. Made by
/// [`ChatStore::watch`].
#[derive(Debug)]
pub struct Watcher {
    follower: Follower,
    /// Whether it tells of people.
    people: bool,
    seen: Seen,
}

/// The numbers of what was seen last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    deletions: u64,
    presence: u64,
    typed: u64,
}

impl Watcher {
    pub(crate) fn new(follower: Follower, people: bool) -> Self {
        // What was deleted before is not read as it was.
        let seen = Seen { deletions: follower.room.deletions(), ..Seen::default() };
        if people {
            follower.store.0.feed.begin_watch(&follower.room);
        }
        Self { follower, people, seen }
    }

    /// The room that is watched.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        self.follower.room()
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
            let (messages, afresh) = follower.store.next_of(&follower.room, follower.after).await?;
            let last = messages.last().map(|message| message.seq);
            let (seen, update) = match last {
                Some(_) => (self.seen, Some(Update::Messages(messages))),
                None => self.look(),
            };
            self.follower.let_in(afresh).await?;
            self.seen = seen;
            self.follower.after = last.unwrap_or(self.follower.after);
            if let Some(update) = update {
                return Ok(update);
            }
            // The sender lives as long as `room`.
            let _ = self.follower.wake.changed().await;
        }
    }

    /// What is new besides messages, and what will have been seen with it.
    fn look(&self) -> (Seen, Option<Update>) {
        let (room, seen) = (&self.follower.room, self.seen);
        if let Some((deletions, places)) = room.deleted_after(seen.deletions) {
            return (Seen { deletions, ..seen }, Some(Update::Deleted(places)));
        }
        if !self.people {
            return (seen, None);
        }
        if let Some((presence, present)) = room.presence_after(seen.presence) {
            return (Seen { presence, ..seen }, Some(Update::Presence(present)));
        }
        let (typed, users) = room.typing_after(seen.typed);
        (Seen { typed, ..seen }, (!users.is_empty()).then_some(Update::Typing(users)))
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
        Self { store, user, updates }
    }

    /// Waits until there is something new. The future may be dropped at any time; nothing is skipped
    /// by it. Of a watcher that was too slow, the updates it lost come as one
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
        f.debug_struct("UserWatcher").field("user", &self.user).finish_non_exhaustive()
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
pub struct Attending {
    store: ChatStore,
    room: Arc<RoomFeed>,
    user: Username,
}

impl Attending {
    pub(crate) fn new(store: ChatStore, room: Arc<RoomFeed>, user: Username) -> Self {
        store.0.feed.enter(&room, &user);
        Self { store, room, user }
    }
}

impl fmt::Debug for Attending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attending")
            .field("room", &self.room.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.store.0.feed.leave(&self.room, &self.user);
    }
}
