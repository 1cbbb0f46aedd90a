//! The session token as requests and answers carry it: in `Authorization`, or in a cookie.

use chatcore::SessionToken;
use cookie::{Cookie, SameSite, time};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use crate::app::App;
use crate::config::PublicUrl;
use crate::response::Response;

/// The token of a request.
pub(crate) enum Token {
    None,
    Malformed,
    Bearer(SessionToken),
    Cookie(SessionToken),
}

/// Returns the token in `Authorization`, else in the cookie. Schemes other than `Bearer` are for a
/// proxy.
pub(crate) fn token(app: &App, headers: &HeaderMap) -> Token {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if let Some((scheme, token)) = authorization.and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return token.trim().parse().map_or(Token::Malformed, Token::Bearer);
    }

    let name = cookie_name(app);
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

/// Returns the name of the cookie. `__Host-` binds it to the host and the path `/`; below a prefix
/// only `__Secure-` is possible.
fn cookie_name(app: &App) -> &'static str {
    match (is_https(app), app.prefix()) {
        (true, "") => "__Host-session",
        (true, _) => "__Secure-session",
        (false, _) => "session",
    }
}

fn is_https(app: &App) -> bool {
    let public_url = app.settings().public_url.as_ref();
    public_url.is_some_and(PublicUrl::is_https)
}

/// Gives the client its token to keep, or takes it away.
pub(crate) fn set(app: &App, response: &mut Response, token: Option<&SessionToken>) {
    let path = match app.prefix() {
        "" => "/",
        prefix => prefix,
    };
    let value = token.map(ToString::to_string).unwrap_or_default();
    let lifetime = if token.is_some() {
        chatcore::SESSION_IDLE.as_secs()
    } else {
        0
    };

    let cookie = Cookie::build((cookie_name(app), value))
        .http_only(true)
        .same_site(SameSite::Lax)
        .path(path.to_owned())
        .secure(is_https(app))
        .max_age(time::Duration::seconds(lifetime.cast_signed()));

    if let Ok(value) = HeaderValue::try_from(cookie.build().to_string()) {
        response.headers_mut().append(SET_COOKIE, value);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
