//! Paths that the server serves, and the prefix before them.

/// A part of the chat that a program may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The JSON routes: `/chat/…` and `/users/…`.
    Json,
    /// Event streams and sockets: `/chat/{room}/events` and `/ws`.
    Live,
    /// Pages and their files. They need the JSON routes, event streams and sockets.
    Pages,
    /// Logging in and registering: `/auth/…`, `/login` and `/account`.
    Accounts,
    /// `/healthz`, `/readyz`, `/metrics` and `/openapi.json`.
    Operations,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [
        Self::Json,
        Self::Live,
        Self::Pages,
        Self::Accounts,
        Self::Operations,
    ];
}

/// First segment of each route, and the part to which such routes belong.
pub(crate) const FIRST_SEGMENTS: &[(&str, Part)] = &[
    ("", Part::Pages),
    ("account", Part::Accounts),
    ("auth", Part::Accounts),
    ("chat", Part::Json),
    ("direct", Part::Pages),
    ("favicon.ico", Part::Pages),
    ("healthz", Part::Operations),
    ("login", Part::Accounts),
    ("metrics", Part::Operations),
    ("new", Part::Pages),
    ("openapi.json", Part::Operations),
    ("readyz", Part::Operations),
    ("rooms", Part::Pages),
    ("static", Part::Pages),
    ("users", Part::Json),
    ("ws", Part::Live),
];

/// Returns the part to which a route belongs.
pub(crate) fn part(path: &str) -> Part {
    if path == "/chat/{room}/events" {
        return Part::Live;
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    FIRST_SEGMENTS
        .iter()
        .find(|(segment, _)| *segment == first)
        .map_or(Part::Json, |(_, part)| *part)
}

/// Checks the path that stands before all others, such as `/community`.
///
/// # Errors
///
/// The reason in words. A prefix must not begin as a route does: once a proxy or a router has
/// removed it, the two could not be told apart.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() {
        return Ok(());
    }
    let is_path = prefix.parse::<http::uri::PathAndQuery>();
    let is_path = is_path.is_ok_and(|path| path.path() == prefix && path.query().is_none());
    if !is_path || !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//") {
        return Err(format!(
            "the prefix {prefix} must be a path such as /community, without a slash at its end"
        ));
    }

    let first = prefix.split('/').nth(1).unwrap_or_default();
    if FIRST_SEGMENTS.iter().any(|(segment, _)| *segment == first) {
        return Err(format!(
            "the path must not begin with /{first}, as paths of the server itself do"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_that_is_no_route() {
        for prefix in ["", "/community", "/a/b", "/a%20b"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in [
            "/", "a", "/a/", "//a", "/a//b", "/a?b", "/a b", "/chat", "/ws/x",
        ] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
