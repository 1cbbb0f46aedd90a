//! Updates of single users, wherever a user is connected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::account::NameKey;
use crate::types::{RoomName, Seq, Username};

/// The most updates that a connection may lag behind. It learns no more of those it lost.
const MAX_LAG: usize = 16;

/// Update of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserUpdate {
    /// The user has read a room up to a `seq`.
    Read {
        /// The room.
        room: RoomName,
        /// `seq` of the last message that was read.
        seq: Seq,
    },
    /// A message of a room mentions the user, who may not be allowed to read it. On a shared store
    /// this may come twice.
    Mentioned {
        /// The room.
        room: RoomName,
        /// `seq` of the message.
        seq: Seq,
    },
    /// The user joined or left a room, was invited, removed or banned: the list of the user's rooms
    /// may have changed. On a shared store this may come twice.
    RoomsChanged,
    /// Some of the user's sessions may have ended: ask again for the one in use.
    SessionsEnded,
    /// Everything that the user has open ends, whatever proved it, by
    /// [`ChatStore::revoke`](crate::ChatStore::revoke).
    Revoked,
    /// Updates may have been lost, those of other users too: ask again for the session in use, but
    /// not all at the same time.
    Missed,
}

/// Users who are watched at this process.
#[derive(Default)]
pub(crate) struct UserFeeds(Mutex<Watched>);

/// Senders by name. Names that differ only in case stand together, so that all of them are found at
/// once.
type Watched = HashMap<NameKey, HashMap<Username, broadcast::Sender<UserUpdate>>>;

impl UserFeeds {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to updates of a user from now on.
    pub(crate) fn subscribe(&self, user: &Username) -> broadcast::Receiver<UserUpdate> {
        let mut users = self.lock();
        let same = users.entry(NameKey::from(user)).or_default();
        same.entry(user.clone())
            .or_insert_with(|| broadcast::channel(MAX_LAG).0)
            .subscribe()
    }

    /// Forgets a user whom nobody watches any more.
    pub(crate) fn forget(&self, user: &Username) {
        let name = NameKey::from(user);
        let mut users = self.lock();
        let Some(same) = users.get_mut(&name) else {
            return;
        };
        if same
            .get(user)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            same.remove(user);
        }
        if same.is_empty() {
            users.remove(&name);
        }
    }

    /// Notifies those who watch a user.
    pub(crate) fn notify(&self, user: &Username, event: UserUpdate) {
        if let Some(sender) = self
            .lock()
            .get(&NameKey::from(user))
            .and_then(|same| same.get(user))
        {
            let _ = sender.send(event);
        }
    }

    /// Notifies those who watch a name, in any case, that sessions ended: when a name is
    /// registered, those of all guests who used it end.
    pub(crate) fn notify_sessions_ended(&self, user: &Username) {
        self.notify_every_case(user, &UserUpdate::SessionsEnded);
    }

    /// Notifies those who watch a name, in any case, that all that it has open ends.
    pub(crate) fn notify_revoked(&self, user: &Username) {
        self.notify_every_case(user, &UserUpdate::Revoked);
    }

    fn notify_every_case(&self, user: &Username, update: &UserUpdate) {
        for sender in self
            .lock()
            .get(&NameKey::from(user))
            .into_iter()
            .flat_map(HashMap::values)
        {
            let _ = sender.send(update.clone());
        }
    }

    /// Notifies everyone that updates may have been missed.
    pub(crate) fn notify_missed(&self) {
        for sender in self.lock().values().flat_map(HashMap::values) {
            let _ = sender.send(UserUpdate::Missed);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_sessions_reaches_a_name_in_every_case_and_nobody_else() {
        let users = UserFeeds::default();
        let name = |name: &str| name.parse::<Username>().expect("a name");
        let mut updates = ["ann", "ANN", "bob"].map(|user| users.subscribe(&name(user)));
        assert_eq!(users.len(), 3);
        users.notify_sessions_ended(&name("Ann"));
        let reached = updates.each_mut().map(|user| user.try_recv().is_ok());
        assert_eq!(reached, [true, true, false]);
        users.notify(
            &name("ann"),
            UserUpdate::Read {
                room: "a".parse().expect("a name"),
                seq: Seq::ZERO,
            },
        );
        let reached = updates.each_mut().map(|user| user.try_recv().is_ok());
        assert_eq!(reached, [true, false, false]);
        drop(updates);
        ["ann", "ANN", "bob"]
            .iter()
            .for_each(|user| users.forget(&name(user)));
        assert!(users.lock().is_empty());
    }
}
