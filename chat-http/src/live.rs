//! Connections that stay open: event streams and sockets.

mod events;
mod frames;
mod handshake;
mod request_queue;
mod room_events;
mod socket;
mod transport;

use hyper_util::rt::TokioIo;

use crate::app::App;
use crate::error::{HttpError, Result};
use crate::origin;
use crate::permits::NetworkPermit;
use crate::request::Call;
use crate::response::Response;
use crate::texts::Language;
use crate::write_timeout::WriteTimeout;

pub(crate) use events::events;
use socket::Peer;

/// `GET /ws`: from here on the connection speaks WebSocket.
pub(crate) async fn socket(app: App, mut call: Call) -> Result<Response> {
    // A browser sends cookies to any site that a page names, and lets the page read what a socket
    // says, so a foreign page must not get one.
    origin::check(&app, &call.head, call.arrival)?;
    if call.ended {
        return Err(HttpError::no_session(true));
    }

    let permit = anonymous_permit(&app, &call)?;
    let (response, connection) = handshake::accept(&mut call)?;
    let peer = Peer {
        network: call.network(&app),
        language: Language::of(&call.head.headers),
    };
    let user = call.user.take();

    let sockets = app.sockets().clone();
    sockets.spawn(async move {
        let _permit = permit;
        match connection.await {
            Ok(connection) => {
                // A client that accepts nothing is cut off, whichever listener it came by.
                let connection = WriteTimeout::new(TokioIo::new(connection));
                socket::run(app, user, peer, connection).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was not handed over"),
        }
    });
    Ok(response)
}

/// Takes the permit of a stream or a socket without a session.
fn anonymous_permit(app: &App, call: &Call) -> Result<Option<NetworkPermit>> {
    match call.user {
        Some(_) => Ok(None),
        None => app.limits().anonymous_stream(call.network(app)).map(Some),
    }
}
