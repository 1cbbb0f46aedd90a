//! The page of one room.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::{Invalid, Range, Room, RoomName, Seq, SharedMessage, Topic, Username};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::rows::{MESSAGES, Selection, draw_rows};
use super::sidebar::label;
use super::words::in_words;
use super::{Head, assets, encode, refused, render, room_page};
use crate::app::App;
use crate::config::Guests;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::posting::{self, Post};
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};
use crate::texts::Language;

/// The page, for who may see it.
pub(crate) async fn show(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    draw(&app, &call, &room, StatusCode::OK, &Draft::new(None)?).await
}

/// Content of the form of a room.
pub(super) struct Draft<'a> {
    text: &'a str,
    /// Makes sending the same form twice harmless.
    pub(super) nonce: String,
    error: Option<&'a str>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(error: Option<&'a str>) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| {
            tracing::error!(error = %e, "the system gives no random bytes");
            HttpError::internal()
        })?;
        Ok(Self {
            text: "",
            nonce: URL_SAFE_NO_PAD.encode(random),
            error,
        })
    }
}

fn verified(call: &Call) -> Option<&Username> {
    call.user
        .as_ref()
        .filter(|user| user.verified)
        .map(|user| &user.username)
}

/// Returns true if the user may delete messages of others.
pub(super) fn moderates(call: &Call, room: &Room) -> bool {
    verified(call).is_some_and(|account| room.owner.as_ref() == Some(account))
        && !direct::is_reserved(&room.name)
}

/// The page of a room, or, alike for a room that does not exist and for one that the user may not
/// know of, a page that says so and offers to create it.
async fn draw(
    app: &App,
    call: &Call,
    room: &RoomName,
    status: StatusCode,
    draft: &Draft<'_>,
) -> Result<Response> {
    match draw_room(app, call, room, status, draft).await {
        Err(missing) if missing.status == StatusCode::NOT_FOUND => {
            let status = if status == StatusCode::OK {
                missing.status
            } else {
                status
            };
            draw_missing(app, call, room, status, draft).await
        }
        drawn => drawn,
    }
}

/// Draws the page for a room that is not there; returns any other error.
pub(super) async fn draw_missing_or(
    app: &App,
    call: &Call,
    room: &RoomName,
    error: HttpError,
) -> Result<Response> {
    match error.status {
        StatusCode::NOT_FOUND => {
            draw_missing(app, call, room, error.status, &Draft::new(None)?).await
        }
        _ => Err(error),
    }
}

async fn draw_missing(
    app: &App,
    call: &Call,
    room: &RoomName,
    status: StatusCode,
    draft: &Draft<'_>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        room: &'a str,
        page: String,
        may_create: bool,
        text: &'a str,
        nonce: &'a str,
        error: Option<&'a str>,
    }
    let mut head = Head::load(app, call, "", Some(room)).await?;
    head.title = head.text("room_not_found");
    let reader = head.reader;
    let context = Context {
        head,
        room: room.as_str(),
        page: room_page(app, room),
        may_create: !direct::is_reserved(room)
            && (app.settings().guests == Guests::Allow || verified(call).is_some()),
        text: draft.text,
        nonce: &draft.nonce,
        error: draft.error,
    };
    render(reader, status, "missing", &context)
}

/// Fields of the template of a room.
#[derive(Serialize)]
struct RoomContext<'a> {
    head: Head<'a>,
    t: &'a Value,
    room: &'a str,
    /// Name of the room as the user reads it.
    label: &'a str,
    topic: Option<&'a str>,
    page: String,
    api: String,
    emoji: String,
    placeholder: String,
    /// The messages, drawn.
    rows: String,
    older: Option<String>,
    newer: Option<String>,
    /// Page of the newest messages, unless this is it.
    newest_page: Option<String>,
    /// True at the end of the room, where new messages appear.
    newest: bool,
    /// The first and the last message that is shown, and the last one of the room.
    first: i64,
    last: i64,
    end: i64,
    /// The last change that is shown.
    change: i64,
    /// The last message that the user has read.
    read: i64,
    private: bool,
    /// True if the user may delete messages of others.
    moderates: bool,
    /// True if the user may edit and delete messages of that name.
    verified: bool,
    text: &'a str,
    nonce: &'a str,
    error: Option<&'a str>,
}

/// The room and its messages, for one page.
struct View {
    room: Room,
    messages: Vec<SharedMessage>,
    /// Set if these are the newest messages of the room.
    is_newest: bool,
    /// The last message that the user has read.
    read: Seq,
}

impl View {
    async fn load(app: &App, call: &Call, room: &RoomName) -> Result<Self> {
        let selection = Selection::of(&call.query)?;
        let store = call.user_store(app);
        // Read before the messages: the page goes on after its last change.
        let room = store.room(room).await?;
        let messages = selection.read(&store, &room.name, MESSAGES).await?;
        let read = match &call.user {
            // A mark that moves to the beginning stays where it is.
            Some(_) => store.mark_read(&room.name, Seq::ZERO).await?,
            None => room.last_seq,
        };
        let last = messages.last().map_or(Seq::ZERO, |message| message.seq);
        Ok(Self {
            is_newest: selection == Selection::Range(Range::Newest) || last >= room.last_seq,
            room,
            messages,
            read,
        })
    }
}

async fn draw_room(
    app: &App,
    call: &Call,
    room: &RoomName,
    status: StatusCode,
    draft: &Draft<'_>,
) -> Result<Response> {
    let view = View::load(app, call, room).await?;
    let (found, messages) = (&view.room, &view.messages);

    let language = Language::of(&call.head.headers);
    let t = language.texts().section("room");
    let page = room_page(app, room);
    let label = label(found, call.user.as_ref());
    let head = Head::load(app, call, &label, Some(room)).await?;
    let reader = head.reader;
    let first = messages.first().map_or(0, |m| m.seq.get());
    let last = messages.last().map_or(0, |m| m.seq.get());
    let placeholder = t.get("message_to").and_then(Value::as_str);
    let context = RoomContext {
        t,
        room: room.as_str(),
        label: &label,
        topic: found.topic.as_ref().map(Topic::as_str),
        api: format!("{}/chat/{}", app.prefix(), encode(room.as_str())),
        emoji: assets::url(app, emoji_names(language)),
        placeholder: placeholder.unwrap_or_default().replace("{room}", &label),
        rows: draw_rows(app, language, messages).await?,
        older: (first > 1).then(|| format!("{page}?before={first}")),
        newer: (!view.is_newest).then(|| format!("{page}?after={last}#m{}", last + 1)),
        newest_page: (!view.is_newest).then(|| page.clone()),
        newest: view.is_newest,
        first,
        last,
        end: found.last_seq.get(),
        change: found.last_change.get(),
        read: view.read.get(),
        head,
        page,
        private: found.private,
        moderates: moderates(call, found),
        verified: verified(call).is_some(),
        text: draft.text,
        nonce: &draft.nonce,
        error: draft.error,
    };
    render(reader, status, "room", &context)
}

/// Returns the file with the names of emoji in a language.
fn emoji_names(language: Language) -> &'static str {
    match language {
        Language::English => "emoji.json",
        Language::German => "emoji-de.json",
    }
}

/// A message from the form. What is refused stays in the form.
pub(crate) async fn post(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.form()?;
    // A form has two characters for the end of a line.
    let text = fields
        .text("text")?
        .unwrap_or_default()
        .replace("\r\n", "\n");
    let posted = post_text(&app, &call, &room, &text, &fields).await;
    answer(&app, &call, &room, posted, &text).await
}

/// Back to the page; after something that was refused, with why, and what was typed.
async fn answer(
    app: &App,
    call: &Call,
    room: &RoomName,
    done: Result<()>,
    text: &str,
) -> Result<Response> {
    let Err(error) = done else {
        return see_other(&room_page(app, room));
    };
    let words = in_words(Language::of(&call.head.headers), &error.detail).into_owned();
    let draft = Draft {
        text,
        ..Draft::new(Some(&words))?
    };
    let page = draw(app, call, room, error.status, &draft).await?;
    Ok(refused(error, page))
}

async fn post_text(
    app: &App,
    call: &Call,
    room: &RoomName,
    text: &str,
    fields: &Fields,
) -> Result<()> {
    let user = call.user()?;
    // An empty field of a form is one that was left out.
    let reply_to = fields.text("reply_to")?.filter(|seq| !seq.is_empty());
    let reply_to = reply_to.map(str::parse).transpose().map_err(|e| Invalid {
        field: "reply_to",
        ..e
    })?;
    let post = Post {
        room: room.clone(),
        sender: None,
        text: text.parse()?,
        nonce: fields.get("nonce")?,
        reply_to,
    };
    let message = post.into_message(Some(user), false)?;
    posting::store(app, message, &call.charged(app), call.network(app))
        .await
        .map(drop)
}
