//! Accessibility of a page, as axe-core judges it. <https://github.com/dequelabs/axe-core>

use std::sync::OnceLock;

use serde_json::json;

use super::Page;
use crate::wheel::Wheel;

/// An unmodified axe-core 4.12.1. It is large, and under the Mozilla Public License, so it is
/// fetched for the tests and is no part of this repository.
const PACKAGE: Wheel = Wheel {
    folder: "axe",
    requirement: "axe-playwright-python==0.1.8 --hash=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8",
    file: "axe_playwright_python/axe.min.js",
};

/// Every rule that applies, each element that breaks one on a line. Forced colours are the reader's
/// own, and axe takes the colour that a text would have without them for the one that is shown.
const JUDGE: &str = "axe.run(document, {
    resultTypes: ['violations'],
    rules: { 'color-contrast': { enabled: !matchMedia('(forced-colors: active)').matches } },
}).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    `${id}: ${html.slice(0, 160)}: ${failureSummary.split('\\n').slice(1).join(';').slice(0, 200)}`)))";

impl Page {
    /// Elements of the page that break a rule of axe, with the rule and the reason.
    ///
    /// # Panics
    ///
    /// If axe-core can neither be found nor fetched, or does not run.
    pub async fn violations(&self) -> Vec<String> {
        if self.evaluate("typeof axe === 'object'").await != json!(true) {
            self.evaluate(&format!("(() => {{ {}\n return true; }})()", source()))
                .await;
        }
        self.get(JUDGE).await
    }
}

fn source() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let file = PACKAGE
            .fetch()
            .unwrap_or_else(|e| panic!("no axe-core: {e}"));
        std::fs::read_to_string(file).expect("axe-core is read")
    })
}
