//! Rows of messages: on pages, as a fragment for scripts, and in the frames of sockets.

use bytes::Bytes;
use chatcore::{ChangeSeq, Range, RoomName, Seq, SharedMessage, UserStore};
use futures_util::stream::{self, StreamExt as _};
use hyper::StatusCode;

use super::message::{beginning, draw_message};
use super::{Reader, html};
use crate::app::App;
use crate::error::{HttpError, Result};
use crate::request::{Call, Query};
use crate::response::Response;
use crate::revision::Revision;
use crate::row_cache::{QuotedKey, RowForm, RowKey};
use crate::texts::Language;

/// Messages of a page, and the most of a fragment.
pub(super) const MESSAGES: u32 = 50;
/// Quoted messages that are read at the same time.
const QUOTED_AT_ONCE: usize = 8;

/// Messages that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    Range(Range),
    /// A message, with those before and after it.
    Around(Seq),
}

impl Selection {
    pub(super) fn of(query: &Query) -> Result<Self> {
        let range = query.range()?;
        match (range, query.parsed("around")?) {
            (range, None) => Ok(Self::Range(range)),
            (Range::Newest, Some(seq)) => Ok(Self::Around(seq)),
            _ => Err(HttpError::bad_request(
                "at most one of since, after, before and around may be given",
            )),
        }
    }

    /// Reads at most `limit` messages, oldest first.
    pub(super) async fn read(
        self,
        store: &UserStore,
        room: &RoomName,
        limit: u32,
    ) -> Result<Vec<SharedMessage>> {
        let seq = match self {
            Self::Range(range) => return Ok(store.messages(room, range, limit).await?),
            Self::Around(seq) => seq,
        };
        let after = store
            .messages(room, Range::After(seq), (limit / 2).max(1))
            .await?;
        // Near the end of the room there is space for more from before.
        let taken = u32::try_from(after.len()).unwrap_or(limit);
        let most = limit.saturating_sub(taken).max(1);
        let mut found = store
            .messages(room, Range::Before(seq.next()), most)
            .await?;
        found.extend(after);
        Ok(found)
    }
}

/// Answers with the rows alone: scripts put them into the page.
pub(crate) async fn rows(app: App, call: Call) -> Result<Response> {
    let (room, selection) = (call.room()?, Selection::of(&call.query)?);
    let limit = call.query.limit(MESSAGES, MESSAGES)?;

    let found = selection.read(&call.user_store(&app), &room, limit).await?;
    let reader = Reader::of(&call.head.headers);
    let rows = draw_rows(&app, reader.language, &found).await?;
    Ok(html(reader, StatusCode::OK, rows))
}

/// Draws messages of one room, in order of their `seq`.
pub(super) async fn draw_rows(
    app: &App,
    language: Language,
    messages: &[SharedMessage],
) -> Result<String> {
    let reads: Vec<_> = messages
        .iter()
        .map(|message| find_quoted(app, message, messages))
        .collect();
    let quoted: Vec<_> = stream::iter(reads).buffered(QUOTED_AT_ONCE).collect().await;

    let mut rows = String::new();
    for (message, quoted) in messages.iter().zip(quoted) {
        let row = draw_cached(app, language, message, quoted.as_ref(), RowForm::Html)?;
        rows.push_str(std::str::from_utf8(&row).map_err(|_| HttpError::internal())?);
    }
    Ok(rows)
}

/// Draws one message as a JSON string, for a reader who has all changes up to `seen`. Readers who
/// have the same changes share the read of the message that it answers: later changes of that one
/// reach them as frames.
pub(crate) async fn draw_json(
    app: &App,
    language: Language,
    message: &SharedMessage,
    seen: ChangeSeq,
) -> Result<Bytes> {
    let quoted = match reply_to(message) {
        Some(seq) => {
            let key = QuotedKey {
                room: message.room.clone(),
                seq,
                after: seen,
            };
            let read = app.store().message(&message.room, seq);
            app.rows().quoted(&key, read).await.ok()
        }
        None => None,
    };
    draw_cached(app, language, message, quoted.as_ref(), RowForm::JsonString)
}

/// Returns the beginning of a message's text without formatting, as a JSON string. It is the same
/// in every language.
pub(crate) fn line_json(app: &App, message: &SharedMessage) -> Result<Bytes> {
    let key = RowKey {
        message: Revision::of(message),
        quoted: None,
        language: Language::default(),
        form: RowForm::Line,
    };
    cached(app, key, || json_string(&beginning(message)))
}

fn reply_to(message: &SharedMessage) -> Option<Seq> {
    message.content.as_ref()?.reply_to
}

/// Returns the message that one of `messages` answers, if there is one.
async fn find_quoted(
    app: &App,
    message: &SharedMessage,
    messages: &[SharedMessage],
) -> Option<SharedMessage> {
    let seq = reply_to(message)?;
    match messages.binary_search_by_key(&seq, |message| message.seq) {
        Ok(at) => Some(messages[at].clone()),
        Err(_) => read_quoted(app, message, seq).await,
    }
}

/// Reads the message that another one of its room answers: who may read the one may read the other.
/// If the store does not give it, the row does without.
async fn read_quoted(app: &App, message: &SharedMessage, seq: Seq) -> Option<SharedMessage> {
    app.store().message(&message.room, seq).await.ok()
}

fn draw_cached(
    app: &App,
    language: Language,
    message: &SharedMessage,
    quoted: Option<&SharedMessage>,
    form: RowForm,
) -> Result<Bytes> {
    let key = RowKey {
        message: Revision::of(message),
        quoted: quoted.map(|quoted| Revision::of(quoted)),
        language,
        form,
    };
    cached(app, key, || {
        let drawn = draw_message(app, language, message, quoted.map(|quoted| &**quoted))?;
        match form {
            RowForm::Html => Ok(drawn.into()),
            _ => json_string(&drawn),
        }
    })
}

fn json_string(text: &str) -> Result<Bytes> {
    let json = serde_json::to_vec(text).map_err(|_| HttpError::internal())?;
    Ok(json.into())
}

/// Returns what was drawn before under this key, or else draws it.
fn cached(app: &App, key: RowKey, draw: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
    if let Some(row) = app.rows().get(&key) {
        return Ok(row);
    }

    let row = draw()?;
    app.rows().insert(key, row.clone());
    Ok(row)
}
