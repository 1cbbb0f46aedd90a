//! Requests of one socket, in the order in which they came.
//!
//! Each takes effect after those before it, and answers keep the order of the requests. Only posts
//! that follow each other do not wait: the store takes them one after the other, and commits them
//! together.

use std::collections::VecDeque;

use bytes::Bytes;
use chatcore::{Position, RoomName, RoomWatch};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;

use super::frames::{Command, Drawn, Request};

/// Requests that wait or are under way. While there are so many, nothing more is read.
const MAX_REQUESTS: usize = 32;

/// Result of a request.
pub(super) enum Outcome {
    /// A request that is done and has no answer.
    Done,
    /// A frame to answer with.
    Answer(Bytes),
    Subscribed(Box<Subscribed>),
}

/// A room that is followed from now on.
pub(super) struct Subscribed {
    pub(super) room: RoomName,
    /// Last position of the room before it was followed.
    pub(super) last: Position,
    pub(super) drawn: Drawn,
    pub(super) watch: RoomWatch,
}

/// The requests whose effect a request waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Begins while posts before it are under way, and posts after it begin while it is.
    Post,
    /// Begins after all others, and is done before the next one begins.
    Alone,
}

#[derive(Default)]
pub(super) struct RequestQueue {
    waiting: VecDeque<Request>,
    under_way: FuturesOrdered<BoxFuture<'static, Outcome>>,
    /// Set while the request under way is one that is done alone.
    is_blocked: bool,
}

impl RequestQueue {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + self.under_way.len() < MAX_REQUESTS
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Takes the request that may begin now.
    pub(super) fn take(&mut self) -> Option<Request> {
        let is_post = matches!(self.waiting.front()?.command, Ok(Command::Post(_)));
        let may_begin = if is_post {
            !self.is_blocked
        } else {
            self.under_way.is_empty()
        };

        if may_begin {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Takes all requests that wait.
    pub(super) fn take_all(&mut self) -> VecDeque<Request> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn begin(&mut self, work: BoxFuture<'static, Outcome>, order: Order) {
        self.is_blocked |= order == Order::Alone;
        self.under_way.push_back(work);
    }

    /// Waits for the result of the first request under way; returns `None` if there is none.
    ///
    /// Nothing is lost if this is dropped.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        let outcome = self.under_way.next().await?;
        // One that is done alone is the only one under way.
        self.is_blocked = false;
        Some(outcome)
    }
}
