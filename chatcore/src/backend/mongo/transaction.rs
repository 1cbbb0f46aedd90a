//! A batch as one transaction, on a replica set or a sharded cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{RawArrayBuf, rawdoc};
use mongodb::error::{ErrorKind, TRANSIENT_TRANSACTION_ERROR};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::access::is_of_nonces;
use super::accounts;
use super::names::Claims;
use super::step::{Step, Writer};
use super::tally::{self, Tally};
use super::{Inner, buckets, documents, durable, error, find};
use crate::account::Fold;
use crate::backend::{Append, Batch, Head};
use crate::error::{Error, Result};

const WRITE_CONFLICT: i32 = 112;
/// A transaction that met another one waits for about as long as that one takes.
const LONGEST_PAUSE_MICROS: u64 = 6_000;

/// Why the writes of a transaction stopped.
enum Stop {
    Refused(Append),
    Failed(mongodb::error::Error),
}

impl From<mongodb::error::Error> for Stop {
    fn from(e: mongodb::error::Error) -> Self {
        Self::Failed(e)
    }
}

pub(super) async fn append(
    mongo: &Inner,
    session: &mut ClientSession,
    tally: Option<&Tally>,
    batch: &Batch,
) -> Result<Append> {
    if let Some(tally) = tally.filter(|tally| tally.is_full(&batch.counts)) {
        fold(mongo, session, tally.slot()).await?;
        tally.folded();
    }
    let claims = match tally {
        Some(tally) if !batch.guests.is_empty() => {
            let Some(claims) = tally.guests.admit(mongo, &batch.guests).await? else {
                return Ok(Append::NameClaimed);
            };
            Some(claims)
        }
        _ => None,
    };
    let deadline = Instant::now() + mongo.timeout;
    let mut commit_failed = false;
    loop {
        begin(mongo, session).await?;
        let stop = match write(mongo, session, tally.map(|tally| (tally, claims)), batch).await {
            Ok(()) => match commit(session, deadline).await {
                Ok(()) => {
                    match tally {
                        Some(tally) => tally.remember(&batch.counts),
                        None => mongo.counters.remember(&batch.counts),
                    }
                    return Ok(Append::Committed);
                }
                Err(e) => {
                    commit_failed = true;
                    Stop::Failed(e)
                }
            },
            Err(stop) => {
                // If this fails the server ends the transaction by itself.
                let _ = session.abort_transaction().await;
                stop
            }
        };
        match stop {
            // What refuses this attempt may be the one before it.
            Stop::Refused(_) if commit_failed && holds(mongo, batch).await? => return Ok(Append::Committed),
            Stop::Refused(refused) => return Ok(refused),
            Stop::Failed(e)
                if !e.contains_label(TRANSIENT_TRANSACTION_ERROR) || Instant::now() >= deadline =>
            {
                return Err(error(e));
            }
            Stop::Failed(_) => pause().await,
        }
    }
}

/// The writes of a batch. The heads come first: they are what two processes meet at, and the
/// earlier a transaction meets another the less it has done in vain.
async fn write(
    mongo: &Inner,
    session: &mut ClientSession,
    tally: Option<(&Tally, Option<Claims>)>,
    batch: &Batch,
) -> Result<(), Stop> {
    let mut updates = RawArrayBuf::new();
    for room in &batch.rooms {
        let id = documents::room_id(&room.room);
        let set = documents::new_head(room.head());
        updates.push(match room.after {
            Some(Head { seq, departures, .. }) => rawdoc! {
                "q": { "_id": id, "last_seq": seq.get(), "departures": departures },
                "u": { "$set": set },
            },
            // No head matches, so this creates the room or clashes with the one that is there.
            None => rawdoc! {
                "q": { "_id": id, "last_seq": -1_i64 },
                "u": { "$set": set, "$setOnInsert": documents::first_head(room.created_at()) },
                "upsert": true,
            },
        });
    }
    let counted = if let Some((tally, claims)) = tally {
        updates.push(tally.statement(&batch.counts, claims)?);
        1
    } else {
        let grow = |n| rawdoc! { "$inc": { "message_count": n } };
        mongo.counters.add_statements(&mut updates, &batch.counts, |id| rawdoc! { "_id": id }, grow);
        batch.counts.len()
    };
    let expected = batch.rooms.len() + counted;
    match mongo.write(rawdoc! { "update": "counters", "updates": updates }, Some(session)).await {
        Ok(done) if done.duplicate.is_none() && usize::try_from(done.n) == Ok(expected) => {}
        Ok(_) => {
            // A head moved, or a user was created by another process, or is not there, or a name has
            // been claimed.
            mongo.counters.refused();
            if let Some((tally, _)) = tally {
                tally.guests.doubt().await;
            }
            return Err(Stop::Refused(Append::HeadMoved));
        }
        // Another transaction is moving the head just now.
        Err(e) => return Err(met(e).await),
    }

    if tally.is_none() && !batch.guests.is_empty() {
        let names: BTreeSet<_> = batch.guests.iter().map(Fold::from).collect();
        match mongo.write(accounts::use_by_guests(&names), Some(session)).await {
            Ok(used) if used.duplicate.is_none() => {}
            Ok(_) => return Err(Stop::Refused(Append::NameClaimed)),
            Err(e) => return Err(met(e).await),
        }
    }

    let messages = rawdoc! { "insert": "messages", "documents": buckets::new_buckets(batch) };
    if let Some(index) = mongo.write(messages, Some(session)).await?.duplicate {
        return Err(Stop::Refused(if is_of_nonces(&index) { Append::NonceTaken } else { Append::HeadMoved }));
    }

    let members = batch.rooms.iter().map(|r| (&r.room, r.members.as_slice(), r.created_at()));
    let members = documents::new_members(members);
    if !members.is_empty() {
        let joined = mongo.write(rawdoc! { "update": "members", "updates": members }, Some(session)).await?;
        if joined.duplicate.is_some() {
            return Err(Stop::Refused(Append::HeadMoved));
        }
    }
    Ok(())
}

/// What to do after an error in a transaction that may have met another one.
async fn met(e: mongodb::error::Error) -> Stop {
    if matches!(&*e.kind, ErrorKind::Command(e) if e.code == WRITE_CONFLICT) {
        pause().await;
        return Stop::Refused(Append::HeadMoved);
    }
    Stop::Failed(e)
}

/// Makes a change, until it meets no other transaction; says whether it was right to.
pub(super) async fn change(mongo: &Inner, session: &mut ClientSession, step: &dyn Step) -> Result<bool> {
    let deadline = Instant::now() + mongo.timeout;
    loop {
        begin(mongo, session).await?;
        let made = match step.make(&mut Writer::new(mongo, Some(session))).await {
            Ok(true) => commit(session, deadline).await.map(|()| true),
            other => {
                // If this fails the server ends the transaction by itself.
                let _ = session.abort_transaction().await;
                other
            }
        };
        match made {
            Err(e) if is_worth_another(&e) && Instant::now() < deadline => pause().await,
            made => return made.map_err(error),
        }
    }
}

/// Folds the tally `slot` in a transaction of its own.
pub(super) async fn fold(mongo: &Inner, session: &mut ClientSession, slot: i32) -> Result<()> {
    let deadline = Instant::now() + mongo.timeout;
    loop {
        begin(mongo, session).await?;
        let done = match tally::fold(mongo, session, slot).await {
            Ok(()) => commit(session, deadline).await,
            Err(e) => {
                let _ = session.abort_transaction().await;
                Err(e)
            }
        };
        match done {
            Err(e) if is_worth_another(&e) && Instant::now() < deadline => pause().await,
            done => return done.map_err(error),
        }
    }
}

async fn begin(mongo: &Inner, session: &mut ClientSession) -> Result<()> {
    let transaction = session.start_transaction().read_concern(ReadConcern::majority());
    transaction.write_concern(durable(mongo.timeout)).await.map_err(error)
}

/// The database was not as a transaction expected, and the next attempt expects less of it.
#[derive(Debug)]
struct Again;

pub(super) fn again() -> mongodb::error::Error {
    mongodb::error::Error::custom(Again)
}

fn is_worth_another(e: &mongodb::error::Error) -> bool {
    e.contains_label(TRANSIENT_TRANSACTION_ERROR) || e.get_custom::<Again>().is_some()
}

/// Commits, and repeats the command while its result is unknown: the server knows the transaction
/// by its number and commits it once. Only an error that is labelled as transient says that the
/// transaction is no more.
async fn commit(session: &mut ClientSession, deadline: Instant) -> mongodb::error::Result<()> {
    loop {
        match session.commit_transaction().await {
            Err(e) if !e.contains_label(TRANSIENT_TRANSACTION_ERROR) && Instant::now() < deadline => {
                pause().await
            }
            result => return result,
        }
    }
}

/// Whether the batch is stored: its first message carries its id.
pub(super) async fn holds(mongo: &Inner, batch: &Batch) -> Result<bool> {
    let Some((room, first)) = batch.rooms.first().and_then(|part| Some((&part.room, part.messages.first()?)))
    else {
        return Ok(true);
    };
    let id = documents::batch_id(batch.id);
    let is_at = async |newest_state| {
        let query = find::batch_at(room, first.seq, newest_state);
        let found = mongo.find(query, |d| Ok(d.get_object_id("batch").ok())).await?;
        Ok::<_, Error>(found.first() == Some(&Some(id)))
    };
    if !is_at(true).await? {
        return Ok(false);
    }
    if is_at(false).await? {
        return Ok(true);
    }
    // Neither lost nor safe.
    Err(Error::Unavailable("a majority does not have the batch yet".into()))
}

/// A random while, so that two processes do not meet in step.
async fn pause() {
    let random = crate::session::random().map_or(0, u64::from_le_bytes);
    tokio::time::sleep(Duration::from_micros(500 + random % LONGEST_PAUSE_MICROS)).await;
}
