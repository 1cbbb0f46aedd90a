//! The tables, and the check that a file holds them.

use rusqlite::{Connection, TransactionBehavior};

use super::error::error;
use crate::error::{Error, Result};

/// Marks the file as a chat store: "chat" in ASCII.
const APPLICATION_ID: i64 = 0x6368_6174;
/// Memory of a connection for pages of the file.
const CACHE_KIB: i64 = 16 * 1024;
/// Pages in the log before they are moved to the file. Posts to many rooms change many pages, each
/// of them again and again: the longer the log, the more of that is moved once.
const CHECKPOINT_PAGES: i64 = 16 * 1024;
/// Version of the tables. Files of other versions are refused.
const VERSION: i64 = 6;

/// Tables of an empty store.
///
/// A deleted message has no text. It keeps its sender while a nonce has to be told from that of
/// others; else it has the sender 0, whose name is empty. `messages.mentions` and
/// `messages.reactions` are JSON, to be shown with the message; the tables of those names have a
/// row for each. `messages.change` is the number of the last change, so that an index is the log of
/// changes. `members.room` and `members.private` are the name and the privacy of the room, so that
/// an index finds a user's rooms in order. `rooms.members` is kept by the two triggers, so that no
/// description of a room counts its members.
const TABLES: &str = "
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_seq INTEGER NOT NULL,
    last_change INTEGER NOT NULL DEFAULT 0,
    last_timestamp INTEGER NOT NULL,
    members INTEGER NOT NULL DEFAULT 0,
    departures INTEGER NOT NULL DEFAULT 0,
    closings INTEGER NOT NULL DEFAULT 0,
    restricted INTEGER NOT NULL DEFAULT 0,
    private INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    topic TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX public_rooms ON rooms (name) WHERE private = 0;

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    message_count INTEGER NOT NULL
) STRICT;
INSERT INTO users (id, name, message_count) VALUES (0, '', 0);

CREATE TABLE messages (
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    sender_id INTEGER NOT NULL,
    verified INTEGER NOT NULL,
    text TEXT NOT NULL,
    nonce TEXT,
    reply_to INTEGER,
    mentions TEXT,
    change INTEGER,
    edited_at INTEGER,
    reactions TEXT,
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_by_time ON messages (room_id, timestamp);
CREATE UNIQUE INDEX messages_by_nonce ON messages (room_id, sender_id, nonce) WHERE nonce IS NOT NULL;
CREATE UNIQUE INDEX messages_by_change ON messages (room_id, change) WHERE change IS NOT NULL;

CREATE TABLE reactions (
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    emoji TEXT NOT NULL,
    username TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (room_id, seq, emoji, username)
) STRICT, WITHOUT ROWID;
CREATE INDEX reactions_by_position ON reactions (room_id, seq, emoji, position);

CREATE TABLE mentions (
    username TEXT NOT NULL,
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (username, room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX mentions_by_time ON mentions (username, timestamp);

CREATE TABLE last_batch (
    id INTEGER PRIMARY KEY,
    batch BLOB NOT NULL
) STRICT;
INSERT INTO last_batch (id, batch) VALUES (0, x'');

CREATE TABLE members (
    room_id INTEGER NOT NULL,
    username TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    room TEXT NOT NULL,
    private INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (room_id, username)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (username, room);
CREATE INDEX members_of_private_rooms ON members (username, room) WHERE private = 1;
CREATE TRIGGER member_joined AFTER INSERT ON members BEGIN
    UPDATE rooms SET members = members + 1 WHERE id = NEW.room_id;
END;
CREATE TRIGGER member_left AFTER DELETE ON members BEGIN
    UPDATE rooms SET members = members - 1 WHERE id = OLD.room_id;
END;

CREATE TABLE bans (
    room_id INTEGER NOT NULL,
    fold TEXT NOT NULL,
    username TEXT NOT NULL,
    banned_at INTEGER NOT NULL,
    PRIMARY KEY (room_id, fold)
) STRICT, WITHOUT ROWID;
CREATE INDEX bans_by_name ON bans (room_id, username);

CREATE TABLE read_marks (
    username TEXT NOT NULL,
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (username, room_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    fold TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    hash TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    id TEXT NOT NULL,
    username TEXT NOT NULL,
    fold TEXT NOT NULL,
    verified INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (username, created_at);
CREATE INDEX sessions_by_use ON sessions (last_seen);
CREATE INDEX sessions_of_guests ON sessions (fold) WHERE verified = 0;
";

/// Creates the tables in an empty file. Refuses a file of another program or another version, and
/// leaves it as it was.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let foreign = |e: rusqlite::Error| match error(e) {
        Error::Corrupt(reason) => Error::Open(reason.into()),
        other => other,
    };
    let version = number("PRAGMA user_version").map_err(foreign)?;
    let application = number("PRAGMA application_id").map_err(error)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(error)?;

    match (application, version) {
        (0, 0) if tables == 0 => {}
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, other) => {
            let age = if other > VERSION {
                "a newer"
            } else {
                "an older"
            };
            let text = format!(
                "it was written by {age} version (schema {other}, this version knows {VERSION})"
            );
            return Err(Error::Open(text.into()));
        }
        _ => {
            return Err(Error::Open(
                "the file is an SQLite database of another program".into(),
            ));
        }
    }

    configure(connection, tables == 0).map_err(error)
}

fn configure(connection: &mut Connection, is_empty: bool) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // FULL syncs the log before a commit returns, and readers see a commit only after that.
    connection.execute_batch("PRAGMA synchronous = FULL;")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;

    if is_empty {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_version_is_refused_and_left_as_it_was() {
        for (version, age) in [
            (VERSION - 1, "an older version"),
            (VERSION + 1, "a newer version"),
        ] {
            let mut file = Connection::open_in_memory().expect("memory");
            prepare(&mut file).expect("made");
            prepare(&mut file).expect("opened again");
            file.pragma_update(None, "user_version", version)
                .expect("set");
            assert!(matches!(prepare(&mut file), Err(Error::Open(reason)) if reason.contains(age)));
            let left: i64 = file
                .query_row("PRAGMA user_version", [], |row| row.get(0))
                .expect("read");
            assert_eq!(left, version);
        }
    }
}
