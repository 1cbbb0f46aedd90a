//! The shared store: MongoDB from 4.4.
//!
//! On a replica set, or a sharded cluster, a batch is one transaction and any number of processes
//! work on one database. A standalone mongod has no transactions: there a batch is stored in an
//! order that can be completed or cut off after a crash, by one process at a time.
//!
//! Writes are acknowledged by a majority and journaled. Reads see what a majority has, so that
//! nothing that was read can be rolled back.
//!
//! Each file uses those of the lines above its own:
//!
//! | files | meaning |
//! |---|---|
//! | `error`, `documents`, `buckets`, `find`, `commands` | errors, what is stored, queries, write commands |
//! | `connection`, `step` | running them; changes of several documents |
//! | `counters`, `evidence`, `names`, `pending_counts`, `reactions`, `changes` | parts of a batch |
//! | `echo`, `peers`, `watch`, `lease` | other processes |
//! | `deployment` with `replica_set` and `standalone` | the two ways to store a batch |
//! | `store`, `counts`, `count_batcher`, `targets`, `access_lookup`, `members`, `read_marks` | one store |
//! | `scheduler` with `commits`, `history`, `rooms`, `access`, `accounts`, `presence` | the traits of the backend |
//! | `schema`, `open` | opening a store |

mod access;
mod access_lookup;
mod accounts;
mod buckets;
mod changes;
mod commands;
mod commits;
mod connection;
mod count_batcher;
mod counters;
mod counts;
mod deployment;
mod documents;
mod echo;
mod error;
mod evidence;
mod find;
mod history;
mod lease;
mod members;
mod names;
mod open;
mod peers;
mod pending_counts;
mod presence;
mod reactions;
mod read_marks;
mod replica_set;
mod rooms;
mod scheduler;
mod schema;
mod standalone;
mod step;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use self::open::open;
