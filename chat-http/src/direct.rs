//! Names of direct conversations.
//!
//! A direct conversation is a private room of two accounts. Its name follows from theirs, and
//! begins with a character that names of other rooms do not have, so nobody can create it first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::{Invalid, MAX_NAME_CHARS, RoomName, Seq, UserStore, Username};
use sha2::{Digest as _, Sha256};

use crate::error::{HttpError, Result};

/// Beginning of the name of each direct conversation.
const MARK: char = '@';
const BETWEEN: &str = " & ";

/// Returns the name of the direct conversation of two users, in whatever order.
///
/// # Errors
///
/// If they are the same user.
pub(crate) fn room_of(one: &Username, other: &Username) -> std::result::Result<RoomName, Invalid> {
    let (first, second) = match one.cmp(other) {
        std::cmp::Ordering::Less => (one, other),
        std::cmp::Ordering::Greater => (other, one),
        std::cmp::Ordering::Equal => {
            return Err(Invalid::new("username", "must be that of somebody else"));
        }
    };
    let name = format!("{MARK}{first}{BETWEEN}{second}");
    if name.chars().count() <= MAX_NAME_CHARS {
        return name.parse();
    }
    // Names are unique, and no name has white space, so each pair has a hash of its own.
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes()));
    format!("{MARK}{hash}").parse()
}

/// Returns true if only a direct conversation may have this name.
pub(crate) fn is_reserved(room: &RoomName) -> bool {
    room.as_str().starts_with(MARK)
}

/// Fails for a direct conversation: its owner decides about nobody else.
pub(crate) fn check_moderation(room: &RoomName) -> Result<()> {
    match is_reserved(room) {
        true => Err(HttpError::forbidden(
            "nobody is invited to, removed or banned from a direct conversation",
        )),
        false => Ok(()),
    }
}

/// Fails for a message of a direct conversation that somebody else wrote.
pub(crate) async fn check_deletion(
    store: &UserStore,
    room: &RoomName,
    seq: Seq,
    user: &Username,
) -> Result<()> {
    if !is_reserved(room) {
        return Ok(());
    }
    // The sender of a message stays the same, so the message may be read before the deletion.
    match store.message(room, seq).await?.sender() {
        Some(sender) if sender != user => Err(HttpError::forbidden(
            "only who wrote a message of a direct conversation may delete it",
        )),
        _ => Ok(()),
    }
}

/// Returns the other user of a direct conversation that has a user's name in its own.
pub(crate) fn partner<'a>(room: &'a RoomName, user: &Username) -> Option<&'a str> {
    let (first, second) = room.as_str().strip_prefix(MARK)?.split_once(BETWEEN)?;
    match user.as_str() {
        name if name == first => Some(second),
        name if name == second => Some(first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Username {
        text.parse().expect("a name")
    }

    #[test]
    fn two_users_have_one_room() {
        let (ann, bob) = (name("ann"), name("bob"));
        let room = room_of(&bob, &ann).expect("a room");
        assert_eq!(room.as_str(), "@ann & bob");
        assert_eq!(room_of(&ann, &bob), Ok(room.clone()));
        assert_eq!(partner(&room, &ann), Some("bob"));
        assert_eq!(partner(&room, &bob), Some("ann"));
        assert_eq!(partner(&room, &name("carl")), None);
        assert!(is_reserved(&room) && room_of(&ann, &ann).is_err());
    }

    #[test]
    fn names_that_are_long_have_a_room_too() {
        let (long, other) = (name(&"x".repeat(64)), name(&"y".repeat(64)));
        let room = room_of(&long, &other).expect("a room");
        assert!(is_reserved(&room));
        assert_ne!(Ok(room), room_of(&long, &name(&"z".repeat(64))));
    }
}
