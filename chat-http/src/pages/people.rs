//! The people of a room: who is a member, and the tools of its owner.

use chatcore::{Error, Room, RoomName, Topic, UserStore, Username};
use futures_util::future::try_join_all;
use serde::Serialize;

use super::message::{hue, initials};
use super::room::draw_missing_or;
use super::sidebar::label;
use super::words::in_words;
use super::{Head, encode, render_with, room_page};
use crate::app::App;
use crate::credentials::CurrentUser;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};
use crate::texts::Language;

/// Members on a page.
const MEMBERS: u32 = 50;
/// Banned names that are shown.
const BANS: u32 = 100;

#[derive(Serialize)]
struct Person {
    name: String,
    hue: u32,
    initials: String,
    /// Messages that the user has written, in all rooms.
    written: String,
    is_self: bool,
    is_owner: bool,
    /// Set if the reader owns the room and may remove the user.
    may_remove: bool,
    may_ban: bool,
    /// Set if the reader may begin a direct conversation.
    may_write_to: bool,
}

#[derive(Serialize)]
struct Context<'a> {
    head: Head<'a>,
    room: &'a str,
    label: String,
    page: String,
    topic: String,
    private: bool,
    direct: bool,
    owns: bool,
    /// Set if there is somebody who may leave, or join.
    may_leave: bool,
    may_join: bool,
    users: u64,
    people: Vec<Person>,
    more: Option<String>,
    bans: Vec<Username>,
    /// Name that was typed, if it was refused.
    typed: &'a str,
    error: Option<String>,
    done: bool,
}

/// Shows who is a member of a room.
pub(crate) async fn show(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    draw(&app, &call, &room, "", None).await
}

async fn draw(
    app: &App,
    call: &Call,
    room: &RoomName,
    typed: &str,
    error: Option<HttpError>,
) -> Result<Response> {
    let store = call.user_store(app);
    let found = match store.room(room).await {
        Ok(found) => found,
        Err(missing) => {
            return match error {
                Some(error) => Err(error),
                None => draw_missing_or(app, call, room, missing.into()).await,
            };
        }
    };
    let context = context(app, call, &store, &found, typed, error.as_ref()).await?;
    render_with(error, context.head.reader, "people", &context)
}

async fn context<'a>(
    app: &'a App,
    call: &'a Call,
    store: &UserStore,
    found: &'a Room,
    typed: &'a str,
    error: Option<&HttpError>,
) -> Result<Context<'a>> {
    let room = &found.name;
    let user = call.user.as_ref();
    let after = call.query.parsed("after")?;
    let names = store.members(room, after.as_ref(), MEMBERS).await?;
    let last = names.last().filter(|_| names.len() == MEMBERS as usize);
    let page = room_page(app, room);
    let more = last.map(|last| format!("{page}/people?after={}", encode(last.as_str())));

    let is_member = store.is_member(room).await?;
    let owns = owns(user, found);
    let bans = match owns {
        true => store.bans(room, None, BANS).await?,
        false => Vec::new(),
    };
    let people = people(app, call, found, &names).await?;

    let mut head = Head::load(app, call, "", Some(room)).await?;
    head.title = head.text("members");
    Ok(Context {
        room: room.as_str(),
        label: label(found, user),
        page,
        topic: found
            .topic
            .as_ref()
            .map_or_else(String::new, Topic::to_string),
        private: found.private,
        direct: direct::is_reserved(room),
        owns,
        may_leave: is_member,
        may_join: user.is_some() && !is_member,
        users: found.members,
        people,
        more,
        bans,
        typed,
        error: error.map(|error| in_words(head.reader.language, &error.detail).into_owned()),
        done: call.query.get("done")?.is_some(),
        head,
    })
}

/// Returns true if the user is logged in to the account that owns the room.
fn owns(user: Option<&CurrentUser>, found: &Room) -> bool {
    user.is_some_and(|user| user.verified && found.owner.as_ref() == Some(&user.username))
}

async fn people(
    app: &App,
    call: &Call,
    found: &Room,
    names: &[Username],
) -> Result<Vec<Person>, Error> {
    let user = call.user.as_ref();
    let moderates = owns(user, found) && !direct::is_reserved(&found.name);
    let language = Language::of(&call.head.headers);
    let person = async |name: &Username| {
        let is_self = user.is_some_and(|user| user.username == *name);
        Ok(Person {
            written: written(language, app.store().message_count(name).await?),
            hue: hue(name.as_str()),
            initials: initials(name.as_str()),
            name: name.to_string(),
            is_self,
            is_owner: found.owner.as_ref() == Some(name),
            may_remove: moderates && found.private && !is_self,
            may_ban: moderates && !is_self,
            may_write_to: !is_self && user.is_some_and(|user| user.verified),
        })
    };
    // Counts that are asked for together are read by one query.
    try_join_all(names.iter().map(person)).await
}

/// Returns how many messages somebody has written, in words.
fn written(language: Language, count: u64) -> String {
    let key = if count == 1 {
        "wrote_one"
    } else {
        "wrote_many"
    };
    let text = language.texts().text("pages", key);
    text.replace("{n}", &count.to_string())
}

/// A form by which somebody comes or goes, or the owner of the room says who may be in it.
pub(crate) async fn change(app: App, call: Call) -> Result<Response> {
    let room = call.room()?;
    let fields = call.form()?;
    match apply(&app, &call, &room, &fields).await {
        Ok(Done::Changed) => see_other(&format!("{}/people?done=", room_page(&app, &room))),
        Ok(Done::Joined) => see_other(&room_page(&app, &room)),
        Ok(Done::Left) => see_other(&format!("{}/", app.prefix())),
        Err(error) => {
            let typed = fields.text("username")?.unwrap_or_default();
            draw(&app, &call, &room, typed, Some(error)).await
        }
    }
}

/// Result of a form, which decides on the page that follows.
enum Done {
    Changed,
    Joined,
    Left,
}

async fn apply(app: &App, call: &Call, room: &RoomName, fields: &Fields) -> Result<Done> {
    call.user()?;
    app.limits().moderation(&call.charged(app))?;
    let store = call.user_store(app);
    let named = || fields.required::<Username>("username");
    let what = fields.text("do")?;
    if matches!(what, Some("invite" | "remove" | "ban")) {
        direct::check_moderation(room)?;
    }
    match what {
        Some("join") => {
            store.room(room).await?;
            store.join(room).await?;
            return Ok(Done::Joined);
        }
        Some("leave") => {
            store.leave(room).await?;
            return Ok(Done::Left);
        }
        Some("invite") => store.invite(room, &named()?).await?,
        Some("remove") => store.remove(room, &named()?).await?,
        Some("ban") => store.ban(room, &named()?).await?,
        // A ban that is not there counts as lifted.
        Some("unban") => drop(store.unban(room, &named()?).await?),
        Some("topic") => drop(store.set_topic(room, fields.required("topic")?).await?),
        _ => {
            return Err(HttpError::bad_request(
                "do must be one of join, leave, invite, remove, ban, unban and topic",
            ));
        }
    }
    Ok(Done::Changed)
}
