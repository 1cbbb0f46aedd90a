//! Names and texts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::error::Invalid;
use crate::value::parsed_value;

/// The most characters in a room name or a username.
pub const MAX_NAME_CHARS: usize = 64;
/// The most characters in the text of a message.
pub const MAX_TEXT_CHARS: usize = 4_000;
/// The most characters in a nonce.
pub const MAX_NONCE_CHARS: usize = 64;
/// The most characters in the topic of a room.
pub const MAX_TOPIC_CHARS: usize = 200;

/// Declares a cheaply cloned, validated string type.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the value as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let parse: fn(&str) -> Result<Arc<str>, Invalid> = $parse;
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        parsed_value!($name);
    };
}

text_type! {
    /// The name of a room: 1 to 64 characters after Unicode NFC, case-sensitive. No control
    /// characters, no `/`, no white space at either end, not `.` or `..`.
    ///
    /// ```
    /// use chatcore::RoomName;
    ///
    /// let room: RoomName = "general".parse()?;
    /// assert_eq!(room.as_str(), "general");
    ///
    /// let refused = RoomName::try_from("a/b").unwrap_err();
    /// assert_eq!(refused.to_string(), "room must not contain /");
    /// # Ok::<(), chatcore::Invalid>(())
    /// ```
    RoomName, |text| name("room", text)
}

text_type! {
    /// The name of a user: the rules of a [`RoomName`], and no white space at all.
    Username, |text| {
        let name = name("username", text)?;
        if name.chars().any(char::is_whitespace) {
            return Err(Invalid::new("username", "must not contain white space"));
        }
        Ok(name)
    }
}

text_type! {
    /// The text of a message: 1 to 4,000 characters, at least one of them not white space, and no
    /// control character but newline and tab.
    MessageText, |text| {
        length("text", text, MAX_TEXT_CHARS)?;
        if text.chars().all(char::is_whitespace) {
            return Err(Invalid::new("text", "must contain a character that is not white space"));
        }
        no_control("text", text, &['\n', '\t'])?;
        Ok(text.into())
    }
}

text_type! {
    /// The key that makes a post repeatable: 1 to 64 characters, no control characters. The same
    /// sender's same nonce in the same room yields one message, however often it is sent.
    Nonce, |text| {
        length("nonce", text, MAX_NONCE_CHARS)?;
        no_control("nonce", text, &[])?;
        Ok(text.into())
    }
}

text_type! {
    /// The topic of a room: at most 200 characters, none of them a control character. An empty one
    /// removes the topic.
    Topic, |text| {
        if !text.is_empty() {
            length("topic", text, MAX_TOPIC_CHARS)?;
        }
        no_control("topic", text, &[])?;
        Ok(text.into())
    }
}

fn name(field: &'static str, text: &str) -> Result<Arc<str>, Invalid> {
    let normal: Arc<str> = if text.is_ascii() {
        text.into()
    } else {
        text.nfc().collect::<String>().into()
    };

    length(field, &normal, MAX_NAME_CHARS)?;
    no_control(field, &normal, &[])?;
    if normal.contains('/') {
        return Err(Invalid::new(field, "must not contain /"));
    }
    if normal.starts_with(char::is_whitespace) || normal.ends_with(char::is_whitespace) {
        return Err(Invalid::new(
            field,
            "must not begin or end with white space",
        ));
    }
    if matches!(&*normal, "." | "..") {
        return Err(Invalid::new(field, "must not be . or .."));
    }

    Ok(normal)
}

fn length(field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "must not be empty"));
    }
    // A character takes at least one byte, so most texts need no count.
    if text.len() > max && text.chars().count() > max {
        return Err(Invalid::new(
            field,
            format!("must be at most {max} characters"),
        ));
    }
    Ok(())
}

fn no_control(field: &'static str, text: &str, allowed: &[char]) -> Result<(), Invalid> {
    match text
        .chars()
        .find(|c| c.is_control() && !allowed.contains(c))
    {
        Some(c) => Err(Invalid::new(
            field,
            format!(
                "must not contain the control character U+{:04X}",
                u32::from(c)
            ),
        )),
        None => Ok(()),
    }
}
