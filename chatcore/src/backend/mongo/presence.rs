//! Presence, signals, and what else a store needs that several processes share.

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::doc;

use super::connection::light;
use super::error::error;
use super::scheduler::Mongo;
use super::store::Store;
use super::{documents, find};
use crate::backend::{Backend, EventSink};
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
