//! What is new in one of the rooms that a socket follows, and with its user.

use std::time::Duration;

use chatcore::{ChangeSeq, Error, RoomName, Seq, Update, UserUpdate, UserWatcher, Watcher};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use crate::error::HttpError;

/// How long a follower waits after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// What is new in a room.
pub(super) struct RoomEvent {
    pub(super) room: RoomName,
    pub(super) update: Result<Update, EndReason>,
    /// Places of the follower after the update, among the messages and among the changes, once both
    /// are known.
    pub(super) position: (Seq, Option<ChangeSeq>),
}

/// Why there will be nothing more.
pub(super) enum EndReason {
    /// The store is closed, or lost to another process.
    Closed,
    /// The user may not be in the room, or not any more.
    TurnedAway(HttpError),
}

/// What is new in a room, for as long as the socket wants it and may have it.
pub(super) fn news(watcher: Watcher) -> impl Stream<Item = RoomEvent> {
    stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        loop {
            let update = match watcher.next().await {
                Ok(update) => Ok(update),
                Err(Error::Closed) => Err(EndReason::Closed),
                Err(error @ (Error::RoomNotFound | Error::Banned)) => {
                    Err(EndReason::TurnedAway(error.into()))
                }
                Err(error) => {
                    tracing::debug!(%error, "a follower waits for the store");
                    sleep(RETRY).await;
                    continue;
                }
            };

            let (room, position) = (watcher.room().clone(), watcher.position());
            let rest = update.is_ok().then_some(watcher);
            return Some((
                RoomEvent {
                    room,
                    update,
                    position,
                },
                rest,
            ));
        }
    })
}

/// Next news of a user, if it is known who that is, until the store is closed.
pub(super) async fn next_of(user: &mut Option<UserWatcher>) -> chatcore::Result<UserUpdate> {
    match user {
        Some(user) => user.next().await,
        None => std::future::pending().await,
    }
}
