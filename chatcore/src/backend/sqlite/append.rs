//! A batch as one transaction.

use std::collections::HashMap;

use rusqlite::{
    Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params,
};

use super::accounts::find_account;
use super::{columns, sql};
use crate::model::{Append, Batch, BatchMessage, Head, MessageChange, RoomBatch};
use crate::types::{Content, Seq, Username};

/// Stores a batch, whole or not at all.
pub(super) fn append(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<Append> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;

    for guest in &batch.guests {
        // Accounts are created by this thread too, so the answer holds until the commit.
        if find_account(&transaction, &guest.into())?.is_some() {
            return Ok(Append::NameClaimed);
        }
    }

    let mut senders: HashMap<&Username, i64> = HashMap::with_capacity(batch.counts.len());
    {
        let mut move_count = transaction.prepare_cached(sql::COUNT_MESSAGES)?;
        for count in &batch.counts {
            let moved = params![count.user.as_str(), count.sum()];
            senders.insert(&count.user, move_count.query_row(moved, |row| row.get(0))?);
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
        for change in &room.changes {
            make_change(&transaction, room_id, change)?;
        }
    }

    transaction
        .prepare_cached(sql::SET_LAST_BATCH)?
        .execute([batch.id.0])?;
    transaction.commit()?;
    Ok(Append::Committed)
}

/// Returns true if a batch is the last one that was stored, and false for an earlier one, which is
/// enough for [`is_stored`](crate::backend::Commits::is_stored).
pub(super) fn is_last(connection: &Connection, batch: &Batch) -> rusqlite::Result<bool> {
    let last: Vec<u8> = connection
        .prepare_cached(sql::LAST_BATCH)?
        .query_row([], |row| row.get(0))?;
    Ok(last == batch.id.0)
}

/// Moves the head of a room, and returns the row of the room; `None` if the head was not the one
/// that the batch expects.
fn advance(transaction: &Transaction<'_>, room: &RoomBatch) -> rusqlite::Result<Option<i64>> {
    let Head {
        seq,
        timestamp,
        change,
        ..
    } = room.head();
    let (seq, timestamp, change) = (seq.get(), timestamp.as_micros(), change.get());
    match room.after {
        Some(after) => {
            let (posts, changes) = (!room.messages.is_empty(), !room.changes.is_empty());
            let (after_seq, after_change) = (after.seq.get(), after.change.get());
            transaction.prepare_cached(sql::ADVANCE_HEAD)?.query_row(
                params![
                    room.room.as_str(),
                    after.closings,
                    room.assumes_members.then_some(after.departures),
                    posts.then_some(after_seq),
                    posts.then_some(seq),
                    posts.then_some(timestamp),
                    changes.then_some(after_change),
                    changes.then_some(change),
                ],
                |row| row.get(0),
            )
        }
        None => transaction.prepare_cached(sql::CREATE_HEAD)?.query_row(
            params![
                room.room.as_str(),
                seq,
                timestamp,
                room.created_at().as_micros()
            ],
            |row| row.get(0),
        ),
    }
    .optional()
}

/// Adds the new messages of a room, their mentions, and the senders who become members.
fn add_messages(
    transaction: &Transaction<'_>,
    room_id: i64,
    room: &RoomBatch,
    senders: &HashMap<&Username, i64>,
) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(sql::ADD_MESSAGE)?;
    for BatchMessage {
        seq,
        timestamp,
        content,
        nonce,
    } in &room.messages
    {
        add.execute(params![
            room_id,
            seq.get(),
            timestamp.as_micros(),
            senders.get(&content.sender),
            content.verified,
            content.text.as_str(),
            nonce.as_ref().map(|nonce| nonce.as_str()),
            content.reply_to.map(Seq::get),
            columns::mentions(&content.mentions),
        ])?;
        for user in &content.mentions {
            let mention = params![user.as_str(), room_id, seq.get(), timestamp.as_micros()];
            transaction
                .prepare_cached(sql::ADD_MENTION)?
                .execute(mention)?;
        }
    }

    let mut join = transaction.prepare_cached(sql::ADD_MEMBER)?;
    for user in &room.members {
        join.execute(params![
            room_id,
            user.as_str(),
            room.created_at().as_micros(),
            room.room.as_str()
        ])?;
    }

    Ok(())
}

/// Brings a stored message, its reactions and its mentions to their new state.
fn make_change(
    transaction: &Transaction<'_>,
    room_id: i64,
    change: &MessageChange,
) -> rusqlite::Result<()> {
    match &change.after.content {
        Some(content) => replace_content(transaction, room_id, change, content)?,
        None => delete_content(transaction, room_id, change)?,
    }
    change_reactions(transaction, room_id, change)?;
    change_mentions(transaction, room_id, change)
}

fn replace_content(
    transaction: &Transaction<'_>,
    room_id: i64,
    change: &MessageChange,
    content: &Content,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(sql::CHANGE_MESSAGE)?
        .execute(params![
            room_id,
            change.after.seq.get(),
            content.text.as_str(),
            columns::mentions(&content.mentions),
            content.edited_at.map(|time| time.as_micros()),
            columns::reactions(&content.reactions),
            change.number().get(),
        ])?;

    Ok(())
}

/// Deletes a message, and with it whatever reactions it has.
fn delete_content(
    transaction: &Transaction<'_>,
    room_id: i64,
    change: &MessageChange,
) -> rusqlite::Result<()> {
    let seq = change.after.seq.get();
    transaction
        .prepare_cached(sql::DELETE_MESSAGE)?
        .execute(params![room_id, seq, change.number().get()])?;

    let before = change.before.message.content.as_ref();
    if before.is_some_and(|before| !before.reactions.is_empty()) {
        transaction
            .prepare_cached(sql::REMOVE_REACTIONS)?
            .execute(params![room_id, seq])?;
    }

    Ok(())
}

fn change_reactions(
    transaction: &Transaction<'_>,
    room_id: i64,
    change: &MessageChange,
) -> rusqlite::Result<()> {
    for reaction in &change.reactions {
        let (emoji, user) = (reaction.emoji.as_str(), reaction.user.as_str());
        let seq = change.after.seq.get();
        match reaction.rank {
            Some(rank) => transaction
                .prepare_cached(sql::ADD_REACTION)?
                .execute(params![room_id, seq, emoji, user, rank])?,
            None => transaction
                .prepare_cached(sql::REMOVE_REACTION)?
                .execute(params![room_id, seq, emoji, user])?,
        };
    }

    Ok(())
}

fn change_mentions(
    transaction: &Transaction<'_>,
    room_id: i64,
    change: &MessageChange,
) -> rusqlite::Result<()> {
    let (seq, time) = (change.after.seq.get(), change.after.timestamp.as_micros());
    for user in change.new_mentions() {
        transaction
            .prepare_cached(sql::ADD_MENTION)?
            .execute(params![user.as_str(), room_id, seq, time])?;
    }
    for user in change.lost_mentions() {
        transaction
            .prepare_cached(sql::REMOVE_MENTION)?
            .execute(params![user.as_str(), room_id, seq])?;
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
