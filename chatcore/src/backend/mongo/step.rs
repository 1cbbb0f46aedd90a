//! Writes of several documents that belong together: one transaction, or, on a standalone mongod,
//! writes in an order that a crash may cut off anywhere.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{RawDocumentBuf, cstr};

use super::commands;
use super::connection::{Connection, Written};
use super::error::custom;
use super::find::Query;
use crate::account::NameKey;
use crate::types::RoomName;

/// Writes that no batch and no other step of the process comes between.
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

    /// Makes the writes. Returns false if a precondition failed: a transaction is then taken back;
    /// without one, earlier writes stay, so they must be harmless.
    async fn make(&mut self, writer: &mut Writer<'_>) -> mongodb::error::Result<bool>;
}

/// Writes for a step: in its transaction, if there is one.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    session: Option<&'a mut ClientSession>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(connection: &'a Connection, session: Option<&'a mut ClientSession>) -> Self {
        Self {
            connection,
            session,
        }
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.session.is_some()
    }

    pub(super) async fn write(
        &mut self,
        mut command: RawDocumentBuf,
    ) -> mongodb::error::Result<Written> {
        if !self.is_in_transaction() {
            command.append(cstr!("writeConcern"), commands::journaled());
        }
        self.connection
            .write(command, self.session.as_deref_mut())
            .await
    }

    /// Returns whether a query finds anything, as of the step's transaction if there is one.
    pub(super) async fn finds(&mut self, query: Query) -> mongodb::error::Result<bool> {
        let found = match self.session.as_deref_mut() {
            Some(session) => self.connection.find_in(query, session, |_| Ok(())).await?,
            None => self
                .connection
                .find(query, |_| Ok(()))
                .await
                .map_err(custom)?,
        };
        Ok(!found.is_empty())
    }
}
