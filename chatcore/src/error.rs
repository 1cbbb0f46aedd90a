//! The one error type of the crate.

use std::borrow::Cow;

/// A value that cannot be used, the field it was given for, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    /// The name of the field, as a client of the HTTP API knows it, or of the option.
    pub field: &'static str,
    /// The rest of the sentence: what is wrong with it.
    pub reason: Cow<'static, str>,
}

impl Invalid {
    /// Says that `field` is wrong, and why.
    pub fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

/// Everything that can go wrong in a [`ChatStore`](crate::ChatStore).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value given by the caller breaks a rule of its type.
    #[error(transparent)]
    Invalid(#[from] Invalid),

    /// The room does not exist.
    #[error("Room not found")]
    RoomNotFound,

    /// The message does not exist.
    #[error("Message not found")]
    MessageNotFound,

    /// The message was deleted, so that nothing of it can change. Nothing was changed.
    #[error("the message is deleted")]
    MessageDeleted,

    /// The message has as many different reactions as it may have. Nothing was changed.
    #[error("the message has 20 different reactions; react with one of them")]
    TooManyReactions,

    /// The room has no such change, so nobody can say what came after it. Read again what is shown.
    #[error("the room has no such change; read again what is shown")]
    ChangesGone,

    /// No account has this name, and this is for accounts only.
    #[error("no account has this name")]
    AccountNotFound,

    /// The user was banned from the room. Nothing was stored.
    #[error("the user is banned from the room")]
    Banned,

    /// The user may not do this. Nothing was changed.
    #[error("{0}")]
    Forbidden(&'static str),

    /// The room exists, and is private or public, otherwise than was asked for.
    #[error("the room exists, and whether a room is private is decided when it is created")]
    PrivacyFixed,

    /// The room is public, and this is for private rooms only.
    #[error("the room is public: everyone may join it")]
    RoomIsPublic,

    /// The nonce was used before, by the same sender in the same room, for another text.
    #[error("nonce was already used for a message with another text")]
    NonceConflict,

    /// The name, or one that differs only in case, has an account already.
    #[error("the name is taken")]
    NameTaken,

    /// The name has an account, so that only a session made with its password may use it. Nothing
    /// was stored.
    #[error("the name belongs to an account")]
    NameClaimed,

    /// The name differs only in case from one that has an account, so that nobody may use it.
    /// Nothing was stored.
    #[error("the name differs only in case from one that belongs to an account")]
    NameReserved,

    /// No account has this name and password.
    #[error("no account has this name and password")]
    WrongPassword,

    /// A queue is full: of posts, of passwords to check, or of other calls. Nothing was stored; try
    /// again in a moment.
    #[error("too many calls are waiting; nothing was stored, try again in a moment")]
    Busy,

    /// The store has no room left. Nothing was stored.
    #[error("the store is full; nothing was stored")]
    Full,

    /// The store cannot be reached or did not answer in time. A post that ends so may or may not
    /// have been stored; a repeat with the same nonce finds out and is safe.
    #[error("the store is out of reach: {0}")]
    Unavailable(String),

    /// The store was closed, or was lost to another process. Nothing was stored, and nothing will
    /// be.
    #[error("the store is closed")]
    Closed,

    /// Another process holds the store, and this kind of store has one user at a time.
    #[error("the store is in use: {0}")]
    InUse(String),

    /// The address or the file is not a store that this version can open.
    #[error("the store cannot be opened: {0}")]
    Open(String),

    /// The store holds something that this crate did not write, or refused a correct request.
    #[error("the store is inconsistent: {0}")]
    Corrupt(String),
}

impl Error {
    /// Returns true if the same call may succeed later without any change on the caller's side.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Full | Self::Unavailable(_))
    }
}

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
