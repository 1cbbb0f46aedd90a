//! Sessions, and the tokens that prove them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::actor::Actor;
use crate::error::{Error, Invalid, Reason, Result};
use crate::timestamp::Timestamp;
use crate::types::Username;
use crate::value::parsed_value;

/// The time after its last use at which a session ends.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A use of a session is stored once it is this much later than the last stored one, so that a
/// session in use costs a write an hour and not a write a request.
pub(crate) const TOUCH_AFTER: Duration = Duration::from_secs(60 * 60);

/// The most characters of a client's description that a session keeps.
const MAX_DEVICE_CHARS: usize = 256;

/// The secret that proves a session: 256 random bits, written as 43 characters of URL-safe Base64.
///
/// The store keeps only its SHA-256. `Debug` does not show it; `Display` does.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken([u8; 32]);

impl SessionToken {
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }

    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }
}

impl fmt::Display for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

impl FromStr for SessionToken {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| Invalid::new("session", "is not a session token"))
    }
}

/// The hash by which the store knows a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

/// Names a session to its owner without giving access to it: 128 random bits in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    pub(crate) fn random() -> Result<Self> {
        random().map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten();
        value
            .map(Self)
            .ok_or_else(|| Invalid::new("id", "must be 32 hexadecimal digits"))
    }
}

parsed_value!(SessionId);

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A log-in that has not ended. One of a guest ends when its name, in any case, is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// Names the session to its owner.
    pub id: SessionId,
    /// The user who logged in.
    pub username: Username,
    /// True if the user proved to own the account of that name. A guest did not.
    pub verified: bool,
    /// The time of the log-in.
    pub created_at: Timestamp,
    /// The last use that was stored; a use is stored when this is more than an hour old.
    pub last_seen: Timestamp,
    /// The time at which the client was given its token: at the log-in, or at the last renewal.
    pub renewed_at: Timestamp,
    /// The client's description of itself, at most 256 characters. Written as `user_agent`.
    #[serde(rename = "user_agent")]
    pub device: String,
}

impl Session {
    /// Returns the actor that the session stands for.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::named(self.username.clone(), self.verified)
    }

    pub(crate) fn new(
        username: Username,
        verified: bool,
        device: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let device = device
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_DEVICE_CHARS)
            .collect();

        Ok(Self {
            id: SessionId::random()?,
            username,
            verified,
            created_at: now,
            last_seen: now,
            renewed_at: now,
            device,
        })
    }
}

/// Returns the time before which the last use of a session lies, if the session has expired by
/// `now`.
pub(crate) fn expired_before(now: Timestamp, idle: Duration) -> Timestamp {
    now.minus(idle)
}

/// Returns random bytes of the system.
///
/// # Errors
///
/// [`Error::Unavailable`] if the system gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| {
        let text = format!("the system gives no random bytes: {e}");
        Error::Unavailable(Reason::with_cause(text, e))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_writing_and_reading_and_is_not_shown_by_debug() {
        let token = SessionToken::random().expect("random");
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(token.to_string().len(), 43);
        assert_eq!(format!("{token:?}"), "SessionToken(…)");
        assert_ne!(token, SessionToken::random().expect("random"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "short",
            &"A".repeat(42),
            &"A".repeat(44),
            &"=".repeat(43),
            "ééééééééééééééééééééé",
        ] {
            assert!(text.parse::<SessionToken>().is_err(), "{text}");
        }

        assert!(
            "+0000000000000000000000000000000"
                .parse::<SessionId>()
                .is_err()
        );
    }
}
