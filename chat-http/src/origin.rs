//! Origin of a request: a page of this server, or of another site.

use http::request::Parts;
use hyper::header::ORIGIN;
use hyper::http::HeaderName;

use crate::app::App;
use crate::arrival::Arrival;
use crate::config::PublicUrl;
use crate::error::{HttpError, Result};
use crate::host;

/// Refuses a request that changes state and was made by a page of another site. Programs that are
/// not browsers send neither header.
pub(crate) fn check(app: &App, head: &Parts, arrival: Arrival) -> Result<()> {
    let foreign = || HttpError::forbidden("the request comes from a page of another site");
    let headers = &head.headers;
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str());
    if let Some(Ok(origin)) = origin
        && app.allows_origin(origin)
    {
        return Ok(());
    }

    // `same-site` is another host below the same domain; `none` is a person who typed the address.
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(foreign());
    }
    let Some(origin) = origin else {
        return Ok(());
    };
    let (scheme, authority) = origin
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .ok_or_else(foreign)?;

    let public_url = app.settings().public_url.as_ref();
    let is_own = public_url.is_some_and(|url| url.has_authority(authority))
        || host::requested(&head.uri, headers)
            .is_some_and(|host| host.as_str().eq_ignore_ascii_case(authority));
    if !is_own {
        return Err(foreign());
    }
    check_scheme(public_url, arrival, scheme, authority)
}

/// Refuses a page that was loaded by another scheme than the server is reached by. Where a program
/// mounts the chat, only a public URL says which one that is.
fn check_scheme(
    public_url: Option<&PublicUrl>,
    arrival: Arrival,
    scheme: &str,
    authority: &str,
) -> Result<()> {
    let own_scheme = match (public_url, arrival.listener) {
        (Some(url), _) if url.is_https() => "https",
        (Some(_), _) | (None, Some(_)) => "http",
        (None, None) => return Ok(()),
    };
    if scheme.eq_ignore_ascii_case(own_scheme) {
        return Ok(());
    }
    Err(HttpError::forbidden(format!(
        "the page was loaded by {scheme}, and this server is reached by {own_scheme}; if a proxy before it \
         does TLS, start it with --public-url https://{authority}"
    )))
}
