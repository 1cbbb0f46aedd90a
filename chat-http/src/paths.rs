//! First segments of the paths that the server serves.

/// First segment of each route. A prefix that began with one of them could not be told from a
/// route once a proxy has removed it.
pub(crate) const FIRST_SEGMENTS: &[&str] = &[
    "account",
    "auth",
    "chat",
    "favicon.ico",
    "healthz",
    "login",
    "metrics",
    "openapi.json",
    "readyz",
    "rooms",
    "static",
    "users",
    "ws",
];

/// Returns true if a path that begins with this segment belongs to a route.
pub(crate) fn is_taken(segment: &str) -> bool {
    FIRST_SEGMENTS.contains(&segment)
}
