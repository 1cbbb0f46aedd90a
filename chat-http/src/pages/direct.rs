//! Direct conversations: private rooms of two accounts.

use chatcore::{Privacy, Username};

use super::room_page;
use crate::app::App;
use crate::direct::room_of;
use crate::error::{HttpError, Result};
use crate::request::Call;
use crate::response::{Response, see_other};

/// Leads to the direct conversation with the user whom the form names. It is created if need be.
pub(crate) async fn open(app: App, call: Call) -> Result<Response> {
    let user = call.user()?;
    let other: Username = call.form()?.required("username")?;
    let room = room_of(&user.username, &other)?;
    if !user.verified {
        return Err(HttpError::forbidden(
            "only who has an account may write to one user",
        ));
    }
    if app.store().account_name(&other).await?.as_ref() != Some(&other) {
        return Err(HttpError::not_found("no account has this name"));
    }

    app.limits().moderation(&call.charged(&app))?;
    let from = call.network(&app);
    app.limits().room(from)?;
    if app.store().privacy(&room).await? == Some(Privacy::Private) {
        app.limits().no_room(from);
        // A program that uses the store may have made a room of this name for somebody else.
        let owner = app.store().room(&room).await?.owner;
        if !owner.is_some_and(|owner| owner == user.username || owner == other) {
            return Err(HttpError::forbidden(
                "a room of this name cannot be created",
            ));
        }
    } else {
        call.user_store(&app)
            .create_room(&room, Privacy::Private)
            .await?;
    }
    // A user who left joins again; one who is a member stays.
    for name in [&user.username, &other] {
        app.store().invite(&room, name).await?;
    }
    see_other(&room_page(&app, &room))
}
