//! Users' counters in two parts, on a replica set.
//!
//! To move 64 counters on costs a batch more than to store its messages. So each process adds what
//! its batches count to one document of its own, its tally, and now and then *folds* it: one
//! transaction moves the numbers from the tally to the counters. A user's count is the counter and
//! what every tally says of the user.
//!
//! A fold has a number. It is written into the tally and into each counter that the fold changed. A
//! reader takes the tallies first and the counter last; a counter that knows of a later fold than
//! the tally did shows that the same messages would be counted twice, and the reader looks again.
//!
//! On a sharded cluster a reader would have to ask every shard, so there tallies are not used.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use mongodb::ClientSession;
use mongodb::bson::raw::CString;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::options::ReturnDocument;

use super::Inner;
use super::documents::{corrupt, tally_id};
use super::names::{Claims, Guests};
use crate::error::Result;
use crate::types::Username;

/// How many tallies there may be. More processes than that share them, and get in each other's way.
pub(super) const SLOTS: i32 = 32;
/// Users in a tally before it is folded.
const MOST: usize = 256;

/// The tally of this process.
pub(super) struct Tally {
    slot: i32,
    /// Who is in it, at least.
    users: Mutex<HashSet<Username>>,
    pub(super) guests: Guests,
}

impl Tally {
    /// The tally `slot`, which has just been folded.
    pub(super) fn new(slot: i32) -> Self {
        Self { slot, users: Mutex::default(), guests: Guests::new(slot) }
    }

    pub(super) fn slot(&self) -> i32 {
        self.slot
    }

    /// The statement of an `update` command that counts a batch; if there are guests in it, only
    /// after no more claims than these.
    pub(super) fn statement(
        &self,
        counts: &[(Username, i64)],
        claims: Option<Claims>,
    ) -> mongodb::error::Result<RawDocumentBuf> {
        let mut grow = RawDocumentBuf::new();
        for (user, n) in counts {
            grow.append(CString::try_from(format!("counts.{}", field(user)))?, *n);
        }
        let mut found = rawdoc! { "_id": tally_id(self.slot) };
        if let Some(claims) = claims {
            found.append(cstr!("claims"), claims.value());
        }
        Ok(rawdoc! { "q": found, "u": { "$inc": grow }, "upsert": true })
    }

    /// Whether it should be folded before these are added.
    pub(super) fn is_full(&self, counts: &[(Username, i64)]) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let new = counts.iter().filter(|(user, _)| !users.contains(user)).count();
        !users.is_empty() && users.len() + new > MOST
    }

    /// Takes note of who has been added.
    pub(super) fn remember(&self, counts: &[(Username, i64)]) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        for (user, _) in counts {
            if !users.contains(user) {
                users.insert(user.clone());
            }
        }
    }

    pub(super) fn folded(&self) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The name of a user's field in a tally. A dot would name a field within a field, and a dollar sign
/// stands for more in an update.
pub(super) fn field(user: &Username) -> String {
    user.as_str().replace('%', "%25").replace('.', "%2E").replace('$', "%24")
}

fn user(field: &str) -> Result<Username> {
    let name = field.replace("%24", "$").replace("%2E", ".").replace("%25", "%");
    name.parse().map_err(corrupt)
}

/// Moves the numbers of a tally to the counters, within a transaction.
pub(super) async fn fold(
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
        counts.push((user(name.as_str()).map_err(unreadable)?, n.as_i64().unwrap_or(0)));
    }
    if counts.is_empty() {
        return Ok(());
    }
    let mark = CString::try_from(format!("folded.{slot}"))?;
    let mut set = RawDocumentBuf::new();
    set.append(&mark, number);
    let mut updates = RawArrayBuf::new();
    let change = |n| rawdoc! { "$inc": { "message_count": n }, "$set": set.clone() };
    mongo.counters.add_statements(&mut updates, &counts, |id| rawdoc! { "_id": id }, change);
    let command = rawdoc! { "update": "counters", "updates": updates };
    let done = mongo.write(command, Some(session)).await?;
    if done.duplicate.is_some() || usize::try_from(done.n) != Ok(counts.len()) {
        // Another process made one of them just now, or one was taken away.
        mongo.counters.forget();
        return Err(super::transaction::again());
    }
    mongo.counters.remember(&counts);
    Ok(())
}

/// Part of a user's count.
pub(super) enum Part {
    Tally { slot: i32, folds: i64, n: i64 },
    Counter { n: i64, folded: HashMap<String, i64>, deletions: i64 },
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
            self.found[*at].push(Part::Counter { n, folded, deletions });
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
    let of = |part: &Part| if let Part::Counter { deletions, .. } = part { *deletions } else { 0 };
    parts.iter().map(of).sum()
}

/// The count, unless a fold came between the parts.
pub(super) fn sum(parts: &[Part]) -> Option<u64> {
    let mut total = 0;
    let mut folds = HashMap::new();
    for part in parts {
        match part {
            Part::Tally { slot, folds: number, n } => {
                folds.insert(slot.to_string(), *number);
                total += n;
            }
            Part::Counter { n, folded, .. } => {
                if folded.iter().any(|(slot, number)| folds.get(slot).is_none_or(|seen| seen < number)) {
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
        for (name, expected) in [("ann", "ann"), ("a.b", "a%2Eb"), ("$x", "%24x"), ("a%2Eb", "a%252Eb")] {
            assert_eq!(field(&name.parse().expect("a name")), expected);
            assert_eq!(user(expected).expect("a name").as_str(), name);
        }
    }

    #[test]
    fn a_fold_between_the_parts_is_noticed() {
        let tally = |slot, folds, n| Part::Tally { slot, folds, n };
        let counter = |n, folded: &[(&str, i64)]| {
            let folded = folded.iter().map(|(slot, number)| ((*slot).to_owned(), *number)).collect();
            Part::Counter { n, folded, deletions: 0 }
        };
        assert_eq!(sum(&[]), Some(0));
        assert_eq!(sum(&[tally(0, 3, 2)]), Some(2));
        assert_eq!(sum(&[tally(0, 3, 2), tally(7, 0, 1), counter(5, &[("0", 3)])]), Some(8));
        assert_eq!(sum(&[tally(0, 3, 2), counter(7, &[("0", 4)])]), None);
        assert_eq!(sum(&[counter(7, &[("0", 4)])]), None);
    }
}
