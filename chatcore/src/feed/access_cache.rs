//! Who may be in one room, as far as it is known without asking the store.

use std::collections::{HashMap, HashSet};

use crate::account::NameKey;
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::{Access, Head};
use crate::types::{Privacy, Username};

/// Users who are known to be let in. Beyond it all are forgotten, and looked up again.
const MAX_ADMITTED: usize = 16_384;
/// Users who are looked up by one question.
const MAX_ASKED: usize = 1_000;

/// What somebody wants in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// To read it.
    Read,
    /// To be seen in it, and to write.
    Participate,
}

/// A permission that an actor asks for in rooms.
#[derive(Debug, Clone)]
pub(crate) struct AccessRequest {
    pub(crate) actor: Actor,
    pub(crate) permission: Permission,
}

impl AccessRequest {
    /// Whether a room lets this visitor in. A room that does not exist hides nothing.
    pub(crate) fn check(&self, access: Option<&Access>) -> Result<()> {
        match access {
            None => Ok(()),
            Some(Access {
                privacy: Privacy::Private,
                member,
                banned,
                ..
            }) if !self.actor.is_account() || !member || *banned => Err(Error::RoomNotFound),
            Some(access) if access.banned && self.permission == Permission::Participate => {
                Err(Error::Banned)
            }
            Some(_) => Ok(()),
        }
    }
}

/// A point in the order of questions and changes of one room.
pub(crate) type Moment = u64;

/// Answers of the store to one question about a room.
#[derive(Debug)]
struct Answers {
    asked: Moment,
    /// Users who were asked about, and what the store said. [`None`] stands for no such room.
    users: HashMap<Username, Result<Option<Access>>>,
}

/// What is known of a room's access. Only what is allowed is remembered.
#[derive(Debug, Default)]
pub(super) struct AccessCache {
    /// Never changes once it is known.
    privacy: Option<Privacy>,
    /// Whether there is no such room.
    missing: bool,
    /// Set once nobody was banned from the room, which is public. Those who were since are in
    /// `evicted`.
    open: bool,
    /// Users who may take part.
    admitted: HashSet<Username>,
    /// Names, in any case, that were or may have been removed or banned, and since when.
    evicted: HashMap<NameKey, Moment>,
    /// Grows with each question and each change, so that an answer to a question from before a
    /// change is not taken for an answer after it.
    now: Moment,
    /// Answers to questions from before this moment are not believed.
    believed_from: Moment,
    /// Set from a gap in the change stream until it is known whether somebody was removed
    /// meanwhile. Nobody is let in by what was known before.
    doubted: bool,
    /// Users whom somebody waits to have looked up.
    waiting: HashSet<Username>,
    /// Answers to the last question about `waiting`.
    answers: Option<Answers>,
    /// The closings up to which everyone who was removed or banned is known to be.
    closings: Option<i64>,
}

impl AccessCache {
    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub(super) fn privacy(&self) -> Option<Privacy> {
        self.privacy
    }

    /// Whether everyone may read the room and take part in it.
    pub(super) fn is_open(&self) -> bool {
        self.open && self.evicted.is_empty() && !self.doubted
    }

    /// Whether it is known that the visitor is let in.
    pub(super) fn lets_in(&self, visitor: &AccessRequest) -> bool {
        let is_admitted = || {
            visitor
                .actor
                .username()
                .is_some_and(|user| self.admitted.contains(user))
        };
        let is_evicted = || {
            visitor
                .actor
                .username()
                .is_some_and(|user| self.evicted.contains_key(&NameKey::from(user)))
        };
        match self.privacy {
            // Nobody can ban who has no name.
            Some(Privacy::Public)
                if visitor.permission == Permission::Read || visitor.actor == Actor::Anonymous =>
            {
                true
            }
            _ if self.doubted => false,
            None => self.missing,
            Some(Privacy::Public) => is_admitted() || self.open && !is_evicted(),
            Some(Privacy::Private) => visitor.actor.is_account() && is_admitted(),
        }
    }

    /// Begins a question about the room as such.
    pub(super) fn ask(&mut self) -> Moment {
        self.tick()
    }

    /// Takes note that somebody waits to have a user looked up, by a question from after the
    /// returned moment.
    pub(super) fn wait_for(&mut self, user: &Username) -> Moment {
        self.waiting.insert(user.clone());
        self.now
    }

    /// The answer for a user, if the question came after `since`.
    pub(super) fn answer(&self, user: &Username, since: Moment) -> Option<Result<Option<Access>>> {
        self.answers
            .as_ref()
            .filter(|answers| answers.asked > since)?
            .users
            .get(user)
            .cloned()
    }

    /// Begins a question about `user` and the others who are waited for: at most [`MAX_ASKED`].
    /// Those stay until there is an answer, since whoever asks may be dropped.
    pub(super) fn ask_about(&mut self, user: &Username) -> (Moment, Vec<Username>) {
        let others = self.waiting.iter().filter(|other| *other != user);
        let users = std::iter::once(user)
            .chain(others)
            .take(MAX_ASKED)
            .cloned()
            .collect();
        (self.tick(), users)
    }

    /// Takes in what the store answered about `users` to a question that began at `asked`.
    pub(super) fn learn_about(
        &mut self,
        asked: Moment,
        users: Vec<Username>,
        answer: &Result<Option<(Access, Vec<Access>)>>,
    ) {
        let mut answers = Answers {
            asked,
            users: HashMap::with_capacity(users.len()),
        };
        if let Ok(answer) = answer {
            self.learn(asked, answer.as_ref().map(|(everyone, _)| everyone));
        }
        for (at, user) in users.into_iter().enumerate() {
            self.waiting.remove(&user);
            let found = answer
                .as_ref()
                .map_err(Clone::clone)
                .map(|answer| answer.as_ref()?.1.get(at).cloned());
            if let Ok(Some(access)) = &found {
                self.admit(asked, &user, access);
            }
            answers.users.insert(user, found);
        }
        self.answers = Some(answers);
    }

    /// Takes in how the room stands to everyone.
    pub(super) fn learn(&mut self, asked: Moment, access: Option<&Access>) {
        if let Some(access) = access {
            self.privacy = Some(access.privacy);
            self.missing = false;
        }
        if asked < self.believed_from {
            return;
        }
        if self.doubted {
            self.restart(asked);
        }
        // An older answer that comes later must not undo this one.
        self.believed_from = asked;
        self.missing = access.is_none();
        match access {
            Some(Access {
                privacy: Privacy::Public,
                restricted: false,
                ..
            }) => {
                self.open = true;
                self.evicted.retain(|_, since| *since > asked);
            }
            // Of an open room it is known who was banned since.
            Some(Access {
                privacy: Privacy::Public,
                ..
            }) => {}
            _ => self.open = false,
        }
    }

    fn admit(&mut self, asked: Moment, user: &Username, access: &Access) {
        let name = NameKey::from(user);
        if asked < self.believed_from || self.evicted.get(&name).is_some_and(|since| *since > asked)
        {
            return;
        }
        let writer = AccessRequest {
            actor: Actor::Account(user.clone()),
            permission: Permission::Participate,
        };
        if writer.check(Some(access)).is_err() {
            self.admitted.remove(user);
            if self.open {
                self.evicted.insert(name, asked);
            }
            return;
        }
        if self.admitted.len() >= MAX_ADMITTED {
            self.admitted.clear();
        }
        self.admitted.insert(user.clone());
        self.evicted.remove(&name);
    }

    /// Takes note that messages were committed after `head`, by this process.
    pub(super) fn committed_after(&mut self, head: Option<Head>) {
        match head {
            // Somebody may have been removed by another process, which is not heard of yet. What is
            // posted in a public room may be read by those who are banned from it.
            Some(Head {
                restricted: true,
                closings,
                ..
            }) => {
                if self.privacy != Some(Privacy::Public) && self.closings != Some(closings) {
                    self.forget();
                    self.closings = Some(closings);
                }
            }
            // What a batch makes, or everyone may post in, is public. Whether it is open is not
            // said: somebody may have been banned since.
            _ => self.privacy = Some(Privacy::Public),
        }
    }

    /// Forgets what is known of one name, in any case: it may have been removed or banned.
    pub(super) fn evict(&mut self, user: &Username) {
        if self.evicted.len() >= MAX_ADMITTED {
            self.forget();
        }
        let now = self.tick();
        self.missing = false;
        self.admitted
            .retain(|admitted| !admitted.is_same_but_for_case(user));
        self.evicted.insert(NameKey::from(user), now);
    }

    /// Takes note that changes may have gone unheard.
    pub(super) fn miss_changes(&mut self) {
        self.doubted = true;
        self.believed_from = self.tick();
    }

    /// Takes in the head that the store answered to a question that began at `asked`. Returns
    /// whether somebody may have been removed or banned, so that all have to be looked up again.
    pub(super) fn confirm(&mut self, asked: Moment, head: Head) -> bool {
        if asked < self.believed_from {
            return false;
        }
        let Head {
            closings,
            restricted,
            ..
        } = head;
        let has_moved = self.closings.replace(closings) != Some(closings);
        if has_moved {
            self.restart(asked);
        }
        self.believed_from = asked;
        self.doubted = false;
        if !restricted {
            self.privacy = Some(Privacy::Public);
            self.missing = false;
            self.open = true;
            self.evicted.retain(|_, since| *since > asked);
        }
        has_moved && restricted
    }

    /// Forgets all that may have changed.
    pub(super) fn forget(&mut self) {
        let now = self.tick();
        self.restart(now);
    }

    /// Forgets what was known before `from`.
    fn restart(&mut self, from: Moment) {
        self.missing = false;
        self.open = false;
        self.doubted = false;
        self.admitted.clear();
        self.evicted.retain(|_, since| *since > from);
        self.believed_from = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        name.parse().expect("a name")
    }

    fn answer(cache: &mut AccessCache, name: &str, access: &Access) {
        let (asked, users) = cache.ask_about(&user(name));
        cache.learn_about(
            asked,
            users,
            &Ok(Some((access.clone(), vec![access.clone()]))),
        );
    }

    fn visitor(name: Option<&str>, permission: Permission) -> AccessRequest {
        AccessRequest {
            actor: name.map_or(Actor::Anonymous, |name| Actor::Account(user(name))),
            permission,
        }
    }

    fn access(privacy: Privacy, member: bool, banned: bool) -> Access {
        let restricted = privacy == Privacy::Private || banned;
        Access {
            privacy,
            restricted,
            owner: None,
            member,
            banned,
        }
    }

    #[test]
    fn an_access_cache_lets_in_whom_the_store_would() {
        let (nobody, ann) = (
            visitor(None, Permission::Read),
            visitor(Some("ann"), Permission::Read),
        );
        let ann_writes = visitor(Some("ann"), Permission::Participate);
        let private = access(Privacy::Private, false, false);
        assert!(matches!(
            nobody.check(Some(&private)),
            Err(Error::RoomNotFound)
        ));
        let mut cache = AccessCache::default();
        assert!(!cache.lets_in(&nobody));
        answer(&mut cache, "ann", &private);
        assert!(!cache.lets_in(&nobody) && !cache.lets_in(&ann));
        answer(&mut cache, "ann", &access(Privacy::Private, true, false));
        assert!(!cache.lets_in(&nobody) && cache.lets_in(&ann) && cache.lets_in(&ann_writes));
        let guest = AccessRequest {
            actor: Actor::Guest(user("ann")),
            ..ann_writes.clone()
        };
        assert!(
            !cache.lets_in(&guest)
                && guest
                    .check(Some(&access(Privacy::Private, true, false)))
                    .is_err()
        );

        let banned = access(Privacy::Public, false, true);
        assert!(ann.check(Some(&banned)).is_ok());
        assert!(matches!(
            ann_writes.check(Some(&banned)),
            Err(Error::Banned)
        ));
        let mut cache = AccessCache::default();
        answer(&mut cache, "ann", &banned);
        assert!(cache.lets_in(&ann) && !cache.lets_in(&ann_writes) && !cache.is_open());
        assert!(
            !cache.lets_in(&visitor(Some("bob"), Permission::Participate)),
            "of whom nothing is known"
        );
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_believed_after_it() {
        let ann = visitor(Some("ann"), Permission::Read);
        let member = access(Privacy::Private, true, false);
        for change in [AccessCache::forget, |cache: &mut AccessCache| {
            cache.evict(&user("ANN"))
        }] {
            let mut cache = AccessCache::default();
            let (asked, users) = cache.ask_about(&user("ann"));
            change(&mut cache);
            cache.learn_about(
                asked,
                users,
                &Ok(Some((member.clone(), vec![member.clone()]))),
            );
            assert!(!cache.lets_in(&ann));
            assert_eq!(
                cache.privacy(),
                Some(Privacy::Private),
                "which never changes"
            );
            answer(&mut cache, "ann", &member);
            assert!(cache.lets_in(&ann));
        }
    }

    #[test]
    fn an_eviction_concerns_one_name_and_the_others_stay_known() {
        let takes_part = |name| visitor(Some(name), Permission::Participate);
        let public = access(Privacy::Public, false, false);
        let mut cache = AccessCache::default();
        let asked = cache.ask();
        cache.learn(asked, Some(&public));
        assert!(cache.is_open());
        let early = cache.ask();
        cache.evict(&user("Bob"));
        assert!(
            cache.lets_in(&takes_part("ann"))
                && !cache.lets_in(&takes_part("bob"))
                && !cache.is_open()
        );
        // The ban is lifted, and an answer from before it comes late.
        let late = cache.ask();
        cache.learn(late, Some(&access(Privacy::Public, false, true)));
        cache.learn(early, Some(&public));
        assert!(!cache.lets_in(&takes_part("bob")) && !cache.is_open());
        assert!(
            cache.lets_in(&takes_part("ann")),
            "of the others nobody was banned"
        );
        let asked = cache.ask();
        cache.learn(asked, Some(&public));
        assert!(cache.is_open() && cache.lets_in(&takes_part("bob")));

        let member = access(Privacy::Private, true, false);
        let mut cache = AccessCache::default();
        answer(&mut cache, "ann", &member);
        answer(&mut cache, "bob", &member);
        cache.evict(&user("bob"));
        assert!(cache.lets_in(&takes_part("ann")) && !cache.lets_in(&takes_part("bob")));
    }

    #[test]
    fn after_a_gap_the_head_tells_whether_anybody_was_removed() {
        let ann = visitor(Some("ann"), Permission::Participate);
        let head = |closings, restricted| Head {
            closings,
            restricted,
            ..Head::EMPTY
        };
        let mut cache = AccessCache::default();
        answer(&mut cache, "ann", &access(Privacy::Private, true, false));
        for (closings, looks_again) in [(1, true), (1, false), (2, true)] {
            answer(&mut cache, "ann", &access(Privacy::Private, true, false));
            cache.miss_changes();
            assert!(!cache.lets_in(&ann));
            let asked = cache.ask();
            assert_eq!(
                cache.confirm(asked, head(closings, true)),
                looks_again,
                "{closings}"
            );
            assert_eq!(cache.lets_in(&ann), !looks_again, "{closings}");
        }

        // Who is banned after the head was asked for stays out.
        let mut cache = AccessCache::default();
        cache.miss_changes();
        let asked = cache.ask();
        cache.evict(&user("bob"));
        assert!(!cache.confirm(asked, head(0, false)));
        assert!(
            cache.lets_in(&ann) && !cache.lets_in(&visitor(Some("bob"), Permission::Participate))
        );
    }

    #[test]
    fn all_who_wait_are_asked_about_at_once() {
        let mut cache = AccessCache::default();
        let since = ["ann", "bob", "eve"].map(|name| cache.wait_for(&user(name)));
        let (_dropped, users) = cache.ask_about(&user("ann"));
        assert_eq!(users.len(), 3);
        let (asked, users) = cache.ask_about(&user("bob"));
        assert_eq!(users.len(), 3);
        let late = cache.wait_for(&user("joe"));
        let all = vec![access(Privacy::Private, true, false); 3];
        cache.learn_about(asked, users, &Ok(Some((all[0].clone(), all))));
        for (name, since) in ["ann", "bob", "eve"].into_iter().zip(since) {
            assert!(
                matches!(cache.answer(&user(name), since), Some(Ok(Some(_)))),
                "{name}"
            );
        }
        assert!(
            cache.answer(&user("joe"), late).is_none()
                && cache.answer(&user("ann"), late).is_none()
        );
        assert_eq!(cache.ask_about(&user("joe")).1, [user("joe")]);
    }

    #[test]
    fn a_commit_after_a_closing_makes_members_be_looked_up() {
        let ann = visitor(Some("ann"), Permission::Read);
        let head = |closings| {
            Some(Head {
                closings,
                restricted: true,
                ..Head::EMPTY
            })
        };
        let mut cache = AccessCache::default();
        cache.committed_after(head(1));
        answer(&mut cache, "ann", &access(Privacy::Private, true, false));
        cache.committed_after(head(1));
        assert!(cache.lets_in(&ann));
        cache.committed_after(head(2));
        assert!(!cache.lets_in(&ann));
    }
}
