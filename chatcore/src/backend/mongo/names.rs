//! Names that guests may use, as one process remembers them, and the news that one was claimed.
//!
//! On a standalone mongod the process that remembers is the one that claims. On a replica set any
//! process claims, and a batch must not be slowed down by looking names up every time. So every
//! process has a document that counts claims. A claim is stored first and then counted up in the
//! documents of all processes. A batch with guests in it writes its own process's document, and only
//! where the number of claims still is the one from before the names were looked up. The claim waits
//! for the batches that are being stored and is answered after that, so no batch that is stored after
//! the answer can rest on what was true before the claim.
//!
//! A process that dies between storing a claim and counting it has answered nobody. The first use of
//! the account's password makes up for it.

use std::collections::HashSet;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::options::ReturnDocument;
use tokio::sync::Mutex;

use super::{Inner, documents, error, find};
use crate::account::Fold;
use crate::error::Result;
use crate::types::Username;

/// Open names remembered.
const MAX_NAMES: usize = 65_536;

/// Names that have no account.
#[derive(Default)]
pub(super) struct OpenNames(HashSet<Fold>);

impl OpenNames {
    /// Tells if one of these names, in any case, has an account.
    pub(super) async fn is_any_claimed(&mut self, mongo: &Inner, guests: &[Username]) -> Result<bool> {
        let mut unknown: Vec<_> = guests.iter().map(Fold::from).collect();
        unknown.retain(|name| !self.0.contains(name));
        if unknown.is_empty() {
            return Ok(false);
        }
        // That there is an account is enough; a corrupt one counts too.
        if !mongo.find(find::accounts(&unknown), |_: &RawDocument| Ok(())).await?.is_empty() {
            return Ok(true);
        }

        if self.0.len() + unknown.len() > MAX_NAMES {
            self.0.clear();
        }
        self.0.extend(unknown);
        Ok(false)
    }

    pub(super) fn forget(&mut self, name: &Fold) {
        self.0.remove(name);
    }
}

/// Number of claims that a process has been told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claims(i64);

/// Names of guests as one process knows them.
pub(super) struct Guests {
    process: ObjectId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Names that were open after so many claims.
    open: OpenNames,
    /// `None` if there may have been another claim.
    claims: Option<Claims>,
    /// Claims that `open` rests on.
    last: Claims,
}

impl Guests {
    pub(super) fn new(process: ObjectId) -> Self {
        Self { process, known: Mutex::default() }
    }

    /// Returns the number of claims after which these names, in any case, are open; `None` if one of
    /// them is claimed.
    pub(super) async fn admit(&self, mongo: &Inner, guests: &[Username]) -> Result<Option<Claims>> {
        let mut known = self.known.lock().await;
        let claims = match known.claims {
            Some(claims) => claims,
            None => {
                // Before the names are looked up, so that a claim after that is noticed.
                let claims = self.count_claims(mongo).await?;
                if claims != known.last {
                    known.open = OpenNames::default();
                }
                known.last = claims;
                known.claims = Some(claims);
                claims
            }
        };
        Ok((!known.open.is_any_claimed(mongo, guests).await?).then_some(claims))
    }

    /// Reads the number of claims. The document is made if it is missing, as after this process was
    /// taken for dead.
    async fn count_claims(&self, mongo: &Inner) -> Result<Claims> {
        let counters = mongo.collection("counters");
        let made = doc! { "$setOnInsert": { "claims": 0_i64 } };
        let found = counters
            .find_one_and_update(find::process_counter(self.process), made)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
            .map_err(error)?;
        Ok(Claims(found.and_then(|found| found.get_i64("claims").ok()).unwrap_or(0)))
    }

    /// Statement of an `update` command that matches one document unless a name was claimed since.
    pub(super) fn guard(&self, Claims(claims): Claims) -> RawDocumentBuf {
        rawdoc! {
            "q": { "_id": documents::process_id(self.process), "claims": claims },
            "u": { "$inc": { "batches": 1_i64 } },
        }
    }

    /// Takes in that a batch was refused, perhaps for a claim.
    pub(super) async fn mark_uncertain(&self) {
        self.known.lock().await.claims = None;
    }
}

/// Tells every process of a claim that is stored. When this returns, no batch is stored that rests
/// on what was before it.
pub(super) async fn publish_claim(mongo: &Inner, name: &Fold) -> Result<()> {
    let counted = doc! { "$inc": { "claims": 1_i64 } };
    mongo.collection("counters").update_many(find::process_counters(), counted).await.map_err(error)?;

    let told = doc! { "$set": { "told": true } };
    mongo.collection("names").update_one(find::name(name), told).await.map_err(error)?;
    Ok(())
}
