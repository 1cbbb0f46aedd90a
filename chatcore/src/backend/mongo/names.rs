//! Which names guests may use, as one process remembers it, and how it learns that one was claimed.
//!
//! On a standalone mongod the process that remembers is the one that claims. On a replica set any
//! process claims, and a batch must not be slowed down by asking about names every time. So a claim
//! is told: after it is stored, a number in every process's tally is counted up. A batch with
//! guests in it writes its process's tally anyway, and now only where that number still is the one
//! from before the names were looked at. A claim waits for the batches that are being stored, and
//! is answered only when it has told all tallies; no batch that is stored after that can rest on
//! what was true before it.
//!
//! Who dies between storing a claim and telling of it has answered nobody. The first use of the
//! account's password makes up for it.

use std::collections::HashSet;

use mongodb::bson::{RawBson, doc};
use tokio::sync::Mutex;

use super::{Inner, error, find};
use crate::account::Fold;
use crate::error::Result;
use crate::types::Username;

/// Open names remembered.
const MOST: usize = 65_536;

/// Names that have no account.
#[derive(Default)]
pub(super) struct OpenNames(HashSet<Fold>);

impl OpenNames {
    /// Whether one of these names, in any case, has an account.
    pub(super) async fn is_any_claimed(&mut self, mongo: &Inner, guests: &[Username]) -> Result<bool> {
        let mut unknown: Vec<_> = guests.iter().map(Fold::from).collect();
        unknown.retain(|name| !self.0.contains(name));
        if unknown.is_empty() {
            return Ok(false);
        }
        if mongo.owners(&unknown).await?.iter().any(Option::is_some) {
            return Ok(true);
        }
        if self.0.len() + unknown.len() > MOST {
            self.0.clear();
        }
        self.0.extend(unknown);
        Ok(false)
    }

    pub(super) fn forget(&mut self, name: &Fold) {
        self.0.remove(name);
    }
}

/// How many claims a tally has been told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claims(i64);

impl Claims {
    /// What the tally says of it. One that was told of none says nothing.
    pub(super) fn value(self) -> RawBson {
        if self.0 == 0 { RawBson::Null } else { RawBson::Int64(self.0) }
    }
}

/// What the process with one tally knows of guests.
pub(super) struct Guests {
    slot: i32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Names that were open after so many claims.
    open: OpenNames,
    claims: Claims,
    /// Whether there may have been another claim.
    doubtful: bool,
}

impl Guests {
    pub(super) fn new(slot: i32) -> Self {
        let known = Known { doubtful: true, ..Known::default() };
        Self { slot, known: Mutex::new(known) }
    }

    /// After how many claims these names, in any case, are open; `None` if one is not.
    pub(super) async fn admit(&self, mongo: &Inner, guests: &[Username]) -> Result<Option<Claims>> {
        let mut known = self.known.lock().await;
        if known.doubtful {
            // Before the names are looked at, so that a claim after that is noticed.
            let claims = mongo.find(find::claims(self.slot), |d| Ok(d.get_i64("claims").unwrap_or(0)));
            let claims = Claims(claims.await?.pop().unwrap_or(0));
            if claims != known.claims {
                known.open = OpenNames::default();
            }
            known.claims = claims;
            known.doubtful = false;
        }
        let claims = known.claims;
        Ok((!known.open.is_any_claimed(mongo, guests).await?).then_some(claims))
    }

    /// A batch was refused; perhaps for a claim.
    pub(super) async fn doubt(&self) {
        self.known.lock().await.doubtful = true;
    }
}

/// Tells every process of a claim that is stored. When this returns, no batch is stored that rests
/// on what was before it.
pub(super) async fn tell(mongo: &Inner, name: &Fold) -> Result<()> {
    let counted = doc! { "$inc": { "claims": 1_i64 } };
    mongo.collection("counters").update_many(find::tallies(), counted).await.map_err(error)?;
    let told = doc! { "$set": { "told": true } };
    mongo.collection("names").update_one(find::name(name), told).await.map_err(error)?;
    Ok(())
}
