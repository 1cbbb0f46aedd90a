//! Numbers of messages and of changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Invalid;

/// Declares a number that counts from 1 without holes.
macro_rules! dense_number {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// The number before the first.
            pub const ZERO: Self = Self(0);

            /// Returns the number as this type, unless it is negative.
            #[must_use]
            pub const fn new(number: i64) -> Option<Self> {
                if number < 0 { None } else { Some(Self(number)) }
            }

            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }

            /// Returns the number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            fn refused() -> Invalid {
                Invalid::new($field, "must be a whole number from 0 up")
            }
        }

        impl From<$name> for i64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Invalid;

            fn try_from(number: i64) -> Result<Self, Invalid> {
                Self::new(number).ok_or_else(Self::refused)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                text.parse()
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(Self::refused)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

dense_number! {
    /// The number of a message in its room: 1, 2, 3, … without holes. 0 stands before the first.
    ///
    /// ```
    /// use chatcore::Seq;
    ///
    /// assert_eq!("41".parse::<Seq>()?.next().get(), 42);
    /// assert!(Seq::try_from(-1).is_err());
    /// # Ok::<(), chatcore::Invalid>(())
    /// ```
    Seq, "seq"
}

dense_number! {
    /// The number of a change to a message of a room: 1, 2, 3, … without holes. 0 stands before the
    /// first.
    ChangeSeq, "change"
}
