//! Real browsers for the tests of the pages: headless Chromium and headless Firefox.
//!
//! All tests of a process share one browser of each kind. A [`Browser`] is a user of it, with
//! cookies and storage of its own, and a [`Page`] is one of that user's tabs. A page whose scripts
//! fail fails its test.

mod axe;
mod chromium;
mod connection;
mod firefox;
mod keys;
pub mod webp;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

use keys::Stroke;

/// The time in which a page must show what is waited for, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A kind of browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Chromium, with everything that a test may set.
    Chromium,
    /// Firefox, with what both have.
    Firefox,
}

/// One user's browser: cookies, storage and tabs of its own. It lives as long as one of its pages.
#[derive(Debug, Clone)]
pub struct Browser {
    context: Arc<Context>,
}

#[derive(Debug)]
enum Context {
    Chromium(chromium::Context),
    Firefox(firefox::Context),
}

/// A page in a tab. Fails the test when it is dropped, if its scripts threw or wrote an error to
/// the console.
#[derive(Debug)]
pub struct Page {
    /// The browser that the page is open in.
    pub browser: Browser,
    tab: Tab,
    may_fail_requests: AtomicBool,
}

#[derive(Debug)]
enum Tab {
    Chromium(chromium::Tab),
    Firefox(firefox::Tab),
}

/// The size of a page in CSS pixels, and the kind of screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    width: u32,
    height: u32,
    /// Device pixels for one CSS pixel.
    scale: f64,
    touch: bool,
}

impl Size {
    /// A laptop's window.
    pub const WIDE: Self = Self::desktop(1280, 800);
    /// A phone, held upright.
    pub const PHONE: Self = Self {
        width: 360,
        height: 740,
        scale: 2.0,
        touch: true,
    };
    /// The narrowest screen that the pages are made for.
    pub const NARROW: Self = Self::desktop(320, 640);
    /// A window of 1280 by 1024 at 400 % zoom.
    pub const ZOOMED: Self = Self {
        width: 320,
        height: 256,
        scale: 4.0,
        touch: false,
    };

    /// A window on a screen with one device pixel for each CSS pixel, and a mouse.
    #[must_use]
    pub const fn desktop(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            scale: 1.0,
            touch: false,
        }
    }
}

/// A point in the viewport in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Point {
    x: f64,
    y: f64,
}

/// Traffic of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The address of each request, those answered by the cache included.
    pub sent: Vec<String>,
    /// The address of each request that has not ended, by its id.
    pub open: BTreeMap<String, String>,
    /// Bytes of the answers as they came over the wire, headers included.
    pub bytes: u64,
}

impl Browser {
    /// A user of a browser of this kind; `None` where it is not installed, which
    /// [`crate::tools::find`] says.
    ///
    /// # Panics
    ///
    /// If `CI` is set and there is no such browser, and if it does not start, as all methods panic
    /// if the browser does not do what it is told.
    pub async fn start(engine: Engine) -> Option<Self> {
        let context = match engine {
            Engine::Chromium => Context::Chromium(chromium::Context::new(&chromium::find()?).await),
            Engine::Firefox => Context::Firefox(firefox::Context::new(&firefox::find()?).await),
        };
        Some(Self {
            context: Arc::new(context),
        })
    }

    /// Opens a tab of a laptop's size.
    pub async fn tab(&self) -> Page {
        let tab = match &*self.context {
            Context::Chromium(context) => Tab::Chromium(context.tab(Size::WIDE).await),
            Context::Firefox(context) => Tab::Firefox(context.tab(Size::WIDE).await),
        };
        let page = Page {
            browser: self.clone(),
            tab,
            may_fail_requests: AtomicBool::new(false),
        };
        page.resize(Size::WIDE).await;
        page
    }

    /// Allows notifications, as if the user had been asked. Only in Chromium.
    pub async fn allow_notifications(&self) {
        match &*self.context {
            Context::Chromium(context) => context.grant("notifications").await,
            Context::Firefox(_) => panic!("only in Chromium"),
        }
    }
}

/// Actions of a page in every browser.
impl Page {
    /// Opens an address.
    pub async fn open(&self, url: &str) {
        match &self.tab {
            Tab::Chromium(tab) => tab.navigate(url).await,
            Tab::Firefox(tab) => tab.navigate(url).await,
        }
        self.wait_for("document.readyState === 'complete'").await;
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.evaluate("window.beforeReload = true").await;
        self.evaluate("void setTimeout(() => location.reload())")
            .await;
        self.wait_for("!window.beforeReload && document.readyState === 'complete'")
            .await;
    }

    /// The value of a JavaScript expression; `null` while the page is being replaced.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let evaluated = self.try_evaluate(expression).await;
        evaluated.unwrap_or_else(|thrown| panic!("{expression}: {thrown}"))
    }

    async fn try_evaluate(&self, expression: &str) -> Result<Value, String> {
        match &self.tab {
            Tab::Chromium(tab) => tab.evaluate(expression).await,
            Tab::Firefox(tab) => tab.evaluate(expression).await,
        }
    }

    /// The value of an expression, as a Rust value.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, expression: &str) -> T {
        let value = self.evaluate(expression).await;
        serde_json::from_value(value.clone())
            .unwrap_or_else(|e| panic!("{expression}: {e}: {value}"))
    }

    /// Waits until an expression is true. An exception, as of an element that is not there yet, is
    /// not.
    pub async fn wait_for(&self, condition: &str) {
        self.wait_within(DEADLINE, condition).await;
    }

    /// Waits until an expression is true, which must be within `limit`. Returns how long it took.
    pub async fn wait_within(&self, limit: Duration, condition: &str) -> Duration {
        let started = Instant::now();
        loop {
            let last = self.try_evaluate(&format!("Boolean({condition})")).await;
            if last == Ok(json!(true)) {
                return started.elapsed();
            }
            if started.elapsed() > limit {
                self.give_up(condition, last).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn give_up(&self, condition: &str, last: Result<Value, String>) {
        let page = self
            .evaluate("location.href + '\\n' + document.documentElement.outerHTML")
            .await;
        if let Some(folder) = std::env::var_os("CHAT_TEST_PICTURES") {
            let name = std::thread::current()
                .name()
                .unwrap_or("page")
                .replace("::", ".");
            self.picture(&Path::new(&folder).join(name).with_extension("png"))
                .await;
        }
        let errors = self.errors();
        panic!(
            "never true: {condition}: {last:?}\n{errors:?}\n{}",
            page.as_str().unwrap_or_default()
        );
    }

    /// Presses a key, with modifiers if the chord has them: `Control+k`, `Shift+Enter`, `?`.
    pub async fn press(&self, chord: &str) {
        self.stroke(&Stroke::parse(chord)).await;
    }

    /// Types by real key events into what has the focus. A newline is the Enter key.
    pub async fn type_text(&self, text: &str) {
        for stroke in Stroke::of_text(text) {
            self.stroke(&stroke).await;
        }
    }

    async fn stroke(&self, stroke: &Stroke) {
        match &self.tab {
            Tab::Chromium(tab) => tab.press(stroke).await,
            Tab::Firefox(tab) => tab.press(stroke).await,
        }
    }

    /// Clicks into a field, empties it and types a text.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.click(selector).await;
        self.evaluate(&format!(
            "document.querySelector({}).select?.()",
            json!(selector)
        ))
        .await;
        if text.is_empty() {
            self.press("Backspace").await;
        }
        self.type_text(text).await;
    }

    /// Clicks the first element of this selector with the mouse, in its middle. Waits until it is
    /// shown there, stands still, and nothing lies over it.
    pub async fn click(&self, selector: &str) {
        let at = self.middle(selector).await;
        match &self.tab {
            Tab::Chromium(tab) => tab.click(at).await,
            Tab::Firefox(tab) => tab.click(at).await,
        }
    }

    /// Moves the mouse over the first element of this selector.
    pub async fn hover(&self, selector: &str) {
        let at = self.middle(selector).await;
        match &self.tab {
            Tab::Chromium(tab) => tab.hover(at).await,
            Tab::Firefox(tab) => tab.hover(at).await,
        }
    }

    /// Returns the point at which a click hits an element, once it does.
    async fn middle(&self, selector: &str) -> Point {
        let find = format!("({MIDDLE})({})", json!(selector));
        let started = Instant::now();
        let mut before = None;
        loop {
            let found = self.try_evaluate(&find).await.unwrap_or_else(Value::from);
            let at = serde_json::from_value::<Point>(found.clone()).ok();
            if let Some(at) = at.filter(|_| at == before) {
                return at;
            }
            before = at;
            if started.elapsed() > DEADLINE {
                self.give_up(&format!("{selector} can be clicked"), Ok(found))
                    .await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sets the size of the page.
    pub async fn resize(&self, size: Size) {
        match &self.tab {
            Tab::Chromium(tab) => tab.resize(size).await,
            Tab::Firefox(tab) => tab.resize(size).await,
        }
    }

    /// Writes a picture of the page as PNG.
    pub async fn picture(&self, file: &Path) {
        let data = match &self.tab {
            Tab::Chromium(tab) => tab.picture().await,
            Tab::Firefox(tab) => tab.picture().await,
        };
        let picture = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("Base64");
        std::fs::write(file, picture).expect("written");
    }

    /// Lets requests of this page fail, as where the network does. Exceptions of its scripts still
    /// count.
    pub fn expect_failed_requests(&self) {
        self.may_fail_requests.store(true, Ordering::Relaxed);
    }

    /// Exceptions, errors on the console, and failed requests unless they are expected.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let may_fail_requests = self.may_fail_requests.load(Ordering::Relaxed);
        match &self.tab {
            Tab::Chromium(tab) => tab.errors(!may_fail_requests),
            Tab::Firefox(tab) => tab.errors(!may_fail_requests),
        }
    }

    /// Forgets the errors so far, which the caller has looked at.
    pub fn forget_errors(&self) {
        match &self.tab {
            Tab::Chromium(tab) => tab.forget_errors(),
            Tab::Firefox(tab) => tab.forget_errors(),
        }
    }
}

/// Actions that only Chromium offers.
impl Page {
    fn chromium(&self) -> &chromium::Tab {
        match &self.tab {
            Tab::Chromium(tab) => tab,
            Tab::Firefox(_) => panic!("only in Chromium"),
        }
    }

    /// Runs no scripts of pages from now on; those of the test still run.
    pub async fn disable_scripts(&self) {
        self.chromium()
            .command(
                "Emulation.setScriptExecutionDisabled",
                json!({ "value": true }),
            )
            .await;
    }

    /// Runs this in every page from now on, before its own scripts.
    pub async fn run_first(&self, script: &str) {
        self.chromium()
            .command(
                "Page.addScriptToEvaluateOnNewDocument",
                json!({ "source": script }),
            )
            .await;
    }

    /// Sets features of the medium, such as `prefers-color-scheme` to `dark`. Replaces the earlier
    /// ones.
    pub async fn prefer(&self, features: &[(&str, &str)]) {
        let features = features
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }));
        let features: Vec<_> = features.collect();
        self.chromium()
            .command(
                "Emulation.setEmulatedMedia",
                json!({ "features": features }),
            )
            .await;
    }

    /// Shows the page as it is printed.
    pub async fn print(&self) {
        self.chromium()
            .command("Emulation.setEmulatedMedia", json!({ "media": "print" }))
            .await;
    }

    /// Asks for pages in this language.
    pub async fn speak(&self, language: &str) {
        let headers = json!({ "headers": { "Accept-Language": language } });
        self.chromium()
            .command("Network.setExtraHTTPHeaders", headers)
            .await;
    }

    /// Takes the page off the network, as it would notice itself, or on it again.
    pub async fn set_offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.chromium()
            .command("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// Takes a picture of the page as WebP.
    pub async fn webp(&self) -> Vec<u8> {
        let taken = self
            .chromium()
            .command(
                "Page.captureScreenshot",
                json!({ "format": "webp", "quality": 85 }),
            )
            .await;
        base64::engine::general_purpose::STANDARD
            .decode(taken["data"].as_str().expect("a picture"))
            .expect("Base64")
    }

    /// Slows the processor of the page down by this factor.
    pub async fn slow_down(&self, factor: u32) {
        self.chromium()
            .command("Emulation.setCPUThrottlingRate", json!({ "rate": factor }))
            .await;
    }

    /// Fails requests whose address matches one of these patterns, in place of the earlier ones;
    /// `*` matches anything.
    pub async fn block(&self, patterns: &[&str]) {
        self.chromium()
            .command("Network.setBlockedURLs", json!({ "urls": patterns }))
            .await;
    }

    /// Lets [`Page::set_hidden`] hide the pages that are opened from now on.
    pub async fn can_be_hidden(&self) {
        self.run_first(
            "window.looked = true; window.look = (looked) => {
                window.looked = looked;
                document.dispatchEvent(new Event('visibilitychange'));
                window.dispatchEvent(new Event(looked ? 'focus' : 'blur'));
            };
            const of = (name, get) => Object.defineProperty(Document.prototype, name, { get });
            of('hidden', () => !window.looked);
            of('visibilityState', () => (window.looked ? 'visible' : 'hidden'));
            Document.prototype.hasFocus = () => window.looked;",
        )
        .await;
    }

    /// Tells the page that nobody looks at it, or somebody again; a headless browser has no other
    /// windows.
    pub async fn set_hidden(&self, hidden: bool) {
        self.evaluate(&format!("look({})", !hidden)).await;
    }

    /// Goes back in the history of the page.
    pub async fn back(&self) {
        self.evaluate("void setTimeout(() => history.back())").await;
    }

    /// Taps the first element of this selector with a finger.
    pub async fn tap(&self, selector: &str) {
        let at = self.middle(selector).await;
        self.chromium().tap(at).await;
    }

    /// Turns the mouse wheel over an element; a negative number of pixels scrolls up.
    pub async fn wheel(&self, selector: &str, down: f64) {
        let at = self.middle(selector).await;
        self.chromium().wheel(at, down).await;
    }

    /// Returns the traffic since the tab was opened, or since [`Page::forget_traffic`].
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.chromium().traffic()
    }

    /// Counts what is fetched from now on.
    pub fn forget_traffic(&self) {
        self.chromium().forget_traffic();
    }

    /// Waits until every request has ended.
    ///
    /// # Panics
    ///
    /// If one does not.
    pub async fn wait_for_requests(&self) -> Traffic {
        let started = Instant::now();
        loop {
            let traffic = self.traffic();
            if traffic.open.is_empty() {
                return traffic;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "a request does not end: {:?}",
                traffic.open
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let errors = self.errors();
            assert!(errors.is_empty(), "the page failed: {errors:#?}");
        }
    }
}

/// The middle of the first element of a selector, or the reason why a click there would not hit it.
const MIDDLE: &str = "(selector) => {
    const element = document.querySelector(selector);
    if (!element) return `no ${selector}`;
    element.scrollIntoView({ block: 'nearest', inline: 'nearest', behavior: 'instant' });
    const box = [...element.getClientRects()].find((box) => box.width > 0 && box.height > 0);
    if (!box) return 'it is not shown';
    const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const hit = document.elementFromPoint(at.x, at.y);
    if (hit && (element.contains(hit) || hit.closest('label')?.control === element)) return at;
    return `covered by ${hit?.outerHTML.slice(0, 200)}`;
}";
