//! Who may be in one room, as far as it is known without asking the store.

use std::collections::HashSet;

use crate::backend::{Access, Head};
use crate::error::{Error, Result};
use crate::types::{Privacy, Username};

/// Users who are known to be let in. Beyond it all are forgotten, and looked up again.
const MOST: usize = 16_384;

/// What somebody wants in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To read it.
    Read,
    /// To be seen in it, and to write.
    TakePart,
}

/// Somebody who wants something in rooms.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Who that is, if it is known.
    pub(crate) user: Option<Username>,
    /// Whether that is proved.
    pub(crate) verified: bool,
    pub(crate) wish: Wish,
}

impl Visitor {
    /// Somebody of whom nothing is known, who reads.
    pub(crate) fn unknown() -> Self {
        Self { user: None, verified: false, wish: Wish::Read }
    }

    /// Whether a room lets this visitor in. A room that does not exist hides nothing.
    pub(crate) fn check(&self, access: Option<&Access>) -> Result<()> {
        match access {
            None => Ok(()),
            Some(Access { privacy: Privacy::Private, member, banned, .. })
                if !self.verified || !member || *banned =>
            {
                Err(Error::RoomNotFound)
            }
            Some(access) if access.banned && self.wish == Wish::TakePart => Err(Error::Banned),
            Some(_) => Ok(()),
        }
    }
}

/// What is known of a room's access. Only what is allowed is remembered.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Never changes once it is known.
    privacy: Option<Privacy>,
    /// Whether there is no such room.
    missing: bool,
    /// Whether the room is public and nobody is banned from it.
    open: bool,
    /// Users who may take part.
    admitted: HashSet<Username>,
    /// Grows with each change, so that an answer which was asked for before is not taken for an
    /// answer after.
    generation: u64,
    /// The closings of the last head that was seen.
    closings: Option<i64>,
}

impl Door {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn privacy(&self) -> Option<Privacy> {
        self.privacy
    }

    /// Whether everyone may read the room and take part in it.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it is known that the visitor is let in.
    pub(super) fn lets_in(&self, visitor: &Visitor) -> bool {
        let is_admitted = || visitor.user.as_ref().is_some_and(|user| self.admitted.contains(user));
        match self.privacy {
            None => self.missing,
            Some(Privacy::Public) => self.open || visitor.wish == Wish::Read || is_admitted(),
            Some(Privacy::Private) => visitor.verified && is_admitted(),
        }
    }

    /// Takes in what the store answered to a question that was asked at `generation`.
    pub(super) fn learn(&mut self, generation: u64, access: Option<&Access>, visitor: &Visitor) {
        if let Some(access) = access {
            self.privacy = Some(access.privacy);
            self.missing = false;
        }
        if generation != self.generation {
            return;
        }
        self.missing = access.is_none();
        self.open = access.is_some_and(|access| access.privacy == Privacy::Public && !access.restricted);
        let takes_part = Visitor { wish: Wish::TakePart, ..visitor.clone() };
        if let (Some(user), Some(_), Ok(())) = (&visitor.user, access, takes_part.check(access)) {
            if self.admitted.len() >= MOST {
                self.admitted.clear();
            }
            self.admitted.insert(user.clone());
        }
    }

    /// Takes note that messages were committed after `head`, by this process.
    pub(super) fn committed_after(&mut self, head: Option<Head>) {
        match head {
            // Somebody may have been removed by another process, which is not heard of yet.
            Some(Head { restricted: true, closings, .. }) => {
                let before = self.closings.replace(closings);
                if before != Some(closings) {
                    self.forget();
                }
            }
            // What a batch makes, or everyone may post in, is public. Whether it is open is not said:
            // somebody may have been banned since.
            _ => self.privacy = Some(Privacy::Public),
        }
    }

    /// Forgets what may have changed.
    pub(super) fn forget(&mut self) {
        self.missing = false;
        self.open = false;
        self.admitted.clear();
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(name: Option<&str>, wish: Wish) -> Visitor {
        Visitor { user: name.map(|name| name.parse().expect("a name")), verified: name.is_some(), wish }
    }

    fn access(privacy: Privacy, member: bool, banned: bool) -> Access {
        let restricted = privacy == Privacy::Private || banned;
        Access { privacy, restricted, owner: None, member, banned }
    }

    #[test]
    fn a_door_lets_in_whom_the_store_would() {
        let (nobody, ann) = (visitor(None, Wish::Read), visitor(Some("ann"), Wish::Read));
        let ann_writes = visitor(Some("ann"), Wish::TakePart);
        let private = access(Privacy::Private, false, false);
        assert!(matches!(nobody.check(Some(&private)), Err(Error::RoomNotFound)));
        let mut door = Door::default();
        assert!(!door.lets_in(&nobody));
        door.learn(0, Some(&private), &nobody);
        assert!(!door.lets_in(&nobody) && !door.lets_in(&ann));
        door.learn(0, Some(&access(Privacy::Private, true, false)), &ann);
        assert!(!door.lets_in(&nobody) && door.lets_in(&ann) && door.lets_in(&ann_writes));
        let guest = Visitor { verified: false, ..ann_writes.clone() };
        assert!(!door.lets_in(&guest) && guest.check(Some(&access(Privacy::Private, true, false))).is_err());

        let banned = access(Privacy::Public, false, true);
        assert!(ann.check(Some(&banned)).is_ok());
        assert!(matches!(ann_writes.check(Some(&banned)), Err(Error::Banned)));
        let mut door = Door::default();
        door.learn(0, Some(&banned), &ann);
        assert!(door.lets_in(&ann) && !door.lets_in(&ann_writes) && !door.is_open());
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_believed_after_it() {
        let ann = visitor(Some("ann"), Wish::Read);
        let mut door = Door::default();
        let asked = door.generation();
        door.forget();
        door.learn(asked, Some(&access(Privacy::Private, true, false)), &ann);
        assert!(!door.lets_in(&ann));
        assert_eq!(door.privacy(), Some(Privacy::Private), "which never changes");
    }

    #[test]
    fn a_commit_after_a_closing_makes_members_be_looked_up() {
        let ann = visitor(Some("ann"), Wish::Read);
        let head = |closings| Some(Head { closings, restricted: true, ..Head::EMPTY });
        let mut door = Door::default();
        door.committed_after(head(1));
        door.learn(door.generation(), Some(&access(Privacy::Private, true, false)), &ann);
        door.committed_after(head(1));
        assert!(door.lets_in(&ann));
        door.committed_after(head(2));
        assert!(!door.lets_in(&ann));
    }
}
