//! Limits of rates and of concurrent use, and what they are charged to.
//!
//! # Guessing passwords
//!
//! A failed log-in counts for its network: for the name that was tried, and for all names. No count
//! of other networks ever refuses a log-in, because whoever has many networks could then use that
//! count up and keep the owner out. Guessing from very many networks is slowed down in another way:
//! once failures of a name have come faster than people make them, the name is under attack, and a
//! network from which no log-in to the name has succeeded gets few tries, at long intervals. Its
//! first ones are still answered at once, so the owner at a new address gets in with the right
//! password. Ten thousand addresses that made 28 million tries a day before then make 1.4 million.
//!
//! Checking a password takes tens of milliseconds of a core, and few checks may wait. A network may
//! have only some of them under way, so that it neither fills that queue nor keeps it long.
//!
//! A session in use is never asked for any of this.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chatcore::{SessionId, Username};

use crate::address::Network;
use crate::config::Settings;
use crate::error::{HttpError, Result};
use crate::permits::{Allowance, NetworkLimit, NetworkPermit};
use crate::throttle::{Buckets, NetworkBuckets};

/// A burst is this many seconds' worth of posts.
const POST_BURST: f64 = 4.0;
/// Networks remembered from which log-ins to a name have succeeded: this many, and as many of
/// before.
const PROVED: usize = 25_000;
/// Passwords of one client that may be checked at once, or wait for it: an eighth of all that may.
const PASSWORDS: Allowance = Allowance {
    each: 8,
    widest: 16,
    all: usize::MAX,
};

/// Whom a limit is charged to: what the caller has proved. A name that a guest goes by proves
/// nothing, so nobody can use up the allowance of another who goes by it.
#[derive(Debug, Clone)]
pub(crate) enum Charged {
    User(Proved),
    Address(Network),
}

/// Identity that a session proves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Proved {
    Account(Username),
    /// That it is this session, whatever others go by the same name.
    Guest(SessionId),
}

impl Charged {
    /// Charges what the caller has proved, else the network that the request comes from.
    pub(crate) fn new(proved: Option<Proved>, from: Network) -> Self {
        proved.map_or(Self::Address(from), Self::User)
    }
}

/// A bucket for each caller.
struct CallerBuckets {
    users: Buckets<Proved>,
    addresses: NetworkBuckets,
}

impl CallerBuckets {
    fn new(rate: f64, burst: f64) -> Self {
        Self {
            users: Buckets::new(rate, burst),
            addresses: NetworkBuckets::new(rate, burst),
        }
    }

    fn take(&self, caller: &Charged) -> std::result::Result<(), Duration> {
        match caller {
            Charged::User(proved) => self.users.take(proved),
            Charged::Address(from) => self.addresses.take(&(), *from),
        }
    }
}

pub(crate) struct Limits {
    posts: CallerBuckets,
    read_marks: CallerBuckets,
    subscriptions: CallerBuckets,
    failures_from: NetworkBuckets,
    failures_at: NetworkBuckets<Username>,
    failures_under_attack: NetworkBuckets<Username>,
    /// Empty for a name that is under attack. Refuses nobody.
    failures_of: Buckets<Username>,
    proved: Mutex<[HashSet<(Username, Network)>; 2]>,
    passwords: NetworkLimit,
    registrations: NetworkBuckets,
    guests: NetworkBuckets,
    rooms: NetworkBuckets,
    moderation: CallerBuckets,
    anonymous_streams: NetworkLimit,
}

/// Tokens that a log-in has taken from its allowances.
pub(crate) struct Attempt<'a> {
    limits: &'a Limits,
    /// The allowance for the name.
    failures: &'a NetworkBuckets<Username>,
    user: Username,
    from: Network,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        let posts = f64::from(settings.post_rate);
        let connections = Allowance::of_connections(settings);
        // Without a session: a quarter of the connections of one client, and half of all.
        let streams = Allowance {
            each: connections.each.div_ceil(4),
            widest: connections.widest.div_ceil(4),
            all: connections.all / 2,
        };
        Self {
            posts: CallerBuckets::new(posts, posts * POST_BURST),
            // Several rooms that are read at once, and then as many marks as anyone looks at.
            read_marks: CallerBuckets::new(10.0, 100.0),
            // Ten tabs of a user with many rooms that come back together.
            subscriptions: CallerBuckets::new(20.0, 500.0),
            // People share addresses.
            failures_from: NetworkBuckets::new(1.0 / 3.0, 100.0),
            // Ten typing errors, and then one try in half a minute.
            failures_at: NetworkBuckets::new(1.0 / 30.0, 10.0),
            failures_under_attack: NetworkBuckets::new(1.0 / 600.0, 3.0),
            // More than ten clients that have each used up their typing errors.
            failures_of: Buckets::new(1.0 / 10.0, 100.0),
            proved: Mutex::default(),
            passwords: NetworkLimit::new(PASSWORDS),
            registrations: NetworkBuckets::new(1.0 / 30.0, 20.0),
            // A school behind one address, at eight in the morning.
            guests: NetworkBuckets::new(5.0, 1_000.0),
            rooms: NetworkBuckets::new(1.0, 200.0),
            // Each has everyone in the room looked up again.
            moderation: CallerBuckets::new(1.0, 100.0),
            anonymous_streams: NetworkLimit::new(streams),
        }
    }

    /// Takes one post, or something that costs as much, from the caller's allowance.
    pub(crate) fn post(&self, caller: &Charged) -> Result<()> {
        self.posts.take(caller).map_err(|wait| {
            refused(
                match caller {
                    Charged::User(_) => "you post too fast",
                    Charged::Address(_) => {
                        "too many posts without a session come from this address"
                    }
                },
                wait,
            )
        })
    }

    /// Takes one subscription from the caller's allowance: each tells others in the room.
    pub(crate) fn subscription(&self, caller: &Charged) -> Result<()> {
        self.subscriptions
            .take(caller)
            .map_err(|wait| refused("you subscribe to rooms too fast", wait))
    }

    /// Takes one read mark from the user's allowance.
    pub(crate) fn mark_read(&self, caller: &Charged) -> Result<()> {
        self.read_marks
            .take(caller)
            .map_err(|wait| refused("you mark rooms as read too fast", wait))
    }

    /// Takes a failed log-in from the allowances before it is tried, so that many at the same time
    /// are counted. One that succeeds, or fails for another reason than its password, gives back
    /// what it took; one that is dropped does not, because its password may have been checked.
    pub(crate) fn log_in(&self, user: &Username, from: Network) -> Result<Attempt<'_>> {
        let too_many = |wait| refused("too many log-ins failed", wait);
        let is_attacked =
            self.failures_of.is_empty(user) && !self.has_proved(&(user.clone(), from));
        let failures = if is_attacked {
            &self.failures_under_attack
        } else {
            &self.failures_at
        };

        self.failures_from.take(&(), from).map_err(too_many)?;
        if let Err(wait) = failures.take(user, from) {
            self.failures_from.give_back(&(), from);
            return Err(too_many(wait));
        }

        Ok(Attempt {
            limits: self,
            failures,
            user: user.clone(),
            from,
        })
    }

    fn has_proved(&self, key: &(Username, Network)) -> bool {
        self.proved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|set| set.contains(key))
    }

    /// Takes the right to have passwords checked or hashed, until the returned value is dropped.
    pub(crate) fn password(&self, from: Network) -> Result<NetworkPermit> {
        let too_many = || {
            HttpError::too_many_requests(
                "too many passwords from this address are being checked; wait 1 s",
                1,
            )
        };
        self.passwords.take(from).ok_or_else(too_many)
    }

    /// Takes the right to keep a socket or an event stream open without a session, until the
    /// returned value is dropped.
    pub(crate) fn anonymous_stream(&self, from: Network) -> Result<NetworkPermit> {
        let too_many = || {
            HttpError::too_many_requests(
                "too many sockets and event streams without a session are open; close one, or log in",
                5,
            )
        };
        self.anonymous_streams.take(from).ok_or_else(too_many)
    }

    pub(crate) fn registration(&self, from: Network) -> Result<()> {
        self.registrations
            .take(&(), from)
            .map_err(|wait| refused("too many registrations", wait))
    }

    pub(crate) fn guest(&self, from: Network) -> Result<()> {
        self.guests
            .take(&(), from)
            .map_err(|wait| refused("too many log-ins", wait))
    }

    pub(crate) fn moderation(&self, caller: &Charged) -> Result<()> {
        self.moderation
            .take(caller)
            .map_err(|wait| refused("too many invitations, removals and bans", wait))
    }

    /// Takes the creation of a room from the address's allowance. It is [given back](Self::no_room)
    /// if the room was there, but not if that was refused: nobody may try the names of many.
    pub(crate) fn room(&self, from: Network) -> Result<()> {
        self.rooms
            .take(&(), from)
            .map_err(|wait| refused("too many rooms were opened", wait))
    }

    pub(crate) fn no_room(&self, from: Network) {
        self.rooms.give_back(&(), from);
    }
}

impl Attempt<'_> {
    /// Ends a log-in that did not fail, or not for its password.
    pub(crate) fn give_back(self) {
        self.limits.failures_from.give_back(&(), self.from);
        self.failures.give_back(&self.user, self.from);
    }

    /// Ends a log-in with a wrong password.
    pub(crate) fn fail(self) {
        // An empty bucket is what there is to know.
        let _ = self.limits.failures_of.take(&self.user);
    }

    /// Ends a log-in with the right password. Its network keeps the ordinary allowance from now on,
    /// whatever others try.
    pub(crate) fn succeed(self) {
        let mut proved = self
            .limits
            .proved
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if proved[0].len() >= PROVED {
            proved.swap(0, 1);
            proved[0].clear();
        }
        proved[0].insert((self.user.clone(), self.from));
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

    fn limits() -> Limits {
        Limits::new(&Settings::default())
    }

    /// Fails a log-in, if it is allowed.
    fn fails(limits: &Limits, user: &Username, from: Network) -> bool {
        limits.log_in(user, from).map(Attempt::fail).is_ok()
    }

    #[test]
    fn failed_log_ins_count_for_their_network_alone() {
        let limits = limits();
        let (ann, bob): (Username, Username) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        assert_eq!(
            (0..100)
                .filter(|_| fails(&limits, &ann, network(1)))
                .count(),
            10
        );
        assert!(
            limits.log_in(&bob, network(1)).is_ok(),
            "another name from there"
        );
        assert!(
            limits.log_in(&ann, network(2)).is_ok(),
            "the name from elsewhere"
        );
    }

    #[test]
    fn no_number_of_networks_keeps_the_owner_of_a_name_out() {
        let limits = limits();
        let (ann, bob): (Username, Username) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        limits.log_in(&ann, network(7)).unwrap().succeed();
        let tries = |from: std::ops::Range<u32>| {
            let each = |i| (0..20).filter(|_| fails(&limits, &ann, network(i))).count();
            from.map(each).collect::<Vec<_>>()
        };
        assert_eq!(tries(100..109), [10; 9], "as many as typing errors");
        assert_eq!(tries(109..110), [10 + 3]);
        // From then on the name is under attack.
        assert_eq!(tries(110..2_110), [3; 2_000]);
        // The owner at a new address is answered at once, and may mistype twice.
        assert!(fails(&limits, &ann, network(5_000)) && fails(&limits, &ann, network(5_000)));
        limits.log_in(&ann, network(5_000)).unwrap().succeed();
        // At an address where the owner logged in before, nothing has changed.
        assert_eq!(
            (0..20).filter(|_| fails(&limits, &ann, network(7))).count(),
            10
        );
        assert_eq!(
            (0..20)
                .filter(|_| fails(&limits, &bob, network(9_000)))
                .count(),
            10,
            "another name"
        );
    }

    #[test]
    fn one_network_cannot_try_every_name() {
        let limits = limits();
        let name = |i: u32| format!("user{i}").parse().unwrap();
        assert_eq!(
            (0..1_000)
                .filter(|i| fails(&limits, &name(*i), network(1)))
                .count(),
            100
        );
        assert!(limits.log_in(&name(0), network(2)).is_ok());
        // Those that do not fail cost nothing.
        (0..1_000).for_each(|i| limits.log_in(&name(i), network(3)).unwrap().give_back());
        (0..1_000).for_each(|_| limits.log_in(&name(5), network(3)).unwrap().succeed());
    }

    #[test]
    fn one_network_cannot_fill_the_queue_of_passwords() {
        let limits = limits();
        let held: Vec<_> = (0..100)
            .filter_map(|_| limits.password(network(1)).ok())
            .collect();
        assert_eq!(held.len(), 8);
        let refused = limits.password(network(1)).err().expect("refused");
        assert_eq!(refused.status, hyper::StatusCode::TOO_MANY_REQUESTS);
        assert!(
            limits.password(network(2)).is_ok(),
            "others wait for none of them"
        );
        drop(held);
        assert!(limits.password(network(1)).is_ok());
    }

    #[test]
    fn where_log_ins_succeeded_is_remembered_in_bounded_memory() {
        let limits = limits();
        let ann: Username = "ann".parse().unwrap();
        for i in 0..2 * PROVED as u32 + 10 {
            limits.log_in(&ann, network(i)).unwrap().succeed();
            assert!(
                limits
                    .proved
                    .lock()
                    .unwrap()
                    .iter()
                    .all(|set| set.len() <= PROVED)
            );
        }
        assert!(limits.has_proved(&(ann, network(2 * PROVED as u32))));
    }
}
