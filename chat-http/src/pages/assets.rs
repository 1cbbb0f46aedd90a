//! Static files: part of the program, compressed once, and named after what is in them.

use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, HeaderValue, VARY};
use sha2::{Digest as _, Sha256};

use super::bundle::{Module, bundle};
use super::encoding::{Effort, Encoding};
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, bytes, cacheable, redirect};

/// A name that holds a hash stands for one content for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Bytes of a hash in a name.
const HASH_BYTES: usize = 6;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The stylesheet, a section for each part of the pages.
const STYLE: &str = concat!(
    include_str!("../../templates/static/style/base.css"),
    include_str!("../../templates/static/style/layout.css"),
    include_str!("../../templates/static/style/sidebar.css"),
    include_str!("../../templates/static/style/pages.css"),
    include_str!("../../templates/static/style/room.css"),
    include_str!("../../templates/static/style/messages.css"),
    include_str!("../../templates/static/style/composer.css"),
    include_str!("../../templates/static/style/dialogs.css"),
    include_str!("../../templates/static/style/print.css"),
);

macro_rules! modules {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../templates/static/", $name)))),*]
    };
}

#[rustfmt::skip]
const MODULES: &[Module<'static>] = modules! {
    "account.js" "actions.js" "completer.js" "composer.js" "connection.js" "conversation.js" "editor.js" "emoji.js"
    "finder.js" "followed.js" "formatter.js" "jump_button.js" "live.js" "live_socket.js" "long_poll.js" "members.js" "message_list.js" "muted.js" "names.js"
    "navigation.js" "notifier.js" "notify_menu.js" "outbox.js" "paginator.js" "pending_rows.js" "picker.js" "popover.js" "quotes.js"
    "read_marks.js" "refresh.js" "request.js" "room.js" "room_events.js" "room_list.js" "room_row.js" "room_switch.js" "row_tools.js" "scroll_manager.js" "session.js"
    "shell.js" "slices.js" "status.js" "storage.js" "tabs.js" "texts.js" "timeline.js" "toast.js" "typing.js" "writing.js"
};
/// Modules that begin by themselves.
const ENTRIES: &[&str] = &["shell.js", "room.js"];

/// A static file.
struct Asset {
    /// Name by which this program knows it, as `style.css`.
    name: &'static str,
    /// The same with a hash, as `style.0123456789ab.css`.
    hashed: String,
    content_type: &'static str,
    plain: Bytes,
    gzip: OnceLock<Option<Bytes>>,
    brotli: OnceLock<Option<Bytes>>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    // A test bundles the modules.
    let script = bundle(ENTRIES, MODULES).unwrap_or_else(|reason| {
        tracing::error!(reason, "the scripts of the pages could not be put together");
        String::new()
    });
    vec![
        Asset::new("app.js", JAVASCRIPT, script),
        Asset::new("style.css", "text/css; charset=utf-8", STYLE),
        Asset::new(
            "emoji.json",
            "application/json",
            include_str!("../../templates/static/emoji.json"),
        ),
        Asset::new(
            "emoji-de.json",
            "application/json",
            include_str!("../../templates/static/emoji-de.json"),
        ),
        Asset::new(
            "icon.svg",
            "image/svg+xml",
            include_str!("../../templates/static/icon.svg"),
        ),
        Asset::new(
            "icon-unread.svg",
            "image/svg+xml",
            include_str!("../../templates/static/icon-unread.svg"),
        ),
    ]
});

impl Asset {
    fn new(name: &'static str, content_type: &'static str, text: impl Into<Bytes>) -> Self {
        let plain = text.into();
        let hash: String = Sha256::digest(&plain)
            .iter()
            .take(HASH_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
        Self {
            name,
            hashed: format!("{stem}.{hash}.{extension}"),
            content_type,
            plain,
            gzip: OnceLock::new(),
            brotli: OnceLock::new(),
        }
    }

    /// Returns the content in a coding; none if it is not shorter in it.
    fn encoded(&self, encoding: Encoding) -> Option<&Bytes> {
        let slot = match encoding {
            Encoding::Identity => return None,
            Encoding::Gzip => &self.gzip,
            Encoding::Brotli => &self.brotli,
        };
        slot.get_or_init(|| encoding.compress(&self.plain, Effort::Best))
            .as_ref()
    }
}

/// Compresses all files, so that nobody waits for it. Takes a moment.
pub(crate) fn prepare() {
    for asset in ASSETS.iter() {
        asset.encoded(Encoding::Brotli);
        asset.encoded(Encoding::Gzip);
    }
}

/// Returns the address of a file.
pub(super) fn url(app: &App, name: &str) -> String {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    let hashed = found.map_or(name, |asset| &asset.hashed);
    format!("{}/static/{hashed}", app.prefix())
}

/// Answers with a file. By a name that has no hash, or that of another version, a client gets what
/// there is now and asks again the next time.
pub(crate) async fn file(_: App, call: Call) -> Result<Response> {
    let name = call.file().unwrap_or_default();
    let exact = ASSETS.iter().find(|asset| asset.hashed == name);
    let Some(asset) = exact.or_else(|| ASSETS.iter().find(|asset| is_version(asset, name))) else {
        return Err(HttpError::not_found("there is no such file"));
    };
    if exact.is_none() {
        return Ok(cacheable(
            &call.head.headers,
            asset.content_type,
            asset.plain.clone(),
        ));
    }

    let encoding = Encoding::of(&call.head.headers);
    let encoded = tokio::task::spawn_blocking(move || asset.encoded(encoding));
    let encoded = encoded.await.map_err(|_| HttpError::internal())?;
    let body = encoded.unwrap_or(&asset.plain).clone();
    let mut response = bytes(StatusCode::OK, asset.content_type, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let (Some(_), Some(name)) = (encoded, encoding.name()) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    Ok(response)
}

/// Returns true if a name is that of a file, with or without a hash.
fn is_version(asset: &Asset, name: &str) -> bool {
    let (stem, extension) = asset.name.split_once('.').unwrap_or((asset.name, ""));
    let middle = name
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_suffix(extension)?.strip_suffix('.'));
    middle.is_some_and(|middle| {
        middle.is_empty()
            || middle
                .strip_prefix('.')
                .is_some_and(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))
    })
}

/// Browsers ask for it by this name, whatever the pages say.
pub(crate) async fn favicon(app: App, _: Call) -> Result<Response> {
    redirect(
        StatusCode::PERMANENT_REDIRECT,
        &format!("{}/static/icon.svg", app.prefix()),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn all_modules_are_bundled() {
        let script = bundle(ENTRIES, MODULES).expect("a bundle");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/static");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name.ends_with(".js"))
            .collect();
        let listed: BTreeSet<String> = MODULES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, listed);
        assert!(!script.contains("\nimport ") && !script.contains("\nexport "));
    }

    #[test]
    fn every_section_of_the_stylesheet_is_in_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/static/style");
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a section");
            assert!(STYLE.contains(&text), "{text}");
        }
    }

    #[test]
    fn a_name_holds_a_hash_of_the_content() {
        let asset = Asset::new("a.js", JAVASCRIPT, "1");
        assert_ne!(asset.hashed, Asset::new("a.js", JAVASCRIPT, "2").hashed);
        for (name, is_its) in [
            ("a.js", true),
            ("a.0123456789ab.js", true),
            (asset.hashed.as_str(), true),
            ("a.x.js", false),
            ("b.js", false),
            ("ab.js", false),
            ("a.css", false),
        ] {
            assert_eq!(is_version(&asset, name), is_its, "{name}");
        }
    }
}
