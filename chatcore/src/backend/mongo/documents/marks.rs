//! Read marks.

use mongodb::bson::RawDocument;

use super::fields::{corrupt, room_name, seq, text};
use crate::error::Result;
use crate::types::{RoomName, Seq, Username};

/// Reads the user and the room of a read mark.
pub(in crate::backend::mongo) fn read_mark_key(key: &RawDocument) -> Result<(Username, RoomName)> {
    let id = key.get_document("_id").map_err(corrupt)?;
    Ok((text(id, "user")?, text(id, "room")?))
}

pub(in crate::backend::mongo) fn read_mark_seq(document: &RawDocument) -> Result<Seq> {
    seq(document, "seq")
}

/// Reads the room and the `seq` of a read mark.
pub(in crate::backend::mongo) fn read_mark(document: &RawDocument) -> Result<(RoomName, Seq)> {
    Ok((room_name(document)?, seq(document, "seq")?))
}
