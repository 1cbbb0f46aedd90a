//! The body of a request: read by the handler that needs it, and never left in the way of the next
//! request on the connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue};
use tokio::time::timeout;

use crate::error::{HttpError, Result};
use crate::response::Response;

/// The largest body of a request.
const MAX_BODY: usize = 64 * 1024;
/// The most bytes of an unwanted body that are read so that the connection can go on.
const MAX_DISCARDED: u64 = 1024 * 1024;
/// Time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which a connection that will be closed is still read. If it were closed at once, the
/// client's system would throw the answer away while the client is still sending.
const LINGER: Duration = Duration::from_secs(5);

pub(super) struct RequestBody {
    incoming: Incoming,
    /// Tells if the client waits for `100 Continue`, which the first read sends.
    awaits_continue: bool,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, headers: &HeaderMap) -> Self {
        let ended = incoming.is_end_stream();
        Self {
            incoming,
            awaits_continue: !ended && headers.contains_key(EXPECT),
            ended,
        }
    }

    /// Reads the whole body, at most [`MAX_BODY`] bytes.
    pub(super) async fn read(&mut self) -> Result<Bytes> {
        let announced = self.incoming.size_hint().lower();
        if announced > MAX_BODY as u64 {
            return Err(HttpError::too_large(MAX_BODY));
        }

        let all = async {
            let mut kept = BytesMut::with_capacity(usize::try_from(announced).unwrap_or_default());
            while let Some(data) = self.next().await? {
                if kept.len() + data.len() > MAX_BODY {
                    return Err(HttpError::too_large(MAX_BODY));
                }
                kept.extend_from_slice(&data);
            }
            Ok(kept.freeze())
        };
        timeout(BODY_TIMEOUT, all)
            .await
            .unwrap_or_else(|_| Err(HttpError::request_timeout()))
    }

    /// Reads and discards what nobody has read, so that the next request on the connection is read
    /// from its beginning. Where that is too much, or the client waits to be asked for it, the
    /// response tells the client that the connection ends.
    pub(super) async fn finish(mut self, response: &mut Response) {
        if self.ended {
            return;
        }
        let is_small = self.incoming.size_hint().lower() <= MAX_DISCARDED;
        if is_small && !self.awaits_continue && self.discard().await {
            return;
        }

        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        if !self.awaits_continue {
            tokio::spawn(timeout(LINGER, async move {
                while let Ok(Some(_)) = self.next().await {}
            }));
        }
    }

    /// Returns true if the body ended within its limits.
    async fn discard(&mut self) -> bool {
        let all = async {
            let mut discarded = 0;
            while let Ok(Some(data)) = self.next().await {
                discarded += data.len() as u64;
                if discarded > MAX_DISCARDED {
                    break;
                }
            }
            self.ended
        };
        timeout(BODY_TIMEOUT, all).await.unwrap_or(false)
    }

    /// Returns the next piece, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.awaits_continue = false;
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame
                .map_err(|_| HttpError::bad_request("the body ended early or is malformed"))?;
            // What is no data is trailers.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        self.ended = true;
        Ok(None)
    }
}
