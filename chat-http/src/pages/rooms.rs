//! The list of all rooms, and the page that creates one.

use chatcore::{MAX_NAMES, Privacy, RoomName, Topic};
use hyper::StatusCode;
use serde::Serialize;

use super::sidebar::Entry;
use super::words::in_words;
use super::{Head, encode, render, render_with, room_page};
use crate::app::App;
use crate::creating;
use crate::error::{HttpError, Result};
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};

/// Fields of the template of the list.
#[derive(Serialize)]
struct ListContext<'a> {
    head: Head<'a>,
    rooms: Vec<Entry>,
    more: Option<String>,
    /// Number of messages that the user has written.
    count: u64,
    /// Text that was searched for.
    find: &'a str,
}

/// Lists the rooms, or those whose name contains the text that was typed.
pub(crate) async fn show(app: App, call: Call) -> Result<Response> {
    let find = call.query.get("find")?.unwrap_or_default().trim();
    let after = call.query.parsed("after")?;
    let found = call
        .user_store(&app)
        .rooms(after.as_ref(), MAX_NAMES)
        .await?;

    let user = call.user.as_ref();
    let last = found.last().filter(|_| found.len() == MAX_NAMES as usize);
    let more = last.map(|last| {
        let find = match find {
            "" => String::new(),
            find => format!("&find={}", encode(find)),
        };
        format!("{}/?after={}{find}", app.prefix(), encode(last.as_str()))
    });
    let wanted = find.to_lowercase();
    // Read after the list, so that each public room of the list is among these.
    let public = match user {
        Some(_) => app.store().rooms(after.as_ref(), MAX_NAMES).await?,
        None => found.clone(),
    };
    let entries = found.iter().map(|room| {
        let mut entry = Entry::new(&app, room, user);
        entry.private = public.binary_search(room).is_err();
        entry
    });
    let rooms = entries
        .filter(|room| room.label.to_lowercase().contains(&wanted))
        .collect();
    let count = match user {
        Some(user) => app.store().message_count(&user.username).await?,
        None => 0,
    };

    let mut head = Head::load(&app, &call, "", None).await?;
    head.title = head.text("rooms");
    let reader = head.reader;
    let context = ListContext {
        head,
        rooms,
        more,
        count,
        find,
    };
    render(reader, StatusCode::OK, "rooms", &context)
}

/// Shows the form for a new room.
pub(crate) async fn new(app: App, call: Call) -> Result<Response> {
    let name = call.query.get("room")?.unwrap_or_default();
    let form = Form {
        name,
        topic: "",
        private: false,
    };
    draw_new(&app, &call, form, None).await
}

/// Content of the form for a new room.
struct Form<'a> {
    name: &'a str,
    topic: &'a str,
    private: bool,
}

/// Fields of the template of the form.
#[derive(Serialize)]
struct FormContext<'a> {
    head: Head<'a>,
    name: &'a str,
    topic: &'a str,
    private: bool,
    name_error: Option<String>,
    topic_error: Option<String>,
    /// Address of the room, if it is there already.
    existing: Option<String>,
}

async fn draw_new(
    app: &App,
    call: &Call,
    form: Form<'_>,
    error: Option<HttpError>,
) -> Result<Response> {
    let mut head = Head::load(app, call, "", None).await?;
    head.title = head.text("new_room");
    let reader = head.reader;

    let is_conflict = error
        .as_ref()
        .is_some_and(|error| error.status == StatusCode::CONFLICT);
    let is_of_topic = error
        .as_ref()
        .is_some_and(|error| error.detail.starts_with("topic"));
    let words = error
        .as_ref()
        .map(|error| in_words(reader.language, &error.detail).into_owned());
    let (topic_error, name_error) = match is_of_topic {
        true => (words, None),
        false => (None, words),
    };
    let existing = form.name.parse().ok().filter(|_| is_conflict);
    let context = FormContext {
        head,
        name: form.name,
        topic: form.topic,
        private: form.private,
        name_error,
        topic_error,
        existing: existing.map(|room: RoomName| room_page(app, &room)),
    };
    render_with(error, reader, "new", &context)
}

/// Creates the room of the form and leads there. What is refused stays in the form.
pub(crate) async fn create(app: App, call: Call) -> Result<Response> {
    let fields = call.form()?;
    let created = create_as_typed(&app, &call, &fields).await;
    match created {
        Ok(room) => see_other(&room_page(&app, &room)),
        Err(error) => {
            let form = Form {
                name: fields.text("room")?.unwrap_or_default(),
                topic: fields.text("topic")?.unwrap_or_default(),
                private: fields.text("private")?.is_some(),
            };
            draw_new(&app, &call, form, Some(error)).await
        }
    }
}

async fn create_as_typed(app: &App, call: &Call, fields: &Fields) -> Result<RoomName> {
    let room: RoomName = fields.required("room")?;
    let topic: Option<Topic> = fields.get("topic")?;
    let is_private = fields.text("private")?.is_some();
    let privacy = match is_private {
        true => Privacy::Private,
        false => Privacy::Public,
    };
    if !creating::create(app, call, &room, privacy).await? {
        return Err(HttpError::conflict("there is a room of this name already"));
    }

    let (store, user) = (call.user_store(app), call.user.as_ref());
    if user.is_some() {
        // The room is in the list of who made it.
        store.join(&room).await?;
    }
    let topic = topic.filter(|topic| !topic.as_str().is_empty());
    if let Some(topic) = topic.filter(|_| user.is_some_and(|user| user.verified)) {
        store.set_topic(&room, topic).await?;
    }
    Ok(room)
}
