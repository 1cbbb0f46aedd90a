//! Reading and following the live end of rooms: from the feed where it reaches, else from the
//! store.

mod tasks;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub(crate) use self::tasks::start;
use crate::error::{Error, Invalid, Result};
use crate::feed::{AccessRequest, LiveCounts, RoomFeed};
use crate::follow::{Follower, PresenceGuard, UserWatcher, Watcher};
use crate::model::{Page, Signal};
use crate::options::{MAX_MESSAGES, MAX_NAMES, check_limit};
use crate::shared::SharedMessage;
use crate::store::ChatStore;
use crate::types::{
    ChangeSeq, MAX_COUNTED_MENTIONS, Privacy, Range, RoomName, Seq, UserRoom, Username,
};

/// The most messages that a follower takes at once.
const FOLLOW_LIMIT: u32 = 64;
/// Whether a reader must know that there is nothing new, or is woken when there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Checked,
    Blind,
}

/// Changes that come next.
pub(crate) enum NextChanges {
    /// Nothing changed.
    None,
    /// Messages, at least one, and whether they were read from the store.
    Some {
        changed: Vec<SharedMessage>,
        is_stored: bool,
    },
    /// The room has no such change; its last one is this.
    Gone(ChangeSeq),
}

impl NextChanges {
    fn new(changed: Vec<SharedMessage>, is_stored: bool) -> Self {
        if changed.is_empty() {
            Self::None
        } else {
            Self::Some { changed, is_stored }
        }
    }
}

impl ChatStore {
    /// Like [`messages`](Self::messages), but where there is none yet waits for some until
    /// `patience` is over; then none is the answer.
    ///
    /// # Errors
    ///
    /// Those of [`messages`](Self::messages).
    pub async fn wait_for_messages(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        patience: Duration,
    ) -> Result<Vec<SharedMessage>> {
        self.wait(
            room,
            range,
            check_limit(limit, MAX_MESSAGES)?,
            patience,
            None,
        )
        .await
    }

    pub(crate) async fn wait(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        patience: Duration,
        visitor: Option<&AccessRequest>,
    ) -> Result<Vec<SharedMessage>> {
        let deadline = Instant::now() + patience;
        let mut wake = self.0.feed.room(room).listen();
        let mut afresh = true;
        loop {
            wake.mark_unchanged();
            let found = self.read(room, range, limit, visitor, afresh).await?;
            afresh = false;
            if !found.is_empty() {
                return Ok(found);
            }
            match timeout_at(deadline, wake.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(found),
            }
        }
    }

    /// Follows a room: every message after the place `after`, in `seq` order, each once, from
    /// history through the present, whoever posts it. The room need not exist yet.
    ///
    /// ```
    /// # use chatcore::{ChatStore, NewMessage, Seq};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("chat.db");
    /// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
    /// let mut follower = store.follow(&"general".parse()?, Seq::ZERO);
    /// store.post(NewMessage::new("general".parse()?, "ann".parse()?, "hello".parse()?)).await?;
    /// for message in follower.next().await? {
    ///     println!("{}: {}", message.seq, message.text().unwrap_or("deleted"));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn follow(&self, room: &RoomName, after: Seq) -> Follower {
        Follower::new(self.clone(), self.0.feed.room(room), after, None)
    }

    /// Follows a room as [`follow`](Self::follow) does, and besides gives the messages that change
    /// after the change `changes_after`, who is there and who types. Without `changes_after` it
    /// gives what changes from now on.
    #[must_use]
    pub fn watch(&self, room: &RoomName, after: Seq, changes_after: Option<ChangeSeq>) -> Watcher {
        self.watch_as(room, after, changes_after, None)
    }

    pub(crate) fn watch_as(
        &self,
        room: &RoomName,
        after: Seq,
        changes_after: Option<ChangeSeq>,
        visitor: Option<AccessRequest>,
    ) -> Watcher {
        let room = self.0.feed.room(room);
        Watcher::new(
            Follower::new(self.clone(), room, after, visitor),
            changes_after,
            true,
        )
    }

    /// Hears what is new with a user: what was read elsewhere, and that sessions ended.
    #[must_use]
    pub fn watch_user(&self, user: &Username) -> UserWatcher {
        UserWatcher::new(self.clone(), user.clone())
    }

    /// Tells those who watch a user, in any case of the name and at every process, that some of the
    /// user's sessions ended.
    pub(crate) fn sessions_ended(&self, user: &Username) {
        self.0.feed.users.sessions_ended(user);
        if self.0.backend.is_shared() {
            self.announce(Signal::SessionsEnded(user.clone()));
        }
    }

    /// Counts a user as present in a room until the returned value is dropped.
    pub fn enter(&self, room: &RoomName, user: &Username) -> PresenceGuard {
        PresenceGuard::new(self.clone(), self.0.feed.room(room), user.clone())
    }

    /// Tells those who watch a room that a user types in it; holds for 5 seconds. Said again within
    /// a second, it changes nothing.
    pub fn type_in(&self, room: &RoomName, user: &Username) {
        if self.0.feed.hear_typing(room, user) && self.0.backend.is_shared() {
            self.announce(Signal::Typing(room.clone(), user.clone()));
        }
    }

    /// Tells other processes, in the background: what passes is not worth a wait.
    pub(crate) fn announce(&self, signal: Signal) {
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.call(store.0.backend.publish_signal(signal)).await {
                tracing::debug!(%error, "other processes could not be told");
            }
        });
    }

    /// What is held in memory for those who read and follow.
    #[must_use]
    pub fn live_counts(&self) -> LiveCounts {
        self.0.feed.counts()
    }

    /// Moves a user's mark of what was read in a room forward to `seq`, never back; returns where
    /// it is then. Those who watch the user at this process are told.
    ///
    /// It is written within about a second, together with other marks, and other processes hear of
    /// it then. [`close`](Self::close) writes it too. If the process dies before, it is lost.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotFound`], [`Error::Invalid`] for a place after the newest message,
    /// [`Error::Busy`] if too many marks are to be written, [`Error::Unavailable`].
    pub async fn mark_read(&self, user: &Username, room: &RoomName, seq: Seq) -> Result<Seq> {
        let mut last = self.last_seq(room).await?;
        if seq > last {
            // Another process's message may not have been heard of yet.
            let newest = self.call(self.stored(room, Range::Newest, 1)).await?;
            last = newest.last().map_or(Seq::ZERO, |message| message.seq);
        }
        if last == Seq::ZERO {
            self.room(room).await?;
        }
        if seq > last {
            return Err(
                Invalid::new("seq", format!("must be at most {last}, the newest message")).into(),
            );
        }
        if let Some(read) = self.0.feed.mark_read(user, room, seq, None)? {
            return Ok(read);
        }
        let stored = self
            .call(self.0.backend.read_mark(user.clone(), room.clone()))
            .await?;
        let read = self.0.feed.mark_read(user, room, seq, Some(stored))?;
        Ok(read.unwrap_or(stored))
    }

    /// Lists at most `limit` rooms that a user is a member of, with what the user has not read, in
    /// code point order of their names, from the first after `after`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_NAMES`](crate::MAX_NAMES),
    /// [`Error::Unavailable`].
    pub async fn rooms_of(
        &self,
        user: &Username,
        after: Option<&RoomName>,
        limit: u32,
    ) -> Result<Vec<UserRoom>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        // Before the rooms are read, so that no mark lies after the end that is shown with it.
        let marks = self.0.feed.read_marks.of(user);
        let mut rooms = self
            .call(self.0.backend.rooms_of(user.clone(), page))
            .await?;
        let mentions = self
            .0
            .backend
            .newest_mentions(user.clone(), MAX_COUNTED_MENTIONS);
        let mut mentioned_at: HashMap<RoomName, Vec<Seq>> = HashMap::new();
        for (room, seq) in self.call(mentions).await? {
            mentioned_at.entry(room).or_default().push(seq);
        }

        for room in &mut rooms {
            let read = marks.get(&room.room).copied();
            room.read_seq = room.read_seq.max(read.unwrap_or(Seq::ZERO));
            let places = mentioned_at.get(&room.room).into_iter().flatten();
            room.mentions = places.filter(|seq| **seq > room.read_seq).count() as u64;
        }
        Ok(rooms)
    }

    /// The place of a room's newest message; 0 if it has none, or does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn last_seq(&self, room: &RoomName) -> Result<Seq> {
        let newest = self.messages(room, Range::Newest, 1).await?;
        Ok(newest.last().map_or(Seq::ZERO, |message| message.seq))
    }

    /// Returns the number of the last change to a message of a room; 0 if there was none, or the
    /// room does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn last_change(&self, room: &RoomName) -> Result<ChangeSeq> {
        self.check_open()?;
        self.last_change_of(&self.0.feed.room(room)).await
    }

    /// Reads at most `limit` messages of a room that changed after the change `after`, as they are
    /// now, each once, in the order of their last changes. None if nothing changed, or there is no
    /// such room.
    ///
    /// Whoever asks again with the `change` of the last message that it got ends with what the
    /// store holds: it misses no edit, reaction or deletion. The log keeps one entry for each
    /// message, however often it changes, so nothing of it is ever trimmed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a `limit` outside 1 to [`MAX_MESSAGES`], [`Error::ChangesGone`] if
    /// the room has no change of the number `after`, [`Error::Unavailable`].
    pub async fn changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        self.wait_for_changes(room, after, limit, Duration::ZERO)
            .await
    }

    /// Like [`changes`](Self::changes), but where there are none yet waits for some until
    /// `patience` is over; then none is the answer.
    ///
    /// # Errors
    ///
    /// Those of [`changes`](Self::changes).
    pub async fn wait_for_changes(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        patience: Duration,
    ) -> Result<Vec<SharedMessage>> {
        self.wait_for_changes_as(
            room,
            after,
            check_limit(limit, MAX_MESSAGES)?,
            patience,
            None,
        )
        .await
    }

    pub(crate) async fn wait_for_changes_as(
        &self,
        room: &RoomName,
        after: ChangeSeq,
        limit: u32,
        patience: Duration,
        visitor: Option<&AccessRequest>,
    ) -> Result<Vec<SharedMessage>> {
        self.check_open()?;
        let deadline = Instant::now() + patience;
        let room = self.0.feed.room(room);
        let mut wake = room.listen();
        let mut first = true;
        loop {
            wake.mark_unchanged();
            let mut found = self
                .read_changes(&room, after, limit, Trust::Checked)
                .await?;
            if let Some(visitor) = visitor {
                // After the read, so that whoever is let in was so when this changed.
                let is_stored = matches!(
                    found,
                    NextChanges::Some {
                        is_stored: true,
                        ..
                    }
                );
                match self
                    .let_in(&room, visitor, std::mem::take(&mut first) || is_stored)
                    .await
                {
                    // As of a room that does not exist.
                    Err(Error::RoomNotFound) if after == ChangeSeq::ZERO => {
                        found = NextChanges::None
                    }
                    Err(Error::RoomNotFound) => found = NextChanges::Gone(ChangeSeq::ZERO),
                    let_in => let_in?,
                }
            }
            match found {
                NextChanges::Some { changed, .. } => return Ok(changed),
                NextChanges::Gone(_) => return Err(Error::ChangesGone),
                NextChanges::None => {}
            }
            match timeout_at(deadline, wake.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(Vec::new()),
            }
        }
    }

    /// Returns the number of the last change of a room, as of a moment of this call.
    pub(crate) async fn last_change_of(&self, room: &RoomFeed) -> Result<ChangeSeq> {
        let feed = &self.0.feed;
        feed.renew(room);
        let before = feed.trusted_in(room);
        if let Some(known) = room
            .last_change()
            .filter(|_| before.is_some() && feed.trusted_in(room) == before)
        {
            return Ok(known);
        }
        self.stored_last_change(room).await
    }

    /// Reads the number of the last change from the store, and has the ring take it in.
    async fn stored_last_change(&self, room: &RoomFeed) -> Result<ChangeSeq> {
        let generation = room.generation();
        let stored = self.call(self.0.backend.room(room.name.clone())).await?;
        let last = stored.map_or(ChangeSeq::ZERO, |stored| stored.last_change);
        self.0.feed.learn_last_change(room, generation, last);
        Ok(last)
    }

    /// Returns the next changes for a follower, even where the ring may not be up to date: whoever
    /// follows is woken for what it lacks.
    pub(crate) async fn next_changes_of(
        &self,
        room: &RoomFeed,
        after: ChangeSeq,
    ) -> Result<NextChanges> {
        self.check_open()?;
        self.read_changes(room, after, FOLLOW_LIMIT, Trust::Blind)
            .await
    }

    /// Reads changed messages from memory if it reaches, else from the store.
    async fn read_changes(
        &self,
        room: &RoomFeed,
        after: ChangeSeq,
        limit: u32,
        trust: Trust,
    ) -> Result<NextChanges> {
        let feed = &self.0.feed;
        let may_answer = || {
            (trust == Trust::Blind)
                .then_some(0)
                .or_else(|| feed.trusted_in(room))
        };
        let before = may_answer();
        let in_memory = room.read_changes(after, limit as usize);
        if let Some(changed) = in_memory.filter(|_| before.is_some() && may_answer() == before) {
            return Ok(NextChanges::new(changed, false));
        }

        let stored = self
            .call(
                self.0
                    .backend
                    .changed_messages(room.name.clone(), after, limit),
            )
            .await?;
        if stored.is_empty() {
            // The end, or beyond it. Memory does not tell which: another process may have been
            // faster.
            let last = self.stored_last_change(room).await?;
            return Ok(if after > last {
                NextChanges::Gone(last)
            } else {
                NextChanges::None
            });
        }
        Ok(NextChanges::new(
            stored.into_iter().map(SharedMessage::from).collect(),
            true,
        ))
    }

    /// What follows `after`, even where the ring may not be up to date: whoever follows is woken
    /// for what it lacks. Says too whether it was read from the store, which may have more than was
    /// heard of.
    pub(crate) async fn next_of(
        &self,
        room: &RoomFeed,
        after: Seq,
    ) -> Result<(Vec<SharedMessage>, bool)> {
        self.check_open()?;
        let range = Range::After(after);
        match room.read(range, FOLLOW_LIMIT as usize) {
            Some(found) => Ok((found, false)),
            None => Ok((
                self.call(self.load(room, range, FOLLOW_LIMIT, Trust::Blind))
                    .await?,
                true,
            )),
        }
    }

    /// Reads at most `limit` messages, from memory if it reaches; none for a visitor who may not.
    /// For `afresh` see [`let_in`](Self::let_in).
    pub(crate) async fn read(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        visitor: Option<&AccessRequest>,
        afresh: bool,
    ) -> Result<Vec<SharedMessage>> {
        if let Some(found) = self.at_hand(room, range, limit, visitor.is_some()) {
            return Ok(found);
        }
        if visitor.is_some_and(|visitor| !visitor.actor.is_account())
            && self.0.feed.privacy(room) == Some(Privacy::Private)
        {
            return Ok(Vec::new());
        }
        let in_memory = self.at_hand(room, range, limit, false);
        let afresh = afresh || in_memory.is_none();
        let found = match in_memory {
            Some(found) => found,
            None => self.read_stored(room, range, limit).await?,
        };
        // Last, so that whoever was let in was so when this was posted.
        let Some(visitor) = visitor else {
            return Ok(found);
        };
        match self.let_in(&self.0.feed.room(room), visitor, afresh).await {
            Ok(()) => Ok(found),
            Err(Error::RoomNotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What is known without asking the store, and for a visitor only of a public room.
    pub(crate) fn at_hand(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
        is_visitor: bool,
    ) -> Option<Vec<SharedMessage>> {
        self.0.feed.read(room, range, limit as usize, is_visitor)
    }

    /// Reads what the ring does not have.
    async fn read_stored(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        // History needs no ring.
        if matches!(range, Range::Before(_)) {
            return self.call(self.stored(room, range, limit)).await;
        }
        let room = self.0.feed.room(room);
        self.call(self.load(&room, range, limit, Trust::Checked))
            .await
    }

    async fn stored(
        &self,
        room: &RoomName,
        range: Range,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let messages = self.0.backend.messages(room.clone(), range, limit).await?;
        Ok(messages.into_iter().map(SharedMessage::from).collect())
    }

    /// Reads from the store what the ring lacks, and has the ring take it in. Where many readers
    /// lack the same, one reads and the others wait for it.
    async fn load(
        &self,
        room: &RoomFeed,
        range: Range,
        limit: u32,
        trust: Trust,
    ) -> Result<Vec<SharedMessage>> {
        let feed = &self.0.feed;
        if trust == Trust::Checked {
            feed.renew(room);
        }
        let may_answer = || {
            (trust == Trust::Blind)
                .then_some(0)
                .or_else(|| feed.trusted_in(room))
        };
        let _loading = if may_answer().is_some() && room.is_near(range, limit as usize) {
            let loading = room.loading().lock().await;
            let before = may_answer();
            let found = room.read(range, limit as usize);
            if let Some(found) = found.filter(|_| before.is_some() && may_answer() == before) {
                return Ok(found);
            }
            Some(loading)
        } else {
            None
        };
        let generation = room.generation();
        let messages = self.stored(&room.name, range, limit).await?;
        let reaches_end = match range {
            Range::Newest => true,
            Range::After(_) | Range::Since(_) => messages.len() < limit as usize,
            Range::Before(_) => false,
        };
        if !messages.is_empty() {
            feed.load(room, generation, &messages, reaches_end);
        } else if let Range::After(after) = range
            && feed.confirm_end(room, generation, after)
        {
            // The reader is at the end, and now it is known to be one.
        } else if reaches_end && room.end().is_none() {
            let newest = self.stored(&room.name, Range::Newest, 1).await?;
            match newest.is_empty() {
                true => feed.load_empty(room, generation),
                false => feed.load(room, generation, &newest, true),
            }
        }
        Ok(messages)
    }
}
