//! Origin of a request: a page of this server, or of another site.

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::HeaderName;

use crate::config::{PublicUrl, Settings};
use crate::error::{HttpError, Result};

/// Refuses a request that changes state and was made by a page of another site. Programs that are
/// not browsers send neither header.
pub(crate) fn check(settings: &Settings, headers: &HeaderMap) -> Result<()> {
    let foreign = || HttpError::forbidden("the request comes from a page of another site");
    // `same-site` is another host below the same domain; `none` is a person who typed the address.
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(foreign());
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let (scheme, authority) = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .ok_or_else(foreign)?;
    let public_url = settings.public_url.as_ref();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_own = public_url.is_some_and(|url| url.has_authority(authority))
        || host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
    if !is_own {
        return Err(foreign());
    }

    let own_scheme = if public_url.is_some_and(PublicUrl::is_https) {
        "https"
    } else {
        "http"
    };
    if !scheme.eq_ignore_ascii_case(own_scheme) {
        return Err(HttpError::forbidden(format!(
            "the page was loaded by {scheme}, and this server is reached by {own_scheme}; if a proxy before it \
             does TLS, start it with --public-url https://{authority}"
        )));
    }
    Ok(())
}
