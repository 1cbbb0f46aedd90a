//! Errors of the driver, and what they mean to the store.

use mongodb::error::{ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::error::{Error, Reason};

pub(super) const DUPLICATE_KEY: i32 = 11_000;
const OUT_OF_DISK_SPACE: i32 = 14_031;

/// Returns the error of the store for an error of the driver.
pub(super) fn error(e: mongodb::error::Error) -> Error {
    let code = match &*e.kind {
        ErrorKind::Command(e) => e.code,
        ErrorKind::Write(WriteFailure::WriteError(e)) => e.code,
        _ => 0,
    };
    if code == OUT_OF_DISK_SPACE {
        Error::Full
    } else {
        Error::Unavailable(Reason::with_cause(e.kind.to_string(), e))
    }
}

/// Returns true if no server could be reached.
pub(super) fn is_unreachable(e: &mongodb::error::Error) -> bool {
    matches!(
        *e.kind,
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_)
    )
}

/// Carries an error of the store through a function that returns those of the driver.
pub(super) fn custom(e: Error) -> mongodb::error::Error {
    mongodb::error::Error::custom(e.to_string())
}

/// Returns true if a single write met a document that has its key.
pub(super) fn is_duplicate(e: &mongodb::error::Error) -> bool {
    matches!(&*e.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == DUPLICATE_KEY)
}

/// Says that the database was not as a transaction expected, and that the next attempt expects
/// something else.
#[derive(Debug)]
struct Retry;

/// Returns the error with which a transaction asks to be repeated.
pub(super) fn retry() -> mongodb::error::Error {
    mongodb::error::Error::custom(Retry)
}

/// Returns true if a transaction that ended with this error may succeed when it is repeated.
pub(super) fn is_worth_retry(e: &mongodb::error::Error) -> bool {
    e.contains_label(TRANSIENT_TRANSACTION_ERROR) || e.get_custom::<Retry>().is_some()
}
