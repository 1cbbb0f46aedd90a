//! Opening handshake of a WebSocket, the server's side: RFC 6455, 4.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::OnUpgrade;

use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, no_content};

/// Constant that is hashed with the key: RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Returns the answer to a handshake, and the connection that it will upgrade.
pub(super) fn accept(call: &mut Call) -> Result<(Response, OnUpgrade)> {
    let accepted = accept_key(check(call)?)?;
    // HTTP/1.0 has no upgrades.
    let no_upgrade = || HttpError::upgrade_required("this path speaks WebSocket; use HTTP/1.1");
    let connection = call.upgrade.take().ok_or_else(no_upgrade)?;

    let mut response = no_content();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok((response, connection))
}

/// Checks the headers of a handshake, and returns its key.
fn check(call: &Call) -> Result<&str> {
    let lists = |name, token: &str| {
        let values = call
            .head
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };

    if !lists(CONNECTION, "upgrade") || !lists(UPGRADE, "websocket") {
        return Err(HttpError::upgrade_required(
            "this path speaks WebSocket; ask for an upgrade",
        ));
    }
    if call.header(SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HttpError::upgrade_required(
            "Sec-WebSocket-Version must be 13",
        ));
    }

    let key = call.header(SEC_WEBSOCKET_KEY).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(HttpError::bad_request(
            "Sec-WebSocket-Key must be 16 bytes in Base64",
        ));
    }
    Ok(key)
}

/// Hashes a key, as proof that the server speaks WebSocket.
fn accept_key(key: &str) -> Result<HeaderValue> {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    let accepted = STANDARD.encode(hash.digest().bytes());
    HeaderValue::try_from(accepted).map_err(|_| HttpError::internal())
}
