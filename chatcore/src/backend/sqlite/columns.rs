//! The columns of a message that hold lists, as JSON.

use rusqlite::Row;
use serde_json::{Value, json};

use super::{parsed, seq, time};
use crate::types::{ChangeSeq, Content, Message, Reaction, RoomName, Username};

/// Returns the names as JSON, or nothing if there are none.
pub(super) fn mentions(users: &[Username]) -> Option<String> {
    (!users.is_empty()).then(|| json!(users).to_string())
}

/// Returns the reactions as JSON, or nothing if there are none.
pub(super) fn reactions(reactions: &[Reaction]) -> Option<String> {
    (!reactions.is_empty()).then(|| json!(reactions).to_string())
}

/// Reads a message: `seq`, `timestamp`, the sender's name, `verified`, `text`, `reply_to`,
/// `mentions`, `change`, `edited_at`, `reactions`.
pub(super) fn message(room: &RoomName, row: &Row<'_>) -> rusqlite::Result<Message> {
    let change = row.get::<_, Option<i64>>(7)?.and_then(ChangeSeq::new);
    // No message that was posted is empty.
    let content = match row.get_ref(4)?.as_str()? {
        "" => None,
        _ => Some(Content {
            sender: parsed(row, 2)?,
            verified: row.get(3)?,
            text: parsed(row, 4)?,
            reply_to: row
                .get::<_, Option<i64>>(5)?
                .map(|_| seq(row, 5))
                .transpose()?,
            mentions: list(row, 6, |value| value.as_str()?.parse().ok())?,
            edited_at: row
                .get::<_, Option<i64>>(8)?
                .map(|_| time(row, 8))
                .transpose()?,
            reactions: list(row, 9, reaction)?,
        }),
    };
    Ok(Message {
        room: room.clone(),
        seq: seq(row, 0)?,
        timestamp: time(row, 1)?,
        change,
        content,
    })
}

fn reaction(value: &Value) -> Option<Reaction> {
    let users = value["users"]
        .as_array()?
        .iter()
        .map(|user| user.as_str()?.parse().ok());
    Some(Reaction {
        emoji: value["emoji"].as_str()?.parse().ok()?,
        count: value["count"].as_u64()?,
        users: users.collect::<Option<_>>()?,
    })
}

/// Reads a list that was valid when it was written.
fn list<T>(
    row: &Row<'_>,
    column: usize,
    read: impl Fn(&Value) -> Option<T>,
) -> rusqlite::Result<Vec<T>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else {
        return Ok(Vec::new());
    };
    let invalid = |e: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e)
    };
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| invalid(Box::new(e)))?;
    let read: Option<Vec<T>> = values.iter().map(read).collect();
    read.ok_or_else(|| invalid("an entry of the list cannot be read".into()))
}
