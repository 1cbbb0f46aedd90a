//! Frames of one socket that wait for the store, in the order in which they came.
//!
//! Each happens after those before it, and answers keep the order of the frames. Only posts that
//! follow each other do not wait: the store takes them one after the other, and commits them
//! together.

use std::collections::VecDeque;

use bytes::Bytes;
use chatcore::{ChangeSeq, PresenceGuard, RoomName, Seq, Watcher};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;

use super::frames::{ClientFrame, Frame};

/// Frames that wait or are under way. While there are so many, nothing more is read.
const MAX_FRAMES: usize = 32;

/// Result of a frame.
pub(super) enum Done {
    /// An answer, or none if there is nothing to say.
    Answer(Option<Bytes>),
    Subscribed(Box<Subscribed>),
}

/// A room that is followed from now on.
pub(super) struct Subscribed {
    pub(super) room: RoomName,
    pub(super) last_seq: Seq,
    pub(super) last_change: ChangeSeq,
    pub(super) html: bool,
    pub(super) watcher: Watcher,
    pub(super) attending: Option<PresenceGuard>,
}

#[derive(Default)]
pub(super) struct Work {
    waiting: VecDeque<Frame>,
    under_way: FuturesOrdered<BoxFuture<'static, Done>>,
    /// Set while the frame under way is not a post.
    is_blocked: bool,
}

impl Work {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + self.under_way.len() < MAX_FRAMES
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.waiting.push_back(frame);
    }

    /// Takes the frame that may begin now.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let is_post = matches!(self.waiting.front()?.said, Ok(ClientFrame::Post(_)));
        let is_free = if is_post {
            !self.is_blocked
        } else {
            self.under_way.is_empty()
        };
        if is_free {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Takes all frames that wait.
    pub(super) fn take_all(&mut self) -> VecDeque<Frame> {
        std::mem::take(&mut self.waiting)
    }

    /// Begins a frame. One `alone` is done before the next one begins.
    pub(super) fn begin(&mut self, work: BoxFuture<'static, Done>, alone: bool) {
        self.is_blocked |= alone;
        self.under_way.push_back(work);
    }

    /// Waits for the result of the first frame under way; `None` if there is none.
    ///
    /// Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = self.under_way.next().await?;
        // One that is alone is the only one under way.
        self.is_blocked = false;
        Some(done)
    }
}
