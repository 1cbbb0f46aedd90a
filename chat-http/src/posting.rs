//! Posting: what the JSON route, the form of a page and a socket have in common.

use chatcore::{Error, MessageText, NewMessage, Nonce, Posted, RoomName, Seq, Username};

use crate::address::Network;
use crate::app::App;
use crate::credentials::CurrentUser;
use crate::direct;
use crate::error::{HttpError, Result};
use crate::limits::Charged;

/// A message that a client asks to post.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) room: RoomName,
    /// Name to post by. May be left out with a session.
    pub(crate) sender: Option<Username>,
    pub(crate) text: MessageText,
    pub(crate) nonce: Option<Nonce>,
    pub(crate) reply_to: Option<Seq>,
}

impl Post {
    /// Returns the message with its sender: the user who is logged in, or the guest that the client
    /// names.
    ///
    /// `ended` is set if there were credentials of a session that has ended.
    pub(crate) fn into_message(
        self,
        user: Option<&CurrentUser>,
        ended: bool,
    ) -> Result<NewMessage> {
        let (sender, verified) = match (user, self.sender) {
            (Some(user), Some(named)) if named != user.username => {
                return Err(HttpError::forbidden(format!(
                    "sender must be {}, who is logged in",
                    user.username
                )));
            }
            (Some(user), _) => (user.username.clone(), user.verified),
            (None, Some(named)) => (named, false),
            (None, None) if ended => return Err(HttpError::no_session(ended)),
            (None, None) => {
                return Err(HttpError::bad_request(
                    "sender is missing; name one, or log in",
                ));
            }
        };

        Ok(NewMessage {
            nonce: self.nonce,
            verified,
            reply_to: self.reply_to,
            ..NewMessage::new(self.room, sender, self.text)
        })
    }
}

/// Stores a message within the allowances of the caller, and of the address that it comes from: a
/// post may create its room only if the address may create one.
pub(crate) async fn store(
    app: &App,
    message: NewMessage,
    caller: &Charged,
    from: Network,
) -> Result<Posted> {
    app.limits().post(caller)?;
    // Taken before it is known whether the room exists, so that no post asks the store for that.
    let may_create_room = match direct::is_reserved(&message.room) {
        true => Err(Error::RoomNotFound.into()),
        false => app.limits().room(from),
    };
    let message = NewMessage {
        may_create_room: may_create_room.is_ok(),
        ..message
    };
    let posted = app.store().post(message).await;

    match (&posted, may_create_room) {
        // A private room is refused in the same way, so that nobody learns the names of many.
        (Err(Error::RoomNotFound), Err(too_many)) => return Err(too_many),
        (Err(Error::RoomNotFound | Error::NameClaimed | Error::NameReserved), Ok(())) => {}
        (
            Ok(Posted {
                created_room: true, ..
            }),
            Ok(()),
        ) => {}
        (_, Ok(())) => app.limits().no_room(from),
        (_, Err(_)) => {}
    }
    let posted = posted?;
    app.metrics().posted(posted.repeated);
    Ok(posted)
}
