//! Names that guests may use, as one process remembers them, and the news that one was claimed.
//!
//! On a standalone mongod the process that remembers is the one that claims. On a replica set any
//! process claims, and a batch must not be slowed down by looking names up every time. So the slot
//! of every process counts claims too. A claim is stored first and then counted up in all slots.
//! A batch with guests in it writes its own process's slot, and only where the number of claims
//! still is the one from before the names were looked up. The claim waits for the batches that are
//! being stored and is answered after that, so no batch that is stored after the answer can rest on
//! what was true before the claim.
//!
//! A process that dies between storing a claim and counting it has answered nobody. The first use
//! of the account's password makes up for it.

use std::collections::HashSet;

use mongodb::bson::{RawBson, RawDocument, doc};
use tokio::sync::Mutex;

use super::connection::Connection;
use super::error::error;
use super::find;
use crate::account::NameKey;
use crate::error::Result;
use crate::types::Username;

/// Open names remembered.
const MAX_NAMES: usize = 65_536;

/// Names that have no account.
#[derive(Default)]
pub(super) struct OpenNames(HashSet<NameKey>);

impl OpenNames {
    /// Returns true if one of these names, in any case, has an account.
    pub(super) async fn is_any_claimed(
        &mut self,
        connection: &Connection,
        guests: &[Username],
    ) -> Result<bool> {
        let mut unknown: Vec<_> = guests.iter().map(NameKey::from).collect();
        unknown.retain(|name| !self.0.contains(name));
        if unknown.is_empty() {
            return Ok(false);
        }
        // An account that is there is enough; a corrupt one counts too.
        if !connection
            .find(find::accounts(&unknown), |_: &RawDocument| Ok(()))
            .await?
            .is_empty()
        {
            return Ok(true);
        }

        if self.0.len() + unknown.len() > MAX_NAMES {
            self.0.clear();
        }
        self.0.extend(unknown);
        Ok(false)
    }

    pub(super) fn forget(&mut self, name: &NameKey) {
        self.0.remove(name);
    }
}

/// Number of claims that a process has been told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claims(i64);

impl Claims {
    /// Returns the value that a filter looks for in the slot. For no claims that is null, which
    /// matches a slot without the field.
    pub(super) fn value(self) -> RawBson {
        if self.0 == 0 {
            RawBson::Null
        } else {
            RawBson::Int64(self.0)
        }
    }
}

/// Names of guests as one process knows them.
pub(super) struct Guests {
    slot: i32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Names that were open after `last` claims.
    open: OpenNames,
    /// Number of claims, `None` if it may have grown: it has to be read again then.
    claims: Option<Claims>,
    /// Number of claims when the names in `open` were found to be open.
    last: Claims,
}

impl Guests {
    pub(super) fn new(slot: i32) -> Self {
        Self {
            slot,
            known: Mutex::default(),
        }
    }

    /// Returns the number of claims after which these names, in any case, are open; `None` if one
    /// of them is claimed.
    pub(super) async fn admit(
        &self,
        connection: &Connection,
        guests: &[Username],
    ) -> Result<Option<Claims>> {
        let mut known = self.known.lock().await;
        let claims = match known.claims {
            Some(claims) => claims,
            None => {
                // Before the names are looked up, so that a claim after that is noticed.
                let read = |slot: &RawDocument| Ok(slot.get_i64("claims").unwrap_or(0));
                let claims = Claims(
                    connection
                        .find(find::claims(self.slot), read)
                        .await?
                        .pop()
                        .unwrap_or(0),
                );
                if claims != known.last {
                    known.open = OpenNames::default();
                }
                known.last = claims;
                known.claims = Some(claims);
                claims
            }
        };
        Ok((!known.open.is_any_claimed(connection, guests).await?).then_some(claims))
    }

    /// Takes in that a batch was refused, perhaps for a claim.
    pub(super) async fn mark_uncertain(&self) {
        self.known.lock().await.claims = None;
    }
}

/// Publishes a claim that is stored to every process. When this returns, no batch is stored that
/// rests on what was before it.
pub(super) async fn publish_claim(connection: &Connection, name: &NameKey) -> Result<()> {
    let counted = doc! { "$inc": { "claims": 1_i64 } };
    let counters = connection.collection("counters");
    connection
        .limited(counters.update_many(find::slots(), counted))
        .await
        .map_err(error)?;

    let told = doc! { "$set": { "told": true } };
    let names = connection.collection("names");
    connection
        .limited(names.update_one(find::name(name), told))
        .await
        .map_err(error)?;
    Ok(())
}
