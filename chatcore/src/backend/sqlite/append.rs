//! A batch as one transaction.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{accounts, sql};
use crate::backend::{Append, Batch, BatchMessage, Head, RoomBatch};
use crate::types::Username;

pub(super) fn append(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<Append> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for guest in &batch.guests {
        // Claims are made by this thread too, so what is true now is true at the commit.
        if accounts::find(&transaction, &guest.into())?.is_some() {
            return Ok(Append::NameClaimed);
        }
    }
    let mut senders: HashMap<&Username, i64> = HashMap::with_capacity(batch.counts.len());
    {
        let mut count = transaction.prepare_cached(sql::COUNT_MESSAGES)?;
        for (user, n) in &batch.counts {
            senders.insert(user, count.query_row(params![user.as_str(), n], |row| row.get(0))?);
        }
    }
    for room in &batch.rooms {
        let Some(room_id) = advance(&transaction, room)? else {
            return Ok(Append::HeadMoved);
        };
        match add_messages(&transaction, room_id, room, &senders) {
            Err(e) if is_nonce_clash(&e) => return Ok(Append::NonceTaken),
            added => added?,
        }
    }
    transaction.commit()?;
    Ok(Append::Committed)
}

/// Moves the head of a room; `None` if it was not where the batch expects it.
fn advance(transaction: &Transaction<'_>, room: &RoomBatch) -> rusqlite::Result<Option<i64>> {
    let Head { seq, timestamp, .. } = room.head();
    let (seq, timestamp) = (seq.get(), timestamp.as_micros());
    match room.after {
        Some(after) => transaction.prepare_cached(sql::ADVANCE_HEAD)?.query_row(
            params![
                room.room.as_str(),
                after.seq.get(),
                after.closings,
                seq,
                timestamp,
                room.assumes_members.then_some(after.departures),
            ],
            |row| row.get(0),
        ),
        None => transaction
            .prepare_cached(sql::CREATE_HEAD)?
            .query_row(params![room.room.as_str(), seq, timestamp, room.created_at().as_micros()], |row| {
                row.get(0)
            }),
    }
    .optional()
}

fn add_messages(
    transaction: &Transaction<'_>,
    room_id: i64,
    room: &RoomBatch,
    senders: &HashMap<&Username, i64>,
) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(sql::ADD_MESSAGE)?;
    for BatchMessage { seq, timestamp, content, nonce } in &room.messages {
        add.execute(params![
            room_id,
            seq.get(),
            timestamp.as_micros(),
            senders.get(&content.sender),
            content.verified,
            content.text.as_str(),
            nonce.as_ref().map(|nonce| nonce.as_str()),
        ])?;
    }
    let mut join = transaction.prepare_cached(sql::ADD_MEMBER)?;
    for user in &room.members {
        join.execute(params![room_id, user.as_str(), room.created_at().as_micros(), room.room.as_str()])?;
    }
    Ok(())
}

fn is_nonce_clash(e: &rusqlite::Error) -> bool {
    match e {
        rusqlite::Error::SqliteFailure(code, Some(reason)) => {
            code.code == ErrorCode::ConstraintViolation && reason.contains("messages.nonce")
        }
        _ => false,
    }
}
