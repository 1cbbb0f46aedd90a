//! The documents: what each collection holds, and how it becomes a value of the domain.
//!
//! | collection | `_id` | fields |
//! |---|---|---|
//! | `counters` | `{room}` | `last_seq`, `last_timestamp`, `last_change`, `members`, `departures`, `closings`, `pardons`?, `created_at`, `private`, `restricted`?, `owner`?, `topic`? |
//! | `counters` | `{user}` | `message_count`, `folded`?, `deletions`? |
//! | `counters` | `{tally}`, the slot of a process | `counts`, `folds`, `claims`?, `batches`, `stored`?: see `pending_counts.rs`, `names.rs`, `evidence.rs` |
//! | `messages` | `{room, seq}` of the first | `last_seq`, `last_timestamp`, `milestone`?, `messages`, `nonces`?, `batch`, `changed`?: see `buckets.rs` |
//! | `changes` | `{room, seq}` | the newest state of a message that was changed: see `changes.rs` |
//! | `reactions` | `{room, seq, emoji, user}` | `position`: its rank among those with the same emoji; of users whom the message does not name, see `reactions.rs` |
//! | `mentions` | `{user, room, seq}` | `timestamp` of the message |
//! | `members` | `{room, user}` | `joined_at`, `private`? if the room is |
//! | `bans` | `{room, user}`, the user without regard to case | `username`, `banned_at` |
//! | `names` | the name without regard to case | `account`? (`username`, `hash`, `version`), `uses`?, `told`? |
//! | `sessions` | SHA-256 of the token | `id`, `username`, `verified`, `user_agent`, `created_at`, `last_seen`, `renewed_at`, `used`, `guest`? |
//! | `state` | what it is | of the database itself: schema version, lease, the last batch and change of members |
//! | `marks` | `{user, room}` | `seq`: how far the user has read |
//! | `processes` | an id | the processes on a replica set: `sessions`, `beats`, `turn`, `host`, `pid`, `tally`? |
//! | `presence` | `{room, process}` | `users` who are connected there, `version` |
//! | `signals` | an id | what passes: `typing`, `sessions_ended`, `room_closed`, `evicted` or `topic_set`, `at` |
//!
//! `processes.beats` counts on, so that others see that the process lives. `processes.turn` is the
//! number of its last beat as the process counts, by which it knows the beat in the change stream.
//!
//! Times are microseconds since the epoch, but for those that an index expires documents by, which
//! have to be dates. On a standalone mongod `counters` also carry `batch`, the
//! number of the batch that changed them last.
//!
//! `names.uses` is there to be written: a transaction that relies on who has a name writes it, and
//! so does one that changes who has it, so that two such transactions never both succeed unseen by
//! each other. `sessions.guest` is that name, for those of guests. `names.told`: see `names.rs`.
//!
//! Heads and counters are in one collection, so that one command moves all that a post moves: a
//! command costs more than the work it does.

mod accounts;
mod counters;
mod fields;
mod marks;
mod members;
mod messages;
mod presence;
mod rooms;
mod signals;

pub(super) use self::accounts::*;
pub(super) use self::counters::*;
pub(super) use self::fields::*;
pub(super) use self::marks::*;
pub(super) use self::members::*;
pub(super) use self::messages::*;
pub(super) use self::presence::*;
pub(super) use self::rooms::*;
pub(super) use self::signals::*;
