//! For whoever runs the server.

use hyper::StatusCode;

use crate::app::App;
use crate::error::Result;
use crate::openapi;
use crate::request::Call;
use crate::response::{Response, bytes, cacheable};

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

pub(crate) async fn description(_: App, call: Call) -> Result<Response> {
    Ok(cacheable(
        &call.head.headers,
        "application/json",
        openapi::document().clone(),
    ))
}
