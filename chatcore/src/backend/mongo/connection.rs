//! Connection to the database: commands, queries, and the time that each may take.

use std::time::Duration;

use mongodb::bson::{Document, RawDocument, RawDocumentBuf};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{ClientSession, Collection, Database};
use tokio::time::timeout;

use super::error::{DUPLICATE_KEY, custom};
use super::find::Query;
use crate::error::{Error, Result};

/// Database of one store.
pub(super) struct Connection {
    pub(super) database: Database,
    /// Time for one command.
    pub(super) timeout: Duration,
    /// True if it is on a replica set or a sharded cluster.
    pub(super) has_transactions: bool,
}

/// Write concern of what survives a failover and a crash.
pub(super) fn durable(timeout: Duration) -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(timeout)
        .build()
}

/// Write concern of what passes, which is not worth a wait for the journal.
pub(super) fn light() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Nodes(1)).build()
}

/// Answer of the server to an `insert`, `update` or `delete` command.
pub(super) struct Written {
    /// Documents inserted, matched or deleted, and those that an upsert made.
    pub(super) n: i64,
    /// Positions of the statements that made a document by an upsert.
    pub(super) upserted: Vec<usize>,
    /// The fields of the unique index that refused a document.
    pub(super) duplicate: Option<Document>,
}

impl Written {
    /// Reads an answer. Any failed statement but one that met a duplicate key is an error.
    fn from_reply(reply: &Document) -> mongodb::error::Result<Self> {
        let n = reply
            .get_i64("n")
            .or_else(|_| reply.get_i32("n").map(i64::from))
            .unwrap_or(0);

        let mut duplicate: Option<Document> = None;
        for failed in reply
            .get_array("writeErrors")
            .into_iter()
            .flatten()
            .filter_map(|e| e.as_document())
        {
            if failed.get_i32("code").ok() != Some(DUPLICATE_KEY) {
                return Err(mongodb::error::Error::custom(failed.to_string()));
            }
            let index = failed
                .get_document("keyPattern")
                .cloned()
                .unwrap_or_default();
            // A repeat of an insert meets its own messages; what matters beside them is a nonce.
            if duplicate.is_none() || is_of_nonces(&index) {
                duplicate = Some(index);
            }
        }

        if let Ok(concern) = reply.get_document("writeConcernError") {
            return Err(mongodb::error::Error::custom(concern.to_string()));
        }

        let upserted = reply
            .get_array("upserted")
            .into_iter()
            .flatten()
            .filter_map(|made| made.as_document());
        let upserted = upserted
            .filter_map(|made| usize::try_from(made.get_i32("index").ok()?).ok())
            .collect();

        Ok(Self {
            n,
            upserted,
            duplicate,
        })
    }
}

/// Returns true for the fields of the index that keeps nonces unique.
pub(super) fn is_of_nonces(index: &Document) -> bool {
    index.contains_key("nonces.nonce")
}

/// Error of a command whose time is over.
pub(super) struct Late;

impl From<Late> for Error {
    fn from(_: Late) -> Self {
        Self::Unavailable("it did not answer in time".into())
    }
}

impl From<Late> for mongodb::error::Error {
    fn from(_: Late) -> Self {
        std::io::Error::from(std::io::ErrorKind::TimedOut).into()
    }
}

impl Connection {
    /// Runs a command, and gives it up when its time is over: on a connection that died without a
    /// word it has no end, and whatever waits for it is held up. The driver closes the connection
    /// of a command that is dropped; a session can begin its next transaction.
    ///
    /// On a standalone mongod a command is waited for, because a write that comes late cannot be
    /// refused there.
    pub(super) async fn limited<T, E: From<Late>>(
        &self,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.limited_to(self.timeout, command).await
    }

    /// Limits a command in a transaction to half of that, which leaves time to repeat it or to
    /// abort the transaction on another connection.
    pub(super) async fn limited_step<T, E: From<Late>>(
        &self,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.limited_to(self.timeout / 2, command).await
    }

    async fn limited_to<T, E: From<Late>>(
        &self,
        limit: Duration,
        command: impl IntoFuture<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let command = command.into_future();
        match self.has_transactions {
            true => timeout(limit, command)
                .await
                .unwrap_or_else(|_| Err(Late.into())),
            false => command.await,
        }
    }

    /// Runs a write command. Any error but a duplicate key is an `Err`.
    pub(super) async fn write(
        &self,
        command: RawDocumentBuf,
        session: Option<&mut ClientSession>,
    ) -> mongodb::error::Result<Written> {
        let run = self.database.run_raw_command(command);
        let reply = match session {
            Some(session) => self.limited_step(run.session(session)).await,
            None => self.limited(run).await,
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(e) => match (&*e.kind, e.server_response()) {
                (ErrorKind::Command(c), Some(response)) if c.code == DUPLICATE_KEY => {
                    let duplicate = response
                        .get_document("keyPattern")
                        .ok()
                        .and_then(|keys| keys.try_into().ok());
                    let duplicate = Some(duplicate.unwrap_or_default());
                    return Ok(Written {
                        n: 0,
                        upserted: Vec::new(),
                        duplicate,
                    });
                }
                _ => return Err(e),
            },
        };
        Written::from_reply(&reply)
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Runs a query and reads each document with `read`.
    pub(super) async fn find<T>(
        &self,
        query: Query,
        read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        let reads_majority = self.has_transactions && !query.newest_state;
        let concern = reads_majority.then(ReadConcern::majority);
        let mut options = CollectionOptions::default();
        options.read_concern = concern;
        let collection = self
            .database
            .collection_with_options::<RawDocumentBuf>(query.collection, options);
        self.limited(query.run(&collection, read)).await
    }

    /// Runs a query in a transaction.
    pub(super) async fn find_in<T>(
        &self,
        query: Query,
        session: &mut ClientSession,
        mut read: impl FnMut(&RawDocument) -> Result<T>,
    ) -> mongodb::error::Result<Vec<T>> {
        let command = RawDocumentBuf::try_from(&query.command())?;
        let reply = self
            .limited_step(self.database.run_raw_command(command).session(session))
            .await?;
        let batch = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        let documents = batch
            .into_iter()
            .flatten()
            .filter_map(|document| document.as_document());
        documents
            .map(|document| read(&RawDocumentBuf::try_from(document)?).map_err(custom))
            .collect()
    }
}
