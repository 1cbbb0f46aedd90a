//! The prefix below which the server under test is mounted, if it is mounted in another program.
//!
//! The tests say paths and expect answers as without a prefix. Requests get the prefix here.
//! Answers lose it here, after it was checked that nothing in them leads out of the mount.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};

/// `CHAT_TEST_MOUNT`, such as `/community`; empty if the server is not mounted.
static PREFIX: LazyLock<String> =
    LazyLock::new(|| std::env::var("CHAT_TEST_MOUNT").unwrap_or_default());

/// The prefix; empty if the server is not mounted.
#[must_use]
pub fn prefix() -> &'static str {
    &PREFIX
}

/// A path of the server, below the prefix.
#[must_use]
pub fn path(path: &str) -> String {
    if path.starts_with('/') {
        format!("{}{path}", prefix())
    } else {
        path.to_owned()
    }
}

/// A request as bytes, whose first line names a path.
pub(crate) fn raw(request: &[u8]) -> Vec<u8> {
    let at = request.windows(2).position(|pair| pair == b" /");
    let line = request.iter().position(|byte| *byte == b'\r');
    match at.filter(|at| line.is_some_and(|line| *at < line)) {
        Some(at) => [&request[..=at], prefix().as_bytes(), &request[at + 1..]].concat(),
        None => request.to_owned(),
    }
}

/// Takes the prefix out of an answer.
///
/// # Panics
///
/// If something in it leads out of the mount.
pub(crate) fn unmount(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    let prefix = prefix();
    if prefix.is_empty() {
        return body;
    }

    if let Some(to) = text(headers.get(LOCATION)) {
        let inner = to.strip_prefix(prefix);
        let inner = inner.unwrap_or_else(|| panic!("a redirect leads out of the mount: {to}"));
        headers.insert(LOCATION, HeaderValue::from_str(inner).expect("a value"));
    }
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let cookie = cookie.to_str().expect("text");
        let own = format!("Path={prefix}");
        assert!(cookie.contains(&own), "a cookie leaves the mount: {cookie}");
        let cookie = cookie.replace(&own, "Path=/");
        headers.append(SET_COOKIE, HeaderValue::from_str(&cookie).expect("a value"));
    }

    let is_page = text(headers.get(CONTENT_TYPE)).is_some_and(|kind| kind.starts_with("text/html"));
    if !is_page {
        return body;
    }
    let page = String::from_utf8(body.into()).expect("UTF-8");
    for attribute in ["href", "src", "action"] {
        for link in page.split(&format!("{attribute}=\"/")).skip(1) {
            let rest = link.strip_prefix(&prefix[1..]);
            let is_own = rest.is_some_and(|rest| rest.starts_with(['/', '"']));
            assert!(is_own, "a link leads out of the mount: /{link:.80}");
        }
    }
    page.replace(&format!("=\"{prefix}"), "=\"").into()
}

fn text(value: Option<&HeaderValue>) -> Option<String> {
    Some(value?.to_str().expect("text").to_owned())
}
