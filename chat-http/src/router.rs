//! The routes, on one page, and the way of a request to its handler and back.

#[cfg(test)]
mod access;
mod body;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use self::body::RequestBody;
use crate::auth::{self as credentials, Credentials};
use crate::config::Guests;
use crate::error::{HttpError, Result};
use crate::handlers::{account, auth, changes, messages, moderation, operations, rooms, users};
use crate::request::{Call, Query, Segments, decode};
use crate::response::Response;
use crate::server::Connection;
use crate::{App, live, pages};

/// Who reads the answer, and so the form of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Programs,
    /// Programs, and people by the forms of pages.
    Both,
    People,
}

/// Purpose of a route, which decides who may use it without an account's session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Everyone, by whatever host: probes of a server know its address and no name.
    Probe,
    /// Everyone.
    Open,
    /// Guests, unless they are denied.
    Read,
    /// Guests, if they are allowed.
    Write,
}

/// Whether a handler asks who makes the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Asks,
    Ignores,
}
use For::{Both, People, Programs};
use Session::{Asks, Ignores};
use Use::{Open, Probe, Read, Write};

type Handler = fn(App, Call) -> BoxFuture<'static, Result<Response>>;

struct Route {
    method: Method,
    path: &'static str,
    purpose: Use,
    session: Session,
    audience: For,
    handler: Handler,
}

macro_rules! routes {
    ($($method:ident $path:literal $purpose:ident $session:ident $audience:ident $handler:expr;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            purpose: $purpose,
            session: $session,
            audience: $audience,
            handler: |app, call| Box::pin($handler(app, call)),
        }),*]
    };
}

#[rustfmt::skip]
static ROUTES: &[Route] = routes! {
    POST   "/auth/login"               Open  Asks    Both     auth::log_in;
    POST   "/auth/logout"              Open  Asks    Both     auth::log_out;
    GET    "/auth/me"                  Read  Asks    Programs auth::me;
    POST   "/auth/register"            Open  Asks    Both     account::register;
    POST   "/auth/password"            Write Asks    Both     account::change_password;
    GET    "/auth/sessions"            Read  Asks    Programs auth::sessions;
    DELETE "/auth/sessions"            Write Asks    Programs auth::end_other_sessions;
    DELETE "/auth/sessions/{id}"       Write Asks    Programs auth::end_session;

    GET    "/users/{username}/count"   Read  Ignores Programs users::count;
    GET    "/users/{username}/rooms"   Read  Asks    Programs users::rooms;
    GET    "/users/{username}/mentions" Read Asks    Programs users::mentions;

    GET    "/chat"                     Read  Ignores Programs rooms::to_list;
    GET    "/chat/"                    Read  Asks    Programs rooms::list;
    GET    "/chat/{room}"              Read  Ignores Programs rooms::get;
    PUT    "/chat/{room}"              Write Asks    Programs rooms::create;
    PATCH  "/chat/{room}"              Write Asks    Programs rooms::set_topic;
    GET    "/chat/{room}/users"        Read  Ignores Programs rooms::users;
    POST   "/chat/{room}/join"         Write Asks    Programs rooms::join;
    POST   "/chat/{room}/leave"        Write Asks    Programs rooms::leave;
    POST   "/chat/{room}/read"         Write Asks    Programs rooms::read;
    GET    "/chat/{room}/messages"     Read  Ignores Programs messages::read;
    POST   "/chat/{room}/messages"     Write Asks    Programs messages::post;
    GET    "/chat/{room}/changes"      Read  Ignores Programs changes::read;
    GET    "/chat/{room}/events"       Read  Asks    Programs live::events;
    GET    "/ws"                       Read  Asks    Programs live::socket;

    PUT    "/chat/{room}/members/{username}" Write Asks    Programs moderation::invite;
    DELETE "/chat/{room}/members/{username}" Write Asks    Programs moderation::remove;
    GET    "/chat/{room}/bans"               Read  Asks    Programs moderation::bans;
    PUT    "/chat/{room}/bans/{username}"    Write Asks    Programs moderation::ban;
    DELETE "/chat/{room}/bans/{username}"    Write Asks    Programs moderation::unban;

    GET    "/chat/{room}/messages/{seq}"     Read  Ignores Programs messages::get;
    PATCH  "/chat/{room}/messages/{seq}"     Write Asks    Programs changes::edit;
    DELETE "/chat/{room}/messages/{seq}"     Write Asks    Programs changes::delete;
    PUT    "/chat/{room}/messages/{seq}/reactions/{emoji}" Write Asks Programs changes::add_reaction;
    DELETE "/chat/{room}/messages/{seq}/reactions/{emoji}" Write Asks Programs changes::remove_reaction;

    GET    "/"                         Read  Asks    People   pages::rooms;
    GET    "/login"                    Open  Asks    People   pages::account::log_in;
    GET    "/account"                  Read  Asks    People   pages::account::account;
    POST   "/account/sessions"         Write Asks    People   pages::account::end_sessions;
    POST   "/rooms"                    Write Asks    People   pages::open_room;
    GET    "/rooms/{room}"             Read  Asks    People   pages::room::show;
    POST   "/rooms/{room}"             Write Asks    People   pages::room::post;
    POST   "/rooms/{room}/people"      Write Asks    People   pages::room::change_people;
    POST   "/rooms/{room}/delete"      Write Asks    People   pages::room::delete;
    GET    "/static/{file}"            Open  Ignores Programs pages::file;
    GET    "/favicon.ico"              Open  Ignores Programs pages::favicon;

    GET    "/healthz"                  Probe Ignores Programs operations::healthz;
    GET    "/readyz"                   Probe Ignores Programs operations::readyz;
    GET    "/metrics"                  Probe Ignores Programs operations::metrics;
    GET    "/openapi.json"             Open  Ignores Programs operations::openapi;
};

/// Whether a path that begins with this segment belongs to a route, so that it cannot be a prefix.
pub(crate) fn is_taken(segment: &str) -> bool {
    !segment.is_empty()
        && ROUTES
            .iter()
            .any(|route| route.path.split('/').nth(1) == Some(segment))
}

/// Finds the routes of a path.
pub(crate) struct Router(matchit::Router<Vec<&'static Route>>);

impl Router {
    pub(crate) fn new() -> Self {
        let mut router = matchit::Router::new();
        for route in ROUTES {
            let same_path = || ROUTES.iter().filter(|other| other.path == route.path);
            if same_path()
                .next()
                .is_some_and(|first| std::ptr::eq(first, route))
            {
                // Fails only for a path that two others contradict, which a test rules out.
                let _ = router.insert(route.path, same_path().collect());
            }
        }
        Self(router)
    }
}

/// Answers a request. A handler that panics costs its client a `500`, not the connection.
pub(crate) async fn respond(connection: &Arc<Connection>, request: Request<Incoming>) -> Response {
    let (mut head, body) = request.into_parts();
    let mut body = RequestBody::new(body, &head.headers);
    let mut response = answer(connection, &mut head, &mut body).await;
    body.finish(&mut response).await;
    // What is JSON or text stays that, whatever somebody managed to write into it.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    connection.app.metrics().answered(response.status());
    if response.status().is_server_error() {
        tracing::warn!(
            status = response.status().as_u16(),
            path = head.uri.path(),
            "a request failed"
        );
    }
    response
}

async fn catch(answer: impl Future<Output = Result<Response>>) -> Result<Response> {
    AssertUnwindSafe(answer)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("a handler panicked");
            Err(HttpError::internal())
        })
}

async fn answer(
    connection: &Arc<Connection>,
    head: &mut Parts,
    body: &mut RequestBody,
) -> Response {
    let app = &connection.app;
    // A handler takes the headers.
    let (is_browser, is_form) = (is_browser(&head.headers), is_form(&head.headers));
    let answered = catch(route(connection, head, body)).await;
    answered.unwrap_or_else(|error| {
        let at_path = || {
            routes_at(app, head)
                .map(|found| found.value.as_slice())
                .unwrap_or_default()
        };
        let is_for = |audience| at_path().iter().any(|route| route.audience == audience);
        match is_browser || is_for(People) || is_form && is_for(Both) {
            true => pages::error(app, error),
            false => error.into_response(),
        }
    })
}

/// Tells if a browser wants to show the answer. Its scripts take anything.
fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted.into_iter().any(|list| list.contains("text/html"))
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    kind.starts_with(b"application/x-www-form-urlencoded")
}

type Found<'a> = matchit::Match<'a, 'a, &'a Vec<&'static Route>>;

fn routes_at<'a>(app: &'a App, head: &'a Parts) -> Result<Found<'a>> {
    let path = head.uri.path();
    // A proxy may have removed the prefix already.
    let path = match path.strip_prefix(app.prefix()) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    app.router()
        .0
        .at(path)
        .map_err(|_| HttpError::not_found("nothing is at this path"))
}

/// Finds the route of a request and has it handled.
async fn route(
    connection: &Arc<Connection>,
    head: &mut Parts,
    body: &mut RequestBody,
) -> Result<Response> {
    let app = &connection.app;
    let found = routes_at(app, head);
    let is_probe = found
        .as_ref()
        .is_ok_and(|found| found.value.iter().any(|route| route.purpose == Probe));
    if !is_probe {
        connection.check_host(&head.uri, &head.headers)?;
    }
    let found = found?;

    // A `HEAD` is a `GET` whose body the connection leaves out.
    let method = if head.method == Method::HEAD {
        &Method::GET
    } else {
        &head.method
    };
    let route = found
        .value
        .iter()
        .copied()
        .find(|route| route.method == *method);
    let route = route.ok_or_else(|| HttpError::method_not_allowed(&allowed(found.value)))?;

    let segments = found
        .params
        .iter()
        .map(|(_, text)| decode(text))
        .collect::<Result<Segments>>()?;
    handle(route, segments, connection, head, body).await
}

fn allowed(routes: &[&Route]) -> String {
    let mut methods: Vec<_> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

async fn handle(
    route: &Route,
    segments: Segments,
    connection: &Arc<Connection>,
    head: &mut Parts,
    body: &mut RequestBody,
) -> Result<Response> {
    let app = &connection.app;
    let upgrade = head.extensions.remove();
    let changes_state = route.method != Method::GET;
    if changes_state {
        credentials::check_origin(app.settings(), &head.headers)?;
    }
    let query = Query::parse(head.uri.query())?;
    // In memory of their own, which the many requests that need neither do not pass around.
    let body = if changes_state {
        Box::pin(body.read()).await?
    } else {
        Bytes::new()
    };
    let guests = app.settings().guests;
    let known = match route.session {
        Asks => Box::pin(credentials::look_up(app, &head.headers)).await?,
        Ignores if guests == Guests::Deny && matches!(route.purpose, Read | Write) => {
            Box::pin(credentials::look_up(app, &head.headers)).await?
        }
        Ignores => Credentials::None,
    };
    let ended = matches!(known, Credentials::Ended);
    let (who, due) = match known {
        Credentials::Session { who, renew_cookie } => {
            let due = renew_cookie.then(|| who.token.clone());
            (Some(who), due)
        }
        _ => (None, None),
    };
    let who = match route.purpose {
        Probe | Open => who,
        // Where guests do not take part, a guest's session proves nothing.
        Read | Write => who.filter(|who| guests == Guests::Allow || who.session.verified),
    };
    let is_refused = match route.purpose {
        Probe | Open => false,
        Read => guests == Guests::Deny && who.is_none(),
        Write => guests != Guests::Allow && who.is_none(),
    };
    if is_refused {
        return match route.audience {
            People => pages::to_log_in_first(app, route.path, &segments),
            Programs | Both => Err(HttpError::no_session(ended)),
        };
    }
    let headers = std::mem::take(&mut head.headers);
    let connection = connection.clone();
    let call = Call {
        headers,
        path: route.path,
        segments,
        query,
        body,
        who,
        ended,
        connection,
        upgrade,
    };
    let mut response = (route.handler)(app.clone(), call).await?;
    // Unless the handler gave or took a cookie itself.
    if let Some(token) = due.filter(|_| !response.headers().contains_key(SET_COOKIE)) {
        credentials::renew_cookie(app, &mut response, &token).await;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hyper::StatusCode;

    use super::*;

    #[test]
    fn every_route_is_found_by_its_own_path() {
        let router = Router::new();
        let mut seen = HashSet::new();
        for route in ROUTES {
            assert!(
                seen.insert((route.method.clone(), route.path)),
                "{} {} stands twice",
                route.method,
                route.path
            );
            let path = route.path.replace(['{', '}'], "");
            let found = router.0.at(&path).expect(route.path);
            assert!(
                found.value.iter().any(|other| std::ptr::eq(*other, route)),
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn the_description_names_every_route_for_programs_and_no_other() {
        let description: serde_json::Value =
            serde_json::from_str(operations::OPENAPI).expect("JSON");
        let described: HashSet<(String, String)> = description["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods
                    .filter(|m| *m != "parameters")
                    .map(|method| (method.to_uppercase(), path.clone()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let served = ROUTES
            .iter()
            .filter(|route| route.audience != People)
            .filter(|route| !["/chat", "/static/{file}", "/favicon.ico"].contains(&route.path));
        let served: HashSet<_> = served
            .map(|route| (route.method.to_string(), route.path.to_owned()))
            .collect();
        assert_eq!(described, served);
    }

    #[tokio::test]
    async fn a_panic_is_answered() {
        let error = catch(async { panic!("a bug") })
            .await
            .expect_err("a failure");
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
