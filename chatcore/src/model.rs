//! Plain values that the committer, the feed and the backends hand to each other.
//!
//! They hold no locks and do nothing: the rules that connect them are in the committer, and a
//! backend stores them. Nothing here imports a module above.

mod access;
mod batch;
mod head;
mod page;
mod read_mark;
mod session;
mod signal;
mod target;

pub(crate) use self::access::{Access, Joined};
pub(crate) use self::batch::{
    Append, Batch, BatchId, BatchMessage, CountDelta, MessageChange, NonceKey, ReactionChange,
    RoomBatch,
};
pub(crate) use self::head::Head;
pub(crate) use self::page::Page;
pub(crate) use self::read_mark::ReadMark;
pub(crate) use self::session::NewSession;
pub(crate) use self::signal::{ProcessId, ProcessPresence, Signal};
pub(crate) use self::target::{ReactionAnswer, ReactionQuery, ReadState, Stored, Target};
