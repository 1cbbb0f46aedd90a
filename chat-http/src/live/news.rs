//! What is new in one of the rooms that a socket follows, and with its user.

use std::time::Duration;

use chatcore::{Error, RoomName, Update, UserUpdate, UserWatcher, Watcher};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use crate::error::HttpError;

/// How long a follower waits after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// What is new in a room.
pub(super) type News = (RoomName, Result<Update, Over>);

/// Why there will be nothing more.
pub(super) enum Over {
    /// The store is closed, or lost to another process.
    Closed,
    /// The user may not be in the room, or not any more.
    TurnedAway(HttpError),
}

/// What is new in a room, for as long as the socket wants it and may have it.
pub(super) fn news(watcher: Watcher) -> impl Stream<Item = News> {
    stream::unfold(Some(watcher), |watcher| async move {
        let mut watcher = watcher?;
        loop {
            let room = watcher.room().clone();
            match watcher.next().await {
                Ok(update) => return Some(((room, Ok(update)), Some(watcher))),
                Err(Error::Closed) => return Some(((room, Err(Over::Closed)), None)),
                Err(error @ (Error::RoomNotFound | Error::Banned)) => {
                    return Some(((room, Err(Over::TurnedAway(error.into()))), None));
                }
                Err(error) => {
                    tracing::debug!(%error, "a follower waits for the store");
                    sleep(RETRY).await;
                }
            }
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
