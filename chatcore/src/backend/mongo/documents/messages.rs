//! Messages: their keys, and what was posted.

use mongodb::bson::{RawDocument, RawDocumentBuf, cstr, rawdoc};

use super::fields::{corrupt, is_there, names, new_names, seq, text};
use crate::error::Result;
use crate::types::{Content, RoomName, Seq};

/// The fields of what was posted.
pub(in crate::backend::mongo) const POSTED: [&str; 5] =
    ["sender", "text", "verified", "reply_to", "mentions"];

/// Writes what was posted.
pub(in crate::backend::mongo) fn append_posted(document: &mut RawDocumentBuf, content: &Content) {
    document.append(cstr!("sender"), content.sender.as_str());
    document.append(cstr!("text"), content.text.as_str());
    document.append(cstr!("verified"), content.verified);
    if let Some(reply_to) = content.reply_to {
        document.append(cstr!("reply_to"), reply_to.get());
    }
    if !content.mentions.is_empty() {
        document.append(cstr!("mentions"), new_names(&content.mentions));
    }
}

/// Returns what was posted, unless it is gone.
pub(in crate::backend::mongo) fn posted(document: &RawDocument) -> Result<Option<Content>> {
    if document.get("text").map_err(corrupt)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Content {
        sender: text(document, "sender")?,
        text: text(document, "text")?,
        verified: document.get_bool("verified").map_err(corrupt)?,
        reply_to: is_there(document, "reply_to")
            .then(|| seq(document, "reply_to"))
            .transpose()?,
        mentions: names(document, "mentions")?,
        edited_at: None,
        reactions: Vec::new(),
    }))
}

/// Reads the room and the `seq` of a message.
pub(in crate::backend::mongo) fn message_key(document: &RawDocument) -> Result<(RoomName, Seq)> {
    let id = document.get_document("_id").map_err(corrupt)?;
    Ok((text(id, "room")?, seq(id, "seq")?))
}

/// Returns the `_id` of a document about a message.
pub(in crate::backend::mongo) fn message_id(room: &RoomName, seq: Seq) -> RawDocumentBuf {
    rawdoc! { "room": room.as_str(), "seq": seq.get() }
}
