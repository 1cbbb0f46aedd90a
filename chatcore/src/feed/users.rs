//! What concerns one user, wherever that user is connected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::types::{RoomName, Seq, Username};

/// Events that a connection may lag behind. It learns no more of those it lost.
const LAG: usize = 16;

/// What is new with a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserUpdate {
    /// The user has read a room up to a place.
    Read(RoomName, Seq),
    /// Some of the user's sessions may have ended: ask again for the one in use.
    SessionsEnded,
}

/// The users who are connected to this process.
#[derive(Default)]
pub(crate) struct Users(Mutex<HashMap<Username, broadcast::Sender<UserUpdate>>>);

impl Users {
    fn lock(&self) -> MutexGuard<'_, HashMap<Username, broadcast::Sender<UserUpdate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to a user from now on.
    pub(crate) fn listen(&self, user: &Username) -> broadcast::Receiver<UserUpdate> {
        self.lock().entry(user.clone()).or_insert_with(|| broadcast::channel(LAG).0).subscribe()
    }

    /// Forgets a user to whom nobody listens any more.
    pub(crate) fn forget(&self, user: &Username) {
        let mut users = self.lock();
        if users.get(user).is_some_and(|sender| sender.receiver_count() == 0) {
            users.remove(user);
        }
    }

    pub(crate) fn tell(&self, user: &Username, event: UserUpdate) {
        if let Some(sender) = self.lock().get(user) {
            let _ = sender.send(event);
        }
    }

    /// Tells of ended sessions of a name, in any case: when it is registered, those of all guests
    /// who used it end.
    pub(crate) fn sessions_ended(&self, user: &Username) {
        for (_, sender) in self.lock().iter().filter(|(name, _)| name.is_same_but_for_case(user)) {
            let _ = sender.send(UserUpdate::SessionsEnded);
        }
    }

    /// Has everyone ask again for the session in use: its end may have gone unheard.
    pub(crate) fn ask_again(&self) {
        for sender in self.lock().values() {
            let _ = sender.send(UserUpdate::SessionsEnded);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
