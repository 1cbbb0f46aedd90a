//! Counts that are not yet moved to the users' counters, on a replica set.
//!
//! To move 64 counters on costs a batch more than to store its messages. So the users who post
//! again and again are counted in one document of each process, its tally, and now and then
//! *flushed*: one transaction moves the numbers from the tally to the counters. All others are
//! counted in their counters at once, since each of them would cost a flush as much. A user's count
//! is the counter and the user's number in every tally.
//!
//! A flush has a number. It is written into the tally and into each counter that the flush changed.
//! A reader takes the tallies first and the counter last; a counter that knows of a later flush
//! than the tally did shows that the same messages would be counted twice, and the reader looks
//! again.
//!
//! On a sharded cluster a reader would have to ask every shard, so there tallies are not used.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mongodb::ClientSession;
use mongodb::bson::raw::CString;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::options::ReturnDocument;

use super::Inner;
use super::counters;
use super::documents::{corrupt, tally_id, user_id};
use super::evidence::EvidenceChange;
use super::names::{Claims, Guests};
use crate::error::Result;
use crate::model::CountChange;
use crate::types::Username;

/// Number of tallies. More processes than that share them, and get in each other's way.
pub(super) const SLOTS: i32 = 32;
/// Users in a tally before it is flushed.
const MAX_USERS: usize = 256;
/// Users remembered who were counted directly. Whoever is counted again while remembered posts
/// often enough for the tally.
const MAX_RECENT: usize = 4 * MAX_USERS;

/// Tally of this process.
pub(super) struct PendingCounts {
    slot: i32,
    /// Tells that frequent users are counted in the tally.
    defers: bool,
    users: Mutex<Users>,
    pub(super) guests: Guests,
}

#[derive(Default)]
struct Users {
    /// Those in the tally, at least.
    pending: HashSet<Username>,
    /// Those counted directly of late, and those before them.
    recent: [HashSet<Username>; 2],
}

/// Counts of a batch by the place where they are counted.
#[derive(Default)]
pub(super) struct Split {
    /// None of them removes messages: parts that are added up while one of them shrinks give a
    /// wrong sum.
    pub(super) pending: Vec<CountChange>,
    pub(super) direct: Vec<CountChange>,
}

impl PendingCounts {
    /// The tally `slot`, which has just been flushed. Nobody is counted in it unless it `defers`.
    pub(super) fn new(slot: i32, defers: bool) -> Self {
        Self {
            slot,
            defers,
            users: Mutex::default(),
            guests: Guests::new(slot),
        }
    }

    pub(super) fn defers(&self) -> bool {
        self.defers
    }

    pub(super) fn slot(&self) -> i32 {
        self.slot
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides where each user of a batch is counted.
    pub(super) fn split(&self, counts: &[CountChange]) -> Split {
        let users = self.users();
        let is_frequent = |user: &Username| {
            let is_recent = || users.recent.iter().any(|recent| recent.contains(user));
            self.defers && (users.pending.contains(user) || is_recent())
        };
        let is_deferred = |count: &CountChange| count.removed == 0 && is_frequent(&count.user);
        let (pending, direct) = counts.iter().cloned().partition(is_deferred);
        Split { pending, direct }
    }

    /// Tells if the tally has to be flushed before these are added.
    pub(super) fn is_full(&self, split: &Split) -> bool {
        let users = self.users();
        let new = split
            .pending
            .iter()
            .filter(|count| !users.pending.contains(&count.user))
            .count();
        !users.pending.is_empty() && users.pending.len() + new > MAX_USERS
    }

    /// Returns the statement of an `update` command that counts those who are pending and keeps the
    /// evidence of the batch; if there are guests in the batch, only after no more claims than
    /// these.
    pub(super) fn statement(
        &self,
        split: &Split,
        claims: Option<Claims>,
        evidence: Option<&EvidenceChange>,
    ) -> mongodb::error::Result<RawDocumentBuf> {
        let mut grow = RawDocumentBuf::new();
        // Written in any case, because this is where a batch meets a claim.
        grow.append(cstr!("batches"), 1_i64);
        for CountChange { user, added, .. } in &split.pending {
            grow.append(
                CString::try_from(format!("counts.{}", field(user)))?,
                *added,
            );
        }
        let mut found = rawdoc! { "_id": tally_id(self.slot) };
        if let Some(claims) = claims {
            found.append(cstr!("claims"), claims.value());
        }

        let mut update = rawdoc! { "$inc": grow };
        if let Some(evidence) = evidence {
            evidence.append_to(&mut update)?;
        }
        Ok(rawdoc! { "q": found, "u": update, "upsert": true })
    }

    /// Takes note of a batch that was counted.
    pub(super) fn remember(&self, split: &Split) {
        let mut users = self.users();
        users
            .pending
            .extend(split.pending.iter().map(|count| count.user.clone()));
        if !self.defers {
            return;
        }
        if users.recent[0].len() >= MAX_RECENT {
            users.recent.swap(0, 1);
            users.recent[0].clear();
        }
        let posted = split.direct.iter().filter(|count| count.added > 0);
        users.recent[0].extend(posted.map(|count| count.user.clone()));
    }

    pub(super) fn flushed(&self) {
        self.users().pending.clear();
    }
}

/// The name of a user's field in a tally. A dot would name a field within a field, and a dollar
/// sign stands for more in an update.
pub(super) fn field(user: &Username) -> String {
    user.as_str()
        .replace('%', "%25")
        .replace('.', "%2E")
        .replace('$', "%24")
}

fn user(field: &str) -> Result<Username> {
    let name = field
        .replace("%24", "$")
        .replace("%2E", ".")
        .replace("%25", "%");
    name.parse().map_err(corrupt)
}

/// Moves the numbers of a tally to the counters, within a transaction.
pub(super) async fn flush(
    mongo: &Inner,
    session: &mut ClientSession,
    slot: i32,
) -> mongodb::error::Result<()> {
    let unreadable = |e: crate::Error| mongodb::error::Error::custom(e.to_string());
    let tallies = mongo.database.collection::<RawDocumentBuf>("counters");
    let emptied = doc! { "$inc": { "folds": 1_i64 }, "$set": { "counts": {} } };
    let before = tallies
        .find_one_and_update(doc! { "_id": { "tally": slot } }, emptied)
        .upsert(true)
        .return_document(ReturnDocument::Before)
        .session(&mut *session)
        .await?;
    let Some(before) = before else { return Ok(()) };
    let number = before.get_i64("folds").unwrap_or(0) + 1;
    let mut counts = Vec::new();
    for entry in before.get_document("counts").into_iter().flatten() {
        let (name, n) = entry?;
        let user = user(name.as_str()).map_err(unreadable)?;
        counts.push(CountChange {
            user,
            added: n.as_i64().unwrap_or(0),
            removed: 0,
        });
    }
    if counts.is_empty() {
        return Ok(());
    }
    let mark = CString::try_from(format!("folded.{slot}"))?;
    let mut set = RawDocumentBuf::new();
    set.append(&mark, number);
    let mut updates = RawArrayBuf::new();
    let change =
        |count: &CountChange| rawdoc! { "$inc": counters::increments(count), "$set": set.clone() };
    counters::add_statements(&mut updates, &counts, |id| rawdoc! { "_id": id }, change);
    let command = rawdoc! { "update": "counters", "updates": updates };
    let done = mongo.write(command, Some(&mut *session)).await?;
    let lacking = counts
        .len()
        .saturating_sub(usize::try_from(done.n).unwrap_or(0));
    if lacking == 0 {
        return Ok(());
    }

    let mut folded = RawDocumentBuf::new();
    folded.append(CString::try_from(slot.to_string())?, number);
    let new = |CountChange { user, added, .. }: &CountChange| {
        rawdoc! { "_id": user_id(user), "message_count": *added, "folded": folded.clone() }
    };
    match counters::create_missing(mongo, session, &counts, lacking, new).await? {
        true => Ok(()),
        // Another process made one of them just now.
        false => Err(super::replica_set::again()),
    }
}

/// Part of a user's count.
pub(super) enum Part {
    Tally {
        slot: i32,
        folds: i64,
        n: i64,
    },
    Counter {
        n: i64,
        folded: HashMap<String, i64>,
        deletions: i64,
    },
}

/// The parts of several users' counts, as a look finds them.
pub(super) struct Parts<'a> {
    users: HashMap<&'a str, usize>,
    fields: HashMap<String, usize>,
    found: Vec<Vec<Part>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(users: &'a [Username]) -> Self {
        let numbered = || users.iter().zip(0..);
        Self {
            users: numbered().map(|(user, at)| (user.as_str(), at)).collect(),
            fields: numbered().map(|(user, at)| (field(user), at)).collect(),
            found: users.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Reads a document that [`find::counts`](super::find::counts) finds for these users.
    pub(super) fn add(&mut self, document: &RawDocument) -> Result<()> {
        let id = document.get_document("_id").map_err(corrupt)?;
        if let Ok(slot) = id.get_i32("tally") {
            let folds = document.get_i64("folds").unwrap_or(0);
            let mut counts = vec![0; self.found.len()];
            for entry in document.get_document("counts").into_iter().flatten() {
                let (field, n) = entry.map_err(corrupt)?;
                if let Some(at) = self.fields.get(field.as_str()) {
                    counts[*at] = n.as_i64().unwrap_or(0);
                }
            }
            for (parts, n) in self.found.iter_mut().zip(counts) {
                parts.push(Part::Tally { slot, folds, n });
            }
            return Ok(());
        }
        let user = id.get_str("user").map_err(corrupt)?;
        let mut folded = HashMap::new();
        for entry in document.get_document("folded").into_iter().flatten() {
            let (slot, number) = entry.map_err(corrupt)?;
            folded.insert(slot.as_str().to_owned(), number.as_i64().unwrap_or(0));
        }
        let n = document.get_i64("message_count").map_err(corrupt)?;
        let deletions = document.get_i64("deletions").unwrap_or(0);
        if let Some(at) = self.users.get(user) {
            self.found[*at].push(Part::Counter {
                n,
                folded,
                deletions,
            });
        }
        Ok(())
    }

    /// Those of each user.
    pub(super) fn of_each(&self) -> impl Iterator<Item = &[Part]> {
        self.found.iter().map(Vec::as_slice)
    }
}

/// How often the counter went down.
pub(super) fn deletions(parts: &[Part]) -> i64 {
    let of = |part: &Part| {
        if let Part::Counter { deletions, .. } = part {
            *deletions
        } else {
            0
        }
    };
    parts.iter().map(of).sum()
}

/// The count, unless a flush came between the parts.
pub(super) fn sum(parts: &[Part]) -> Option<u64> {
    let mut total = 0;
    let mut folds = HashMap::new();
    for part in parts {
        match part {
            Part::Tally {
                slot,
                folds: number,
                n,
            } => {
                folds.insert(slot.to_string(), *number);
                total += n;
            }
            Part::Counter { n, folded, .. } => {
                if folded
                    .iter()
                    .any(|(slot, number)| folds.get(slot).is_none_or(|seen| seen < number))
                {
                    return None;
                }
                total += n;
            }
        }
    }
    Some(total.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_one_user() {
        for (name, expected) in [
            ("ann", "ann"),
            ("a.b", "a%2Eb"),
            ("$x", "%24x"),
            ("a%2Eb", "a%252Eb"),
        ] {
            assert_eq!(field(&name.parse().expect("a name")), expected);
            assert_eq!(user(expected).expect("a name").as_str(), name);
        }
    }

    #[test]
    fn users_who_post_again_are_deferred_and_the_others_counted_at_once() {
        let counts = |names: std::ops::Range<usize>| -> Vec<CountChange> {
            let user = |i| format!("user{i}").parse().expect("a name");
            names
                .map(|i| CountChange {
                    user: user(i),
                    added: 1,
                    removed: 0,
                })
                .collect()
        };
        let pending = PendingCounts::new(0, true);
        let take = |names: std::ops::Range<usize>| {
            let split = pending.split(&counts(names));
            pending.remember(&split);
            (split.pending.len(), split.direct.len())
        };
        assert_eq!(take(0..10), (0, 10));
        assert_eq!(take(5..15), (5, 5));
        assert_eq!(take(0..20), (15, 5));

        // A stream of users none of whom comes back never fills the tally.
        for first in (100..100_000).step_by(250) {
            assert_eq!(take(first..first + 250), (0, 250));
        }
        assert!(!pending.is_full(&pending.split(&counts(0..20))));
        assert!(
            pending
                .users()
                .recent
                .iter()
                .all(|recent| recent.len() < MAX_RECENT + 250)
        );
        assert_eq!(
            take(0..20),
            (15, 5),
            "those in the tally stay there until it is flushed"
        );

        let removed = counts(0..10).into_iter().map(|count| CountChange {
            removed: 1,
            ..count
        });
        assert_eq!(
            pending.split(&removed.collect::<Vec<_>>()).direct.len(),
            10,
            "no part may shrink"
        );

        let without = PendingCounts::new(0, false);
        (0..3).for_each(|_| without.remember(&without.split(&counts(0..10))));
        assert_eq!(without.split(&counts(0..10)).direct.len(), 10);
    }

    #[test]
    fn a_flush_between_the_parts_is_noticed() {
        let tally = |slot, folds, n| Part::Tally { slot, folds, n };
        let counter = |n, folded: &[(&str, i64)]| {
            let folded = folded
                .iter()
                .map(|(slot, number)| ((*slot).to_owned(), *number))
                .collect();
            Part::Counter {
                n,
                folded,
                deletions: 0,
            }
        };
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&[tally(0, 3, 2)]), Some(2));
        assert_eq!(
            sum(&[tally(0, 3, 2), tally(7, 0, 1), counter(5, &[("0", 3)])]),
            Some(8)
        );
        assert_eq!(sum(&[tally(0, 3, 2), counter(7, &[("0", 4)])]), None);
        assert_eq!(sum(&[counter(7, &[("0", 4)])]), None);
    }
}
