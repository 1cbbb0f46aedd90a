//! The database below the store: each method is one atomic step of the domain.
//!
//! The rules of the domain live above this trait, once. A backend is split by meaning into
//! [`Commits`], [`History`], [`Rooms`], [`AccessControl`] and [`Accounts`]; [`Backend`] is all of
//! them and what a store that other processes use needs besides. It reports the changes that it
//! learns of to an [`EventSink`].
//!
//! Every future of these traits may be dropped: that abandons the answer, never the work, and
//! leaves the backend usable.

mod access;
mod accounts;
mod commits;
mod event_sink;
mod history;
#[cfg(feature = "mongodb")]
pub(crate) mod mongo;
mod rooms;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::access::AccessControl;
pub(crate) use self::accounts::Accounts;
pub(crate) use self::commits::Commits;
pub(crate) use self::event_sink::EventSink;
pub(crate) use self::history::History;
pub(crate) use self::rooms::Rooms;
use crate::error::Result;
use crate::model::{ProcessId, ProcessPresence, Signal};
use crate::types::RoomName;

/// A database that stores everything.
#[async_trait]
pub(crate) trait Backend: Commits + History + Rooms + AccessControl + Accounts {
    /// Returns true if other processes may write to the store while this one does.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reports the changes of a store that other processes may write to, until something fails or
    /// the sink is closed: publishes every commit of another process, perhaps also this one's own, and
    /// closes the sink once the store is lost to another process. The sink is live while nothing is left out.
    async fn watch(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        sink.closed().await;
        Ok(())
    }

    /// Publishes the users who are connected to a room at this process to the other processes.
    async fn publish_presence(&self, room: RoomName, presence: ProcessPresence) -> Result<()> {
        let _ = (room, presence);
        Ok(())
    }

    /// Returns the users who are connected to a room at the other processes.
    async fn presence(&self, room: RoomName) -> Result<Vec<(ProcessId, ProcessPresence)>> {
        let _ = room;
        Ok(Vec::new())
    }

    /// Publishes an event that is not stored to the other processes.
    async fn publish_signal(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        Ok(())
    }

    /// Succeeds if the store can be read and written by this process.
    async fn ping(&self) -> Result<()>;

    /// Releases the store for another process. Nothing is called after it.
    async fn close(&self) -> Result<()>;
}
