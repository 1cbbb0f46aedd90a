//! Repair of what a crash has left half done.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::effects::{Effect, Effects, count_members};
use super::journal::Journal;
use super::plan::{self, Part, Plan};
use crate::backend::mongo::buckets::Bucket;
use crate::backend::mongo::connection::Connection;
use crate::backend::mongo::documents::{HeadMove, corrupt};
use crate::backend::mongo::error::error;
use crate::backend::mongo::{changes, commands, documents, find};
use crate::error::{Error, Result};
use crate::model::{CountChange, Head};
use crate::timestamp::Timestamp;
use crate::types::{Message, RoomName, Seq, Username};

/// Brings changes, counters, members and heads in line with the last plan, as far as it
/// arrived; returns the number of that plan. Changes nothing if they are.
pub(super) async fn repair(journal: Journal<'_>) -> Result<i64> {
    let state: Collection<RawDocumentBuf> = journal.connection.database.collection("state");
    let Some(stored) = state
        .find_one(doc! { "_id": "batch" })
        .await
        .map_err(error)?
    else {
        return Ok(0);
    };
    let broken = |e: Error| Error::Corrupt(format!("the plan of the last batch: {e}"));
    let Plan {
        number,
        id,
        rooms: parts,
        is_complete,
        counts,
        changes,
        more_changes,
    } = Plan::read(&stored).map_err(broken)?;
    let has_changes = is_complete && !changes.is_empty();

    let mut arrived = Vec::new();
    for part in &parts {
        let messages = arrived_messages(journal.connection, part, id).await?;
        let end = messages.span.map_or(part.after, |(_, head)| head.seq);
        if end < part.last {
            journal.remove(&part.room, end, part.last, id).await?;
        }
        arrived.push(messages);
    }

    let mut posted: BTreeMap<Username, i64> = BTreeMap::new();
    let mut rooms = Vec::new();
    for (part, arrived) in parts.iter().zip(&arrived) {
        for (sender, n) in &arrived.senders {
            *posted.entry(sender.clone()).or_insert(0) += n;
        }
        let head = HeadMove {
            last: arrived.span.map(|(_, head)| (head.seq, head.timestamp)),
            change: part.change.filter(|_| has_changes),
        };
        if head.last.is_some() || head.change.is_some() {
            let created_at = arrived
                .span
                .map_or(Timestamp::EPOCH, |(created_at, _)| created_at);
            rooms.push(Effect {
                room: &part.room,
                head,
                members: &arrived.members,
                created_at,
            });
        }
    }
    // The heads go last: where they are, everything is, and members may have left since.
    let names: Vec<_> = rooms.iter().map(|effect| effect.room.clone()).collect();
    let applied = journal
        .connection
        .find(find::heads(&names), |d| {
            Ok(d.get_i64("batch").unwrap_or(0) >= number)
        })
        .await?;
    if applied.len() == names.len() && applied.into_iter().all(|applied| applied) {
        return Ok(number);
    }

    let posted = || {
        posted.into_iter().map(|(user, added)| CountChange {
            user,
            added,
            removed: 0,
        })
    };
    let counts = if has_changes {
        counts
    } else {
        posted().collect()
    };
    if has_changes {
        for command in changes {
            journal.step(command).await?;
        }
        for at in 1..=more_changes {
            let part = doc! { "_id": { "batch": at }, "number": number };
            let part = state.find_one(part).await.map_err(error)?;
            let part =
                part.ok_or_else(|| corrupt("a part of the plan of the last batch is missing"))?;
            for command in plan::commands_in(&part)? {
                journal.step(command).await?;
            }
        }
    }
    let messages = arrived.iter().flat_map(|arrived| &arrived.mentioning);
    let mentions = changes::new_mentions(messages.map(|message| {
        (
            &message.room,
            message.seq,
            message.timestamp,
            message.mentions(),
        )
    }));
    let effects = Effects {
        number,
        repeats: true,
        counts: Cow::Owned(counts),
        mentions,
        rooms,
    };
    effects.apply(journal).await?;
    Ok(number)
}

/// Counts the members of the room whose members were changed last.
pub(super) async fn recount_members(journal: Journal<'_>) -> Result<()> {
    let state: Collection<RawDocumentBuf> = journal.connection.database.collection("state");
    let Some(plan) = state
        .find_one(doc! { "_id": "members" })
        .await
        .map_err(error)?
    else {
        return Ok(());
    };
    let room: RoomName = documents::text(&plan, "room")?;
    let members = count_members(journal.connection, &room).await?;
    let counted = rawdoc! {
        "q": { "_id": documents::room_id(&room) },
        "u": { "$set": { "members": members } },
    };
    journal.step(commands::update("counters", counted)).await?;
    Ok(())
}

/// Messages of a batch's part of a room that arrived.
#[derive(Default)]
struct Arrived {
    /// The time of the first message and the place of the last.
    span: Option<(Timestamp, Head)>,
    senders: BTreeMap<Username, i64>,
    members: Vec<Username>,
    /// Messages that mention users.
    mentioning: Vec<Message>,
}

/// Reads the messages of a part that belong to the batch `id`, up to the first bucket that is
/// missing.
async fn arrived_messages(connection: &Connection, part: &Part, id: ObjectId) -> Result<Arrived> {
    let Part {
        room, after, last, ..
    } = part;
    let mut arrived = Arrived::default();
    if last <= after {
        return Ok(arrived);
    }
    let most = u32::try_from(last.get() - after.get()).unwrap_or(u32::MAX);
    let query = find::batch_buckets(room, *after, *last, most);
    let mut expected = after.next();
    let stored = connection.find(query, |d| {
        let bucket = Bucket::new(room, d)?;
        let follows = bucket.first == expected && bucket.batch() == Some(id);
        expected = if follows {
            bucket.last.next()
        } else {
            Seq::ZERO
        };
        if follows {
            Ok((bucket.all()?, bucket.head()?))
        } else {
            Ok((Vec::new(), Head::EMPTY))
        }
    });
    for (messages, head) in stored
        .await?
        .into_iter()
        .take_while(|(messages, _)| !messages.is_empty())
    {
        let first = messages
            .first()
            .map_or(head.timestamp, |message| message.timestamp);
        arrived.span = Some((arrived.span.map_or(first, |(first, _)| first), head));
        for message in messages {
            if let Some(sender) = message.sender() {
                *arrived.senders.entry(sender.clone()).or_insert(0) += 1;
            }
            if !message.mentions().is_empty() {
                arrived.mentioning.push(message);
            }
        }
    }
    arrived.members = arrived.senders.keys().cloned().collect();
    Ok(arrived)
}
