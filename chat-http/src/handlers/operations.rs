//! For whoever runs the server.

use hyper::StatusCode;

use crate::app::App;
use crate::error::Result;
use crate::request::Call;
use crate::response::{Response, bytes, cacheable};

/// The description of the routes for programs.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

pub(crate) async fn healthz(_: App, _: Call) -> Result<Response> {
    Ok(bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

pub(crate) async fn readyz(app: App, _: Call) -> Result<Response> {
    app.store().ping().await?;
    Ok(bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

pub(crate) async fn metrics(app: App, _: Call) -> Result<Response> {
    Ok(bytes(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        app.metrics().render(&app.store().live_counts()),
    ))
}

pub(crate) async fn openapi(_: App, call: Call) -> Result<Response> {
    Ok(cacheable(&call.head.headers, "application/json", OPENAPI))
}
