//! The stream of changes by which a process hears of what the others commit.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use tokio::time::timeout;

use super::buckets::Bucket;
use super::guarded::Guarded;
use super::{Inner, deletion, documents, error};
use crate::backend::Signal;
use crate::error::{Error, Result};
use crate::feed::Feed;

/// How long the server holds a question when there is no change.
const AWAIT: Duration = Duration::from_millis(250);
/// How long it may stay silent in all. After that nobody can say that there was no change.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

type Changes = ChangeStream<ChangeStreamEvent<RawDocumentBuf>>;

/// Feeds every change to `feed`, until something fails or the feed is closed.
pub(super) async fn watch(inner: &Inner, feed: &Feed) -> Result<()> {
    let silent = |_| Error::Unavailable("the stream of changes is silent".into());
    let mut changes = timeout(BEGIN, begin(inner)).await.map_err(silent)??;
    feed.go_live();
    while !feed.is_closed() {
        match timeout(SILENCE, changes.next_if_any()).await.map_err(silent)?.map_err(error)? {
            Some(change) => take(inner, feed, change)?,
            // As after the database was dropped.
            None if !changes.is_alive() => {
                return Err(Error::Unavailable("the stream of changes has ended".into()));
            }
            None => {}
        }
    }
    Ok(())
}

/// On a standalone mongod nobody else writes, as long as the lease is valid. Once another process
/// has it the store is lost.
pub(super) async fn watch_lease(guarded: &Guarded, feed: &Feed) -> Result<()> {
    let mut live = true;
    while !feed.is_closed() {
        if let Err(lost) = guarded.may_read() {
            feed.close();
            return Err(lost);
        }
        let is_mine = guarded.may_write().is_ok();
        match (live, is_mine) {
            (false, true) => feed.go_live(),
            (true, false) => feed.go_deaf(),
            _ => {}
        }
        live = is_mine;
        tokio::time::sleep(AWAIT).await;
    }
    Ok(())
}

/// Begins with the first change that a reader who begins now may not see: readers see what a
/// majority has.
async fn begin(inner: &Inner) -> Result<Changes> {
    let hello = inner.database.run_command(doc! { "hello": 1 }).await.map_err(error)?;
    // A router of a sharded cluster tells no more than its own time.
    let seen = hello
        .get_document("lastWrite")
        .and_then(|write| write.get_document("majorityOpTime"))
        .and_then(|time| time.get_timestamp("ts"))
        .or_else(|_| hello.get_timestamp("operationTime"));
    let seen = seen.map_err(|e| Error::Unavailable(format!("the server does not tell its time: {e}")))?;
    let only = doc! { "$match": {
        "ns.coll": { "$in": ["messages", "presence", "signals", "marks"] },
        "operationType": { "$in": ["insert", "replace", "update", "delete"] },
    } };
    let watch = inner.database.watch().pipeline([only]).max_await_time(AWAIT);
    let watch = watch.start_at_operation_time(seen);
    Ok(watch.await.map_err(error)?.with_type())
}

fn take(inner: &Inner, feed: &Feed, change: ChangeStreamEvent<RawDocumentBuf>) -> Result<()> {
    let of = |change: &ChangeStreamEvent<_>| change.ns.as_ref().and_then(|ns| ns.coll.clone());
    let Some(collection) = of(&change) else { return Ok(()) };
    // What was deleted, or changed in part, is named by its key alone.
    let key = change.document_key.map(|key| to_raw(&key)).transpose()?;
    match (collection.as_str(), change.full_document, key) {
        ("messages", Some(document), _) => {
            let room = documents::room_name(&document)?;
            let messages = Bucket::new(&room, &document)?.all()?;
            feed.publish(&room, messages.into_iter().map(Into::into).collect());
        }
        ("messages", None, Some(key)) => {
            let updated = change.update_description.map(|update| update.updated_fields);
            let room = documents::room_name(&key)?;
            for seq in deletion::blanked(&key, &updated.unwrap_or_default())? {
                feed.hear_deletion(&room, seq);
            }
        }
        ("presence", there, Some(key)) => {
            let (room, process) = (documents::room_name(&key)?, documents::process(&key)?);
            match there {
                there if !inner.is_me(process) => {
                    let there = there.map(|there| documents::attendance(&there)).transpose()?;
                    feed.hear_people(&room, process, there);
                }
                // This process was taken for dead.
                None => feed.retell_people(&room),
                Some(_) => {}
            }
        }
        ("signals", Some(document), _) => match documents::signal(&document)? {
            Some(Signal::Typing(room, user)) => drop(feed.hear_typing(&room, &user)),
            Some(Signal::SessionsEnded(user)) => feed.users.sessions_ended(&user),
            Some(Signal::RoomClosed(room)) => feed.close_door(&room),
            Some(Signal::Evicted(room, user)) => feed.evict(&room, &user),
            None => {}
        },
        ("marks", document, Some(key)) => {
            let (user, room) = documents::marked(&key)?;
            let updated =
                change.update_description.map(|update| to_raw(&update.updated_fields)).transpose()?;
            if let Some(seq) = document.or(updated).map(|seq| documents::marked_seq(&seq)).transpose()? {
                feed.hear_mark(&user, &room, seq);
            }
        }
        _ => {}
    }
    Ok(())
}

fn to_raw(document: &Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document).map_err(|e| Error::Corrupt(e.to_string()))
}
