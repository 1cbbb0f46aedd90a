//! Events of one followed room, for sockets and event streams.

use std::time::Duration;

use chatcore::{Error, Position, RoomName, Update, Watcher};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use crate::error::HttpError;

/// Pause of a follower after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// An update of a room, or the end of all updates.
pub(super) struct RoomEvent {
    pub(super) room: RoomName,
    pub(super) update: Result<Update, EndReason>,
    /// Position of the follower after the update.
    pub(super) position: Position,
}

/// Reason why a room has no more updates for its follower.
pub(super) enum EndReason {
    /// The store is closed, or lost to another process.
    StoreClosed,
    /// The user may not be in the room, or not any more.
    Rejected(HttpError),
}

/// Follows a room until the follower is dropped or may not follow any more. While the store is
/// away, the events pause.
pub(super) fn room_events(watcher: Watcher) -> impl Stream<Item = RoomEvent> {
    stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        loop {
            let update = match watcher.next().await {
                Ok(update) => Ok(update),
                Err(Error::Closed) => Err(EndReason::StoreClosed),
                Err(error @ (Error::RoomNotFound | Error::Banned)) => {
                    Err(EndReason::Rejected(error.into()))
                }
                Err(error) => {
                    tracing::debug!(%error, "a follower waits for the store");
                    sleep(RETRY).await;
                    continue;
                }
            };

            let event = RoomEvent {
                room: watcher.room().clone(),
                position: watcher.position(),
                update,
            };
            let rest = event.update.is_ok().then_some(watcher);
            return Some((event, rest));
        }
    })
}
