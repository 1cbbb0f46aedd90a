//! The address of a server, and paths below it.

use std::fmt::Write as _;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Result};

/// Bytes that are encoded in a segment or a value: all but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The address of a server: scheme, host, and the prefix of all its paths.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    is_secure: bool,
    authority: Authority,
    /// Without a slash at its end.
    prefix: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let uri: Uri = url
            .parse()
            .map_err(|e| Error::Address(format!("{url}: {e}")))?;
        let is_secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => {
                let reason = "it must begin with http:// or https://";
                return Err(Error::Address(format!("{url}: {reason}")));
            }
        };
        if is_secure && cfg!(not(feature = "tls")) {
            let reason = "https needs the feature tls of chat-client";
            return Err(Error::Address(format!("{url}: {reason}")));
        }
        if uri.query().is_some() {
            let reason = "it must not have a query";
            return Err(Error::Address(format!("{url}: {reason}")));
        }

        let authority = uri.authority().cloned();
        Ok(Self {
            is_secure,
            authority: authority.ok_or_else(|| Error::Address(format!("{url}: it has no host")))?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the address of a path for requests.
    pub(crate) fn http(&self, path: &str) -> Result<Uri> {
        self.with_scheme(if self.is_secure { "https" } else { "http" }, path)
    }

    /// Returns the address of a path for a WebSocket.
    pub(crate) fn ws(&self, path: &str) -> Result<Uri> {
        self.with_scheme(if self.is_secure { "wss" } else { "ws" }, path)
    }

    fn with_scheme(&self, scheme: &str, path: &str) -> Result<Uri> {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build();
        uri.map_err(|e| Error::Address(e.to_string()))
    }
}

/// Writes a path of these segments, and a query of the values that are given.
pub(crate) fn path(segments: &[&str], query: &[(&str, Option<String>)]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, RESERVED));
    }

    let mut separator = '?';
    for (name, value) in query {
        if let Some(value) = value {
            // A string takes all that is written to it.
            let _ = write!(
                path,
                "{separator}{name}={}",
                utf8_percent_encode(value, RESERVED)
            );
            separator = '&';
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_below_the_prefix() {
        let address = Address::parse("http://localhost:8000/community/").expect("an address");
        let after = Some("2026-11-22T20:07:52.743123+01:00".to_owned());
        let path = path(
            &["chat", "a b/ü?", "messages"],
            &[("limit", None), ("since", after)],
        );
        assert_eq!(
            address.http(&path).expect("an address").to_string(),
            "http://localhost:8000/community/chat/a%20b%2F%C3%BC%3F/messages\
             ?since=2026-11-22T20%3A07%3A52.743123%2B01%3A00"
        );
        let socket = address.ws("/ws").expect("an address");
        assert_eq!(socket, "ws://localhost:8000/community/ws");
    }

    #[test]
    fn an_address_without_scheme_or_host_is_refused() {
        for url in [
            "",
            "localhost:8000",
            "/chat",
            "ftp://localhost",
            "http://",
            "http://a?b",
        ] {
            assert!(
                matches!(Address::parse(url), Err(Error::Address(_))),
                "{url}"
            );
        }
        let secure = Address::parse("https://localhost");
        assert_eq!(secure.is_ok(), cfg!(feature = "tls"));
    }
}
