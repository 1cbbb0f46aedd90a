//! The routes, on one page.

#[cfg(test)]
mod access_table_tests;

use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use hyper::Method;

use crate::app::App;
use crate::error::{HttpError, Result};
use crate::handlers::{account, changes, messages, moderation, operations, rooms, sessions, users};
use crate::paths::part;
use crate::request::{Call, Segments, decode};
use crate::response::Response;
use crate::{live, pages};

/// Readers of an answer, which decide on the form of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Programs,
    /// Programs, and people by the forms of pages.
    Both,
    People,
}

/// Purpose of a route, which decides who may use it without an account's session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everyone, by whatever host: probes of a server know its address and no name.
    Probe,
    /// Everyone.
    Open,
    /// Guests, unless they are denied.
    Read,
    /// Guests, if they are allowed.
    Write,
}

/// Condition under which the session of a request is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionLookup {
    /// Always: the handler needs the user.
    Always,
    /// Only where guests are denied. `RoomReader` looks it up later for a room that is not public.
    IfDenied,
}

use Audience::{Both, People, Programs};
use Purpose::{Open, Probe, Read, Write};
use SessionLookup::{Always, IfDenied};

pub(crate) type Handler = fn(App, Call) -> BoxFuture<'static, Result<Response>>;

pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) purpose: Purpose,
    pub(crate) session: SessionLookup,
    pub(crate) audience: Audience,
    pub(crate) handler: Handler,
}

impl Route {
    /// Returns true if a request may change something, so that its origin counts and it may have a
    /// body.
    pub(crate) fn changes_state(&self) -> bool {
        self.method != Method::GET
    }
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
    GET    "/new"                     Read  Always   People   pages::rooms::new;
    POST   "/rooms"                   Write Always   People   pages::rooms::create;
    POST   "/direct"                  Write Always   People   pages::direct::open;
    GET    "/rooms/{room}"            Read  Always   People   pages::room::show;
    POST   "/rooms/{room}"            Write Always   People   pages::room::post;
    GET    "/rooms/{room}/rows"       Read  Always   Programs pages::rows::rows;
    GET    "/rooms/{room}/people"     Read  Always   People   pages::people::show;
    POST   "/rooms/{room}/people"     Write Always   People   pages::people::change;
    GET    "/rooms/{room}/messages/{seq}" Read  Always   People   pages::one_message::show;
    POST   "/rooms/{room}/messages/{seq}" Write Always   People   pages::one_message::change;
    GET    "/static/{file}"           Open  IfDenied Programs pages::assets::file;
    GET    "/favicon.ico"             Open  IfDenied Programs pages::assets::favicon;

    GET    "/healthz"                 Probe IfDenied Programs operations::healthz;
    GET    "/readyz"                  Probe IfDenied Programs operations::readyz;
    GET    "/metrics"                 Probe IfDenied Programs operations::metrics;
    GET    "/openapi.json"            Open  IfDenied Programs operations::description;
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

/// Routes at the path of a request.
pub(crate) struct Found<'a> {
    routes: &'static [&'static Route],
    params: matchit::Params<'a, 'a>,
}

/// Finds the routes at a path, with the application's prefix or without it: a proxy, or the router
/// of the program that the chat is mounted in, may have removed it.
pub(crate) fn find<'a>(app: &App, path: &'a str) -> Result<Found<'a>> {
    let path = match path.strip_prefix(app.prefix()) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let not_found = || HttpError::not_found("nothing is at this path");
    let found = ROUTER.at(path).map_err(|_| not_found())?;
    // All routes at one path belong to one part.
    let is_served = |route: &&Route| app.has(part(route.path));
    if !found.value.first().is_some_and(is_served) {
        return Err(not_found());
    }
    Ok(Found {
        routes: found.value,
        params: found.params,
    })
}

impl Found<'_> {
    pub(crate) fn has(&self, purpose: Purpose) -> bool {
        self.routes.iter().any(|route| route.purpose == purpose)
    }

    pub(crate) fn is_for(&self, audience: Audience) -> bool {
        self.routes.iter().any(|route| route.audience == audience)
    }

    /// Returns the route of a method.
    pub(crate) fn route(&self, method: &Method) -> Result<&'static Route> {
        // A `HEAD` is a `GET` whose body the connection leaves out.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut routes = self.routes.iter().copied();
        routes
            .find(|route| route.method == *method)
            .ok_or_else(|| HttpError::method_not_allowed(&self.allowed()))
    }

    fn allowed(&self) -> String {
        let methods = self.routes.iter().map(|route| route.method.as_str());
        let mut methods: Vec<_> = methods.collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.join(", ")
    }

    /// Returns the parameters of the path, decoded.
    pub(crate) fn segments(&self) -> Result<Segments> {
        self.params.iter().map(|(_, text)| decode(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        segments.sort_unstable();
        segments.dedup();
        let listed: Vec<_> = FIRST_SEGMENTS.iter().map(|(segment, _)| *segment).collect();
        assert_eq!(segments, listed);
    }

    #[test]
    fn the_description_names_every_route_for_programs_and_no_other() {
        let description: serde_json::Value =
            serde_json::from_slice(crate::openapi::document()).expect("JSON");
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
}
