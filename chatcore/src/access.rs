//! Permission that an actor asks for in a room: the one rule of who may read a room and take part
//! in it.

use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::Access;
use crate::types::Privacy;

/// Permission in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// To read the room.
    Read,
    /// To write in the room and to be seen in it.
    Participate,
}

/// A permission that an actor asks for.
#[derive(Debug, Clone)]
pub(crate) struct AccessRequest {
    pub(crate) actor: Actor,
    pub(crate) permission: Permission,
}

impl AccessRequest {
    /// Fails unless the actor has the permission in a room. A private room is not there for anyone
    /// but its members. A room that does not exist hides nothing.
    pub(crate) fn check(&self, access: Option<&Access>) -> Result<()> {
        let Some(access) = access else {
            return Ok(());
        };
        let is_member = self.actor.is_account() && access.member && !access.banned;
        if access.privacy == Privacy::Private && !is_member {
            return Err(Error::RoomNotFound);
        }
        if access.banned && self.permission == Permission::Participate {
            return Err(Error::Banned);
        }
        Ok(())
    }
}
