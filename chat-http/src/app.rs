//! The application: a store, and everything that its requests share.

use std::fmt;
use std::sync::Arc;

use chatcore::ChatStore;

use crate::config::{PublicUrl, Settings};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::row_cache::RowCache;

/// A chat application over a store. A clone is another handle on the same.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: ChatStore,
    settings: Settings,
    limits: Limits,
    metrics: Metrics,
    rows: RowCache,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Serves `store`. The caller closes the store once the server has stopped.
    #[must_use]
    pub fn new(store: ChatStore, settings: Settings) -> Self {
        Self(Arc::new(Shared {
            limits: Limits::new(&settings),
            metrics: Metrics::default(),
            rows: RowCache::new(),
            store,
            settings,
        }))
    }

    pub(crate) fn store(&self) -> &ChatStore {
        &self.0.store
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn rows(&self) -> &RowCache {
        &self.0.rows
    }

    /// Path that every link of a page begins with.
    pub(crate) fn prefix(&self) -> &str {
        self.0
            .settings
            .public_url
            .as_ref()
            .map_or("", PublicUrl::prefix)
    }
}
