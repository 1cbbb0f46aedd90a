//! Every statement, in one place so that a test can ask SQLite how it runs each.

/// Declares the statements, and the list of all of them.
macro_rules! statements {
    ($($name:ident = $sql:literal;)*) => {
        $(pub(super) const $name: &str = $sql;)*
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    HEAD = "SELECT last_seq, last_timestamp, departures, restricted, closings, last_change FROM rooms WHERE name = ?1";
    ADVANCE_HEAD = "UPDATE rooms SET last_seq = coalesce(?5, last_seq), last_timestamp = coalesce(?6, last_timestamp),
        last_change = coalesce(?8, last_change)
        WHERE name = ?1 AND closings = ?2 AND departures = coalesce(?3, departures)
        AND last_seq = coalesce(?4, last_seq) AND last_change = coalesce(?7, last_change) RETURNING id";
    CREATE_HEAD = "INSERT INTO rooms (name, last_seq, last_timestamp, created_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO NOTHING RETURNING id";
    COUNT_MESSAGES = "INSERT INTO users (name, message_count) VALUES (?1, ?2)
        ON CONFLICT DO UPDATE SET message_count = message_count + excluded.message_count RETURNING id";
    ADD_MESSAGE = "INSERT INTO messages (room_id, seq, timestamp, sender_id, verified, text, nonce, reply_to, mentions)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    CHANGE_MESSAGE = "UPDATE messages SET text = ?3, mentions = ?4, edited_at = ?5, reactions = ?6, change = ?7
        WHERE room_id = ?1 AND seq = ?2";
    DELETE_MESSAGE = "UPDATE messages SET text = '', verified = 0, reply_to = NULL, mentions = NULL, edited_at = NULL,
        reactions = NULL, change = ?3, sender_id = CASE WHEN nonce IS NULL THEN 0 ELSE sender_id END
        WHERE room_id = ?1 AND seq = ?2";
    ADD_REACTION = "INSERT INTO reactions (room_id, seq, emoji, username, position) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO UPDATE SET position = excluded.position";
    REMOVE_REACTION = "DELETE FROM reactions WHERE room_id = ?1 AND seq = ?2 AND emoji = ?3 AND username = ?4";
    REMOVE_REACTIONS = "DELETE FROM reactions WHERE room_id = ?1 AND seq = ?2";
    ADD_MENTION = "INSERT INTO mentions (username, room_id, seq, timestamp) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    REMOVE_MENTION = "DELETE FROM mentions WHERE username = ?1 AND room_id = ?2 AND seq = ?3";
    SET_LAST_BATCH = "UPDATE last_batch SET batch = ?1 WHERE id = 0";
    LAST_BATCH = "SELECT batch FROM last_batch WHERE id = 0";
    HAS_REACTED = "SELECT 1 FROM reactions WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND seq = ?2
        AND emoji = ?3 AND username = ?4";
    FIRST_REACTIONS = "SELECT username FROM reactions WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND seq = ?2
        AND emoji = ?3 ORDER BY position LIMIT ?4";
    CHANGED = "SELECT seq, timestamp, u.name, verified, text, reply_to, mentions, change, edited_at, reactions
        FROM messages m JOIN users u ON u.id = sender_id
        WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND change > ?2 ORDER BY change LIMIT ?3";
    MENTIONS = "SELECT r.name, seq FROM mentions m JOIN rooms r ON r.id = m.room_id
        WHERE username = ?1 AND timestamp < ?2 ORDER BY timestamp DESC LIMIT ?3";
    SET_TOPIC = "UPDATE rooms SET topic = nullif(?2, '') WHERE name = ?1";
    ADD_MEMBER = "INSERT INTO members (room_id, username, joined_at, room) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO NOTHING";
    MESSAGE_BY_NONCE = "SELECT seq, timestamp, u.name, verified, text, reply_to, mentions, change, edited_at, reactions FROM messages m JOIN users u ON u.id = sender_id
        WHERE room_id = (SELECT id FROM rooms WHERE name = ?1)
        AND sender_id = (SELECT id FROM users WHERE name = ?2) AND nonce = ?3";

    CREATE_ROOM = "INSERT INTO rooms (name, last_seq, last_timestamp, created_at) VALUES (?1, 0, 0, ?2)
        ON CONFLICT DO NOTHING";
    ROOMS = "SELECT name FROM rooms WHERE private = 0 AND name > ?1 ORDER BY name LIMIT ?2";
    ALL_ROOMS = "SELECT name FROM rooms WHERE name > ?1 ORDER BY name LIMIT ?2";
    ROOM = "SELECT last_seq, last_timestamp, departures, restricted, closings, last_change, created_at, private, owner,
        members, topic FROM rooms WHERE name = ?1";
    MEMBERS = "SELECT username FROM members WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND username > ?2
        ORDER BY username LIMIT ?3";
    JOIN = "INSERT INTO members (room_id, username, joined_at, room, private)
        SELECT id, ?2, ?3, name, private FROM rooms WHERE name = ?1 ON CONFLICT DO NOTHING";
    LEAVE = "DELETE FROM members WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND username = ?2";
    COUNT_DEPARTURE = "UPDATE rooms SET departures = departures + 1, closings = closings + private WHERE name = ?1";

    CREATE_ROOM_FOR = "INSERT INTO rooms (name, last_seq, last_timestamp, created_at, owner, private, restricted)
        VALUES (?1, 0, 0, ?2, ?3, ?4, ?4) ON CONFLICT DO NOTHING";
    PRIVATE_ROOMS = "SELECT room FROM members WHERE username = ?1 AND private = 1 AND room > ?2
        ORDER BY room LIMIT ?3";
    ACCESS = "SELECT private, restricted, owner, EXISTS (SELECT 1 FROM members WHERE room_id = rooms.id AND username = ?2),
        EXISTS (SELECT 1 FROM bans WHERE room_id = rooms.id AND fold = ?3) FROM rooms WHERE name = ?1";
    BAN = "INSERT INTO bans (room_id, fold, username, banned_at) SELECT id, ?2, ?3, ?4 FROM rooms WHERE name = ?1
        ON CONFLICT DO NOTHING";
    RESTRICT = "UPDATE rooms SET restricted = 1, departures = departures + 1, closings = closings + 1 WHERE name = ?1";
    UNBAN = "DELETE FROM bans WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND fold = ?2";
    OPEN_WITHOUT_BANS = "UPDATE rooms SET restricted = 0 WHERE name = ?1 AND private = 0
        AND NOT EXISTS (SELECT 1 FROM bans WHERE room_id = rooms.id)";
    BANS = "SELECT username FROM bans WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND username > ?2
        ORDER BY username LIMIT ?3";
    MARK_READ = "INSERT INTO read_marks (username, room_id, seq) SELECT ?1, id, ?3 FROM rooms WHERE name = ?2
        ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)";
    READ_MARK = "SELECT seq FROM read_marks WHERE username = ?1 AND room_id = (SELECT id FROM rooms WHERE name = ?2)";
    ROOMS_OF = "SELECT m.room, r.last_seq, coalesce(k.seq, 0) FROM members m JOIN rooms r ON r.id = m.room_id
        LEFT JOIN read_marks k ON k.username = m.username AND k.room_id = m.room_id
        WHERE m.username = ?1 AND m.room > ?2 ORDER BY m.room LIMIT ?3";

    MESSAGES_BEFORE = "SELECT seq, timestamp, u.name, verified, text, reply_to, mentions, change, edited_at, reactions FROM messages m JOIN users u ON u.id = sender_id
        WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
    MESSAGES_AFTER = "SELECT seq, timestamp, u.name, verified, text, reply_to, mentions, change, edited_at, reactions FROM messages m JOIN users u ON u.id = sender_id
        WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND seq > ?2 ORDER BY seq LIMIT ?3";
    MESSAGES_SINCE = "SELECT seq, timestamp, u.name, verified, text, reply_to, mentions, change, edited_at, reactions FROM messages m JOIN users u ON u.id = sender_id
        WHERE room_id = (SELECT id FROM rooms WHERE name = ?1) AND timestamp > ?2 ORDER BY timestamp LIMIT ?3";
    MESSAGE_COUNT = "SELECT message_count FROM users WHERE name = ?1";

    ACCOUNT = "SELECT username, hash, version FROM accounts WHERE fold = ?1";
    ACCOUNTS = "SELECT username FROM accounts WHERE fold > ?1 ORDER BY fold LIMIT ?2";
    ADD_ACCOUNT = "INSERT INTO accounts (fold, username, hash, version) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    CHANGE_PASSWORD = "UPDATE accounts SET hash = ?3, version = ?2 + 1 WHERE fold = ?1 AND version = ?2";
    UPGRADE_HASH = "UPDATE accounts SET hash = ?3 WHERE fold = ?1 AND hash = ?2";

    ADD_SESSION = "INSERT INTO sessions (token_hash, id, username, fold, verified, user_agent, created_at, last_seen, renewed_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    SESSION = "SELECT id, username, verified, user_agent, created_at, last_seen, renewed_at FROM sessions
        WHERE token_hash = ?1 AND last_seen >= ?2";
    TOUCH_SESSION = "UPDATE sessions SET last_seen = ?2 WHERE token_hash = ?1";
    RENEW_SESSION = "UPDATE sessions SET renewed_at = ?2 WHERE token_hash = ?1";
    END_SESSION = "DELETE FROM sessions WHERE token_hash = ?1 RETURNING username";
    SESSIONS = "SELECT id, username, verified, user_agent, created_at, last_seen, renewed_at FROM sessions
        WHERE username = ?1 AND last_seen >= ?2 ORDER BY created_at LIMIT 1000";
    END_SESSION_OF = "DELETE FROM sessions WHERE username = ?1 AND id = ?2";
    END_SESSIONS_OF = "DELETE FROM sessions WHERE username = ?1 AND id <> ?2";
    END_GUESTS = "DELETE FROM sessions WHERE fold = ?1 AND verified = 0";
    DROP_EXPIRED_SESSIONS = "DELETE FROM sessions WHERE last_seen < ?1";
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::backend::sqlite::schema;

    /// The steps of a plan that read a table or index from one end to the other, or sort.
    fn unindexed_steps(connection: &Connection, sql: &str) -> Vec<String> {
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("a valid statement");
        let count = explain.parameter_count();
        let bindings = std::iter::repeat_n(rusqlite::types::Null, count);
        let steps = explain
            .query_map(rusqlite::params_from_iter(bindings), |row| {
                row.get::<_, String>(3)
            })
            .expect("a plan");
        let steps = steps.map(|step| step.expect("text"));
        steps
            .filter(|step| {
                step.starts_with("SCAN") && step != "SCAN CONSTANT ROW"
                    || step.contains("TEMP B-TREE")
            })
            .collect()
    }

    #[test]
    fn every_query_has_an_index() {
        let mut connection = Connection::open_in_memory().expect("memory");
        schema::prepare(&mut connection).expect("tables");
        for (name, sql) in ALL {
            assert_eq!(
                unindexed_steps(&connection, sql),
                Vec::<String>::new(),
                "{name}"
            );
        }

        // The check itself notices a scan and a sort.
        assert_eq!(
            unindexed_steps(&connection, "SELECT * FROM messages WHERE text = ?1").len(),
            1
        );
        assert_eq!(
            unindexed_steps(
                &connection,
                "SELECT * FROM users WHERE name > 'a' ORDER BY message_count"
            )
            .len(),
            1
        );
    }
}
