//! Changes of several documents that belong together: one transaction, or, on a standalone mongod,
//! writes in an order that a crash may cut off anywhere.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, cstr, rawdoc};

use super::access::Written;
use super::find::Query;
use super::{Inner, Mode, names};
use crate::account::NameKey;
use crate::error::{Error, Result};
use crate::types::RoomName;

/// A change that is made by one process at a time, and not while a batch is being stored.
#[async_trait]
pub(super) trait Step: Send + Sync {
    /// Name that the step claims.
    fn claims(&self) -> Option<NameKey> {
        None
    }

    /// Room whose number of members the step changes.
    fn changes_members_of(&self) -> Option<&RoomName> {
        None
    }

    /// Makes the change. Returns false if a precondition failed: a transaction is then taken back;
    /// without one, earlier writes stay, so they must be harmless.
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool>;
}

/// Writes for a step: in its transaction, if there is one.
pub(super) struct Writer<'a> {
    pub(super) mongo: &'a Inner,
    session: Option<&'a mut ClientSession>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(mongo: &'a Inner, session: Option<&'a mut ClientSession>) -> Self {
        Self { mongo, session }
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.session.is_some()
    }

    pub(super) async fn write(
        &mut self,
        mut command: RawDocumentBuf,
    ) -> mongodb::error::Result<Written> {
        if !self.is_in_transaction() {
            command.append(cstr!("writeConcern"), journaled());
        }
        self.mongo.write(command, self.session.as_deref_mut()).await
    }

    /// Returns whether a query finds anything, as of the step's transaction if there is one.
    pub(super) async fn finds(&mut self, query: Query) -> mongodb::error::Result<bool> {
        let found = match self.session.as_deref_mut() {
            Some(session) => self.mongo.find_in(query, session, |_| Ok(())).await?,
            None => {
                let unreadable = |e: Error| mongodb::error::Error::custom(e.to_string());
                self.mongo
                    .find(query, |_| Ok(()))
                    .await
                    .map_err(unreadable)?
            }
        };
        Ok(!found.is_empty())
    }
}

/// Write concern of a command that stays through a crash, where there is no transaction.
pub(super) fn journaled() -> RawDocumentBuf {
    rawdoc! { "w": 1, "j": true }
}

fn list(statement: RawDocumentBuf) -> RawArrayBuf {
    let mut statements = RawArrayBuf::new();
    statements.push(statement);
    statements
}

pub(super) fn update(collection: &str, statement: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "update": collection, "updates": list(statement) }
}

/// Returns a command of several statements, unless there are none.
pub(super) fn update_all(collection: &str, statements: RawArrayBuf) -> Option<RawDocumentBuf> {
    (!statements.is_empty()).then(|| rawdoc! { "update": collection, "updates": statements })
}

pub(super) fn insert(collection: &str, document: RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "insert": collection, "documents": list(document) }
}

pub(super) fn delete_all(
    collection: &str,
    filter: Document,
) -> mongodb::error::Result<RawDocumentBuf> {
    let statement = rawdoc! { "q": RawDocumentBuf::try_from(&filter)?, "limit": 0 };
    Ok(rawdoc! { "delete": collection, "deletes": list(statement) })
}

impl Inner {
    /// Makes a change as one step. Returns false if a precondition failed.
    pub(super) async fn change(&self, step: &mut dyn Step) -> Result<bool> {
        match &self.mode {
            Mode::ReplicaSet(replica_set) => {
                let made = replica_set.change(self, step).await?;
                if let Some(name) = step.claims().filter(|_| made) {
                    names::publish_claim(self, &name).await?;
                }
                Ok(made)
            }
            Mode::Standalone(guarded) => guarded.change(self, step).await,
        }
    }
}
