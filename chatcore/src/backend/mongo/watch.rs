//! The change stream, by which a process learns of the commits and signals of the others.

use std::time::{Duration, Instant};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::ErrorKind;
use tokio::time::{sleep, timeout};

use super::buckets::Bucket;
use super::connection::Connection;
use super::error::error;
use super::peers::Peers;
use super::{changes, documents};
use crate::backend::EventSink;
use crate::error::{Error, Result};
use crate::model::Signal;
use crate::types::RoomName;

/// Time for which the server holds a question when there is no change.
const AWAIT: Duration = Duration::from_millis(250);
/// Time for which the stream may stay silent. After that nobody can say that there was no change.
const SILENCE: Duration = Duration::from_secs(1);
/// Time in which the stream must begin.
const BEGIN: Duration = Duration::from_secs(5);

/// Time within which a stream that broke is resumed where it was. What was committed in a longer
/// time is read from the store sooner than it is heard of.
const RESUME: Duration = Duration::from_secs(60);
/// The pause before that is tried again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Codes of the server for a resume token that it cannot go on from: the events after it are not
/// kept any more (`ChangeStreamHistoryLost`), the stream ended there (`ChangeStreamFatalError`), or
/// it is no token (`InvalidResumeToken`).
const NOT_RESUMABLE: [i32; 3] = [286, 280, 260];

type Events = ChangeStream<RawDocumentBuf>;

/// Feeds every event to `sink`, until the stream cannot be resumed or the sink is closed.
pub(super) async fn watch(
    connection: &Connection,
    peers: &Peers,
    sink: &dyn EventSink,
) -> Result<()> {
    let mut events = begin(connection, peers, None).await?;
    let mut token = events.resume_token();
    peers.echo.begin();
    sink.begin_epoch();
    loop {
        let Err(broken) = receive(peers, sink, &mut events, &mut token).await else {
            return Ok(());
        };
        sink.pause();
        tracing::warn!(error = %broken, "the change stream broke; it is resumed where it was");
        let Some(token) = token.clone() else {
            return Err(broken);
        };
        // A stream that breaks as soon as it begins is not begun again without a pause.
        sleep(FIRST_PAUSE).await;
        events = resume(connection, peers, sink, token).await?;
        peers.echo.resume();
    }
}

/// Feeds every event of a stream to `sink`, until something fails or the sink is closed. The next
/// stream goes on after `token`.
async fn receive(
    peers: &Peers,
    sink: &dyn EventSink,
    events: &mut Events,
    token: &mut Option<ResumeToken>,
) -> Result<()> {
    let silent = |_| Error::Unavailable("the change stream is silent".into());
    while !sink.is_closed() {
        match timeout(SILENCE, events.next_if_any())
            .await
            .map_err(silent)?
            .map_err(error)?
        {
            Some(event) => receive_event(peers, sink, &event),
            // As after the database was dropped. It cannot be resumed.
            None if !events.is_alive() => {
                *token = None;
                return Err(Error::Unavailable("the change stream has ended".into()));
            }
            None => {}
        }
        *token = events.resume_token();
        match (sink.is_live(), peers.echo.is_behind(Instant::now())) {
            (true, true) => {
                tracing::warn!("the change stream is behind; reading from the store");
                sink.pause();
            }
            (false, false) => sink.resume(),
            _ => {}
        }
    }
    Ok(())
}

/// Opens a stream again where the one before broke.
async fn resume(
    connection: &Connection,
    peers: &Peers,
    sink: &dyn EventSink,
    token: ResumeToken,
) -> Result<Events> {
    let (broke, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        match begin(connection, peers, Some(token.clone())).await {
            Err(error) if broke.elapsed() < RESUME && error.is_transient() && !sink.is_closed() => {
                tracing::debug!(%error, "the change stream could not be resumed");
            }
            begun => return begun,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Opens a stream after a token, or with the first event that a reader who begins now may not see:
/// readers see what a majority has.
async fn begin(
    connection: &Connection,
    peers: &Peers,
    token: Option<ResumeToken>,
) -> Result<Events> {
    let watch = connection
        .database
        .watch()
        .pipeline([filter(peers.id, &peers.commits)])
        .max_await_time(AWAIT);
    let begun = async {
        let watch = match token {
            Some(token) => watch.resume_after(token),
            None => watch.start_at_operation_time(majority_time(connection).await?),
        };
        Ok(watch.await.map_err(not_begun)?.with_type())
    };
    let late = |_| Error::Unavailable("the change stream does not begin".into());
    timeout(BEGIN, begun).await.map_err(late)?
}

/// Returns the stage that lets through what a process has to hear of. Its own batches are left out
/// by their session, so that the server need not unwind their transactions, which costs it half as
/// much as storing them.
pub(super) fn filter(process: ObjectId, commits: &Document) -> Document {
    let own_beats = doc! { "ns.coll": "processes", "documentKey._id": process };
    // A bucket is updated only where `changes` tells more, and a mention goes unnoticed.
    let new = doc! { "ns.coll": { "$in": ["messages", "mentions"] }, "operationType": "insert" };
    let told = doc! { "ns.coll": { "$in": ["changes", "presence", "signals", "marks"] } };

    doc! { "$match": {
        "operationType": { "$in": ["insert", "replace", "update", "delete"] },
        "lsid.id": { "$ne": commits.get("id") },
        "$or": [new, told, own_beats],
    } }
}

/// Meaning of an error with which a stream does not begin.
fn not_begun(e: mongodb::error::Error) -> Error {
    match &*e.kind {
        ErrorKind::Command(c) if NOT_RESUMABLE.contains(&c.code) => {
            Error::Corrupt(format!("the change stream cannot go on there: {c}"))
        }
        _ => error(e),
    }
}

/// The time of the last change that a majority has.
async fn majority_time(connection: &Connection) -> Result<Timestamp> {
    let hello = connection
        .database
        .run_command(doc! { "hello": 1 })
        .await
        .map_err(error)?;
    // A router of a sharded cluster tells no more than its own time.
    hello
        .get_document("lastWrite")
        .and_then(|write| write.get_document("majorityOpTime"))
        .and_then(|time| time.get_timestamp("ts"))
        .or_else(|_| hello.get_timestamp("operationTime"))
        .map_err(|e| Error::Unavailable(format!("the server does not tell its time: {e}").into()))
}

/// Feeds an event to `sink`. One that cannot be read is skipped, and the room it names is read from
/// the store.
fn receive_event(peers: &Peers, sink: &dyn EventSink, event: &RawDocument) {
    let event = ChangeEvent::new(event);
    if let Err(error) = event.report_to(peers, sink) {
        let room = event.room();
        tracing::error!(%error, ?room, collection = event.collection, "an event of the change stream cannot be read; it is skipped");
        if let Some(room) = room {
            sink.miss_events(&room);
        }
    }
}

/// An event of the change stream.
struct ChangeEvent<'a> {
    collection: &'a str,
    /// The `_id` of the document, which is all that is told of one that was deleted.
    key: Option<&'a RawDocument>,
    /// The document, if it is new or was replaced.
    document: Option<&'a RawDocument>,
    /// The fields that were updated.
    updated: Option<&'a RawDocument>,
}

impl<'a> ChangeEvent<'a> {
    fn new(event: &'a RawDocument) -> Self {
        let field = |document: &'a RawDocument, key| document.get_document(key).ok();
        Self {
            collection: field(event, "ns")
                .and_then(|ns| ns.get_str("coll").ok())
                .unwrap_or_default(),
            key: field(event, "documentKey"),
            document: field(event, "fullDocument"),
            updated: field(event, "updateDescription")
                .and_then(|update| field(update, "updatedFields")),
        }
    }

    /// Returns the room that the event is about, if it names one.
    fn room(&self) -> Option<RoomName> {
        let of_signal = |kind| {
            self.document?
                .get_document(kind)
                .ok()?
                .get_str("room")
                .ok()?
                .parse()
                .ok()
        };
        let of_key = self.key.and_then(|key| documents::room_name(key).ok());
        of_key.or_else(|| documents::SIGNALS_OF_ROOMS.into_iter().find_map(of_signal))
    }

    fn report_to(&self, peers: &Peers, sink: &dyn EventSink) -> Result<()> {
        match (self.collection, self.document, self.key) {
            ("messages", Some(document), _) => {
                let room = documents::room_name(document)?;
                let messages = Bucket::new(&room, document)?.all()?;
                sink.publish_messages(&room, messages);
            }
            // Always replaced as a whole.
            ("changes", Some(document), _) => {
                let room = documents::room_name(document)?;
                let message = changes::message(&room, document)?;
                sink.publish_changes(&room, vec![message]);
            }
            ("mentions", Some(_), Some(key)) => {
                let (user, room) = documents::read_mark_key(key)?;
                let (_, seq) = documents::message_key(key)?;
                sink.notify_mention(&user, &room, seq);
            }
            ("presence", document, Some(key)) => {
                report_presence(document, key, peers, sink)?;
            }
            ("signals", Some(document), _) => {
                if let Some(signal) = documents::signal(document)? {
                    report_signal(signal, sink);
                }
            }
            ("marks", document, Some(key)) => {
                let (user, room) = documents::read_mark_key(key)?;
                if let Some(seq) = document
                    .or(self.updated)
                    .map(documents::read_mark_seq)
                    .transpose()?
                {
                    sink.notify_read_mark(&user, &room, seq);
                }
            }
            ("processes", document, _) => {
                // The first beat has no turn, and the end of this process none either.
                if let Some(Ok(turn)) = document.or(self.updated).map(|beat| beat.get_i64("turn")) {
                    peers.echo.returned(turn);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn report_presence(
    document: Option<&RawDocument>,
    key: &RawDocument,
    peers: &Peers,
    sink: &dyn EventSink,
) -> Result<()> {
    let (room, process) = (documents::room_name(key)?, documents::process(key)?);
    if !peers.is_me(process) {
        let users = document.map(documents::presence).transpose()?;
        sink.publish_presence(&room, process, users);
    } else if document.is_none() {
        // This process was taken for dead.
        sink.republish_presence(&room);
    }
    Ok(())
}

fn report_signal(signal: Signal, sink: &dyn EventSink) {
    match signal {
        Signal::Typing(room, user) => sink.notify_typing(&room, &user),
        Signal::SessionsEnded(user) => sink.notify_sessions_ended(&user),
        Signal::Revoked(user) => sink.notify_revoked(&user),
        Signal::PrivateRoomCreated(room) => sink.notify_private_room_created(&room),
        Signal::Evicted(room, user) => sink.notify_evicted(&room, &user),
        Signal::TopicSet(room, topic) => sink.notify_topic(&room, &topic),
        Signal::RoomsChanged(user) => sink.notify_rooms_changed(&user),
    }
}
