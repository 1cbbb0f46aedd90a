//! Hosts that a server answers to.
//!
//! A page of another site can have its own name resolve to this server (DNS rebinding), and its
//! scripts are then of the same origin as what the server answers. The name stays in the `Host` of
//! their requests, so a server that answers to its own names only is not reached.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

use crate::config::Settings;
use crate::error::{HttpError, Result};

/// Fails unless the server answers to the host of a request. With a public URL or a list of hosts
/// those are what it answers to; without them, one that listens on the loopback interface alone
/// answers to the names of that, and any other to every name.
pub(crate) fn check(
    settings: &Settings,
    on_loopback: bool,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<()> {
    let names_hosts = settings.public_url.is_some() || !settings.allowed_hosts.is_empty();
    if !names_hosts && !on_loopback {
        return Ok(());
    }

    let host = requested(uri, headers);
    let is_own = host.as_ref().is_some_and(|host| {
        settings
            .public_url
            .as_ref()
            .is_some_and(|url| url.has_authority(host.as_str()))
            || settings
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.matches(host))
            || on_loopback && settings.public_url.is_none() && is_loopback(host)
    });
    if is_own {
        Ok(())
    } else {
        Err(refusal(host.as_ref()))
    }
}

/// Returns the host that a request names, if it names one.
pub(crate) fn requested(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(HOST).iter();
    match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => None,
        // RFC 9112, 3.2.2: the header does not count then.
        (Some(authority), _, None) => Some(authority.clone()),
        (None, host, None) => host?.to_str().ok()?.parse().ok(),
    }
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn refusal(host: Option<&Authority>) -> HttpError {
    let name = host.map_or("a request without one host", Authority::as_str);
    HttpError::misdirected(format!(
        "this server does not answer to {name}; start it with --public-url, the address that people use, \
         or with --allowed-hosts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(settings: &Settings, on_loopback: bool, host: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a header value"));
        match check(settings, on_loopback, &Uri::from_static("/"), &headers) {
            Ok(()) => 200,
            Err(error) => error.status.as_u16(),
        }
    }

    #[test]
    fn a_server_answers_to_its_own_hosts_only() {
        let none = Settings::default();
        let public = Settings {
            public_url: Some("https://chat.example/team".parse().expect("a URL")),
            ..none.clone()
        };
        let allowed_hosts =
            ["other.example", "third.example:81"].map(|host| host.parse().expect("a host"));
        let listed = Settings {
            allowed_hosts: allowed_hosts.into(),
            ..none.clone()
        };
        let both = Settings {
            allowed_hosts: listed.allowed_hosts.clone(),
            ..public.clone()
        };
        for (host, expected) in [
            // No settings, on loopback and elsewhere; a public URL; a list, on loopback and
            // elsewhere; both.
            ("localhost", [200, 200, 421, 200, 421, 421]),
            ("LOCALHOST:8000", [200, 200, 421, 200, 421, 421]),
            ("127.0.0.1:8000", [200, 200, 421, 200, 421, 421]),
            ("127.8.9.1", [200, 200, 421, 200, 421, 421]),
            ("[::1]:8000", [200, 200, 421, 200, 421, 421]),
            ("chat.example", [421, 200, 200, 421, 421, 200]),
            ("Chat.Example:443", [421, 200, 200, 421, 421, 200]),
            ("chat.example:8000", [421, 200, 421, 421, 421, 421]),
            ("other.example:8000", [421, 200, 421, 200, 200, 200]),
            ("third.example:81", [421, 200, 421, 200, 200, 200]),
            ("third.example", [421, 200, 421, 421, 421, 421]),
            ("127.0.0.1.evil.example", [421, 200, 421, 421, 421, 421]),
            ("localhost.evil.example", [421, 200, 421, 421, 421, 421]),
            ("192.0.2.1", [421, 200, 421, 421, 421, 421]),
            ("", [421, 200, 421, 421, 421, 421]),
            ("a b", [421, 200, 421, 421, 421, 421]),
        ] {
            let got = [
                status(&none, true, host),
                status(&none, false, host),
                status(&public, true, host),
                status(&listed, true, host),
                status(&listed, false, host),
                status(&both, true, host),
            ];
            assert_eq!(got, expected, "{host}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let mut headers = HeaderMap::new();
        let settings = Settings::default();
        let refused = |uri, headers: &HeaderMap| {
            check(&settings, true, &Uri::from_static(uri), headers).is_err()
        };
        assert!(refused("/", &headers));
        assert!(
            !refused("http://localhost/", &headers) && refused("http://evil.example/", &headers)
        );
        headers.append(HOST, "localhost".parse().expect("a header value"));
        assert!(!refused("/", &headers) && refused("http://evil.example/", &headers));
        headers.append(HOST, "localhost".parse().expect("a header value"));
        assert!(refused("/", &headers));
    }
}
