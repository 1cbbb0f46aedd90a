//! Lists for the program that owns the store: everything, private rooms included.

use super::ChatStore;
use crate::account::NameKey;
use crate::error::Result;
use crate::model::Page;
use crate::options::{MAX_NAMES, check_limit};
use crate::types::{RoomName, Username};

impl ChatStore {
    /// Lists at most `limit` rooms in code point order, private ones too, from the first after
    /// `after`.
    ///
    /// Their members are listed by [`members`](Self::members), the rooms of one user by
    /// [`rooms_of`](Self::rooms_of).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_NAMES`],
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn all_rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<Vec<RoomName>> {
        let page = Page {
            after: after.cloned(),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        self.engine.call(self.engine.backend.all_rooms(page)).await
    }

    /// Lists at most `limit` names that have an account, as they were registered, from the first
    /// after `after`. They are ordered without regard to case: by their Unicode case folding.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a `limit` outside 1 to [`MAX_NAMES`],
    /// [`Error::Unavailable`](crate::Error::Unavailable).
    pub async fn accounts(&self, after: Option<&Username>, limit: u32) -> Result<Vec<Username>> {
        let page = Page {
            after: after.map(NameKey::from),
            limit: check_limit(limit, MAX_NAMES)?,
        };
        self.engine.call(self.engine.backend.accounts(page)).await
    }
}
