//! What is new in one of the rooms that a socket follows.

use std::time::Duration;

use chatcore::{RoomName, Update, Watcher};
use futures_util::{Stream, stream};
use tokio::time::sleep;

/// How long a follower waits after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// What is new in a room.
pub(super) type News = (RoomName, Result<Update, Closed>);

/// The store is closed, or lost to another process.
pub(super) struct Closed;

/// What is new in a room, for as long as the socket wants it.
pub(super) fn news(watcher: Watcher) -> impl Stream<Item = News> {
    stream::unfold(watcher, |mut watcher| async move {
        loop {
            match watcher.next().await {
                Ok(update) => return Some(((watcher.room().clone(), Ok(update)), watcher)),
                Err(_) if watcher.is_closed() => {
                    return Some(((watcher.room().clone(), Err(Closed)), watcher));
                }
                Err(error) => {
                    tracing::debug!(%error, "a follower waits for the store");
                    sleep(RETRY).await;
                }
            }
        }
    })
}
