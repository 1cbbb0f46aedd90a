//! A connection that is counted for as long as it is open, whoever has it.

use super::connection_limit::Permit;
use crate::app::App;
use crate::permits::NetworkPermit;

/// Holds the permits of a connection. They are given back when the connection is dropped: by the
/// server, or by the socket that took it over.
pub(super) struct OpenConnection {
    app: App,
    _permits: (Permit, NetworkPermit),
}

impl OpenConnection {
    pub(super) fn new(app: App, permits: (Permit, NetworkPermit)) -> Self {
        app.metrics().connection_opened();
        Self {
            app,
            _permits: permits,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.app.metrics().connection_closed();
    }
}
