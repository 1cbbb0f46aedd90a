//! The actor of a call.

use crate::types::Username;

/// The user on whose behalf the program calls the store: anonymous, a guest, or an
/// account.
///
/// The store takes the program's word for it. [`ChatStore::session`](crate::ChatStore::session)
/// turns a token into a [`Session`](crate::Session), and [`Session::actor`](crate::Session::actor)
/// into this.
///
/// ```
/// use chatcore::{Actor, ChatStore, Error, NewMessage, Username};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("chat.db");
/// # let store = ChatStore::open(path.to_str().ok_or("path")?).await?;
/// let bob: Username = "bob".parse()?;
/// let post = NewMessage::new("general".parse()?, bob.clone(), "helo".parse()?);
/// let posted = store.post(post).await?.message;
///
/// // A guest's message cannot be edited, because anyone may use the name.
/// let by_guest = store.as_user(Actor::Guest(bob));
/// let edited = by_guest.edit_message(&posted.room, posted.seq, "hello".parse()?).await;
/// assert!(matches!(edited, Err(Error::Forbidden(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// Somebody without a name. Reads public rooms.
    Anonymous,
    /// A user of a name without an account. Reads and takes part in public rooms, as long as nobody
    /// has an account of that name, in any case.
    Guest(Username),
    /// The owner of an account, who has proved it. Reads private rooms as a member of them, owns
    /// rooms, and may edit and delete messages.
    Account(Username),
}

impl Actor {
    /// Returns the actor that uses a name, after proving it or not.
    pub(crate) fn named(username: Username, is_proved: bool) -> Self {
        if is_proved {
            Self::Account(username)
        } else {
            Self::Guest(username)
        }
    }

    /// Returns the name of the actor, proved or not.
    #[must_use]
    pub fn username(&self) -> Option<&Username> {
        match self {
            Self::Anonymous => None,
            Self::Guest(name) | Self::Account(name) => Some(name),
        }
    }

    /// Returns the name of the actor's account.
    #[must_use]
    pub fn account(&self) -> Option<&Username> {
        match self {
            Self::Account(name) => Some(name),
            Self::Anonymous | Self::Guest(_) => None,
        }
    }

    /// Returns true if the actor has proved to own an account.
    #[must_use]
    pub fn is_account(&self) -> bool {
        self.account().is_some()
    }
}
