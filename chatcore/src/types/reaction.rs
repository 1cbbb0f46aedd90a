//! Reactions to a message.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Username;
use crate::error::Invalid;
use crate::value::parsed_value;

/// The most different emoji on one message.
pub const MAX_REACTIONS: usize = 20;
/// The most users that are listed with one reaction.
pub const MAX_REACTION_USERS: usize = 10;

/// An emoji: one that Unicode recommends, skin tones and sequences included.
///
/// The text is the fully qualified form, whatever form it was parsed from.
///
/// ```
/// use chatcore::Emoji;
///
/// let heart: Emoji = "❤".parse()?;
/// assert_eq!(heart.as_str(), "❤\u{fe0f}");
/// assert!("heart".parse::<Emoji>().is_err());
/// # Ok::<(), chatcore::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Emoji(&'static str);

impl Emoji {
    /// Returns the emoji as text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl AsRef<str> for Emoji {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl FromStr for Emoji {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match emojis::get(text) {
            Some(emoji) => Ok(Self(emoji.as_str())),
            None => Err(Invalid::new("emoji", "must be one known emoji")),
        }
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

parsed_value!(Emoji);

/// All reactions to a message with the same emoji.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reaction {
    /// The emoji.
    pub emoji: Emoji,
    /// The number of users who reacted with it.
    pub count: u64,
    /// The first of these users, at most [`MAX_REACTION_USERS`].
    pub users: Vec<Username>,
}
