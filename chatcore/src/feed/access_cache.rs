//! Access to one room, as far as it is known without asking the store.

use std::collections::{HashMap, HashSet};

use super::freshness::Generation;
use crate::access::{AccessRequest, Permission};
use crate::account::NameKey;
use crate::actor::Actor;
use crate::error::Result;
use crate::model::{Access, Head};
use crate::types::{Privacy, Username};

/// The most users who are known to be allowed. Beyond it all are forgotten, and looked up again.
const MAX_ALLOWED: usize = 16_384;
/// The most users who are looked up by one question.
const MAX_ASKED: usize = 1_000;

/// Answers of the store to one question about users of a room.
#[derive(Debug)]
struct Answers {
    asked: Generation,
    /// Answer for each user who was asked about. [`None`] stands for no such room.
    users: HashMap<Username, Result<Option<Access>>>,
}

/// Access to a room. Only what is allowed is remembered.
#[derive(Debug, Default)]
pub(super) struct AccessCache {
    /// Privacy of the room, once it is known. It never changes.
    privacy: Option<Privacy>,
    /// True if the store answered that there is no such room.
    missing: bool,
    /// True if the store answered that the room is public and nobody is banned from it. Users who
    /// were banned after that are in `evicted`.
    open: bool,
    /// Users who may take part.
    allowed: HashSet<Username>,
    /// Names, in any case, of users who were or may have been removed or banned, each with the
    /// generation of that.
    evicted: HashMap<NameKey, Generation>,
    /// Grows with each question and each change, so that both have an order.
    generation: Generation,
    /// Answers to questions of older generations are dropped.
    valid_from: Generation,
    /// True from a gap in the change stream until it is known whether somebody was removed
    /// meanwhile. Nobody is allowed by what was known before.
    stale: bool,
    /// Users whom somebody waits to have looked up.
    waiting: HashSet<Username>,
    /// Answers to the last question about `waiting`.
    answers: Option<Answers>,
    /// The head's `closings` up to which all removals and bans are known here.
    closings: Option<i64>,
}

impl AccessCache {
    pub(super) fn privacy(&self) -> Option<Privacy> {
        self.privacy
    }

    /// Returns true if everyone may read the room and take part in it.
    pub(super) fn is_open(&self) -> bool {
        self.open && self.evicted.is_empty() && !self.stale
    }

    /// Returns true if it is known that the store would allow the request.
    pub(super) fn allows(&self, request: &AccessRequest) -> bool {
        let user = request.actor.username();
        let is_allowed = || user.is_some_and(|user| self.allowed.contains(user));
        let is_evicted =
            || user.is_some_and(|user| self.evicted.contains_key(&NameKey::from(user)));

        match self.privacy {
            // A user without a name cannot be banned.
            Some(Privacy::Public)
                if request.permission == Permission::Read || request.actor == Actor::Anonymous =>
            {
                true
            }
            _ if self.stale => false,
            None => self.missing,
            Some(Privacy::Public) => is_allowed() || self.open && !is_evicted(),
            Some(Privacy::Private) => request.actor.is_account() && is_allowed(),
        }
    }

    /// Begins a question about the room as such.
    pub(super) fn begin_question(&mut self) -> Generation {
        self.generation.advance()
    }

    /// Takes note that somebody waits to have a user looked up, by a question from after the
    /// returned generation.
    pub(super) fn wait_for(&mut self, user: &Username) -> Generation {
        self.waiting.insert(user.clone());
        self.generation
    }

    /// Returns the answer for a user, if the question came after `since`.
    pub(super) fn answer(
        &self,
        user: &Username,
        since: Generation,
    ) -> Option<Result<Option<Access>>> {
        self.answers
            .as_ref()
            .filter(|answers| answers.asked > since)?
            .users
            .get(user)
            .cloned()
    }

    /// Begins a question about `user` and the others who are waited for: at most [`MAX_ASKED`].
    /// They stay until there is an answer, because the task that asks may be dropped.
    pub(super) fn begin_question_about(&mut self, user: &Username) -> (Generation, Vec<Username>) {
        let others = self.waiting.iter().filter(|other| *other != user);
        let users = std::iter::once(user)
            .chain(others)
            .take(MAX_ASKED)
            .cloned()
            .collect();
        (self.generation.advance(), users)
    }

    /// Takes in what the store answered about `users` to a question that began at `asked`.
    pub(super) fn learn_about(
        &mut self,
        asked: Generation,
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
                self.learn_user(asked, &user, access);
            }
            answers.users.insert(user, found);
        }
        self.answers = Some(answers);
    }

    /// Takes in the access of everyone.
    pub(super) fn learn(&mut self, asked: Generation, access: Option<&Access>) {
        if let Some(access) = access {
            self.privacy = Some(access.privacy);
            self.missing = false;
        }
        if asked < self.valid_from {
            return;
        }
        if self.stale {
            self.restart(asked);
        }
        // An older answer that comes later must not undo this one.
        self.valid_from = asked;
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
            // Bans since the room was found open are known.
            Some(Access {
                privacy: Privacy::Public,
                ..
            }) => {}
            _ => self.open = false,
        }
    }

    /// Takes in the access of one user.
    fn learn_user(&mut self, asked: Generation, user: &Username, access: &Access) {
        let name = NameKey::from(user);
        if asked < self.valid_from || self.evicted.get(&name).is_some_and(|since| *since > asked) {
            return;
        }
        let writer = AccessRequest {
            actor: Actor::Account(user.clone()),
            permission: Permission::Participate,
        };
        if writer.check(Some(access)).is_err() {
            self.allowed.remove(user);
            if self.open {
                self.evicted.insert(name, asked);
            }
            return;
        }
        if self.allowed.len() >= MAX_ALLOWED {
            self.allowed.clear();
        }
        self.allowed.insert(user.clone());
        self.evicted.remove(&name);
    }

    /// Takes note that messages were committed after `head`, by this process.
    pub(super) fn committed_after(&mut self, head: Option<Head>) {
        match head {
            // Another process may have removed somebody, which is not known here yet. Those who are
            // banned from a public room may still read it.
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
            // A room that a batch creates, or that everyone may post in, is public. It need not be
            // open: somebody may have been banned since.
            _ => self.privacy = Some(Privacy::Public),
        }
    }

    /// Forgets what is known of one name, in any case: it may have been removed or banned.
    pub(super) fn evict(&mut self, user: &Username) {
        if self.evicted.len() >= MAX_ALLOWED {
            self.forget();
        }
        let now = self.generation.advance();
        self.missing = false;
        self.allowed
            .retain(|allowed| !allowed.is_same_but_for_case(user));
        self.evicted.insert(NameKey::from(user), now);
    }

    /// Takes note that removals and bans may have been missed.
    pub(super) fn miss_events(&mut self) {
        self.stale = true;
        self.valid_from = self.generation.advance();
    }

    /// Takes in the head that the store answered to a question that began at `asked`. Returns
    /// true if somebody may have been removed or banned, so that all have to be looked up again.
    pub(super) fn confirm(&mut self, asked: Generation, head: Head) -> bool {
        if asked < self.valid_from {
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
        self.valid_from = asked;
        self.stale = false;
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
        let now = self.generation.advance();
        self.restart(now);
    }

    /// Forgets what was known before `from`.
    fn restart(&mut self, from: Generation) {
        self.missing = false;
        self.open = false;
        self.stale = false;
        self.allowed.clear();
        self.evicted.retain(|_, since| *since > from);
        self.valid_from = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn user(name: &str) -> Username {
        name.parse().expect("a name")
    }

    fn answer(cache: &mut AccessCache, name: &str, access: &Access) {
        let (asked, users) = cache.begin_question_about(&user(name));
        cache.learn_about(
            asked,
            users,
            &Ok(Some((access.clone(), vec![access.clone()]))),
        );
    }

    fn request(name: Option<&str>, permission: Permission) -> AccessRequest {
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
    fn an_access_cache_allows_whom_the_store_would() {
        let (nobody, ann) = (
            request(None, Permission::Read),
            request(Some("ann"), Permission::Read),
        );
        let ann_writes = request(Some("ann"), Permission::Participate);
        let private = access(Privacy::Private, false, false);
        assert!(matches!(
            nobody.check(Some(&private)),
            Err(Error::RoomNotFound)
        ));
        let mut cache = AccessCache::default();
        assert!(!cache.allows(&nobody));
        answer(&mut cache, "ann", &private);
        assert!(!cache.allows(&nobody) && !cache.allows(&ann));
        answer(&mut cache, "ann", &access(Privacy::Private, true, false));
        assert!(!cache.allows(&nobody) && cache.allows(&ann) && cache.allows(&ann_writes));
        let guest = AccessRequest {
            actor: Actor::Guest(user("ann")),
            ..ann_writes.clone()
        };
        assert!(
            !cache.allows(&guest)
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
        assert!(cache.allows(&ann) && !cache.allows(&ann_writes) && !cache.is_open());
        assert!(
            !cache.allows(&request(Some("bob"), Permission::Participate)),
            "of whom nothing is known"
        );
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_believed_after_it() {
        let ann = request(Some("ann"), Permission::Read);
        let member = access(Privacy::Private, true, false);
        for change in [AccessCache::forget, |cache: &mut AccessCache| {
            cache.evict(&user("ANN"))
        }] {
            let mut cache = AccessCache::default();
            let (asked, users) = cache.begin_question_about(&user("ann"));
            change(&mut cache);
            cache.learn_about(
                asked,
                users,
                &Ok(Some((member.clone(), vec![member.clone()]))),
            );
            assert!(!cache.allows(&ann));
            assert_eq!(
                cache.privacy(),
                Some(Privacy::Private),
                "which never changes"
            );
            answer(&mut cache, "ann", &member);
            assert!(cache.allows(&ann));
        }
    }

    #[test]
    fn an_eviction_concerns_one_name_and_the_others_stay_known() {
        let takes_part = |name| request(Some(name), Permission::Participate);
        let public = access(Privacy::Public, false, false);
        let mut cache = AccessCache::default();
        let asked = cache.begin_question();
        cache.learn(asked, Some(&public));
        assert!(cache.is_open());
        let early = cache.begin_question();
        cache.evict(&user("Bob"));
        assert!(
            cache.allows(&takes_part("ann"))
                && !cache.allows(&takes_part("bob"))
                && !cache.is_open()
        );
        // The ban is lifted, and an answer from before it comes late.
        let late = cache.begin_question();
        cache.learn(late, Some(&access(Privacy::Public, false, true)));
        cache.learn(early, Some(&public));
        assert!(!cache.allows(&takes_part("bob")) && !cache.is_open());
        assert!(
            cache.allows(&takes_part("ann")),
            "of the others nobody was banned"
        );
        let asked = cache.begin_question();
        cache.learn(asked, Some(&public));
        assert!(cache.is_open() && cache.allows(&takes_part("bob")));

        let member = access(Privacy::Private, true, false);
        let mut cache = AccessCache::default();
        answer(&mut cache, "ann", &member);
        answer(&mut cache, "bob", &member);
        cache.evict(&user("bob"));
        assert!(cache.allows(&takes_part("ann")) && !cache.allows(&takes_part("bob")));
    }

    #[test]
    fn after_a_gap_the_head_tells_whether_anybody_was_removed() {
        let ann = request(Some("ann"), Permission::Participate);
        let head = |closings, restricted| Head {
            closings,
            restricted,
            ..Head::EMPTY
        };
        let mut cache = AccessCache::default();
        answer(&mut cache, "ann", &access(Privacy::Private, true, false));
        for (closings, looks_again) in [(1, true), (1, false), (2, true)] {
            answer(&mut cache, "ann", &access(Privacy::Private, true, false));
            cache.miss_events();
            assert!(!cache.allows(&ann));
            let asked = cache.begin_question();
            assert_eq!(
                cache.confirm(asked, head(closings, true)),
                looks_again,
                "{closings}"
            );
            assert_eq!(cache.allows(&ann), !looks_again, "{closings}");
        }

        // Who is banned after the head was asked for stays out.
        let mut cache = AccessCache::default();
        cache.miss_events();
        let asked = cache.begin_question();
        cache.evict(&user("bob"));
        assert!(!cache.confirm(asked, head(0, false)));
        assert!(
            cache.allows(&ann) && !cache.allows(&request(Some("bob"), Permission::Participate))
        );
    }

    #[test]
    fn all_who_wait_are_asked_about_at_once() {
        let mut cache = AccessCache::default();
        let since = ["ann", "bob", "eve"].map(|name| cache.wait_for(&user(name)));
        let (_dropped, users) = cache.begin_question_about(&user("ann"));
        assert_eq!(users.len(), 3);
        let (asked, users) = cache.begin_question_about(&user("bob"));
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
        assert_eq!(cache.begin_question_about(&user("joe")).1, [user("joe")]);
    }

    #[test]
    fn a_commit_after_a_closing_makes_members_be_looked_up() {
        let ann = request(Some("ann"), Permission::Read);
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
        assert!(cache.allows(&ann));
        cache.committed_after(head(2));
        assert!(!cache.allows(&ann));
    }
}
