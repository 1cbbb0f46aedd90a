//! The documents: what each collection holds, and how it becomes a value of the domain.
//!
//! | collection | `_id` | fields |
//! |---|---|---|
//! | `counters` | `{room}` | `last_seq`, `last_timestamp`, `last_change`, `members`, `departures`, `closings`, `pardons`?, `created_at`, `private`, `restricted`?, `owner`?, `topic`? |
//! | `counters` | `{user}` | `message_count`, `folded`?, `deletions`? |
//! | `counters` | `{tally}` | `counts`, `folds`, `claims`?, `batches`, `stored`?: see `pending_counts.rs`, `names.rs`, `evidence.rs` |
//! | `messages` | `{room, seq}` of the first | `last_seq`, `last_timestamp`, `messages`, `nonces`?, `batch`, `changed`?: see `buckets.rs` |
//! | `changes` | `{room, seq}` | the newest state of a message that was changed: see `changes.rs` |
//! | `reactions` | `{room, seq, emoji, user}` | `position`: its place among those with the same emoji; of users whom the message does not name, see `reactions.rs` |
//! | `mentions` | `{user, room, seq}` | `timestamp` of the message |
//! | `members` | `{room, user}` | `joined_at`, `private`? if the room is |
//! | `bans` | `{room, user}`, the user without regard to case | `username`, `banned_at` |
//! | `names` | the name without regard to case | `account`? (`username`, `hash`, `version`), `uses`?, `told`? |
//! | `sessions` | SHA-256 of the token | `id`, `username`, `verified`, `user_agent`, `created_at`, `last_seen`, `renewed_at`, `used`, `guest`? |
//! | `state` | what it is | of the database itself: schema version, lease, the last batch and change of members |
//! | `marks` | `{user, room}` | `seq`: how far the user has read |
//! | `processes` | an id | the processes on a replica set: `sessions`, `beats`, `turn`, `host`, `pid`, `tally`? |
//! | `presence` | `{room, process}` | `users` who are connected there, `version` |
//! | `signals` | an id | what passes: `typing`, `sessions_ended`, `room_closed`, `evicted` or `topic_set`, `at` |
//!
//! `processes.beats` counts on, so that others see that the process lives. `processes.turn` is the
//! number of its last beat as the process counts, by which it knows the beat in the change stream.
//!
//! Times are microseconds since the epoch, but for those that an index expires documents by, which
//! have to be dates. On a standalone mongod `counters` also carry `batch`, the
//! number of the batch that changed them last.
//!
//! `names.uses` is there to be written: a transaction that relies on who has a name writes it, and
//! so does one that changes who has it, so that two such transactions never both succeed unseen by
//! each other. `sessions.guest` is that name, for those of guests. `names.told`: see `names.rs`.
//!
//! Heads and counters are in one collection, so that one command moves all that a post moves: a
//! command costs more than the work it does.

use std::str::FromStr;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc,
};

use crate::account::{Account, NameKey};
use crate::error::{Error, Invalid, Result};
use crate::model::{
    Access, BatchId, Head, NewSession, ProcessId, ProcessPresence, RoomBatch, Signal,
};
use crate::session::{Session, TokenHash};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Content, Privacy, Room, RoomName, Seq, Topic, Username};

/// Number of tallies. More processes than that share them, and get in each other's way.
pub(super) const TALLIES: i32 = 32;
pub(super) fn corrupt(e: impl std::fmt::Display) -> Error {
    Error::Corrupt(e.to_string())
}

pub(super) fn text<T: FromStr<Err = Invalid>>(document: &RawDocument, key: &str) -> Result<T> {
    document
        .get_str(key)
        .map_err(corrupt)?
        .parse()
        .map_err(corrupt)
}

pub(super) fn seq(document: &RawDocument, key: &str) -> Result<Seq> {
    let value = document.get_i64(key).map_err(corrupt)?;
    Seq::new(value).ok_or_else(|| corrupt("a seq is negative"))
}

pub(super) fn change_seq(document: &RawDocument, key: &str) -> Result<ChangeSeq> {
    let value = document.get_i64(key).map_err(corrupt)?;
    ChangeSeq::new(value).ok_or_else(|| corrupt("the number of a change is negative"))
}

pub(super) fn time(document: &RawDocument, key: &str) -> Result<Timestamp> {
    let value = document.get_i64(key).map_err(corrupt)?;
    Timestamp::from_micros(value).ok_or_else(|| corrupt("a time is out of range"))
}

pub(super) fn batch_id(id: BatchId) -> ObjectId {
    ObjectId::from_bytes(id.0)
}

pub(super) fn head(document: &RawDocument) -> Result<(String, Head)> {
    let name = document
        .get_document("_id")
        .and_then(|id| id.get_str("room"))
        .map_err(corrupt)?
        .to_owned();
    let head = Head {
        seq: seq(document, "last_seq")?,
        change: change_seq(document, "last_change")?,
        timestamp: time(document, "last_timestamp")?,
        departures: document.get_i64("departures").map_err(corrupt)?,
        restricted: flag(document, "restricted"),
        closings: document.get_i64("closings").map_err(corrupt)?,
    };
    Ok((name, head))
}

/// Returns true if a field says so.
fn flag(document: &RawDocument, key: &str) -> bool {
    document.get_bool(key).unwrap_or(false)
}

fn room_owner(document: &RawDocument) -> Result<Option<Username>> {
    document
        .get_str("owner")
        .is_ok()
        .then(|| text(document, "owner"))
        .transpose()
}

/// Returns the names in a list, which is empty if it is not there.
pub(super) fn names(document: &RawDocument, key: &str) -> Result<Vec<Username>> {
    let Some(names) = document.get(key).map_err(corrupt)? else {
        return Ok(Vec::new());
    };
    let names = names
        .as_array()
        .ok_or_else(|| corrupt("names are no list"))?;
    names
        .into_iter()
        .map(|name| {
            name.map_err(corrupt)?
                .as_str()
                .unwrap_or_default()
                .parse()
                .map_err(corrupt)
        })
        .collect()
}

pub(super) fn new_names(names: &[Username]) -> RawArrayBuf {
    names.iter().map(Username::as_str).collect()
}

/// The fields of what was posted.
pub(super) const POSTED: [&str; 5] = ["sender", "text", "verified", "reply_to", "mentions"];

/// Writes what was posted.
pub(super) fn append_posted(document: &mut RawDocumentBuf, content: &Content) {
    document.append(cstr!("sender"), content.sender.as_str());
    document.append(cstr!("text"), content.text.as_str());
    document.append(cstr!("verified"), content.verified);
    if let Some(reply_to) = content.reply_to {
        document.append(cstr!("reply_to"), reply_to.get());
    }
    if !content.mentions.is_empty() {
        document.append(cstr!("mentions"), new_names(&content.mentions));
    }
}

/// Returns what was posted, unless it is gone.
pub(super) fn posted(document: &RawDocument) -> Result<Option<Content>> {
    if document.get("text").map_err(corrupt)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Content {
        sender: text(document, "sender")?,
        text: text(document, "text")?,
        verified: document.get_bool("verified").map_err(corrupt)?,
        reply_to: is_there(document, "reply_to")
            .then(|| seq(document, "reply_to"))
            .transpose()?,
        mentions: names(document, "mentions")?,
        edited_at: None,
        reactions: Vec::new(),
    }))
}

pub(super) fn is_there(document: &RawDocument, key: &str) -> bool {
    document.get(key).is_ok_and(|value| value.is_some())
}

/// Reads the room and the place of a message.
pub(super) fn place(document: &RawDocument) -> Result<(RoomName, Seq)> {
    let id = document.get_document("_id").map_err(corrupt)?;
    Ok((text(id, "room")?, seq(id, "seq")?))
}

/// Returns the `_id` of a document about a message.
pub(super) fn message_id(room: &RoomName, seq: Seq) -> RawDocumentBuf {
    rawdoc! { "room": room.as_str(), "seq": seq.get() }
}

/// Reads the access of everyone to a room.
pub(super) fn access(document: &RawDocument) -> Result<Access> {
    Ok(Access {
        privacy: if flag(document, "private") {
            Privacy::Private
        } else {
            Privacy::Public
        },
        restricted: flag(document, "restricted"),
        owner: room_owner(document)?,
        member: false,
        banned: false,
    })
}

pub(super) fn room_name(document: &RawDocument) -> Result<RoomName> {
    text(document.get_document("_id").map_err(corrupt)?, "room")
}

pub(super) fn room(document: &RawDocument) -> Result<Room> {
    let last_seq = seq(document, "last_seq")?;
    let last_timestamp = time(document, "last_timestamp")?;
    Ok(Room {
        name: room_name(document)?,
        last_seq,
        last_change: change_seq(document, "last_change")?,
        last_timestamp: (last_seq > Seq::ZERO).then_some(last_timestamp),
        created_at: time(document, "created_at")?,
        members: document
            .get_i64("members")
            .unwrap_or(0)
            .max(0)
            .unsigned_abs(),
        private: flag(document, "private"),
        owner: room_owner(document)?,
        topic: topic(document)?,
    })
}

fn topic(document: &RawDocument) -> Result<Option<Topic>> {
    is_there(document, "topic")
        .then(|| text(document, "topic"))
        .transpose()
}

/// Reads the user and the room of a mark.
pub(super) fn marked(key: &RawDocument) -> Result<(Username, RoomName)> {
    let id = key.get_document("_id").map_err(corrupt)?;
    Ok((text(id, "user")?, text(id, "room")?))
}

pub(super) fn marked_seq(document: &RawDocument) -> Result<Seq> {
    seq(document, "seq")
}

/// Reads the room and the place of a read mark.
pub(super) fn mark(document: &RawDocument) -> Result<(RoomName, Seq)> {
    Ok((room_name(document)?, seq(document, "seq")?))
}

pub(super) fn process(document: &RawDocument) -> Result<ProcessId> {
    let id = document
        .get_document("_id")
        .and_then(|id| id.get_object_id("process"))
        .map_err(corrupt)?;
    Ok(ProcessId(id.bytes()))
}

pub(super) fn presence(document: &RawDocument) -> Result<ProcessPresence> {
    Ok(ProcessPresence {
        version: document.get_i64("version").map_err(corrupt)?,
        users: names(document, "users")?,
    })
}

pub(super) fn new_presence(presence: &ProcessPresence) -> Document {
    let users: Vec<_> = presence.users.iter().map(Username::as_str).collect();
    doc! { "version": presence.version, "users": users }
}

pub(super) fn new_signal(signal: &Signal) -> Document {
    let mut document = doc! { "at": DateTime::now() };
    match signal {
        Signal::Typing(room, user) => document.insert(
            "typing",
            doc! { "room": room.as_str(), "user": user.as_str() },
        ),
        Signal::SessionsEnded(user) => {
            document.insert("sessions_ended", doc! { "user": user.as_str() })
        }
        Signal::Revoked(user) => document.insert("revoked", doc! { "user": user.as_str() }),
        Signal::RoomClosed(room) => document.insert("room_closed", doc! { "room": room.as_str() }),
        Signal::Evicted(room, user) => document.insert(
            "evicted",
            doc! { "room": room.as_str(), "user": user.as_str() },
        ),
        Signal::TopicSet(room, topic) => document.insert(
            "topic_set",
            doc! { "room": room.as_str(), "topic": topic.as_str() },
        ),
    };
    document
}

/// The kinds of signals that name a room.
pub(super) const SIGNALS_OF_ROOMS: [&str; 4] = ["typing", "room_closed", "evicted", "topic_set"];

pub(super) fn signal(document: &RawDocument) -> Result<Option<Signal>> {
    if let Ok(typing) = document.get_document("typing") {
        return Ok(Some(Signal::Typing(
            text(typing, "room")?,
            text(typing, "user")?,
        )));
    }
    if let Ok(ended) = document.get_document("sessions_ended") {
        return Ok(Some(Signal::SessionsEnded(text(ended, "user")?)));
    }
    if let Ok(revoked) = document.get_document("revoked") {
        return Ok(Some(Signal::Revoked(text(revoked, "user")?)));
    }
    if let Ok(closed) = document.get_document("room_closed") {
        return Ok(Some(Signal::RoomClosed(text(closed, "room")?)));
    }
    if let Ok(evicted) = document.get_document("evicted") {
        return Ok(Some(Signal::Evicted(
            text(evicted, "room")?,
            text(evicted, "user")?,
        )));
    }
    if let Ok(set) = document.get_document("topic_set") {
        return Ok(Some(Signal::TopicSet(
            text(set, "room")?,
            text(set, "topic")?,
        )));
    }
    // From a newer version.
    Ok(None)
}

/// Returns the `_id` of a room's counter.
pub(super) fn room_id(room: &RoomName) -> RawDocumentBuf {
    rawdoc! { "room": room.as_str() }
}

/// Returns the `_id` of a user's counter.
pub(super) fn user_id(user: &Username) -> RawDocumentBuf {
    rawdoc! { "user": user.as_str() }
}

/// Returns the `_id` of a tally.
pub(super) fn tally_id(slot: i32) -> RawDocumentBuf {
    rawdoc! { "tally": slot }
}

/// Returns the name of a user's field in a tally. A dot would name a field within a field, and a dollar
/// sign stands for more in an update.
pub(super) fn tally_field(user: &Username) -> String {
    user.as_str()
        .replace('%', "%25")
        .replace('.', "%2E")
        .replace('$', "%24")
}

/// Returns the user of a field in a tally.
pub(super) fn user_of_tally_field(field: &str) -> Result<Username> {
    let name = field
        .replace("%24", "$")
        .replace("%2E", ".")
        .replace("%25", "%");
    name.parse().map_err(corrupt)
}

/// Reads the user of a counter.
pub(super) fn counted(document: &RawDocument) -> Result<Username> {
    text(document.get_document("_id").map_err(corrupt)?, "user")
}

pub(super) fn new_room(now: Timestamp) -> Document {
    doc! {
        "last_seq": 0_i64,
        "last_timestamp": 0_i64,
        "last_change": 0_i64,
        "members": 0_i64,
        "departures": 0_i64,
        "closings": 0_i64,
        "created_at": now.as_micros(),
        "private": false,
    }
}

/// Returns the fields of a new room with an owner.
pub(super) fn new_room_of(owner: &Username, privacy: Privacy, now: Timestamp) -> Document {
    let mut room = new_room(now);
    room.insert("owner", owner.as_str());
    if privacy == Privacy::Private {
        room.extend(doc! { "private": true, "restricted": true, "members": 1_i64 });
    }
    room
}

pub(super) fn new_member(privacy: Privacy, now: Timestamp) -> Document {
    let mut member = doc! { "joined_at": now.as_micros() };
    if privacy == Privacy::Private {
        member.insert("private", true);
    }
    member
}

/// Reads the name as it was banned.
pub(super) fn banned(document: &RawDocument) -> Result<Username> {
    text(document, "username")
}

/// Returns the document of a new member of a public room.
pub(super) fn member_of_public(room: &RoomName, user: &Username, at: Timestamp) -> RawDocumentBuf {
    rawdoc! { "_id": { "room": room.as_str(), "user": user.as_str() }, "joined_at": at.as_micros() }
}

/// Reads the room and the user of a membership.
pub(super) fn membership(document: &RawDocument) -> Result<(RoomName, Username)> {
    Ok((room_name(document)?, member(document)?))
}

pub(super) fn member(document: &RawDocument) -> Result<Username> {
    text(document.get_document("_id").map_err(corrupt)?, "user")
}

pub(super) fn token(token: TokenHash) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: token.0.to_vec(),
    }
}

pub(super) fn session_use(at: Timestamp) -> Document {
    doc! { "last_seen": at.as_micros(), "used": session_used(at) }
}

fn session_used(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_micros() / 1_000)
}

pub(super) fn account(document: &RawDocument) -> Result<Account> {
    let account = document.get_document("account").map_err(corrupt)?;
    Ok(Account {
        username: text(account, "username")?,
        hash: account.get_str("hash").map_err(corrupt)?.to_owned(),
        version: account.get_i64("version").map_err(corrupt)?,
    })
}

/// Reads the name in the `_id`, and the name of the account.
pub(super) fn owner(document: &RawDocument) -> Result<(String, Username)> {
    Ok((
        document.get_str("_id").map_err(corrupt)?.to_owned(),
        account(document)?.username,
    ))
}

pub(super) fn new_account(account: &Account) -> RawDocumentBuf {
    let Account {
        username,
        hash,
        version,
    } = account;
    rawdoc! { "username": username.as_str(), "hash": hash.as_str(), "version": *version }
}

pub(super) fn new_session(
    NewSession {
        token: hash,
        session,
    }: &NewSession,
) -> RawDocumentBuf {
    let at = session.last_seen;
    let mut document = rawdoc! {
        "_id": token(*hash),
        "id": session.id.to_string(),
        "username": session.username.as_str(),
        "verified": session.verified,
        "user_agent": session.device.as_str(),
        "created_at": session.created_at.as_micros(),
        "last_seen": at.as_micros(),
        "renewed_at": session.renewed_at.as_micros(),
        "used": session_used(at),
    };
    if !session.verified {
        document.append(cstr!("guest"), NameKey::from(&session.username).as_str());
    }
    document
}

pub(super) fn session(document: &RawDocument) -> Result<Session> {
    Ok(Session {
        id: text(document, "id")?,
        username: text(document, "username")?,
        verified: document.get_bool("verified").map_err(corrupt)?,
        device: document.get_str("user_agent").map_err(corrupt)?.to_owned(),
        created_at: time(document, "created_at")?,
        last_seen: time(document, "last_seen")?,
        renewed_at: time(document, "renewed_at")?,
    })
}

/// Returns the upserts that make a batch's senders members.
pub(super) fn new_members<'a>(
    rooms: impl Iterator<Item = (&'a RoomName, &'a [Username], Timestamp)>,
) -> RawArrayBuf {
    let mut updates = RawArrayBuf::new();
    for (room, users, at) in rooms {
        for user in users {
            updates.push(rawdoc! {
                "q": { "_id": { "room": room.as_str(), "user": user.as_str() } },
                "u": { "$setOnInsert": { "joined_at": at.as_micros() } },
                "upsert": true,
            });
        }
    }
    updates
}

/// Where a batch moves the head of a room.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadMove {
    /// Place and time of the last message, if there are messages.
    pub(super) last: Option<(Seq, Timestamp)>,
    /// Number of the last change, if there are changes.
    pub(super) change: Option<ChangeSeq>,
}

impl From<&RoomBatch> for HeadMove {
    fn from(part: &RoomBatch) -> Self {
        Self {
            last: part
                .messages
                .last()
                .map(|message| (message.seq, message.timestamp)),
            change: part.changes.last().map(|change| change.number()),
        }
    }
}

impl HeadMove {
    /// Returns the fields that it sets.
    pub(super) fn fields(self) -> RawDocumentBuf {
        let mut fields = RawDocumentBuf::new();
        if let Some((seq, timestamp)) = self.last {
            fields.append(cstr!("last_seq"), seq.get());
            fields.append(cstr!("last_timestamp"), timestamp.as_micros());
        }
        if let Some(change) = self.change {
            fields.append(cstr!("last_change"), change.get());
        }
        fields
    }
}

/// Returns the other fields of a room that is created by its first message.
pub(super) fn first_head(created_at: Timestamp) -> RawDocumentBuf {
    rawdoc! {
        "last_change": 0_i64,
        "departures": 0_i64,
        "closings": 0_i64,
        "created_at": created_at.as_micros(),
        "private": false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_one_user() {
        for (name, expected) in [
            ("ann", "ann"),
            ("a.b", "a%2Eb"),
            ("$x", "%24x"),
            ("a%2Eb", "a%252Eb"),
        ] {
            assert_eq!(tally_field(&name.parse().expect("a name")), expected);
            assert_eq!(
                user_of_tally_field(expected).expect("a name").as_str(),
                name
            );
        }
    }
}
