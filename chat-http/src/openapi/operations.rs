//! The operations, in the order of the routes.

use chat_client::wire::schema::{ChangeSeq, RoomName, Seq, Timestamp, Username};
use chat_client::wire::{
    Credentials, Me, Message, MessageCount, MessageText, NewMessage, NewPassword, NewRoom,
    NewTopic, Posted, Reactions, ReadMark, Registration, Room, Session, Status, StoredReadMark,
    UserRoom,
};
use chatcore::MAX_MESSAGES;
use serde_json::json;

use super::operation::{Operation, delete, get, patch, post, put};

/// Messages in an answer, if the client does not say.
const DEFAULT_LIMIT: u32 = 50;

pub(super) fn all() -> impl Iterator<Item = Operation> {
    let lists = [
        accounts(),
        users(),
        rooms(),
        messages(),
        live(),
        moderation(),
        changes(),
        server(),
    ];
    lists.into_iter().flatten()
}

fn accounts() -> Vec<Operation> {
    vec![
        post("/auth/login", "Start a session; sets the session cookie")
            .body::<Credentials>()
            .answer::<Me>("200", "ok"),
        post("/auth/logout", "End the session").answer::<Status>("200", "ok"),
        get("/auth/me", "Read the user of the session")
            .with_session()
            .answer::<Me>("200", "ok"),
        post(
            "/auth/register",
            "Make an account, and start its first session",
        )
        .body::<Registration>()
        .answer::<Me>("201", "made")
        .problem("409"),
        post(
            "/auth/password",
            "Change the password of the account; its other sessions end",
        )
        .with_session()
        .body::<NewPassword>()
        .answer::<Status>("200", "ok"),
        get("/auth/sessions", "List own sessions")
            .with_session()
            .answer::<Vec<Session>>("200", "ok"),
        delete("/auth/sessions", "End all own sessions but the current one")
            .with_session()
            .empty_answer("204", "ended"),
        delete("/auth/sessions/{id}", "End one of the own sessions")
            .with_session()
            .empty_answer("204", "ended"),
    ]
}

fn users() -> Vec<Operation> {
    vec![
        get(
            "/users/{username}/count",
            "Count the messages that a user has written",
        )
        .answer::<MessageCount>("200", "ok")
        .cacheable(),
        get(
            "/users/{username}/rooms",
            "List the user's own rooms in order of their names, and what is unread in them",
        )
        .with_session()
        .page_of_names::<RoomName>()
        .answer::<Vec<UserRoom>>("200", "ok"),
        get(
            "/users/{username}/mentions",
            "List messages that mention the user, newest first; one's own name only",
        )
        .with_session()
        .limit(DEFAULT_LIMIT, MAX_MESSAGES)
        .query::<Timestamp>("before", "the newest that are older than this")
        .answer::<Vec<Message>>("200", "ok"),
    ]
}

fn rooms() -> Vec<Operation> {
    vec![
        get("/chat/", "List rooms in order of their names")
            .page_of_names::<RoomName>()
            .answer::<Vec<String>>("200", "ok")
            .cacheable(),
        get("/chat/{room}", "Read the state of a room")
            .answer::<Room>("200", "ok")
            .cacheable(),
        put(
            "/chat/{room}",
            "Create a room; with an account's session, the user owns it",
        )
        .optional_body::<NewRoom>()
        .answer::<Room>("201", "created")
        .answer::<Room>("200", "it was there"),
        patch("/chat/{room}", "Set the topic of one's own room")
            .with_session()
            .body::<NewTopic>()
            .answer::<Room>("200", "ok"),
        get(
            "/chat/{room}/users",
            "List the members of a room in order of their names",
        )
        .page_of_names::<Username>()
        .answer::<Vec<String>>("200", "ok")
        .cacheable(),
        post("/chat/{room}/join", "Become a member")
            .with_session()
            .answer::<Status>("200", "ok"),
        post("/chat/{room}/leave", "End the membership")
            .with_session()
            .answer::<Status>("200", "ok"),
        post(
            "/chat/{room}/read",
            "Mark a room as read up to a message; the mark moves forward only",
        )
        .with_session()
        .body::<ReadMark>()
        .answer::<StoredReadMark>("200", "ok"),
    ]
}

fn messages() -> Vec<Operation> {
    let nonce = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": "^[!-~](?:[ -~]{0,62}[!-~])?$",
    });
    vec![
        get(
            "/chat/{room}/messages",
            "Read messages, oldest first; at most one of since, after, before",
        )
        .limit(DEFAULT_LIMIT, MAX_MESSAGES)
        .query::<Timestamp>("since", "the oldest that are newer than this")
        .query::<Seq>("after", "the oldest above this seq")
        .query::<Seq>("before", "the newest below this seq")
        .wait("with since or after: seconds to wait if there is nothing newer yet")
        .answer::<Vec<Message>>("200", "ok")
        .cacheable(),
        post("/chat/{room}/messages", "Post a message")
            .literal("header", "Idempotency-Key", "in place of nonce", nonce)
            .body::<NewMessage>()
            .answer::<Posted>("201", "stored")
            .answer::<Posted>("200", "was stored before under the same nonce"),
        get(
            "/chat/{room}/messages/{seq}",
            "Read one message as it is now",
        )
        .answer::<Message>("200", "ok")
        .cacheable(),
    ]
}

fn live() -> Vec<Operation> {
    let id = json!({ "type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18})?$" });
    let event_id = "the id after which to begin; a plain seq means no changes before now";
    vec![
        get(
            "/chat/{room}/changes",
            "Read messages that changed after a change, as they are now, each once, by their change",
        )
        .query::<ChangeSeq>("after", "the last change that is known; 0 if left out")
        .limit(DEFAULT_LIMIT, MAX_MESSAGES)
        .wait("seconds to wait if there is no such change yet")
        .answer::<Vec<Message>>("200", "ok")
        .cacheable()
        .problem("410"),
        get(
            "/chat/{room}/events",
            "Follow a room by Server-Sent Events: message and changed, data the message as it is \
             now; resync, changes are not kept any more; room, it has another topic. The id is \
             <seq>.<change>: the position reached",
        )
        .literal("header", "Last-Event-ID", event_id, id)
        .position()
        .text_answer("text/event-stream"),
        get(
            "/ws",
            "Open a WebSocket for all rooms at once, one JSON object a frame",
        )
        .empty_answer("101", "from here on WebSocket"),
    ]
}

fn moderation() -> Vec<Operation> {
    vec![
        put(
            "/chat/{room}/members/{username}",
            "Invite the user of an account into one's own private room",
        )
        .with_session()
        .answer::<Status>("200", "ok"),
        delete(
            "/chat/{room}/members/{username}",
            "Remove a user from one's own private room",
        )
        .with_session()
        .empty_answer("204", "removed"),
        get(
            "/chat/{room}/bans",
            "List the names that are banned from one's own room, sorted",
        )
        .with_session()
        .page_of_names::<Username>()
        .answer::<Vec<String>>("200", "ok"),
        put(
            "/chat/{room}/bans/{username}",
            "Ban a name, in any case, from one's own room",
        )
        .with_session()
        .answer::<Status>("200", "ok"),
        delete("/chat/{room}/bans/{username}", "Lift a ban")
            .with_session()
            .empty_answer("204", "lifted"),
    ]
}

fn changes() -> Vec<Operation> {
    let reactions = "/chat/{room}/messages/{seq}/reactions/{emoji}";
    vec![
        patch(
            "/chat/{room}/messages/{seq}",
            "Replace the text of a message of one's own",
        )
        .with_session()
        .body::<MessageText>()
        .answer::<Message>("200", "edited")
        .problem("409"),
        delete(
            "/chat/{room}/messages/{seq}",
            "Delete a message of one's own, or in one's own room: its seq stays, sender and text \
             are blanked",
        )
        .with_session()
        .empty_answer("204", "deleted"),
        put(reactions, "React to a message; once is enough")
            .with_session()
            .answer::<Reactions>("200", "all reactions to the message")
            .problem("409"),
        delete(reactions, "Take back a reaction")
            .with_session()
            .answer::<Reactions>("200", "all reactions to the message")
            .problem("409"),
    ]
}

fn server() -> Vec<Operation> {
    vec![
        get("/healthz", "Answers while the process does").text_answer("text/plain"),
        get("/readyz", "Answers while the store does").text_answer("text/plain"),
        get("/metrics", "Read counters as Prometheus text").text_answer("text/plain"),
        get("/openapi.json", "Read this description")
            .answer::<serde_json::Map<String, serde_json::Value>>("200", "ok")
            .cacheable(),
    ]
}
