//! What each route does, by subject.

pub(crate) mod account;
pub(crate) mod auth;
pub(crate) mod changes;
pub(crate) mod messages;
pub(crate) mod moderation;
pub(crate) mod operations;
pub(crate) mod rooms;
pub(crate) mod users;
