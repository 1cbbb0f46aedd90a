//! Effects of a batch: mentions, members, counters and heads.

use std::borrow::Cow;
use std::collections::HashSet;

use mongodb::bson::{RawArrayBuf, RawBson, RawDocumentBuf, cstr, rawdoc};

use super::journal::Journal;
use crate::backend::mongo::connection::Connection;
use crate::backend::mongo::documents::HeadMove;
use crate::backend::mongo::error::error;
use crate::backend::mongo::{counters, documents, find};
use crate::error::Result;
use crate::model::{CountDelta, RoomBatch};
use crate::timestamp::Timestamp;
use crate::types::{RoomName, Username};

/// Counters of a batch that have a statement each, because that costs less than to find out which
/// of them are there.
const MAX_UNKNOWN: usize = 8;

/// Effects of a batch, for steps 5 and 6.
pub(super) struct Effects<'a> {
    pub(super) number: i64,
    /// True if some of them may have been made before, so that members have to be counted.
    pub(super) repeats: bool,
    pub(super) counts: Cow<'a, [CountDelta]>,
    pub(super) mentions: Option<RawDocumentBuf>,
    pub(super) rooms: Vec<Effect<'a>>,
}

/// Effects of a batch on one room.
pub(super) struct Effect<'a> {
    pub(super) room: &'a RoomName,
    pub(super) head: HeadMove,
    pub(super) members: &'a [Username],
    pub(super) created_at: Timestamp,
}

impl<'a> From<&'a RoomBatch> for Effect<'a> {
    fn from(room_batch: &'a RoomBatch) -> Self {
        let (room, members) = (&room_batch.room, &room_batch.members);
        Self {
            room,
            head: HeadMove::from(room_batch),
            members,
            created_at: room_batch.created_at(),
        }
    }
}

/// Change of the number of a room's members.
enum Members {
    /// Number of users who joined.
    Joined(i64),
    /// Number of all members.
    Counted(i64),
}

/// Counts the members of a room.
pub(super) async fn count_members(connection: &Connection, room: &RoomName) -> Result<i64> {
    let counted = connection
        .collection("members")
        .count_documents(find::members_of(room))
        .await
        .map_err(error)?;
    Ok(i64::try_from(counted).unwrap_or(i64::MAX))
}

impl Effects<'_> {
    /// Makes steps 5 and 6.
    pub(super) async fn apply(self, journal: Journal<'_>) -> Result<()> {
        let Effects {
            number,
            repeats,
            counts,
            mentions,
            rooms,
        } = self;
        if rooms.is_empty() {
            return Ok(());
        }
        if let Some(mentions) = mentions {
            journal.step(mentions).await?;
        }
        let joined = add_members(journal, &rooms, repeats).await?;

        let (known, new) = by_presence(journal.connection, &counts).await?;
        let older = |id| older(id, number);
        let grow = |count: &CountDelta| {
            rawdoc! { "$inc": counters::increments(count), "$set": { "batch": number } }
        };
        let mut updates = RawArrayBuf::new();
        counters::add_statements(&mut updates, &known, older, grow);
        for count in &new {
            let id = documents::user_id(&count.user);
            updates.push(rawdoc! { "q": older(id.into()), "u": grow(count), "upsert": true });
        }

        let heads = rooms.iter().zip(joined);
        heads.for_each(|(effect, members)| updates.push(effect.head_update(members, number)));

        let last = rawdoc! {
            "update": "counters",
            "updates": updates,
            // One after the other all the same; it is a duplicate that does not end the command.
            "ordered": false,
        };
        journal.step(last).await?;
        Ok(())
    }
}

impl Effect<'_> {
    /// Returns the statement that moves the head of the room.
    fn head_update(&self, members: Members, number: i64) -> RawDocumentBuf {
        let mut set = self.head.fields();
        set.append(cstr!("batch"), number);
        let mut update = RawDocumentBuf::new();
        // A room whose messages are changed is there.
        let may_be_new = self.head.change.is_none();
        if may_be_new {
            let first = documents::first_head(self.created_at);
            update.append(cstr!("$setOnInsert"), first);
        }
        match members {
            Members::Joined(n) => update.append(cstr!("$inc"), rawdoc! { "members": n }),
            Members::Counted(n) => set.append(cstr!("members"), n),
        }
        update.append(cstr!("$set"), set);

        let head = older(documents::room_id(self.room).into(), number);
        rawdoc! { "q": head, "u": update, "upsert": may_be_new }
    }
}

/// Makes the senders of a batch members.
async fn add_members(
    journal: Journal<'_>,
    rooms: &[Effect<'_>],
    repeats: bool,
) -> Result<Vec<Members>> {
    let statements =
        documents::new_members(rooms.iter().map(|r| (r.room, r.members, r.created_at)));
    let mut joined = vec![0; rooms.len()];
    if !statements.is_empty() {
        let command = rawdoc! { "update": "members", "updates": statements, "ordered": false };
        let written = journal.write(command).await?;
        let of_statement: Vec<usize> = rooms
            .iter()
            .enumerate()
            .flat_map(|(at, room)| room.members.iter().map(move |_| at))
            .collect();
        let upserted = written
            .upserted
            .iter()
            .filter_map(|statement| of_statement.get(*statement));
        upserted.for_each(|room| joined[*room] += 1);
    }
    if !repeats {
        return Ok(joined.into_iter().map(Members::Joined).collect());
    }

    let mut counted = Vec::new();
    for room in rooms {
        counted.push(Members::Counted(
            count_members(journal.connection, room.room).await?,
        ));
    }
    Ok(counted)
}

/// Splits counts into those whose counter is there, and those that may have to create it.
async fn by_presence(
    connection: &Connection,
    counts: &[CountDelta],
) -> Result<(Vec<CountDelta>, Vec<CountDelta>)> {
    if counts.len() <= MAX_UNKNOWN {
        return Ok((Vec::new(), counts.to_vec()));
    }

    let present = connection
        .find(find::counters(counts), documents::counted)
        .await?;
    let present: HashSet<Username> = present.into_iter().collect();
    Ok(counts
        .iter()
        .cloned()
        .partition(|count| present.contains(&count.user)))
}

/// Matches no document that the batch of this number, or a later one, has changed. An
/// upsert then meets that document and is refused as a duplicate, which is what a repeat should be.
fn older(id: RawBson, number: i64) -> RawDocumentBuf {
    rawdoc! { "_id": id, "batch": { "$not": { "$gte": number } } }
}
