//! Presence in rooms.

use mongodb::bson::{Document, RawDocument, doc};

use super::fields::{corrupt, names};
use crate::error::Result;
use crate::model::{ProcessId, ProcessPresence};
use crate::types::Username;

pub(in crate::backend::mongo) fn process(document: &RawDocument) -> Result<ProcessId> {
    let id = document
        .get_document("_id")
        .and_then(|id| id.get_object_id("process"))
        .map_err(corrupt)?;
    Ok(ProcessId(id.bytes()))
}

pub(in crate::backend::mongo) fn presence(document: &RawDocument) -> Result<ProcessPresence> {
    Ok(ProcessPresence {
        version: document.get_i64("version").map_err(corrupt)?,
        users: names(document, "users")?,
    })
}

pub(in crate::backend::mongo) fn new_presence(presence: &ProcessPresence) -> Document {
    let users: Vec<_> = presence.users.iter().map(Username::as_str).collect();
    doc! { "version": presence.version, "users": users }
}
