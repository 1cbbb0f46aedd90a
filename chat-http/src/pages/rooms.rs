//! The page that lists the rooms.

use chatcore::{MAX_NAMES, Privacy, RoomName};
use hyper::StatusCode;
use serde::Serialize;

use super::{Head, encode, refused, render, room_page};
use crate::app::App;
use crate::error::Result;
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};

#[derive(Serialize)]
struct Link<'a> {
    name: &'a str,
    href: String,
}

pub(crate) async fn show(app: App, call: Call) -> Result<Response> {
    draw(&app, &call, StatusCode::OK, "", None).await
}

async fn draw(
    app: &App,
    call: &Call,
    status: StatusCode,
    typed: &str,
    error: Option<&str>,
) -> Result<Response> {
    #[derive(Serialize)]
    struct Context<'a> {
        head: Head<'a>,
        rooms: Vec<Link<'a>>,
        more: Option<String>,
        count: u64,
        /// What the form holds.
        typed: &'a str,
        /// Whether the user may make private rooms.
        verified: bool,
        error: Option<&'a str>,
    }
    let after = call.query.parsed("after")?;
    let found = call
        .user_store(app)
        .rooms(after.as_ref(), MAX_NAMES)
        .await?;
    let rooms: Vec<_> = found
        .iter()
        .map(|room| Link {
            name: room.as_str(),
            href: room_page(app, room),
        })
        .collect();
    let last = found.last().filter(|_| found.len() == MAX_NAMES as usize);
    let more = last.map(|last| format!("{}/?after={}", app.prefix(), encode(last.as_str())));
    let verified = call.user.as_ref().is_some_and(|user| user.verified);
    let count = match &call.user {
        Some(user) => app.store().message_count(&user.username).await?,
        None => 0,
    };
    render(
        status,
        "rooms",
        &Context {
            head: Head::new(app, call, "Rooms"),
            rooms,
            more,
            count,
            typed,
            verified,
            error,
        },
    )
}

/// Creates the room that a form names, unless it is there.
async fn create(app: &App, call: &Call, fields: &Fields) -> Result<RoomName> {
    let room: RoomName = fields.required("room")?;
    let privacy = if fields.text("private")?.is_some() {
        Privacy::Private
    } else {
        Privacy::Public
    };
    let from = call.network(app);
    app.limits().room(from)?;
    if !call.user_store(app).create_room(&room, privacy).await? {
        app.limits().no_room(from);
    }
    Ok(room)
}

/// Creates the room that was typed, unless it is there, and opens it.
pub(crate) async fn open(app: App, call: Call) -> Result<Response> {
    let fields = call.form()?;
    match create(&app, &call, &fields).await {
        Ok(room) => see_other(&room_page(&app, &room)),
        Err(error) => {
            let typed = fields.text("room")?.unwrap_or_default();
            let page = draw(&app, &call, error.status, typed, Some(&error.detail)).await?;
            Ok(refused(error, page))
        }
    }
}
