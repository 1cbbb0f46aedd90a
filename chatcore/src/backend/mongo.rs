//! The shared store: MongoDB from 4.4.
//!
//! On a replica set, or a sharded cluster, a batch is one transaction and any number of processes
//! work on one database. A standalone mongod has no transactions: there a batch is stored in an
//! order that can be completed or cut off after a crash, by one process at a time.
//!
//! Writes are acknowledged by a majority and journaled. Reads see what a majority has, so that
//! nothing that was read can be rolled back.
//!
//! Each file uses those of the lines above its own:
//!
//! | files | meaning |
//! |---|---|
//! | `error`, `documents`, `buckets`, `find`, `commands` | errors, what is stored, queries, write commands |
//! | `connection`, `step` | running them; changes of several documents |
//! | `counters`, `evidence`, `names`, `pending_counts`, `reactions`, `changes` | parts of a batch |
//! | `echo`, `peers`, `watch`, `lease` | other processes |
//! | `deployment` with `replica_set` and `standalone` | the two ways to store a batch |
//! | `store`, `counts`, `count_batcher`, `targets`, `access_lookup`, `members`, `read_marks` | one store |
//! | `scheduler` with `commits`, `history`, `rooms`, `access`, `accounts`, and this file | the traits of the backend |
//! | `schema`, `open` | opening a store |

mod access;
mod access_lookup;
mod accounts;
mod buckets;
mod changes;
mod commands;
mod commits;
mod connection;
mod count_batcher;
mod counters;
mod counts;
mod deployment;
mod documents;
mod echo;
mod error;
mod evidence;
mod find;
mod history;
mod lease;
mod members;
mod names;
mod open;
mod peers;
mod pending_counts;
mod reactions;
mod read_marks;
mod replica_set;
mod rooms;
mod scheduler;
mod schema;
mod standalone;
mod step;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::doc;

use self::connection::light;
use self::error::error;
pub(crate) use self::open::open;
use self::scheduler::Mongo;
use self::store::Store;
use super::{Backend, EventSink};
use crate::error::Result;
use crate::model::{ProcessId, ProcessPresence, Signal};
use crate::types::RoomName;

#[async_trait]
impl Backend for Mongo {
    fn is_shared(&self) -> bool {
        self.store.deployment.is_shared()
    }

    async fn watch(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        let Store {
            connection,
            deployment,
        } = &*self.store;
        deployment.watch(connection, &*sink).await
    }

    async fn publish_presence(&self, room: RoomName, presence: ProcessPresence) -> Result<()> {
        self.run_write(|this| async move {
            this.deployment
                .publish_presence(&this.connection, &room, &presence)
                .await
        })
        .await
    }

    async fn presence(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        self.run(|this| async move {
            let read = |document: &_| {
                Ok((
                    documents::process(document)?,
                    documents::presence(document)?,
                ))
            };
            let mut all = this.connection.find(find::presence(&room), read).await?;
            all.retain(|(process, _)| !this.deployment.is_me(*process));
            Ok(all)
        })
        .await
    }

    async fn publish_signal(&self, signal: Signal) -> Result<()> {
        self.run_write(|this| async move {
            let signals = this.connection.collection("signals");
            let insert = signals
                .insert_one(documents::new_signal(&signal))
                .write_concern(light());
            this.connection.limited(insert).await.map_err(error)?;
            Ok(())
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.run(|this| async move {
            this.deployment.may_write()?;
            this.connection
                .database
                .run_command(doc! { "ping": 1 })
                .await
                .map(drop)
                .map_err(error)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.run_commit(|this| async move {
            this.deployment.close(&this.connection).await;
            Ok(())
        })
        .await
    }
}
