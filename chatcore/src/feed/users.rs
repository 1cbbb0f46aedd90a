//! What concerns one user, wherever that user is connected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::account::NameKey;
use crate::types::{RoomName, Seq, Username};

/// Events that a connection may lag behind. It learns no more of those it lost.
const LAG: usize = 16;

/// What is new with a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserUpdate {
    /// The user has read a room up to a place.
    Read(RoomName, Seq),
    /// A message of a room mentions the user, who may not be allowed to read it. On a shared store
    /// this may come twice.
    Mentioned(RoomName, Seq),
    /// Some of the user's sessions may have ended: ask again for the one in use.
    SessionsEnded,
    /// Updates may have been lost, those of other users too: ask again for the session in use, but
    /// not all at the same time.
    Missed,
}

/// The users who are connected to this process.
#[derive(Default)]
pub(crate) struct Users(Mutex<Watched>);

/// Senders by name. Names that differ only in case stand together, so that all of them are found at
/// once.
type Watched = HashMap<NameKey, HashMap<Username, broadcast::Sender<UserUpdate>>>;

impl Users {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to what happens to a user from now on.
    pub(crate) fn listen(&self, user: &Username) -> broadcast::Receiver<UserUpdate> {
        let mut users = self.lock();
        let same = users.entry(NameKey::from(user)).or_default();
        same.entry(user.clone())
            .or_insert_with(|| broadcast::channel(LAG).0)
            .subscribe()
    }

    /// Forgets a user to whom nobody listens any more.
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

    pub(crate) fn tell(&self, user: &Username, event: UserUpdate) {
        if let Some(sender) = self
            .lock()
            .get(&NameKey::from(user))
            .and_then(|same| same.get(user))
        {
            let _ = sender.send(event);
        }
    }

    /// Tells of ended sessions of a name, in any case: when it is registered, those of all guests
    /// who used it end.
    pub(crate) fn sessions_ended(&self, user: &Username) {
        for sender in self
            .lock()
            .get(&NameKey::from(user))
            .into_iter()
            .flat_map(HashMap::values)
        {
            let _ = sender.send(UserUpdate::SessionsEnded);
        }
    }

    /// Tells everyone that updates may have gone unheard.
    pub(crate) fn miss_updates(&self) {
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
        let users = Users::default();
        let name = |name: &str| name.parse::<Username>().expect("a name");
        let mut heard = ["ann", "ANN", "bob"].map(|user| users.listen(&name(user)));
        assert_eq!(users.len(), 3);
        users.sessions_ended(&name("Ann"));
        let reached = heard.each_mut().map(|user| user.try_recv().is_ok());
        assert_eq!(reached, [true, true, false]);
        users.tell(
            &name("ann"),
            UserUpdate::Read("a".parse().expect("a name"), Seq::ZERO),
        );
        let reached = heard.each_mut().map(|user| user.try_recv().is_ok());
        assert_eq!(reached, [true, false, false]);
        drop(heard);
        ["ann", "ANN", "bob"]
            .iter()
            .for_each(|user| users.forget(&name(user)));
        assert!(users.lock().is_empty());
    }
}
