//! The session token as requests and answers carry it: in `Authorization`, or in a cookie.

use chatcore::SessionToken;
use cookie::{Cookie, SameSite, time};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use crate::config::{PublicUrl, Settings};
use crate::response::Response;

/// The token of a request.
pub(crate) enum Token {
    None,
    Malformed,
    Bearer(SessionToken),
    Cookie(SessionToken),
}

/// The token in `Authorization`, else in the cookie. Schemes other than `Bearer` are for a proxy.
pub(crate) fn token(settings: &Settings, headers: &HeaderMap) -> Token {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if let Some((scheme, token)) = authorization.and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return token.trim().parse().map_or(Token::Malformed, Token::Bearer);
    }

    let name = cookie_name(settings.public_url.as_ref());
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut ours = cookies
        .flat_map(Cookie::split_parse)
        .flatten()
        .filter(|cookie| cookie.name() == name);
    ours.find_map(|cookie| cookie.value().parse().ok())
        .map_or(Token::None, Token::Cookie)
}

/// `__Host-` binds a cookie to the host and the path `/`; below a prefix only `__Secure-` can be.
fn cookie_name(public_url: Option<&PublicUrl>) -> &'static str {
    match public_url {
        Some(url) if url.is_https() && url.prefix().is_empty() => "__Host-session",
        Some(url) if url.is_https() => "__Secure-session",
        _ => "session",
    }
}

/// Gives the client its token to keep, or takes it away.
pub(crate) fn set(settings: &Settings, response: &mut Response, token: Option<&SessionToken>) {
    let public_url = settings.public_url.as_ref();
    let prefix = public_url
        .map(PublicUrl::prefix)
        .filter(|prefix| !prefix.is_empty());
    let value = token.map(ToString::to_string).unwrap_or_default();
    let lifetime = if token.is_some() {
        chatcore::SESSION_IDLE.as_secs()
    } else {
        0
    };

    let cookie = Cookie::build((cookie_name(public_url), value))
        .http_only(true)
        .same_site(SameSite::Lax)
        .path(prefix.unwrap_or("/").to_owned())
        .secure(public_url.is_some_and(PublicUrl::is_https))
        .max_age(time::Duration::seconds(lifetime.cast_signed()));

    if let Ok(value) = HeaderValue::try_from(cookie.build().to_string()) {
        response.headers_mut().append(SET_COOKIE, value);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
