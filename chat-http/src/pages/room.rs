//! The page of one room.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::{Invalid, MAX_NAMES, Range, Room, RoomName, Seq, Topic, Username};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::account::log_in_link;
use super::message::{hue, initials};
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

/// Who is in a private room, or banned from any, and whether a form lets the user change that.
#[derive(Serialize)]
struct Person {
    name: Username,
    changeable: bool,
}

/// What the page says of the room itself.
struct About {
    /// Read before the messages: the page goes on after its last change.
    found: Room,
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
            view.members(room, None, MAX_NAMES).await?
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
            found,
            owns,
            members,
            bans,
        })
    }
}

fn verified(call: &Call) -> Option<&Username> {
    call.user
        .as_ref()
        .filter(|user| user.verified)
        .map(|user| &user.username)
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

/// The log-in page that leads back to the room; empty if there is none.
fn log_in_for(app: &App, room: &RoomName) -> String {
    let next = format!("/rooms/{}", encode(room.as_str()));
    log_in_link(app, &next).unwrap_or_default()
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
        t: &'a Value,
        /// The same for scripts, as JSON that may stand in a script element.
        texts: String,
        room: &'a str,
        topic: Option<&'a str>,
        page: String,
        api: String,
        log_in: String,
        placeholder: String,
        hue: u32,
        initials: String,
        /// The messages, drawn.
        rows: String,
        older: Option<String>,
        newer: Option<String>,
        /// Whether this is the end of the room, where new messages appear.
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
        owns: bool,
        /// Whether the user's messages are the user's to edit and to delete.
        verified: bool,
        members: Vec<Person>,
        bans: Vec<Username>,
        text: &'a str,
        nonce: &'a str,
        error: Option<&'a str>,
    }
    let selection = Selection::of(&call.query)?;
    let About {
        found,
        owns,
        members,
        bans,
    } = About::of(app, call, room).await?;
    let store = call.user_store(app);
    let messages = selection.read(&store, room, MESSAGES).await?;
    let read = match &call.user {
        // A mark that moves to the beginning stays where it is.
        Some(_) => store.mark_read(room, Seq::ZERO).await?,
        None => found.last_seq,
    };

    let language = Language::of(&call.head.headers);
    let t = language.texts().section("room");
    let page = room_page(app, room);
    let head = Head::new(app, call, room.as_str());
    let first = messages.first().map_or(0, |m| m.seq.get());
    let last = messages.last().map_or(0, |m| m.seq.get());
    let is_newest = selection == Selection::Range(Range::Newest) || last >= found.last_seq.get();
    let placeholder = t.get("message_to").and_then(Value::as_str);
    let context = Context {
        t,
        texts: t.to_string().replace('<', "\\u003c"),
        room: room.as_str(),
        topic: found.topic.as_ref().map(Topic::as_str),
        api: format!("{}/chat/{}", app.prefix(), encode(room.as_str())),
        log_in: log_in_for(app, room),
        placeholder: placeholder
            .unwrap_or_default()
            .replace("{room}", room.as_str()),
        hue: hue(head.user.unwrap_or_default()),
        initials: initials(head.user.unwrap_or_default()),
        rows: draw_rows(app, language, &messages).await?,
        older: (first > 1).then(|| format!("{page}?before={first}")),
        newer: (!is_newest).then(|| page.clone()),
        newest: is_newest,
        first,
        last,
        end: found.last_seq.get(),
        change: found.last_change.get(),
        read: read.get(),
        head,
        page,
        private: found.private,
        owns,
        verified: verified(call).is_some(),
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

/// A form by which the owner of the room says who may be in it.
pub(crate) async fn change_people(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.form()?;
    let changed = change(&app, &call, &room, &fields).await;
    answer(&app, &call, &room, changed, "").await
}

async fn change(app: &App, call: &Call, room: &RoomName, fields: &Fields) -> Result<()> {
    call.user()?;
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
        call.user()?;
        app.limits().post(&call.charged(&app))?;
        Ok(call
            .user_store(&app)
            .delete_message(&room, fields.required::<Seq>("seq")?)
            .await?)
    };
    let deleted = deleted.await;
    answer(&app, &call, &room, deleted, "").await
}
