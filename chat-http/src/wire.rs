//! Values of the store as the types of the wire, which `chat-client` defines.
//!
//! Messages are not converted: chatcore writes each of them once for all its readers, as
//! [`wire::Message`] is written. A test compares the two.

use chat_client::wire;
use chatcore::{Message, Room, Session, SessionId, UserRoom};

pub(crate) fn me(session: &Session) -> wire::Me {
    wire::Me {
        username: session.username.to_string(),
        verified: session.verified,
    }
}

/// Describes a session to its user, whose request has the session `current`.
pub(crate) fn session(session: Session, current: SessionId) -> wire::Session {
    wire::Session {
        id: session.id.to_string(),
        created_at: session.created_at.to_string(),
        last_seen: session.last_seen.to_string(),
        user_agent: session.device,
        current: session.id == current,
    }
}

pub(crate) fn room(room: &Room) -> wire::Room {
    let mut described = wire::Room::default();
    described.name = room.name.to_string();
    described.last_seq = room.last_seq.get();
    described.last_change = room.last_change.get();
    described.last_timestamp = room.last_timestamp.map(|time| time.to_string());
    described.created_at = room.created_at.to_string();
    described.users = room.members;
    described.private = room.private;
    described.owner = room.owner.as_ref().map(ToString::to_string);
    described.topic = room.topic.as_ref().map(ToString::to_string);
    described
}

pub(crate) fn user_room(room: &UserRoom) -> wire::UserRoom {
    let mut described = wire::UserRoom::default();
    described.room = room.room.to_string();
    described.last_seq = room.last_seq.get();
    described.read_seq = room.read_seq.get();
    described.unread = room.unread();
    described.mentions = room.mentions;
    described
}

/// Lists the reactions to a message; a deleted one has none.
pub(crate) fn reactions(message: &Message) -> wire::Reactions {
    let content = message.content.as_ref();
    let reactions = content.map_or(&[][..], |content| &content.reactions);
    let reaction = |reaction: &chatcore::Reaction| wire::Reaction {
        emoji: reaction.emoji.to_string(),
        count: reaction.count,
        users: reaction.users.iter().map(ToString::to_string).collect(),
    };
    wire::Reactions {
        reactions: reactions.iter().map(reaction).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// Checks that chatcore reads and writes this JSON, and that the type of the wire does so too.
    fn is_same<C, W>(value: &Value)
    where
        C: Serialize + DeserializeOwned,
        W: Serialize + DeserializeOwned,
    {
        let ours: C = serde_json::from_value(value.clone()).expect("a value of chatcore");
        let wires: W = serde_json::from_value(value.clone()).expect("a value of the wire");
        let text = serde_json::to_string(&ours).expect("JSON");
        assert_eq!(text, serde_json::to_string(&wires).expect("JSON"));
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), *value);
    }

    #[test]
    fn chatcore_writes_messages_as_the_wire_defines_them() {
        let time = "2026-11-22T20:07:52.743123Z";
        let short = json!({
            "room": "a", "seq": 1, "sender": "ann", "text": "hello", "timestamp": time, "verified": false,
        });
        let whole = json!({
            "room": "a", "seq": 2, "sender": "ann", "text": "@bob \"yes\"", "timestamp": time, "verified": true,
            "reply_to": 1, "mentions": ["bob"], "edited_at": time,
            "reactions": [{ "emoji": "👍", "count": 12, "users": ["ann", "bob"] }], "change": 3,
        });
        let deleted = json!({
            "room": "a", "seq": 3, "sender": "", "text": "", "timestamp": time, "verified": false,
            "deleted": true, "change": 4,
        });
        for message in [short, whole, deleted] {
            is_same::<Message, wire::Message>(&message);
        }
    }

    #[test]
    fn rooms_are_converted_field_by_field() {
        let time = "2026-11-22T20:07:52.743123Z";
        let value = json!({
            "room": "den", "last_seq": 7, "last_change": 2, "last_timestamp": time, "created_at": time,
            "users": 3, "private": true, "owner": "ann", "topic": "plans",
        });
        let room: Room = serde_json::from_value(value.clone()).expect("a room");
        let converted = super::room(&room);
        assert_eq!(serde_json::to_value(&converted).expect("JSON"), value);
        is_same::<Room, wire::Room>(&value);

        let value =
            json!({ "room": "den", "last_seq": 7, "read_seq": 4, "unread": 3, "mentions": 1 });
        let room: UserRoom = serde_json::from_value(value.clone()).expect("a room");
        let converted = user_room(&room);
        assert_eq!(serde_json::to_value(&converted).expect("JSON"), value);
    }
}
