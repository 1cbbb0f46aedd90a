//! The errors of SQLite as errors of the store.

use rusqlite::ErrorCode;

use crate::error::{Error, Reason};

pub(super) fn error(e: rusqlite::Error) -> Error {
    match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(e.to_string()),
        None => Error::Corrupt(e.to_string()),
        Some(_) => Error::Unavailable(Reason::of(e)),
    }
}
