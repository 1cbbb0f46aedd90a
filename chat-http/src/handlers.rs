//! Handlers of the routes, by subject.

pub(crate) mod account;
pub(crate) mod changes;
pub(crate) mod messages;
pub(crate) mod moderation;
pub(crate) mod operations;
pub(crate) mod rooms;
pub(crate) mod sessions;
pub(crate) mod users;
