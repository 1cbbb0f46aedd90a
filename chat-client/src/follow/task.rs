//! The task that follows: by a socket, by polling where sockets are blocked, and again after every
//! interruption.

use std::convert::Infallible;

use tokio::time::sleep;

use super::engine::{End, Engine};
use super::event::{Event, Way};
use crate::error::{Error, Result};

/// Sockets in a row on which nothing arrived, while the server answered calls, after which sockets
/// count as blocked.
const MAX_DEAD_SOCKETS: u32 = 2;

/// Follows until the program takes no more events or the server refuses the client for good.
pub(super) async fn run(mut engine: Engine) {
    let mut way = Way::Socket;
    loop {
        let end = match way {
            Way::Socket => engine.follow_by_socket().await,
            Way::Polling => engine.follow_by_polling().await,
        };
        way = match recover(&mut engine, way, end).await {
            Ok(way) => way,
            Err(None) => return,
            Err(Some(error)) => {
                // Fails if the program takes no more events, and then need not know.
                let _ = engine.events.send(Err(error)).await;
                return;
            }
        };
    }
}

/// Returns the way to go on by, once another attempt is due; or an error to end with, if there
/// is one.
async fn recover(
    engine: &mut Engine,
    way: Way,
    end: Result<Infallible, End>,
) -> Result<Way, Option<Error>> {
    let end = match end {
        Ok(never) => match never {},
        Err(end) => end,
    };
    let (reason, retry_after) = match end {
        End::Dropped => return Err(None),
        End::Refused(error) => return Err(Some(error)),
        End::Blocked => return Ok(Way::Polling),
        End::Again(way) => return Ok(way),
        End::Lost {
            reason,
            retry_after,
        } => (reason, retry_after),
    };

    if engine.connected.take().is_some() {
        let lost = Event::Disconnected(reason.clone());
        engine.emit(lost).await.map_err(|_| None)?;
    }
    if way == Way::Socket && engine.dead_sockets >= MAX_DEAD_SOCKETS {
        engine.dead_sockets = 0;
        if engine.client.check_health().await.is_ok() {
            return Ok(Way::Polling);
        }
    }

    let pause = engine.backoff.pause(retry_after);
    tracing::debug!(reason, ?pause, "the connection is opened again");
    sleep(pause).await;
    Ok(Way::Socket)
}
