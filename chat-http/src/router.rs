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
use hyper::header::{HeaderValue, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use self::body::RequestBody;
use crate::auth::{self as credentials, Credentials};
use crate::error::{HttpError, Result};
use crate::handlers::{account, auth, messages, moderation, operations, rooms, users};
use crate::request::{Call, Query, Segments, decode};
use crate::response::Response;
use crate::server::Connection;
use crate::{App, live, pages};

/// Who reads the answer, and so the form of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Programs,
    People,
}

/// Whether a handler asks who makes the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Asks,
    Ignores,
}
use For::{People, Programs};
use Session::{Asks, Ignores};

type Handler = fn(App, Call) -> BoxFuture<'static, Result<Response>>;

struct Route {
    method: Method,
    path: &'static str,
    session: Session,
    audience: For,
    handler: Handler,
}

macro_rules! routes {
    ($($method:ident $path:literal $session:ident $audience:ident $handler:expr;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            session: $session,
            audience: $audience,
            handler: |app, call| Box::pin($handler(app, call)),
        }),*]
    };
}

#[rustfmt::skip]
static ROUTES: &[Route] = routes! {
    POST   "/auth/login"               Asks    Programs auth::log_in;
    POST   "/auth/logout"              Asks    Programs auth::log_out;
    GET    "/auth/me"                  Asks    Programs auth::me;
    POST   "/auth/register"            Asks    Programs account::register;
    POST   "/auth/password"            Asks    Programs account::change_password;
    GET    "/auth/sessions"            Asks    Programs auth::sessions;
    DELETE "/auth/sessions"            Asks    Programs auth::end_other_sessions;
    DELETE "/auth/sessions/{id}"       Asks    Programs auth::end_session;

    GET    "/users/{username}/count"   Ignores Programs users::count;
    GET    "/users/{username}/rooms"   Asks    Programs users::rooms;

    GET    "/chat"                     Ignores Programs rooms::to_list;
    GET    "/chat/"                    Asks    Programs rooms::list;
    GET    "/chat/{room}"              Ignores Programs rooms::get;
    PUT    "/chat/{room}"              Asks    Programs rooms::create;
    GET    "/chat/{room}/users"        Ignores Programs rooms::users;
    POST   "/chat/{room}/join"         Asks    Programs rooms::join;
    POST   "/chat/{room}/leave"        Asks    Programs rooms::leave;
    POST   "/chat/{room}/read"         Asks    Programs rooms::read;
    GET    "/chat/{room}/messages"     Ignores Programs messages::read;
    POST   "/chat/{room}/messages"     Asks    Programs messages::post;
    GET    "/chat/{room}/events"       Asks    Programs live::events;
    GET    "/ws"                       Asks    Programs live::socket;

    PUT    "/chat/{room}/members/{username}" Asks Programs moderation::invite;
    DELETE "/chat/{room}/members/{username}" Asks Programs moderation::remove;
    GET    "/chat/{room}/bans"               Asks Programs moderation::bans;
    PUT    "/chat/{room}/bans/{username}"    Asks Programs moderation::ban;
    DELETE "/chat/{room}/bans/{username}"    Asks Programs moderation::unban;
    DELETE "/chat/{room}/messages/{seq}"     Asks Programs moderation::delete_message;

    GET    "/"                         Asks    People   pages::rooms;
    GET    "/login"                    Asks    People   pages::account::log_in;
    GET    "/account"                  Asks    People   pages::account::account;
    POST   "/account/sessions"         Asks    People   pages::account::end_sessions;
    POST   "/rooms"                    Asks    People   pages::open_room;
    GET    "/rooms/{room}"             Asks    People   pages::room::show;
    POST   "/rooms/{room}"             Asks    People   pages::room::post;
    POST   "/rooms/{room}/people"      Asks    People   pages::room::change_people;
    POST   "/rooms/{room}/delete"      Asks    People   pages::room::delete;
    GET    "/static/{file}"            Ignores Programs pages::file;

    GET    "/healthz"                  Ignores Programs operations::healthz;
    GET    "/readyz"                   Ignores Programs operations::readyz;
    GET    "/metrics"                  Ignores Programs operations::metrics;
    GET    "/openapi.json"             Ignores Programs operations::openapi;
};

/// Whether a path that begins with this segment belongs to a route, so that it cannot be a prefix.
pub(crate) fn is_taken(segment: &str) -> bool {
    !segment.is_empty() && ROUTES.iter().any(|route| route.path.split('/').nth(1) == Some(segment))
}

/// Finds the routes of a path.
pub(crate) struct Router(matchit::Router<Vec<&'static Route>>);

impl Router {
    pub(crate) fn new() -> Self {
        let mut router = matchit::Router::new();
        for route in ROUTES {
            let same_path = || ROUTES.iter().filter(|other| other.path == route.path);
            if same_path().next().is_some_and(|first| std::ptr::eq(first, route)) {
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
    let mut response = catch(answer(connection, &mut head, &mut body)).await;
    body.finish(&mut response).await;
    // What is JSON or text stays that, whatever somebody managed to write into it.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    connection.app.metrics().answered(response.status());
    if response.status().is_server_error() {
        tracing::warn!(status = response.status().as_u16(), path = head.uri.path(), "a request failed");
    }
    response
}

async fn catch(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        HttpError::internal().into_response()
    })
}

async fn answer(connection: &Arc<Connection>, head: &mut Parts, body: &mut RequestBody) -> Response {
    let app = &connection.app;
    let (route, segments) = match find(app, head) {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    let answered = match segments {
        Ok(segments) => handle(route, segments, connection, head, body).await,
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| match route.audience {
        Programs => error.into_response(),
        People => pages::error(app, error),
    })
}

/// The route of a request, and the parts of its path that the route leaves open.
fn find(app: &App, head: &Parts) -> Result<(&'static Route, Result<Segments>)> {
    let path = head.uri.path();
    // A proxy may have removed the prefix already.
    let path = match path.strip_prefix(app.prefix()) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let found = app.router().0.at(path).map_err(|_| HttpError::not_found("nothing is at this path"))?;
    // A `HEAD` is a `GET` whose body the connection leaves out.
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    let route = found.value.iter().copied().find(|route| route.method == *method);
    let route = route.ok_or_else(|| HttpError::method_not_allowed(&allowed(found.value)))?;
    // A wrong part of a path is told in the form that the route's readers want.
    let mut open = found.params.iter().map(|(_, text)| decode(text));
    let first = open.next().transpose();
    let segments = first.and_then(|first| Ok([first, open.next().transpose()?]));
    Ok((route, segments))
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
    let body = if changes_state { Box::pin(body.read()).await? } else { Bytes::new() };
    let known = match route.session {
        Asks => Box::pin(credentials::look_up(app, &head.headers)).await?,
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
    let headers = std::mem::take(&mut head.headers);
    let connection = connection.clone();
    let call = Call { headers, path: route.path, segments, query, body, who, ended, connection, upgrade };
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
            assert!(found.value.iter().any(|other| std::ptr::eq(*other, route)), "{}", route.path);
            assert!(found.params.len() <= 2, "{}: two parts are left open at most", route.path);
        }
    }

    #[test]
    fn the_description_names_every_route_for_programs_and_no_other() {
        let description: serde_json::Value = serde_json::from_str(operations::OPENAPI).expect("JSON");
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
            .filter(|route| route.audience == Programs && !["/chat", "/static/{file}"].contains(&route.path));
        let served: HashSet<_> =
            served.map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(described, served);
    }

    #[tokio::test]
    async fn a_panic_is_answered() {
        let response = catch(async { panic!("a bug") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
