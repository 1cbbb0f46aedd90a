//! The body of a request: read by the handler that needs it, and never left in the way of the next
//! request on the connection.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Version;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
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

/// Error of a body that the program hands over.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) struct RequestBody {
    /// `None` if there is no body, which costs nothing.
    incoming: Option<UnsyncBoxBody<Bytes, BoxError>>,
    /// Least number of bytes that the body is said to have.
    announced: u64,
    /// Set while the client waits for `100 Continue`, which the first read sends.
    awaits_continue: bool,
    /// Set if the next request comes by the same stream of bytes, as before HTTP/2.
    shares_connection: bool,
    ended: bool,
}

impl RequestBody {
    pub(crate) fn new<B>(body: B, head: &Parts) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let ended = body.is_end_stream();
        let announced = body.size_hint().lower();
        let erase = |body: B| {
            body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                .map_err(Into::into)
                .boxed_unsync()
        };
        Self {
            incoming: (!ended).then(|| erase(body)),
            announced,
            awaits_continue: !ended && head.headers.contains_key(EXPECT),
            shares_connection: head.version <= Version::HTTP_11,
            ended,
        }
    }

    /// Reads the whole body, at most [`MAX_BODY`] bytes.
    pub(crate) async fn read(&mut self) -> Result<Bytes> {
        let announced = self.announced;
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
    pub(crate) async fn finish(mut self, response: &mut Response) {
        if self.ended || !self.shares_connection {
            return;
        }
        let is_small = self.announced <= MAX_DISCARDED;
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
        while let Some(incoming) = &mut self.incoming
            && let Some(frame) = incoming.frame().await
        {
            let frame = frame
                .map_err(|_| HttpError::bad_request("the body ended early or is malformed"))?;
            // A frame that is not data has trailers.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        self.ended = true;
        Ok(None)
    }
}
