//! Repair of what a crash has left half done.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use super::effects::{Effect, Effects, count_members};
use super::journal::Journal;
use super::plan::{self, Plan, PlannedRoom};
use crate::backend::mongo::buckets::Bucket;
use crate::backend::mongo::connection::Connection;
use crate::backend::mongo::documents::{HeadMove, corrupt};
use crate::backend::mongo::error::error;
use crate::backend::mongo::{changes, commands, documents, find};
use crate::error::{Error, Result};
use crate::model::{CountDelta, Head};
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
    let plan = Plan::read(&stored).map_err(broken)?;
    let has_changes = plan.is_complete && !plan.changes.is_empty();

    let arrived = keep_arrived(journal, &plan).await?;
    let rooms = moved_rooms(&plan.rooms, &arrived, has_changes);
    if is_applied(journal, plan.number, &rooms).await? {
        return Ok(plan.number);
    }

    let counts = if has_changes {
        plan.counts
    } else {
        posts_by_sender(&arrived)
    };
    if has_changes {
        for command in plan.changes {
            journal.step(command).await?;
        }
        repeat_more_changes(journal, &state, plan.number, plan.more_changes).await?;
    }
    let effects = Effects {
        number: plan.number,
        repeats: true,
        counts: Cow::Owned(counts),
        mentions: mentions_of(&arrived),
        rooms,
    };
    effects.apply(journal).await?;

    Ok(plan.number)
}

/// Reads the messages of a plan that arrived, and removes those behind the first that did not.
async fn keep_arrived(journal: Journal<'_>, plan: &Plan) -> Result<Vec<Arrived>> {
    let mut arrived = Vec::with_capacity(plan.rooms.len());
    for room in &plan.rooms {
        let messages = arrived_messages(journal.connection, room, plan.id).await?;
        let end = messages.span.map_or(room.after, |(_, head)| head.seq);
        if end < room.last {
            journal.remove(&room.room, end, room.last, plan.id).await?;
        }
        arrived.push(messages);
    }

    Ok(arrived)
}

/// Returns the rooms whose heads a plan moves, as far as it has arrived.
fn moved_rooms<'a>(
    rooms: &'a [PlannedRoom],
    arrived: &'a [Arrived],
    has_changes: bool,
) -> Vec<Effect<'a>> {
    let mut moved = Vec::new();
    for (room, arrived) in rooms.iter().zip(arrived) {
        let head = HeadMove {
            last: arrived.span.map(|(_, head)| (head.seq, head.timestamp)),
            change: room.change.filter(|_| has_changes),
        };
        if head.last.is_none() && head.change.is_none() {
            continue;
        }
        let created_at = arrived
            .span
            .map_or(Timestamp::EPOCH, |(created_at, _)| created_at);
        moved.push(Effect {
            room: &room.room,
            head,
            members: &arrived.members,
            created_at,
        });
    }

    moved
}

/// Returns true if the heads of all these rooms are of the plan or of a later one. They are moved
/// last: where they are, everything is, and members may have left since.
async fn is_applied(journal: Journal<'_>, number: i64, rooms: &[Effect<'_>]) -> Result<bool> {
    let names: Vec<_> = rooms.iter().map(|effect| effect.room.clone()).collect();
    let applied = journal
        .connection
        .find(find::heads(&names), |d| {
            Ok(d.get_i64("batch").unwrap_or(0) >= number)
        })
        .await?;

    Ok(applied.len() == names.len() && applied.into_iter().all(|applied| applied))
}

/// Returns the counts that the arrived messages add.
fn posts_by_sender(arrived: &[Arrived]) -> Vec<CountDelta> {
    let mut posted: BTreeMap<&Username, i64> = BTreeMap::new();
    for (sender, n) in arrived.iter().flat_map(|arrived| &arrived.senders) {
        *posted.entry(sender).or_insert(0) += n;
    }
    let count = |(user, added): (&Username, i64)| CountDelta {
        user: user.clone(),
        added,
        removed: 0,
    };

    posted.into_iter().map(count).collect()
}

/// Makes the changes of a plan that did not fit into its first document.
async fn repeat_more_changes(
    journal: Journal<'_>,
    state: &Collection<RawDocumentBuf>,
    number: i64,
    documents: i64,
) -> Result<()> {
    for document in 1..=documents {
        let id = doc! { "_id": { "batch": document }, "number": number };
        let found = state.find_one(id).await.map_err(error)?;
        let found =
            found.ok_or_else(|| corrupt("a document of the plan of the last batch is missing"))?;
        for command in plan::commands_in(&found)? {
            journal.step(command).await?;
        }
    }

    Ok(())
}

/// Returns the command that stores the mentions of the arrived messages, unless there are none.
fn mentions_of(arrived: &[Arrived]) -> Option<RawDocumentBuf> {
    let messages = arrived.iter().flat_map(|arrived| &arrived.mentioning);
    changes::new_mentions(messages.map(|message| {
        (
            &message.room,
            message.seq,
            message.timestamp,
            message.mentions(),
        )
    }))
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

/// Messages of a batch in one room that arrived.
#[derive(Default)]
struct Arrived {
    /// Time of the first message, and the head after the last.
    span: Option<(Timestamp, Head)>,
    senders: BTreeMap<Username, i64>,
    members: Vec<Username>,
    /// Messages that mention users.
    mentioning: Vec<Message>,
}

/// Reads the messages of a room that belong to the batch `id`, up to the first bucket that is
/// missing.
async fn arrived_messages(
    connection: &Connection,
    room: &PlannedRoom,
    id: ObjectId,
) -> Result<Arrived> {
    let PlannedRoom {
        room, after, last, ..
    } = room;
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
