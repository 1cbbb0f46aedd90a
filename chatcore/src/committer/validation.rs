//! Refusal of posts that no room can take: to a room that does not exist, in reply to no message,
//! or at a time beyond the last timestamp.

use std::collections::HashSet;

use super::pending::{Pending, fail_room};
use super::request::MAX_BATCH;
use super::rooms::RoomCache;
use crate::error::{Error, Invalid};
use crate::timestamp::Timestamp;
use crate::types::{NewMessage, RoomName, Seq};

/// The latest time after which there is a timestamp for each message of a batch.
const LATEST_START: Timestamp = Timestamp::MAX.minus_micros(MAX_BATCH as u32);

/// Fails and removes the requests to rooms that do not exist and that they may not create. The
/// heads of all rooms are loaded.
pub(super) fn reject_missing_rooms(pending: &mut Vec<Pending>, rooms: &RoomCache) {
    let is_refused = |request: &mut Pending| {
        let may_create_room = request.as_post().is_some_and(|post| {
            // A room that does not exist has no message to reply to.
            post.message.may_create_room && post.message.reply_to.is_none()
        });
        !may_create_room && rooms.get(request.room()).is_none()
    };

    pending
        .extract_if(.., is_refused)
        .for_each(|request| request.fail(&Error::RoomNotFound));
}

/// Fails and removes the posts for which no timestamp is left: those to a room whose newest message
/// has one of the last, and all of them while the clock shows one of the last, so that a wrong
/// clock brings no room to that.
pub(super) fn reject_untimed(pending: &mut Vec<Pending>, rooms: &RoomCache, now: Timestamp) {
    let last = |room: &RoomName| rooms.head(room).map_or(now, |head| head.timestamp.max(now));

    let untimed: Vec<_> = posts(pending)
        .map(|message| &message.room)
        .filter(|room| last(room) > LATEST_START)
        .cloned()
        .collect();
    for room in untimed {
        let error = Error::Corrupt(format!("no timestamp is left for a message in {room}"));
        fail_room(pending, &room, &error);
    }
}

/// Fails and removes the posts that reply to a message which does not exist.
pub(super) fn reject_wrong_replies(pending: &mut Vec<Pending>, rooms: &RoomCache) {
    let is_wrong = |request: &mut Pending| {
        request
            .as_post()
            .is_some_and(|post| is_wrong_reply(&post.message, rooms))
    };
    let error = Error::from(Invalid::new(
        "reply_to",
        "must be an earlier message of the room",
    ));

    pending
        .extract_if(.., is_wrong)
        .for_each(|request| request.fail(&error));
}

/// Returns the rooms in which a post replies to a message after the remembered head. Another
/// process may have stored that message.
pub(super) fn rooms_replied_ahead(pending: &[Pending], rooms: &RoomCache) -> Vec<RoomName> {
    let ahead: HashSet<_> = posts(pending)
        .filter(|message| is_wrong_reply(message, rooms))
        .map(|message| &message.room)
        .collect();

    ahead.into_iter().cloned().collect()
}

fn is_wrong_reply(message: &NewMessage, rooms: &RoomCache) -> bool {
    message.reply_to.is_some_and(|seq| {
        let last = rooms.head(&message.room).map_or(Seq::ZERO, |head| head.seq);
        seq == Seq::ZERO || seq > last
    })
}

fn posts(pending: &[Pending]) -> impl Iterator<Item = &NewMessage> {
    pending
        .iter()
        .filter_map(Pending::as_post)
        .map(|post| &post.message)
}
