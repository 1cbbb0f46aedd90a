//! Counts that are not yet moved to the users' counters, on a replica set.
//!
//! Moving 64 counters costs a batch more than storing its messages. So the users who post
//! again and again are counted in one document of each process, its slot, and now and then
//! *flushed*: one transaction moves the numbers from the slot to the counters. All others are
//! counted in their counters at once, since each of them would cost a flush as much. A user's count
//! is the counter and the user's number in every slot.
//!
//! A flush has a number. It is written into the slot and into each counter that the flush changed.
//! A reader takes the slots first and the counter last; a counter that knows of a later flush
//! than the slot did shows that the same messages would be counted twice, and the reader looks
//! again.
//!
//! On a sharded cluster a reader would have to ask every shard, so there slots are not used.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mongodb::ClientSession;
use mongodb::bson::raw::CString;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::counters;
use super::documents::{slot_field, slot_id, user_id, user_of_slot_field};
use super::error::{custom, retry};
use super::evidence::EvidenceUpdate;
use super::names::{Claims, Guests};
use crate::model::CountDelta;
use crate::types::Username;

/// Users in a slot before it is flushed.
const MAX_USERS: usize = 256;
/// Users remembered who were counted directly. Whoever is counted again while remembered posts
/// often enough for the slot.
const MAX_RECENT: usize = 4 * MAX_USERS;

/// Slot of this process.
pub(super) struct PendingCounts {
    slot: i32,
    /// True if frequent users are counted in the slot.
    defers: bool,
    users: Mutex<Users>,
    pub(super) guests: Guests,
}

#[derive(Default)]
struct Users {
    /// Users in the slot, and perhaps more.
    pending: HashSet<Username>,
    /// Users counted directly of late, and those before them.
    recent: [HashSet<Username>; 2],
}

/// Counts of a batch by the document that counts them.
#[derive(Default)]
pub(super) struct Split {
    /// Counts that go into the slot. They only add: a reader adds up the slots and the counter
    /// one after the other, and a part that shrinks meanwhile makes the sum wrong.
    pub(super) pending: Vec<CountDelta>,
    /// Counts that go into the users' counters.
    pub(super) direct: Vec<CountDelta>,
}

impl PendingCounts {
    /// Takes slot number `slot`, which has just been flushed. Nobody is counted in it unless it
    /// `defers`.
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
    pub(super) fn split(&self, counts: &[CountDelta]) -> Split {
        let users = self.users();
        let is_frequent = |user: &Username| {
            let is_recent = || users.recent.iter().any(|recent| recent.contains(user));
            self.defers && (users.pending.contains(user) || is_recent())
        };
        let is_deferred = |count: &CountDelta| count.removed == 0 && is_frequent(&count.user);
        let (pending, direct) = counts.iter().cloned().partition(is_deferred);
        Split { pending, direct }
    }

    /// Returns true if the slot has to be flushed before these are added.
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
        evidence: Option<&EvidenceUpdate>,
    ) -> mongodb::error::Result<RawDocumentBuf> {
        let mut grow = RawDocumentBuf::new();
        // Written in any case, because this is where a batch meets a claim.
        grow.append(cstr!("batches"), 1_i64);
        for CountDelta { user, added, .. } in &split.pending {
            grow.append(
                CString::try_from(format!("counts.{}", slot_field(user)))?,
                *added,
            );
        }
        let mut found = rawdoc! { "_id": slot_id(self.slot) };
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

/// Moves the numbers of a slot to the counters, within a transaction.
pub(super) async fn flush(
    connection: &Connection,
    session: &mut ClientSession,
    slot: i32,
) -> mongodb::error::Result<()> {
    let slots = connection.database.collection::<RawDocumentBuf>("counters");
    let emptied = doc! { "$inc": { "folds": 1_i64 }, "$set": { "counts": {} } };
    let before = slots
        .find_one_and_update(doc! { "_id": { "tally": slot } }, emptied)
        .upsert(true)
        .return_document(ReturnDocument::Before)
        .session(&mut *session)
        .await?;
    let Some(before) = before else { return Ok(()) };
    let number = before.get_i64("folds").unwrap_or(0) + 1;
    let counts = counts_in(&before)?;
    if counts.is_empty() {
        return Ok(());
    }

    let field = CString::try_from(format!("folded.{slot}"))?;
    let mut set = RawDocumentBuf::new();
    set.append(&field, number);

    let mut updates = RawArrayBuf::new();
    let update =
        |count: &CountDelta| rawdoc! { "$inc": counters::increments(count), "$set": set.clone() };
    counters::add_statements(&mut updates, &counts, |id| rawdoc! { "_id": id }, update);
    let command = rawdoc! { "update": "counters", "updates": updates };
    let done = connection.write(command, Some(&mut *session)).await?;
    let lacking = counts
        .len()
        .saturating_sub(usize::try_from(done.n).unwrap_or(0));
    if lacking == 0 {
        return Ok(());
    }

    let mut folded = RawDocumentBuf::new();
    folded.append(CString::try_from(slot.to_string())?, number);
    let new = |CountDelta { user, added, .. }: &CountDelta| {
        rawdoc! { "_id": user_id(user), "message_count": *added, "folded": folded.clone() }
    };
    match counters::create_missing(connection, session, &counts, lacking, new).await? {
        true => Ok(()),
        // Another process made one of them just now.
        false => Err(retry()),
    }
}

/// Reads the counts in the document of a slot.
fn counts_in(slot: &RawDocument) -> mongodb::error::Result<Vec<CountDelta>> {
    let mut counts = Vec::new();
    for entry in slot.get_document("counts").into_iter().flatten() {
        let (name, n) = entry?;
        let user = user_of_slot_field(name.as_str()).map_err(custom)?;
        counts.push(CountDelta {
            user,
            added: n.as_i64().unwrap_or(0),
            removed: 0,
        });
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_post_again_are_deferred_and_the_others_counted_at_once() {
        let counts = |names: std::ops::Range<usize>| -> Vec<CountDelta> {
            let user = |i| format!("user{i}").parse().expect("a name");
            names
                .map(|i| CountDelta {
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

        // A stream of users none of whom comes back never fills the slot.
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
            "those in the slot stay there until it is flushed"
        );

        let removed = counts(0..10).into_iter().map(|count| CountDelta {
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
}
