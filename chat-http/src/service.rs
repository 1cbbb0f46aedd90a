//! The way of a request to its handler and back.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use chatcore::SessionToken;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Request;
use http::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use tower_service::Service;

use crate::app::App;
use crate::arrival::Arrival;
use crate::body::Body;
use crate::config::Guests;
use crate::credentials::{self, Credentials, CurrentUser};
use crate::error::{HttpError, Result};
use crate::pages::Reader;
use crate::request::{Call, Query, Received, Segments};
use crate::request_body::{BoxError, RequestBody};
use crate::response::{Response, problem};
use crate::router::{self, Audience, Found, Purpose, Route, SessionLookup};
use crate::{host, origin, pages};

impl<B> Service<Request<B>> for App
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let app = self.clone();
        let arrival = Arrival::from_extensions(request.extensions());
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body, &head);
        ResponseFuture(Box::pin(
            async move { respond(&app, head, body, arrival).await },
        ))
    }
}

/// Future of an answer. If it is dropped, the request may have been carried out or not.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(BoxFuture<'static, http::Response<Body>>);

impl Future for ResponseFuture {
    type Output = Result<http::Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context).map(Ok)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

/// Answers a request. A handler that panics costs its client a `500`, not the connection.
pub(crate) async fn respond(
    app: &App,
    head: Parts,
    mut body: RequestBody,
    arrival: Arrival,
) -> Response {
    let method = head.method.clone();
    let uri = head.uri.clone();
    let found = router::find(app, uri.path());
    // A handler takes the head.
    let reader =
        prefers_page(&head.headers, found.as_ref().ok()).then(|| Reader::of(&head.headers));

    let answered = catch(async {
        let answer = answer(app, found, head, &mut body, arrival)?;
        answer.await
    });
    let answered = answered.await;
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => match reader {
            Some(reader) => pages::error(app, reader, error),
            None => problem(error),
        },
    };
    body.finish(&mut response).await;

    // A browser must not take JSON or text for HTML, whatever a user wrote into it.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    app.metrics().answered(response.status());
    if response.status().is_server_error() {
        let status = response.status().as_u16();
        tracing::warn!(status, %method, path = uri.path(), "a request failed");
    }
    response
}

/// Makes a panic an error.
fn catch(answer: impl Future<Output = Result<Response>>) -> impl Future<Output = Result<Response>> {
    let caught = AssertUnwindSafe(answer).catch_unwind();
    caught.map(|answered| {
        answered.unwrap_or_else(|_| {
            tracing::error!("a handler panicked");
            Err(HttpError::internal())
        })
    })
}

/// Returns true if a failure is shown to a person: by a browser that wants to show the answer, at
/// the path of a page, or after a form was sent.
fn prefers_page(headers: &HeaderMap, found: Option<&Found<'_>>) -> bool {
    let is_for = |audience| found.is_some_and(|found| found.is_for(audience));
    is_browser(headers) || is_for(Audience::People) || is_form(headers) && is_for(Audience::Both)
}

/// Returns true if a browser wants to show the answer. Its scripts take anything.
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

/// Begins to have a request handled by its route.
fn answer<'a>(
    app: &'a App,
    found: Result<Found<'_>>,
    mut head: Parts,
    body: &'a mut RequestBody,
    arrival: Arrival,
) -> Result<BoxFuture<'a, Result<Response>>> {
    check_host(app, found.as_ref().ok(), &head, arrival)?;
    let found = found?;
    let route = found.route(&head.method)?;
    let segments = found.segments()?;

    let upgrade = head.extensions.remove();
    if route.changes_state() {
        origin::check(app, &head, arrival)?;
    }
    let query = Query::parse(head.uri.query())?;
    let call = Call::from(Received {
        head,
        path: route.path,
        segments,
        query,
        body: Bytes::new(),
        user: None,
        ended: false,
        arrival,
        upgrade,
    });

    // The many requests that need no more than their head.
    let is_ready = !route.changes_state() && !needs_caller(app, route);
    if is_ready && !is_refused(app, route, None) {
        return Ok((route.handler)(app.clone(), call));
    }
    Ok(Box::pin(answer_caller(app, route, call, body)))
}

/// Has a request handled for its caller, with its body.
async fn answer_caller(
    app: &App,
    route: &Route,
    mut call: Call,
    body: &mut RequestBody,
) -> Result<Response> {
    if route.changes_state() {
        call.body = body.read().await?;
    }

    let caller = look_up(app, route, &call.head).await?;
    if is_refused(app, route, caller.user.as_ref()) {
        return refuse(app, route, &call.segments, caller.ended);
    }
    (call.user, call.ended) = (caller.user, caller.ended);

    let mut response = (route.handler)(app.clone(), call).await?;
    // Unless the handler gave or took a cookie itself.
    if let Some(token) = caller.to_renew
        && !response.headers().contains_key(SET_COOKIE)
    {
        credentials::renew_cookie(app, &mut response, &token).await;
    }
    Ok(response)
}

/// Refuses a request to another host. Probes may use any name of the server.
fn check_host(app: &App, found: Option<&Found<'_>>, head: &Parts, arrival: Arrival) -> Result<()> {
    if found.is_some_and(|found| found.has(Purpose::Probe)) {
        return Ok(());
    }
    let on_loopback = arrival.is_on_loopback();
    host::check(app.settings(), on_loopback, &head.uri, &head.headers)
}

/// The caller of a route.
#[derive(Default)]
struct Caller {
    user: Option<CurrentUser>,
    /// Set if there were credentials of a session that has ended or never was.
    ended: bool,
    /// The token that the client is given again, so that its cookie lives on.
    to_renew: Option<SessionToken>,
}

/// Returns true if the route needs to know who makes a request.
fn needs_caller(app: &App, route: &Route) -> bool {
    match route.session {
        SessionLookup::Always => true,
        SessionLookup::IfDenied => app.settings().guests == Guests::Deny && is_limited(route),
    }
}

/// Returns true if the settings decide what guests may do by the route.
fn is_limited(route: &Route) -> bool {
    matches!(route.purpose, Purpose::Read | Purpose::Write)
}

/// Looks up the user who makes a request, if the route needs to know.
async fn look_up(app: &App, route: &Route, head: &Parts) -> Result<Caller> {
    if !needs_caller(app, route) {
        return Ok(Caller::default());
    }

    Ok(match credentials::look_up(app, head).await? {
        Credentials::None => Caller::default(),
        Credentials::Ended => Caller {
            ended: true,
            ..Caller::default()
        },
        Credentials::User { user, renew_cookie } => {
            let to_renew = user.token().filter(|_| renew_cookie).cloned();
            // A guest's session counts only where guests are allowed.
            let guests_count = app.settings().guests == Guests::Allow || !is_limited(route);
            let counts = guests_count || user.verified;
            Caller {
                user: counts.then_some(user),
                ended: false,
                to_renew,
            }
        }
    })
}

/// Answers a caller who needs an account: by the log-in page, or by an error.
fn refuse(app: &App, route: &Route, segments: &Segments, ended: bool) -> Result<Response> {
    match route.audience {
        Audience::People => pages::to_log_in_first(app, route.path, segments),
        Audience::Programs | Audience::Both => Err(HttpError::no_session(ended)),
    }
}

/// Returns true if the route is not for a caller without an account.
fn is_refused(app: &App, route: &Route, user: Option<&CurrentUser>) -> bool {
    let guests = app.settings().guests;
    match route.purpose {
        Purpose::Probe | Purpose::Open => false,
        Purpose::Read => guests == Guests::Deny && user.is_none(),
        Purpose::Write => guests != Guests::Allow && user.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered() {
        let error = catch(async { panic!("a bug") })
            .await
            .expect_err("a failure");
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
