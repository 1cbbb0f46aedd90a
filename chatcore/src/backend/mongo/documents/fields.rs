//! Fields that documents of several collections have.

use std::str::FromStr;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawArrayBuf, RawDocument};

use crate::error::{Error, Invalid, Result};
use crate::model::BatchId;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, RoomName, Seq, Username};

pub(in crate::backend::mongo) fn corrupt(e: impl std::fmt::Display) -> Error {
    Error::Corrupt(e.to_string())
}

pub(in crate::backend::mongo) fn text<T: FromStr<Err = Invalid>>(
    document: &RawDocument,
    key: &str,
) -> Result<T> {
    document
        .get_str(key)
        .map_err(corrupt)?
        .parse()
        .map_err(corrupt)
}

pub(in crate::backend::mongo) fn seq(document: &RawDocument, key: &str) -> Result<Seq> {
    let value = document.get_i64(key).map_err(corrupt)?;
    Seq::new(value).ok_or_else(|| corrupt("a seq is negative"))
}

pub(in crate::backend::mongo) fn change_seq(
    document: &RawDocument,
    key: &str,
) -> Result<ChangeSeq> {
    let value = document.get_i64(key).map_err(corrupt)?;
    ChangeSeq::new(value).ok_or_else(|| corrupt("the number of a change is negative"))
}

pub(in crate::backend::mongo) fn time(document: &RawDocument, key: &str) -> Result<Timestamp> {
    let value = document.get_i64(key).map_err(corrupt)?;
    Timestamp::from_micros(value).ok_or_else(|| corrupt("a time is out of range"))
}

pub(in crate::backend::mongo) fn batch_id(id: BatchId) -> ObjectId {
    ObjectId::from_bytes(id.0)
}

/// Returns true if a field says so.
pub(in crate::backend::mongo) fn flag(document: &RawDocument, key: &str) -> bool {
    document.get_bool(key).unwrap_or(false)
}

/// Returns the names in a list, which is empty if it is not there.
pub(in crate::backend::mongo) fn names(document: &RawDocument, key: &str) -> Result<Vec<Username>> {
    let Some(names) = document.get(key).map_err(corrupt)? else {
        return Ok(Vec::new());
    };
    let names = names
        .as_array()
        .ok_or_else(|| corrupt("names are no list"))?;
    names
        .into_iter()
        .map(|name| {
            name.map_err(corrupt)?
                .as_str()
                .unwrap_or_default()
                .parse()
                .map_err(corrupt)
        })
        .collect()
}

pub(in crate::backend::mongo) fn new_names(names: &[Username]) -> RawArrayBuf {
    names.iter().map(Username::as_str).collect()
}

pub(in crate::backend::mongo) fn is_there(document: &RawDocument, key: &str) -> bool {
    document.get(key).is_ok_and(|value| value.is_some())
}

pub(in crate::backend::mongo) fn room_name(document: &RawDocument) -> Result<RoomName> {
    text(document.get_document("_id").map_err(corrupt)?, "room")
}
