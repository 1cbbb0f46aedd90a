//! The page of one room.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::{ChangeSeq, Invalid, MAX_NAMES, Message, Range, RoomName, Seq, Timestamp, Username};
use hyper::StatusCode;
use serde::Serialize;

use super::account::log_in_page;
use super::rows::{MESSAGES, Selection, draw_rows};
use super::{Head, encode, refused, render, room_page};
use crate::app::App;
use crate::config::Guests;
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

/// What the form of a room holds.
struct Draft<'a> {
    text: &'a str,
    /// Makes sending the same form twice harmless.
    nonce: String,
    error: Option<&'a str>,
}

impl<'a> Draft<'a> {
    fn new(error: Option<&'a str>) -> Result<Self> {
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

#[derive(Serialize)]
struct Line<'a> {
    seq: i64,
    sender: &'a str,
    text: &'a str,
    timestamp: Timestamp,
    /// Minutes are enough to read; the attribute has the rest.
    time: String,
    verified: bool,
    deleted: bool,
    /// Whether the user may delete it.
    deletable: bool,
}

impl<'a> Line<'a> {
    fn new(message: &'a Message, user: Option<&Username>, owns: bool) -> Self {
        let written = message.timestamp.to_string();
        let is_own = message.is_verified() && user == message.sender();
        Self {
            seq: message.seq.get(),
            sender: message.sender().map_or("", Username::as_str),
            text: message.text().unwrap_or_default(),
            timestamp: message.timestamp,
            time: written.get(..16).unwrap_or_default().replace('T', " "),
            verified: message.is_verified(),
            deleted: message.is_deleted(),
            deletable: !message.is_deleted() && (owns || is_own),
        }
    }
}

/// Who is in a private room, or banned from any, and whether a form lets the user change that.
#[derive(Serialize)]
struct Person {
    name: Username,
    changeable: bool,
}

/// What the page says of the room itself.
struct About {
    /// Number of the last change, read before the messages: the page goes on after it.
    last_change: ChangeSeq,
    private: bool,
    owns: bool,
    members: Vec<Person>,
    bans: Vec<Username>,
}

impl About {
    /// Fails for a room that does not exist, or that the user may not know of.
    async fn of(app: &App, call: &Call, room: &RoomName) -> Result<Self> {
        let view = call.user_store(app);
        let found = view.room(room).await?;
        let user = verified(call);
        let owns = user.is_some() && found.owner.as_ref() == user;
        let names = if found.private {
            view.users(room, None, MAX_NAMES).await?
        } else {
            Vec::new()
        };
        let person = |name: Username| Person {
            changeable: owns && user != Some(&name),
            name,
        };
        let members = names.into_iter().map(person).collect();
        let bans = if owns {
            view.bans(room, None, MAX_NAMES).await?
        } else {
            Vec::new()
        };
        Ok(Self {
            last_change: found.last_change,
            private: found.private,
            owns,
            members,
            bans,
        })
    }
}

fn verified(call: &Call) -> Option<&Username> {
    call.user
        .as_ref()
        .filter(|user| user.session.verified)
        .map(|user| &user.session.username)
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
            draw_missing(app, call, room, status, draft)
        }
        drawn => drawn,
    }
}

fn draw_missing(
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
        log_in: String,
        may_create: bool,
        text: &'a str,
        nonce: &'a str,
        error: Option<&'a str>,
    }
    let context = Context {
        head: Head::new(app, call, "Room not found"),
        room: room.as_str(),
        page: room_page(app, room),
        log_in: log_in_for(app, room),
        may_create: app.settings().guests == Guests::Allow || verified(call).is_some(),
        text: draft.text,
        nonce: &draft.nonce,
        error: draft.error,
    };
    render(status, "missing", &context)
}

/// The log-in page that leads back to the room.
fn log_in_for(app: &App, room: &RoomName) -> String {
    let next = format!("/rooms/{}", encode(room.as_str()));
    format!("{}?next={}", log_in_page(app), encode(&next))
}

async fn draw_room(
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
        api: String,
        log_in: String,
        messages: Vec<Line<'a>>,
        /// The messages, drawn.
        rows: String,
        /// Whether this is the end of the room, where new messages appear.
        live: bool,
        older: Option<String>,
        newer: Option<String>,
        events: String,
        changes: String,
        /// The newest message shown, after which the page goes on.
        last: i64,
        /// The last change that is shown.
        change: i64,
        private: bool,
        owns: bool,
        /// Whether the user's messages are the user's to delete.
        verified: bool,
        members: Vec<Person>,
        bans: Vec<Username>,
        text: &'a str,
        nonce: &'a str,
        error: Option<&'a str>,
    }
    let selection = Selection::of(&call.query)?;
    let About {
        last_change,
        private,
        owns,
        members,
        bans,
    } = About::of(app, call, room).await?;
    let read = selection
        .read(&call.user_store(app), room, MESSAGES)
        .await?;
    let is_newest = selection == Selection::Range(Range::Newest);
    let page = room_page(app, room);
    let first = read.first().map_or(0, |m| m.seq.get());
    let user = verified(call);
    let context = Context {
        head: Head::new(app, call, room.as_str()),
        room: room.as_str(),
        api: format!("{}/chat/{}/messages", app.prefix(), encode(room.as_str())),
        log_in: log_in_for(app, room),
        messages: read
            .iter()
            .map(|message| Line::new(message, user, owns))
            .collect(),
        rows: draw_rows(app, Language::of(&call.headers), &read).await?,
        live: is_newest,
        older: (first > 1).then(|| format!("{page}?before={first}")),
        newer: (!is_newest).then(|| page.clone()),
        events: format!("{}/chat/{}/events", app.prefix(), encode(room.as_str())),
        changes: format!("{}/chat/{}/changes", app.prefix(), encode(room.as_str())),
        last: read.last().map_or(0, |m| m.seq.get()),
        change: last_change.get(),
        page,
        private,
        owns,
        verified: user.is_some(),
        members,
        bans,
        text: draft.text,
        nonce: &draft.nonce,
        error: draft.error,
    };
    render(status, "room", &context)
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
    let draft = Draft {
        text,
        ..Draft::new(Some(&error.detail))?
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
    let session = call.session()?;
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
    let message = post.into_message(Some(session), false)?;
    posting::store(app, message, &call.charged(app), call.network(app))
        .await
        .map(drop)
}

/// A form by which the owner of the room says who may be in it.
pub(crate) async fn change_people(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.form()?;
    let changed = change(&app, &call, &room, &fields).await;
    answer(&app, &call, &room, changed, "").await
}

async fn change(app: &App, call: &Call, room: &RoomName, fields: &Fields) -> Result<()> {
    call.session()?;
    app.limits().moderation(&call.charged(app))?;
    let (view, user) = (
        call.user_store(app),
        fields.required::<Username>("username")?,
    );
    match fields.text("do")? {
        Some("invite") => view.invite(room, &user).await?,
        Some("remove") => view.remove(room, &user).await?,
        Some("ban") => view.ban(room, &user).await?,
        // What is not there has been lifted.
        Some("unban") => drop(view.unban(room, &user).await?),
        _ => {
            return Err(HttpError::bad_request(
                "do must be one of invite, remove, ban and unban",
            ));
        }
    }
    Ok(())
}

/// A form that deletes a message.
pub(crate) async fn delete(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.form()?;
    let deleted = async {
        call.session()?;
        app.limits().post(&call.charged(&app))?;
        Ok(call
            .user_store(&app)
            .delete_message(&room, fields.required::<Seq>("seq")?)
            .await?)
    };
    let deleted = deleted.await;
    answer(&app, &call, &room, deleted, "").await
}
