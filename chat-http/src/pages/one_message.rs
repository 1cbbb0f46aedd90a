//! The page of one message: where it is answered, edited, deleted and reacted to without scripts.

use chatcore::{Emoji, Message, MessageText, RoomName, Seq};
use serde::Serialize;

use super::room::{Draft, draw_missing_or, moderates};
use super::rows::draw_rows;
use super::words::in_words;
use super::{Head, message_link, message_page, render_with, room_page};
use crate::app::App;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::request::{Call, Fields};
use crate::response::{Response, see_other};

/// Reactions that are offered.
const EMOJI: [&str; 8] = ["👍", "❤️", "😂", "🎉", "😮", "😢", "👀", "✅"];

/// A reaction that is offered.
#[derive(Serialize)]
struct Choice {
    emoji: &'static str,
    /// Set if the user has reacted with it.
    is_own: bool,
}

/// Shows one message with what can be done with it.
pub(crate) async fn show(app: App, call: Call) -> Result<Response> {
    let (room, seq) = (call.room()?, call.seq()?);
    draw(&app, &call, (&room, seq), None, None).await
}

/// Fields of the template of one message.
#[derive(Serialize)]
struct MessageContext<'a> {
    head: Head<'a>,
    row: String,
    room: &'a str,
    room_page: String,
    /// Address of the message in its room.
    back: String,
    page: String,
    seq: i64,
    nonce: String,
    /// Text of the form to edit it.
    text: &'a str,
    may_edit: bool,
    may_delete: bool,
    may_answer: bool,
    choices: Vec<Choice>,
    error: Option<String>,
}

async fn draw(
    app: &App,
    call: &Call,
    (room, seq): (&RoomName, Seq),
    typed: Option<&str>,
    error: Option<HttpError>,
) -> Result<Response> {
    let store = call.user_store(app);
    let message = match store.message(room, seq).await {
        Ok(message) => message,
        Err(missing) => {
            return match (error, store.room(room).await) {
                (Some(error), _) => Err(error),
                (None, Ok(_)) => Err(missing.into()),
                (None, Err(missing)) => draw_missing_or(app, call, room, missing.into()).await,
            };
        }
    };
    let moderates = moderates(call, &store.room(room).await?);
    let user = call.user.as_ref();
    let account = user.filter(|user| user.verified).map(|user| &user.username);
    let is_own = account.is_some() && message.is_verified() && message.sender() == account;

    let mut head = Head::load(app, call, "", Some(room)).await?;
    head.title = head.text("message");
    let reader = head.reader;
    let row = draw_rows(app, reader.language, std::slice::from_ref(&message)).await?;
    let is_there = !message.is_deleted();
    let context = MessageContext {
        head,
        row,
        room: room.as_str(),
        room_page: room_page(app, room),
        back: message_link(app, room, seq),
        page: message_page(app, room, seq),
        seq: seq.get(),
        nonce: Draft::new(None)?.nonce,
        text: typed.or(message.text()).unwrap_or_default(),
        may_edit: is_there && is_own,
        may_delete: is_there && (is_own || moderates),
        may_answer: is_there && user.is_some(),
        choices: user.map_or_else(Vec::new, |user| choices(&message, user.username.as_str())),
        error: error
            .as_ref()
            .map(|error| in_words(reader.language, &error.detail).into_owned()),
    };
    render_with(error, reader, "one_message", &context)
}

fn choices(message: &Message, user: &str) -> Vec<Choice> {
    let Some(content) = &message.content else {
        return Vec::new();
    };
    let present = content
        .reactions
        .iter()
        .map(|reaction| reaction.emoji.as_str());
    let others = EMOJI.into_iter().filter(|emoji| {
        let same = |reaction: &chatcore::Reaction| reaction.emoji.as_str() == *emoji;
        !content.reactions.iter().any(same)
    });
    let is_own = |emoji: &str| {
        content.reactions.iter().any(|reaction| {
            reaction.emoji.as_str() == emoji
                && reaction.users.iter().any(|name| name.as_str() == user)
        })
    };
    present
        .chain(others)
        .map(|emoji| Choice {
            emoji,
            is_own: is_own(emoji),
        })
        .collect()
}

/// A form that changes a message. What was typed stays in it if it is refused.
pub(crate) async fn change(app: App, call: Call) -> Result<Response> {
    let (room, seq) = (call.room()?, call.seq()?);
    let fields = call.form()?;
    match apply(&app, &call, (&room, seq), &fields).await {
        Ok(()) => see_other(&message_link(&app, &room, seq)),
        Err(error) => {
            let typed = fields.text("text")?;
            draw(&app, &call, (&room, seq), typed, Some(error)).await
        }
    }
}

async fn apply(
    app: &App,
    call: &Call,
    (room, seq): (&RoomName, Seq),
    fields: &Fields,
) -> Result<()> {
    let user = call.user()?;
    app.limits().post(&call.charged(app))?;
    let store = call.user_store(app);
    if let Some(emoji) = fields.get::<Emoji>("add")? {
        store.add_reaction(room, seq, emoji).await?;
        return Ok(());
    }
    if let Some(emoji) = fields.get::<Emoji>("remove")? {
        store.remove_reaction(room, seq, emoji).await?;
        return Ok(());
    }
    match fields.text("do")? {
        Some("edit") => {
            // A form has two characters for the end of a line.
            let text = fields.text("text")?.unwrap_or_default();
            let text: MessageText = text.replace("\r\n", "\n").parse()?;
            store.edit_message(room, seq, text).await?;
        }
        Some("delete") => {
            direct::check_deletion(&store, room, seq, &user.username).await?;
            store.delete_message(room, seq).await?;
        }
        _ => {
            return Err(HttpError::bad_request(
                "do must be one of edit and delete, or add or remove an emoji",
            ));
        }
    }
    Ok(())
}
