//! The tables, and the check that a file holds them.

use rusqlite::{Connection, TransactionBehavior};

use super::error;
use crate::error::{Error, Result};

/// Marks the file as a chat store: "chat" in ASCII.
const APPLICATION_ID: i64 = 0x6368_6174;
/// What makes a file of each version one of the next. The first begins with an empty file.
const STEPS: [&str; 4] = [
    "
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_seq INTEGER NOT NULL,
    last_timestamp INTEGER NOT NULL,
    departures INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    message_count INTEGER NOT NULL
) STRICT;
CREATE TABLE messages (
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    sender_id INTEGER NOT NULL,
    verified INTEGER NOT NULL,
    text TEXT NOT NULL,
    nonce TEXT,
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_by_time ON messages (room_id, timestamp);
CREATE UNIQUE INDEX messages_by_nonce ON messages (room_id, sender_id, nonce) WHERE nonce IS NOT NULL;
CREATE TABLE members (
    room_id INTEGER NOT NULL,
    username TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (room_id, username)
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    id TEXT NOT NULL,
    username TEXT NOT NULL,
    verified INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (username, created_at);
CREATE INDEX sessions_by_use ON sessions (last_seen);
",
    "
CREATE INDEX members_by_user ON members (username, room_id);
CREATE TABLE read_marks (
    username TEXT NOT NULL,
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (username, room_id)
) STRICT, WITHOUT ROWID;
",
    // Sessions tell what their name is without regard to case. Those of before were all of guests,
    // and end.
    "
CREATE TABLE accounts (
    fold TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    hash TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN fold TEXT NOT NULL;
CREATE INDEX sessions_of_guests ON sessions (fold) WHERE verified = 0;
",
    // A deleted message has no text. It keeps its sender while a nonce has to be told from that of
    // others; else it has the sender 0, whose name is empty. `members.private_room` is the name of
    // the room if that is private, so that an index finds a user's private rooms in order.
    "
ALTER TABLE rooms ADD COLUMN private INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN restricted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN closings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN owner TEXT;
ALTER TABLE members ADD COLUMN private_room TEXT;
CREATE INDEX public_rooms ON rooms (name) WHERE private = 0;
CREATE INDEX members_of_private_rooms ON members (username, private_room) WHERE private_room IS NOT NULL;
CREATE TABLE bans (
    room_id INTEGER NOT NULL,
    fold TEXT NOT NULL,
    username TEXT NOT NULL,
    banned_at INTEGER NOT NULL,
    PRIMARY KEY (room_id, fold)
) STRICT, WITHOUT ROWID;
CREATE INDEX bans_by_name ON bans (room_id, username);
INSERT INTO users (id, name, message_count) VALUES (0, '', 0);
",
];

/// The version of a file after all of them.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Makes the tables that are missing, and refuses a file that is not ours or is newer. A refused
/// file is left as it was.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let foreign = |e: rusqlite::Error| match error(e) {
        Error::Corrupt(reason) => Error::Open(reason),
        other => other,
    };
    let version = number("PRAGMA user_version").map_err(foreign)?;
    let application = number("PRAGMA application_id").map_err(error)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(error)?;
    match (application, version) {
        (0, 0) if tables == 0 => {}
        (APPLICATION_ID, 1..=VERSION) => {}
        (APPLICATION_ID, newer) if newer > VERSION => {
            return Err(Error::Open(format!(
                "it was written by a newer version (schema {newer}, this version knows {VERSION})"
            )));
        }
        _ => return Err(Error::Open("the file is an SQLite database of another program".into())),
    }
    configure(connection, version).map_err(error)
}

fn configure(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // FULL syncs the log before a commit returns, and readers see a commit only after that.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;")?;
    if version < VERSION {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every table and index, as SQL.
    fn tables(connection: &Connection) -> Vec<String> {
        let mut list = connection
            .prepare("SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY name")
            .expect("a list");
        list.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("text")).collect()
    }

    #[test]
    fn a_file_of_every_version_is_brought_to_the_newest_and_a_newer_one_is_refused() {
        let mut fresh = Connection::open_in_memory().expect("memory");
        prepare(&mut fresh).expect("made");
        for version in 1..=STEPS.len() {
            let mut old = Connection::open_in_memory().expect("memory");
            STEPS[..version].iter().try_for_each(|step| old.execute_batch(step)).expect("an old file");
            old.pragma_update(None, "user_version", version as i64).expect("set");
            old.pragma_update(None, "application_id", APPLICATION_ID).expect("set");
            prepare(&mut old).expect("upgraded");
            assert_eq!(tables(&old), tables(&fresh), "from version {version}");
        }
        fresh.pragma_update(None, "user_version", STEPS.len() as i64 + 1).expect("set");
        assert!(matches!(prepare(&mut fresh), Err(Error::Open(reason)) if reason.contains("newer version")));
    }
}
