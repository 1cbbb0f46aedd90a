//! The routes, on one page, and the way of a request to its handler and back.

#[cfg(test)]
mod access;
mod body;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

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
use crate::app::App;
use crate::config::Guests;
use crate::connection::Connection;
use crate::credentials::{self, Credentials};
use crate::error::{HttpError, Result};
use crate::handlers::{account, changes, messages, moderation, operations, rooms, sessions, users};
use crate::request::{Call, Query, Segments, decode};
use crate::response::{Response, problem};
use crate::{host, live, origin, pages};

/// Readers of an answer, which decide on the form of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Programs,
    /// Programs, and people by the forms of pages.
    Both,
    People,
}

/// Purpose of a route, which decides who may use it without an account's session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Everyone, by whatever host: probes of a server know its address and no name.
    Probe,
    /// Everyone.
    Open,
    /// Guests, unless they are denied.
    Read,
    /// Guests, if they are allowed.
    Write,
}

/// When the session of a request is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionLookup {
    /// Always: the handler needs the user.
    Always,
    /// Only where guests are denied.
    IfDenied,
}

use Audience::{Both, People, Programs};
use Purpose::{Open, Probe, Read, Write};
use SessionLookup::{Always, IfDenied};

type Handler = fn(App, Call) -> BoxFuture<'static, Result<Response>>;

struct Route {
    method: Method,
    path: &'static str,
    purpose: Purpose,
    session: SessionLookup,
    audience: Audience,
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
    POST   "/auth/login"              Open  Always   Both     sessions::log_in;
    POST   "/auth/logout"             Open  Always   Both     sessions::log_out;
    GET    "/auth/me"                 Read  Always   Programs sessions::me;
    POST   "/auth/register"           Open  Always   Both     account::register;
    POST   "/auth/password"           Write Always   Both     account::change_password;
    GET    "/auth/sessions"           Read  Always   Programs sessions::sessions;
    DELETE "/auth/sessions"           Write Always   Programs sessions::end_other_sessions;
    DELETE "/auth/sessions/{id}"      Write Always   Programs sessions::end_session;

    GET    "/users/{username}/count"  Read  IfDenied Programs users::count;
    GET    "/users/{username}/rooms"  Read  Always   Programs users::rooms;
    GET    "/users/{username}/mentions" Read  Always   Programs users::mentions;

    GET    "/chat"                    Read  IfDenied Programs rooms::to_list;
    GET    "/chat/"                   Read  Always   Programs rooms::list;
    GET    "/chat/{room}"             Read  IfDenied Programs rooms::get;
    PUT    "/chat/{room}"             Write Always   Programs rooms::create;
    PATCH  "/chat/{room}"             Write Always   Programs rooms::set_topic;
    GET    "/chat/{room}/users"       Read  IfDenied Programs rooms::users;
    POST   "/chat/{room}/join"        Write Always   Programs rooms::join;
    POST   "/chat/{room}/leave"       Write Always   Programs rooms::leave;
    POST   "/chat/{room}/read"        Write Always   Programs rooms::read;
    GET    "/chat/{room}/messages"    Read  IfDenied Programs messages::read;
    POST   "/chat/{room}/messages"    Write Always   Programs messages::post;
    GET    "/chat/{room}/changes"     Read  IfDenied Programs changes::read;
    GET    "/chat/{room}/events"      Read  Always   Programs live::events;
    GET    "/ws"                      Read  Always   Programs live::socket;

    PUT    "/chat/{room}/members/{username}" Write Always   Programs moderation::invite;
    DELETE "/chat/{room}/members/{username}" Write Always   Programs moderation::remove;
    GET    "/chat/{room}/bans"        Read  Always   Programs moderation::bans;
    PUT    "/chat/{room}/bans/{username}" Write Always   Programs moderation::ban;
    DELETE "/chat/{room}/bans/{username}" Write Always   Programs moderation::unban;

    GET    "/chat/{room}/messages/{seq}" Read  IfDenied Programs messages::get;
    PATCH  "/chat/{room}/messages/{seq}" Write Always   Programs changes::edit;
    DELETE "/chat/{room}/messages/{seq}" Write Always   Programs changes::delete;
    PUT    "/chat/{room}/messages/{seq}/reactions/{emoji}" Write Always   Programs changes::add_reaction;
    DELETE "/chat/{room}/messages/{seq}/reactions/{emoji}" Write Always   Programs changes::remove_reaction;

    GET    "/"                        Read  Always   People   pages::rooms::show;
    GET    "/login"                   Open  Always   People   pages::account::log_in;
    GET    "/account"                 Read  Always   People   pages::account::account;
    POST   "/account/sessions"        Write Always   People   pages::account::end_sessions;
    POST   "/rooms"                   Write Always   People   pages::rooms::open;
    GET    "/rooms/{room}"            Read  Always   People   pages::room::show;
    POST   "/rooms/{room}"            Write Always   People   pages::room::post;
    GET    "/rooms/{room}/rows"       Read  Always   Programs pages::rows::rows;
    POST   "/rooms/{room}/people"     Write Always   People   pages::room::change_people;
    POST   "/rooms/{room}/delete"     Write Always   People   pages::room::delete;
    GET    "/static/{file}"           Open  IfDenied Programs pages::file;
    GET    "/favicon.ico"             Open  IfDenied Programs pages::favicon;

    GET    "/healthz"                 Probe IfDenied Programs operations::healthz;
    GET    "/readyz"                  Probe IfDenied Programs operations::readyz;
    GET    "/metrics"                 Probe IfDenied Programs operations::metrics;
    GET    "/openapi.json"            Open  IfDenied Programs operations::openapi;
};

/// Routes by their paths.
static ROUTER: LazyLock<matchit::Router<Vec<&'static Route>>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    for route in ROUTES {
        let same_path = || ROUTES.iter().filter(|other| other.path == route.path);
        let is_first = same_path()
            .next()
            .is_some_and(|first| std::ptr::eq(first, route));
        if is_first {
            // Fails only for a path that two others contradict, which a test rules out.
            let _ = router.insert(route.path, same_path().collect());
        }
    }
    router
});

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
            false => problem(error),
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
    ROUTER
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
        host::check(
            app.settings(),
            connection.on_loopback,
            &head.uri,
            &head.headers,
        )?;
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
        origin::check(app.settings(), &head.headers)?;
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
        Always => Box::pin(credentials::look_up(app, &head.headers)).await?,
        IfDenied if guests == Guests::Deny && matches!(route.purpose, Read | Write) => {
            Box::pin(credentials::look_up(app, &head.headers)).await?
        }
        IfDenied => Credentials::None,
    };
    let ended = matches!(known, Credentials::Ended);
    let (user, due) = match known {
        Credentials::Session { user, renew_cookie } => {
            let due = renew_cookie.then(|| user.token.clone());
            (Some(user), due)
        }
        _ => (None, None),
    };
    let user = match route.purpose {
        Probe | Open => user,
        // Where guests do not take part, a guest's session proves nothing.
        Read | Write => user.filter(|user| guests == Guests::Allow || user.session.verified),
    };
    let is_refused = match route.purpose {
        Probe | Open => false,
        Read => guests == Guests::Deny && user.is_none(),
        Write => guests != Guests::Allow && user.is_none(),
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
        user,
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
    use crate::paths::FIRST_SEGMENTS;

    /// Routes that answer the scripts of pages, and browsers, like programs.
    const FOR_PAGES: [&str; 4] = [
        "/chat",
        "/rooms/{room}/rows",
        "/static/{file}",
        "/favicon.ico",
    ];

    #[test]
    fn every_route_is_found_by_its_own_path() {
        let router = &*ROUTER;
        let mut seen = HashSet::new();
        for route in ROUTES {
            assert!(
                seen.insert((route.method.clone(), route.path)),
                "{} {} stands twice",
                route.method,
                route.path
            );
            let path = route.path.replace(['{', '}'], "");
            let found = router.at(&path).expect(route.path);
            assert!(
                found.value.iter().any(|other| std::ptr::eq(*other, route)),
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn prefixes_are_told_from_routes_by_their_first_segments() {
        let first = |route: &Route| route.path.split('/').nth(1).map(str::to_owned);
        let mut segments: Vec<_> = ROUTES.iter().filter_map(first).collect();
        segments.retain(|segment| !segment.is_empty());
        segments.sort_unstable();
        segments.dedup();
        assert_eq!(segments, FIRST_SEGMENTS);
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
            .filter(|route| !FOR_PAGES.contains(&route.path));
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
