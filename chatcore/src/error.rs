//! The one error type of the crate.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A value that breaks a rule of its type: the field that it was given for, and the rule.
///
/// Every [`FromStr`](std::str::FromStr) of this crate fails with it, and so does a call with an
/// option or a limit out of its range, as [`Error::Invalid`].
///
/// ```
/// let refused = "".parse::<chatcore::RoomName>().unwrap_err();
/// assert_eq!((refused.field, &*refused.reason), ("room", "must not be empty"));
/// assert_eq!(refused.to_string(), "room must not be empty");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    /// The name of the field, as a client of the HTTP API knows it, or of the option.
    pub field: &'static str,
    /// The broken rule, as the rest of a sentence that begins with the field.
    pub reason: Cow<'static, str>,
}

impl Invalid {
    /// Returns the error for a value of `field` that breaks a rule.
    pub fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

/// The reason of an [`Error`] in words, with the error of the database or the system that caused
/// it, if there is one.
///
/// It reads like a string. [`Error::source`](std::error::Error::source) returns the cause.
#[derive(Clone)]
pub struct Reason {
    text: Cow<'static, str>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Reason {
    /// Returns the reason with the error that caused it.
    pub(crate) fn with_cause(
        text: impl Into<Cow<'static, str>>,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            text: text.into(),
            cause: Some(Arc::new(cause)),
        }
    }

    /// Returns an error as a reason.
    #[cfg(any(test, feature = "sqlite"))]
    pub(crate) fn of(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::with_cause(cause.to_string(), cause)
    }

    fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

impl<T: Into<Cow<'static, str>>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            cause: None,
        }
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// An error of a [`ChatStore`](crate::ChatStore).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// A value given by the caller breaks a rule of its type.
    Invalid(Invalid),

    /// The room does not exist.
    RoomNotFound,

    /// The message does not exist.
    MessageNotFound,

    /// The message was deleted, so that nothing of it can change. Nothing was changed.
    MessageDeleted,

    /// The message has as many different reactions as it may have. Nothing was changed.
    TooManyReactions,

    /// The room has no such change, so the changes after it are unknown. Read again what is shown.
    ChangesGone,

    /// No account has this name, and the call is for accounts only.
    AccountNotFound,

    /// The user was banned from the room. Nothing was stored.
    Banned,

    /// The user may not do this. Nothing was changed.
    Forbidden(&'static str),

    /// The room exists with the other [`Privacy`](crate::Privacy) than was asked for.
    PrivacyFixed,

    /// The room is public, and the call is for private rooms only.
    RoomIsPublic,

    /// The nonce was used before, by the same sender in the same room, for another text.
    NonceConflict,

    /// The name, or one that differs only in case, has an account already.
    NameTaken,

    /// The name has an account, so that only a session made with its password may use it. Nothing
    /// was stored.
    NameClaimed,

    /// The name differs only in case from one that has an account, so that nobody may use it.
    /// Nothing was stored.
    NameReserved,

    /// No account has this name and password.
    WrongPassword,

    /// A queue is full: of posts, of passwords to check, or of other calls. Nothing was stored; try
    /// again in a moment.
    Busy,

    /// The store has no room left. Nothing was stored.
    Full,

    /// The store cannot be reached or did not answer in time. A post that ends so may or may not
    /// have been stored; a repeat with the same nonce finds out and is safe.
    Unavailable(Reason),

    /// The store was closed, or was lost to another process. Nothing was stored, and nothing will
    /// be.
    Closed,

    /// Another process holds the store, and this kind of store has one user at a time.
    InUse(Reason),

    /// The address or the file is not a store that this version can open.
    Open(Reason),

    /// The store holds something that this crate did not write, or refused a correct request.
    Corrupt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Invalid(invalid) => return invalid.fmt(f),
            Self::Unavailable(reason) => {
                return write!(f, "the store is out of reach: {reason}");
            }
            Self::InUse(reason) => return write!(f, "the store is in use: {reason}"),
            Self::Open(reason) => return write!(f, "the store cannot be opened: {reason}"),
            Self::Corrupt(reason) => return write!(f, "the store is inconsistent: {reason}"),
            Self::Forbidden(reason) => reason,
            Self::RoomNotFound => "Room not found",
            Self::MessageNotFound => "Message not found",
            Self::MessageDeleted => "the message is deleted",
            Self::TooManyReactions => {
                "the message has 20 different reactions; react with one of them"
            }
            Self::ChangesGone => "the room has no such change; read again what is shown",
            Self::AccountNotFound => "no account has this name",
            Self::Banned => "the user is banned from the room",
            Self::PrivacyFixed => {
                "the room exists, and whether a room is private is decided when it is created"
            }
            Self::RoomIsPublic => "the room is public: everyone may join it",
            Self::NonceConflict => "nonce was already used for a message with another text",
            Self::NameTaken => "the name is taken",
            Self::NameClaimed => "the name belongs to an account",
            Self::NameReserved => {
                "the name differs only in case from one that belongs to an account"
            }
            Self::WrongPassword => "no account has this name and password",
            Self::Busy => "too many calls are waiting; nothing was stored, try again in a moment",
            Self::Full => "the store is full; nothing was stored",
            Self::Closed => "the store is closed",
        };
        f.write_str(text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(reason) | Self::InUse(reason) | Self::Open(reason) => reason.cause(),
            _ => None,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_cause_is_kept_and_written_once() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = Error::Unavailable(Reason::of(broken));

        assert_eq!(error.to_string(), "the store is out of reach: broken pipe");
        let cause = error.source().expect("a cause");
        let cause: &std::io::Error = cause.downcast_ref().expect("that of the system");
        assert_eq!(cause.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(Error::Unavailable("no answer".into()).source().is_none());
    }
}
