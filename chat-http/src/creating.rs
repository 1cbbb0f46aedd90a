//! Creating rooms: what the JSON route and the forms of pages have in common.

use chatcore::{Privacy, RoomName};

use crate::app::App;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::request::Call;

/// Creates a room within the allowance of the address; returns false if it was there.
pub(crate) async fn create(
    app: &App,
    call: &Call,
    room: &RoomName,
    privacy: Privacy,
) -> Result<bool> {
    let (from, store) = (call.network(app), call.user_store(app));
    app.limits().room(from)?;
    let created = match direct::is_reserved(room) {
        true => match store.room(room).await {
            Ok(_) => false,
            Err(_) => {
                return Err(HttpError::forbidden(
                    "a room of this name cannot be created",
                ));
            }
        },
        false => store.create_room(room, privacy).await?,
    };

    if !created {
        app.limits().no_room(from);
    }
    Ok(created)
}
