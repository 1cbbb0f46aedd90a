//! Values of the domain in the columns of a row. Lists are stored as JSON.

use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};
use serde_json::{Value, json};

use crate::error::Invalid;
use crate::model::Head;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Content, Message, Reaction, RoomName, Seq, Username};

/// Returns the names as JSON; `None` if there are none.
pub(super) fn mentions(users: &[Username]) -> Option<String> {
    (!users.is_empty()).then(|| json!(users).to_string())
}

/// Returns the reactions as JSON; `None` if there are none.
pub(super) fn reactions(reactions: &[Reaction]) -> Option<String> {
    (!reactions.is_empty()).then(|| json!(reactions).to_string())
}

/// Reads a value that was valid when it was written.
pub(super) fn parsed<T: FromStr<Err = Invalid>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// Reads the number of a message.
pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    let value = row.get(column)?;
    Seq::new(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Reads the number of a change.
pub(super) fn change(row: &Row<'_>, column: usize) -> rusqlite::Result<ChangeSeq> {
    let value = row.get(column)?;
    ChangeSeq::new(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Reads a time in microseconds.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let value = row.get(column)?;
    Timestamp::from_micros(value).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Reads the head of a room from the columns of [`sql::HEAD`](super::sql::HEAD).
pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        seq: seq(row, 0)?,
        timestamp: time(row, 1)?,
        departures: row.get(2)?,
        restricted: row.get(3)?,
        closings: row.get(4)?,
        change: change(row, 5)?,
    })
}

/// Reads a value that may be missing.
pub(super) fn optional<T>(
    row: &Row<'_>,
    column: usize,
    read: impl FnOnce(&Row<'_>, usize) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => read(row, column).map(Some),
    }
}

/// Reads a message: `seq`, `timestamp`, the sender's name, `verified`, `text`, `reply_to`,
/// `mentions`, `change`, `edited_at`, `reactions`.
pub(super) fn message(room: &RoomName, row: &Row<'_>) -> rusqlite::Result<Message> {
    let change = optional(row, 7, change)?;
    // No message that was posted is empty.
    let content = match row.get_ref(4)?.as_str()? {
        "" => None,
        _ => Some(Content {
            sender: parsed(row, 2)?,
            verified: row.get(3)?,
            text: parsed(row, 4)?,
            reply_to: optional(row, 5, seq)?,
            mentions: list(row, 6, |value| value.as_str()?.parse().ok())?,
            edited_at: optional(row, 8, time)?,
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
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e)
    };
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| invalid(Box::new(e)))?;
    let read: Option<Vec<T>> = values.iter().map(read).collect();
    read.ok_or_else(|| invalid("an entry of the list cannot be read".into()))
}
