//! Settings of the application.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;

use crate::address::Proxies;
use crate::paths::check_prefix;

/// Behaviour of the application, whatever it listens on and stores in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rights without an account: everything, reading public rooms, or nothing.
    pub guests: Guests,

    /// Address by which clients reach the server, if not the one it listens on: the scheme decides
    /// on `Secure` cookies, the path stands before all links and cookies.
    pub public_url: Option<PublicUrl>,

    /// Hosts that the server answers to besides that of the public URL.
    pub allowed_hosts: Vec<AllowedHost>,

    /// Posts a second for one user, with bursts of four times that; 0 is no limit.
    pub post_rate: u32,

    /// Proxies whose `X-Forwarded-For` tells the client's address.
    pub trusted_proxies: Vec<Proxies>,

    /// Connections at once. [`run`](crate::run) accepts no more; where another program accepts
    /// them, those without a session still have only a part of these for sockets and event streams.
    pub max_connections: usize,

    /// Connections from one address at once, a quarter of all if `None`; 0 is no limit. Sockets and
    /// event streams without a session have a quarter of these.
    pub connections_per_address: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            guests: Guests::Allow,
            public_url: None,
            allowed_hosts: Vec::new(),
            post_rate: 50,
            trusted_proxies: Vec::new(),
            max_connections: 16_384,
            connections_per_address: None,
        }
    }
}

/// Rights without an account's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// Everything but what needs an account: any name without one may be used.
    Allow,
    /// Reading public rooms, and nothing else.
    Read,
    /// Nothing but logging in and registering.
    Deny,
}

/// A host that people reach the server by, such as `chat.example`, or with a port,
/// `chat.example:8443`. Without one, any port is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(Authority);

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a host such as chat.example, or chat.example:8443".to_owned();
        let host: Authority = text.trim().parse().map_err(|_| wrong())?;
        let is_host = !host.as_str().contains('@') && !host.host().is_empty();
        if is_host {
            Ok(Self(host))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AllowedHost {
    pub(crate) fn matches(&self, host: &Authority) -> bool {
        let same_port = self.0.port().is_none() || self.0.port_u16() == host.port_u16();
        same_port && self.0.host().eq_ignore_ascii_case(host.host())
    }
}

/// An `http` or `https` address without query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    https: bool,
    authority: String,
    prefix: String,
}

impl PublicUrl {
    /// Returns true if clients come by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Returns true if this is the host and port of the URL, in any case and with or without the
    /// scheme's own port.
    pub(crate) fn has_authority(&self, authority: &str) -> bool {
        let default_port = if self.https { ":443" } else { ":80" };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        self.authority.eq_ignore_ascii_case(authority)
    }

    /// Returns the path without a slash at its end; empty for the root.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the `Origin` that a browser sends from a page of this server.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with http:// or https://".into()),
        };
        let authority = uri.authority().ok_or("has no host")?.as_str();
        if authority.contains('@') {
            return Err("must not contain a user".into());
        }
        if uri.query().is_some() {
            return Err("must not have a query".into());
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        check_prefix(&prefix)?;
        // Browsers leave the scheme's own port out of `Origin`.
        let default_port = if https { ":443" } else { ":80" };
        let authority = authority
            .strip_suffix(default_port)
            .unwrap_or(authority)
            .to_ascii_lowercase();
        Ok(Self {
            https,
            authority,
            prefix,
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_gives_origin_and_prefix() {
        for (text, origin, prefix) in [
            ("https://chat.example", "https://chat.example", ""),
            ("https://Chat.Example:443/", "https://chat.example", ""),
            (
                "http://chat.example:8080/a/b/",
                "http://chat.example:8080",
                "/a/b",
            ),
        ] {
            let url: PublicUrl = text.parse().expect(text);
            assert_eq!((url.origin().as_str(), url.prefix()), (origin, prefix));
        }
        for text in [
            "chat.example",
            "ftp://chat.example",
            "https://u@chat.example",
            "https://chat.example/?q",
            "https://chat.example/chat/x",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_allowed_host_is_a_host_and_nothing_else() {
        for text in ["chat.example", "chat.example:8443", " [::1]:80 "] {
            assert!(text.parse::<AllowedHost>().is_ok(), "{text}");
        }
        for text in ["", "a b", "u@a", ":80"] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }
}
