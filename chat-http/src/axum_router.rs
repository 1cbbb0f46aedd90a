//! The chat as a part of a program of axum's.

use axum::Router;

use crate::app::App;

/// A router with the chat at its prefix, for [`Router::merge`]. It costs less than
/// [`Router::nest_service`], which writes the address of each request anew.
///
/// Without a prefix the chat is the fallback of the router.
impl<S: Clone + Send + Sync + 'static> From<App> for Router<S> {
    fn from(app: App) -> Self {
        if app.prefix().is_empty() {
            return Self::new().fallback_service(app);
        }

        // Braces would name a part of the path.
        let prefix = app.prefix().replace('{', "{{").replace('}', "}}");
        Self::new()
            .route_service(&prefix, app.clone())
            .route_service(&format!("{prefix}/"), app.clone())
            .route_service(&format!("{prefix}/{{*path}}"), app)
    }
}
