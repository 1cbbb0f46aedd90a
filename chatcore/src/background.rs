//! Tasks that keep the memory of a store up to date. Each ends when the store is closed or dropped.
//!
//! - [`change_stream`]: follows what other processes do
//! - [`refresh`]: brings followed rooms up to date, and drops rooms that nobody uses
//! - [`presence`]: keeps the lists of who is present, and publishes who is present here

mod change_stream;
mod presence;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::engine::{Engine, within};
use crate::feed::{Feed, PresenceUpdate};

/// Time between two rounds of refreshes, and before something that failed is tried again.
const TICK: Duration = Duration::from_millis(500);

/// Starts the tasks of a store on the current runtime.
pub(crate) fn start(
    engine: &Arc<Engine>,
    presence_updates: mpsc::UnboundedReceiver<PresenceUpdate>,
) {
    tokio::spawn(refresh::keep_fresh(Arc::downgrade(engine)));
    tokio::spawn(presence::keep_listed(
        Arc::downgrade(engine),
        presence_updates,
    ));
    tokio::spawn(change_stream::follow(Arc::downgrade(engine)));
    tokio::spawn(write_read_marks(
        engine.backend.clone(),
        engine.feed.clone(),
        engine.options.timeout,
    ));
}

/// Writes the read marks of users, and the last of them once the store is closed or dropped.
async fn write_read_marks(backend: Arc<dyn Backend>, feed: Arc<Feed>, timeout: Duration) {
    let write = |marks| within(timeout, backend.store_read_marks(marks));
    feed.read_marks.keep_written(write, feed.closed()).await;

    feed.read_marks.close();
    if let Err(error) = feed.read_marks.flush(write).await {
        tracing::warn!(%error, "the last read marks are not written");
    }
}
