//! The forms of an answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chat_client::wire::{Problem, Status};
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use hyper::{Response as HyperResponse, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::body::Body;
use crate::error::{HttpError, Result};

pub(crate) type Response = HyperResponse<Body>;

pub(crate) const JSON: &str = "application/json";

/// Enough of a hash that two bodies of one address never share it; four characters for three bytes
/// in Base64, and two quotes.
const ETAG_BYTES: usize = 12;
const ETAG_LENGTH: usize = ETAG_BYTES / 3 * 4 + 2;

pub(crate) fn bytes(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = HyperResponse::new(Body::whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Answers a failed request with a problem document (RFC 9457).
pub(crate) fn problem(error: HttpError) -> Response {
    let problem = Problem {
        title: error.title().to_owned(),
        status: error.status.as_u16(),
        detail: error.detail.into_owned(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = bytes(error.status, "application/problem+json", body);

    let headers = response.headers_mut();
    // It may be gone, or be another's, the next time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(error.headers);
    response
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| {
        tracing::error!(error = %e, "an answer could not be written as JSON");
        HttpError::internal()
    })
}

/// Returns an answer to this request alone.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response> {
    let mut response = bytes(status, JSON, encode(value)?);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the answer to a request that has nothing else to say.
pub(crate) fn done() -> Result<Response> {
    json(StatusCode::OK, &Status::default())
}

pub(crate) fn no_content() -> Response {
    let mut response = HyperResponse::new(Body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Returns an answer that a client may keep and ask about again: `304` while nothing changed.
pub(crate) fn cacheable_json(headers: &HeaderMap, value: &impl Serialize) -> Result<Response> {
    Ok(cacheable(headers, JSON, encode(value)?))
}

pub(crate) fn cacheable(
    headers: &HeaderMap,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let body = body.into();
    let hash = Sha256::digest(&body);
    cacheable_as(headers, content_type, hash.into(), || body)
}

/// Returns an answer that a client may keep, like [`cacheable`], with a body that is made only if
/// it is wanted. `hash` must differ whenever the body does.
pub(crate) fn cacheable_as<B: Into<Bytes>>(
    headers: &HeaderMap,
    content_type: &'static str,
    hash: [u8; 32],
    body: impl FnOnce() -> B,
) -> Response {
    let mut tag = [b'"'; ETAG_LENGTH];
    // Fails only where there is too little room.
    let _ = URL_SAFE_NO_PAD.encode_slice(&hash[..ETAG_BYTES], &mut tag[1..ETAG_LENGTH - 1]);
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| matches(value, &tag));
    let mut response = if known {
        let mut unchanged = HyperResponse::new(Body::whole(Bytes::new()));
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        bytes(StatusCode::OK, content_type, body())
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_bytes(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Returns true if a tag is in the list, by weak comparison (RFC 9110, 8.8.3.2).
fn matches(list: &HeaderValue, tag: &[u8]) -> bool {
    list.as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag)
}

/// Returns `303`, which leads to another page by `GET`.
pub(crate) fn see_other(location: &str) -> Result<Response> {
    redirect(StatusCode::SEE_OTHER, location)
}

pub(crate) fn redirect(status: StatusCode, location: &str) -> Result<Response> {
    let mut response = HyperResponse::new(Body::whole(Bytes::new()));
    *response.status_mut() = status;
    let location = HeaderValue::from_str(location).map_err(|_| HttpError::internal())?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
