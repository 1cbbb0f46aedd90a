//! Who makes a request, and whether the request comes from a page of ours.

use chatcore::{Actor, Privacy, RoomName, SessionToken, UserStore};
use cookie::{Cookie, SameSite, time};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN, SET_COOKIE,
};
use hyper::http::HeaderName;

use crate::App;
use crate::config::{PublicUrl, Settings};
use crate::error::{HttpError, Result};
use crate::request::Who;
use crate::response::Response;

/// Who makes a request.
pub(crate) enum Credentials {
    None,
    /// A token that stands for no session.
    Ended,
    Session {
        who: Who,
        /// Tells if the token came in a cookie that has lived for half of its time.
        renew_cookie: bool,
    },
}

pub(crate) async fn look_up(app: &App, headers: &HeaderMap) -> Result<Credentials> {
    let (token, by_cookie) = match token(app.settings(), headers) {
        Token::None => return Ok(Credentials::None),
        Token::Malformed => return Ok(Credentials::Ended),
        Token::Bearer(token) => (token, false),
        Token::Cookie(token) => (token, true),
    };
    Ok(match app.store().session(&token).await? {
        None => Credentials::Ended,
        Some(session) => {
            let renew_cookie = by_cookie && app.store().is_renewal_due(&session);
            Credentials::Session {
                who: Who { token, session },
                renew_cookie,
            }
        }
    })
}

/// A room as whoever makes a request may see it.
pub(crate) struct Sight {
    pub(crate) view: UserStore,
    /// Who looks, if that was asked.
    pub(crate) who: Option<Who>,
    is_public: bool,
}

/// Finds out who makes a request only if the room is not there for everyone: the many readers of
/// public rooms need no look at their sessions. A room that does not exist is treated like a
/// private one, so that a wait, or the use of a session, tells nobody which of them it is.
pub(crate) async fn sight(app: &App, headers: &HeaderMap, room: &RoomName) -> Result<Sight> {
    if app.store().privacy(room).await? == Some(Privacy::Public) {
        return Ok(Sight {
            view: app.store().as_user(Actor::Anonymous),
            who: None,
            is_public: true,
        });
    }
    let who = match Box::pin(look_up(app, headers)).await? {
        Credentials::Session { who, .. } => Some(who),
        Credentials::None | Credentials::Ended => None,
    };
    let actor = who
        .as_ref()
        .map_or(Actor::Anonymous, |who| who.session.actor());
    Ok(Sight {
        view: app.store().as_user(actor),
        who,
        is_public: false,
    })
}

impl Sight {
    /// An answer as it may be kept: not at all, if it is not for everyone.
    pub(crate) fn keep(&self, mut answer: Response) -> Response {
        if !self.is_public {
            answer
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        answer
    }
}

enum Token {
    None,
    Malformed,
    Bearer(SessionToken),
    Cookie(SessionToken),
}

/// The token in `Authorization`, else in the cookie. Schemes other than `Bearer` are for a proxy.
fn token(settings: &Settings, headers: &HeaderMap) -> Token {
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
pub(crate) fn set_cookie(
    settings: &Settings,
    response: &mut Response,
    token: Option<&SessionToken>,
) {
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

/// Gives the client the token that it has for longer. If the store cannot write that down, a later
/// answer does it.
pub(crate) async fn renew_cookie(app: &App, response: &mut Response, token: &SessionToken) {
    match app.store().renew_session(token).await {
        Ok(()) => set_cookie(app.settings(), response, Some(token)),
        Err(error) => tracing::debug!(%error, "a cookie was not renewed"),
    }
}

/// Refuses a request that changes state and was made by a page of another site. Programs that are
/// not browsers send neither header.
pub(crate) fn check_origin(settings: &Settings, headers: &HeaderMap) -> Result<()> {
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
