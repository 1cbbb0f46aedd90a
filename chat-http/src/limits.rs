//! What is limited, for whom, and to how much.
//!
//! Nobody can be kept out of their account by others for long: failed log-ins to a name count for
//! each network alone, and the slow limit over all networks together does not hold for a network
//! from which a log-in to the name has succeeded. A session in use is never asked.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chatcore::Username;

use crate::address::Network;
use crate::error::{HttpError, Result};
use crate::throttle::Buckets;

/// A burst is this many seconds' worth of posts.
const POST_BURST: f64 = 4.0;
/// Networks remembered from which log-ins to a name have succeeded: this many, and as many of before.
const PROVED: usize = 25_000;

pub(crate) struct Limits {
    posts: Buckets<Username>,
    failures_at: Buckets<(Username, Network)>,
    failures_from: Buckets<Network>,
    failures_of: Buckets<Username>,
    proved: Mutex<[HashSet<(Username, Network)>; 2]>,
    registrations: Buckets<Network>,
    guests: Buckets<Network>,
    rooms: Buckets<Network>,
    moderation: Buckets<Username>,
}

/// What a log-in has taken from its allowances.
pub(crate) struct Attempt<'a> {
    limits: &'a Limits,
    key: (Username, Network),
    of_name: bool,
}

impl Limits {
    pub(crate) fn new(posts_a_second: u32) -> Self {
        let posts = f64::from(posts_a_second);
        Self {
            posts: Buckets::new(posts, posts * POST_BURST),
            // Ten typing errors, and then one try in half a minute.
            failures_at: Buckets::new(1.0 / 30.0, 10.0),
            // People share addresses.
            failures_from: Buckets::new(1.0 / 3.0, 100.0),
            failures_of: Buckets::new(1.0, 500.0),
            proved: Mutex::default(),
            registrations: Buckets::new(1.0 / 30.0, 20.0),
            // A school behind one address, at eight in the morning.
            guests: Buckets::new(5.0, 1_000.0),
            rooms: Buckets::new(1.0, 200.0),
            // Each has everyone in the room looked up again.
            moderation: Buckets::new(1.0, 100.0),
        }
    }

    /// Takes one post from the user's allowance.
    pub(crate) fn post(&self, user: &Username) -> Result<()> {
        self.posts.take(user).map_err(|wait| refused(&format!("{user} posts too fast"), wait))
    }

    /// Takes a failed log-in from the allowances before it is tried, so that many at the same time
    /// are counted. What did not fail is [given back](Attempt::give_back).
    pub(crate) fn log_in(&self, user: &Username, from: Network) -> Result<Attempt<'_>> {
        let key = (user.clone(), from);
        let too_many = |wait| refused("too many log-ins failed", wait);
        self.failures_from.take(&from).map_err(too_many)?;
        if let Err(wait) = self.failures_at.take(&key) {
            self.failures_from.give_back(&from);
            return Err(too_many(wait));
        }
        let of_name = !self.has_proved(&key);
        if of_name && let Err(wait) = self.failures_of.take(user) {
            self.failures_from.give_back(&from);
            self.failures_at.give_back(&key);
            return Err(too_many(wait));
        }
        Ok(Attempt { limits: self, key, of_name })
    }

    fn has_proved(&self, key: &(Username, Network)) -> bool {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|set| set.contains(key))
    }

    pub(crate) fn registration(&self, from: Network) -> Result<()> {
        self.registrations.take(&from).map_err(|wait| refused("too many registrations", wait))
    }

    pub(crate) fn guest(&self, from: Network) -> Result<()> {
        self.guests.take(&from).map_err(|wait| refused("too many log-ins", wait))
    }

    pub(crate) fn moderation(&self, user: &Username) -> Result<()> {
        self.moderation.take(user).map_err(|wait| refused("too many invitations, removals and bans", wait))
    }

    pub(crate) fn room(&self, from: Network) -> Result<()> {
        self.rooms.take(&from).map_err(|wait| refused("too many rooms were opened", wait))
    }
}

impl Attempt<'_> {
    /// It did not fail, or not for its password.
    pub(crate) fn give_back(self) {
        self.limits.failures_from.give_back(&self.key.1);
        self.limits.failures_at.give_back(&self.key);
        if self.of_name {
            self.limits.failures_of.give_back(&self.key.0);
        }
    }

    /// It succeeded.
    pub(crate) fn succeed(self) {
        let mut proved = self.limits.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if proved[0].len() >= PROVED {
            proved.swap(0, 1);
            proved[0].clear();
        }
        proved[0].insert(self.key.clone());
        drop(proved);
        self.give_back();
    }
}

fn refused(what: &str, wait: Duration) -> HttpError {
    let seconds = wait.as_secs() + 1;
    HttpError::too_many_requests(format!("{what}; wait {seconds} s"), seconds)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(i: u32) -> Network {
        IpAddr::from(std::net::Ipv4Addr::from_bits(i)).into()
    }

    #[test]
    fn failed_log_ins_keep_nobody_else_out() {
        let limits = Limits::new(50);
        let (ann, bob): (Username, Username) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        limits.log_in(&ann, network(7)).unwrap().succeed();
        let mut tries = 0;
        while limits.log_in(&ann, network(1)).is_ok() {
            tries += 1;
        }
        assert_eq!(tries, 10);
        assert!(limits.log_in(&bob, network(1)).is_ok(), "another name from there");
        assert!(limits.log_in(&ann, network(2)).is_ok(), "the name from elsewhere");
        // From very many networks: then only where the owner has been is let in.
        let more = (100..1_000).filter(|i| limits.log_in(&ann, network(*i)).is_ok()).count();
        assert_eq!(more, 500 - 10 - 1);
        assert!(limits.log_in(&ann, network(2_000)).is_err());
        assert!(limits.log_in(&ann, network(7)).is_ok());
        assert!(limits.log_in(&bob, network(2_000)).is_ok());
    }

    #[test]
    fn one_network_cannot_try_every_name() {
        let limits = Limits::new(50);
        let name = |i: u32| format!("user{i}").parse().unwrap();
        let tries = (0..1_000).filter(|i| limits.log_in(&name(*i), network(1)).is_ok()).count();
        assert_eq!(tries, 100);
        assert!(limits.log_in(&name(0), network(2)).is_ok());
        // Those that do not fail cost nothing.
        (0..1_000).for_each(|i| limits.log_in(&name(i), network(3)).unwrap().give_back());
        (0..1_000).for_each(|_| limits.log_in(&name(5), network(3)).unwrap().succeed());
    }

    #[test]
    fn where_log_ins_succeeded_is_remembered_in_bounded_memory() {
        let limits = Limits::new(50);
        let ann: Username = "ann".parse().unwrap();
        for i in 0..2 * PROVED as u32 + 10 {
            limits.log_in(&ann, network(i)).unwrap().succeed();
            assert!(limits.proved.lock().unwrap().iter().all(|set| set.len() <= PROVED));
        }
        assert!(limits.has_proved(&(ann, network(2 * PROVED as u32))));
    }
}
