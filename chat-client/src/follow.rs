//! Rooms that are followed, as one stream of events that goes on after every interruption.

mod engine;
mod polling;
mod progress;
mod socket;

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::engine::Engine;
use crate::client::Client;
use crate::error::Result;
use crate::wire::{Message, Problem};

/// Events that wait for the program to take them. While there are so many, nothing more is read
/// from the server, which then catches up from its store.
const MAX_WAITING: usize = 256;

/// Places that a follower has reached in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The place of the last message; 0 before the first.
    pub seq: i64,
    /// The number of the last change; 0 before the first.
    pub change: i64,
}

/// A room to follow, and the place to begin after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub(crate) room: String,
    pub(crate) after: Option<i64>,
    pub(crate) changes_after: Option<i64>,
}

impl Subscription {
    /// Follows a room from now on: from the moment of its [`Event::Following`].
    #[must_use]
    pub fn from_now(room: impl Into<String>) -> Self {
        Self {
            room: room.into(),
            after: None,
            changes_after: None,
        }
    }

    /// Follows a room from its first message.
    #[must_use]
    pub fn from_start(room: impl Into<String>) -> Self {
        Self::after(room, 0)
    }

    /// Follows a room from the message after `seq`, and from the changes that are made from now on.
    ///
    /// A program that shows earlier messages [resumes](Self::resume) after them instead: with
    /// `last_change` of [`Client::room`], read before the messages, so that no change in between is
    /// missed.
    #[must_use]
    pub fn after(room: impl Into<String>, seq: i64) -> Self {
        Self {
            room: room.into(),
            after: Some(seq),
            changes_after: None,
        }
    }

    /// Goes on where a follower stopped: see [`Follower::position`].
    #[must_use]
    pub fn resume(room: impl Into<String>, position: Position) -> Self {
        Self {
            room: room.into(),
            after: Some(position.seq),
            changes_after: Some(position.change),
        }
    }
}

impl From<&str> for Subscription {
    fn from(room: &str) -> Self {
        Self::from_now(room)
    }
}

impl From<String> for Subscription {
    fn from(room: String) -> Self {
        Self::from_now(room)
    }
}

/// The way by which events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// A WebSocket.
    Socket,
    /// Long polling, because sockets are blocked: without presence, typing, read marks, mentions
    /// and topics.
    Polling,
}

/// An event of a followed room, or of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Events arrive from now on.
    Connected(Way),
    /// The connection is lost, for the reason given; another one is tried.
    Disconnected(String),
    /// A room is followed after this position: first, and after every interruption. Topic, read
    /// marks and mentions may have changed meanwhile, and are read with the calls of a client.
    Following {
        /// The room.
        room: String,
        /// The position.
        position: Position,
    },
    /// A new message. Each comes once, in the order of `seq`.
    Message(Message),
    /// A message that changed, as it is now. Several changes may come as one, in the order of
    /// `change`, and always after the message itself.
    Changed(Message),
    /// Changes were missed that the server does not keep any more: read again what is shown.
    Resync {
        /// The room.
        room: String,
        /// The last change that is not told; those that follow are.
        last_change: i64,
    },
    /// A room has another topic; an empty one was removed.
    Topic {
        /// The room.
        room: String,
        /// The topic.
        topic: String,
    },
    /// The users who are present in a room, sorted: the first 1,000.
    Presence {
        /// The room.
        room: String,
        /// The users.
        users: Vec<String>,
    },
    /// A user types in a room, which holds for 5 s.
    Typing {
        /// The room.
        room: String,
        /// The user.
        username: String,
    },
    /// The user of the client has read a room up to here, on whichever device.
    Read {
        /// The room.
        room: String,
        /// The place.
        seq: i64,
    },
    /// A message mentions the user of the client, in whichever room.
    Mention {
        /// The room.
        room: String,
        /// The place of the message.
        seq: i64,
    },
    /// A room cannot be followed yet, because the server is busy or one follows too many rooms. It
    /// is tried again.
    Delayed {
        /// The room.
        room: String,
        /// The reason.
        problem: Problem,
    },
    /// A room may not be followed, or not any more, and is not tried again.
    Ended {
        /// The room.
        room: String,
        /// The reason.
        problem: Problem,
    },
}

/// A command for the task that follows.
#[derive(Debug)]
enum Command {
    Follow(Subscription),
    Unfollow(String),
    Type(String),
}

/// The events of the rooms that a client follows: a [`Stream`], made by [`Client::follow`].
///
/// However often the connection is lost, each message comes once and in order, and whoever applies
/// the changes ends with exactly what the server stores. The stream yields an error and then ends
/// if the session ends, or if the server refuses the client for good. Following ends when this is
/// dropped.
#[derive(Debug)]
pub struct Follower {
    events: mpsc::Receiver<Result<Event>>,
    commands: mpsc::UnboundedSender<Command>,
    /// Positions after the events that were taken.
    positions: HashMap<String, Position>,
    task: AbortHandle,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    pub(crate) fn start(client: Client, rooms: Vec<Subscription>) -> Self {
        let (sender, events) = mpsc::channel(MAX_WAITING);
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(Engine::new(client, rooms, sender, receiver).run());
        Self {
            events,
            commands,
            positions: HashMap::new(),
            task: task.abort_handle(),
        }
    }

    /// Waits for the next event; returns `None` after the end. Nothing is lost if this is dropped
    /// before it returns.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let event = std::task::ready!(self.events.poll_recv(context));
        if let Some(Ok(event)) = &event {
            self.move_position(event);
        }
        Poll::Ready(event)
    }

    fn move_position(&mut self, event: &Event) {
        match event {
            Event::Following { room, position } => {
                self.positions.insert(room.clone(), *position);
            }
            Event::Message(message) => {
                if let Some(position) = self.positions.get_mut(&message.room) {
                    position.seq = message.seq;
                }
            }
            Event::Changed(message) => {
                if let Some(position) = self.positions.get_mut(&message.room) {
                    position.change = message.change.unwrap_or(position.change);
                }
            }
            Event::Resync { room, last_change } => {
                if let Some(position) = self.positions.get_mut(room) {
                    position.change = *last_change;
                }
            }
            _ => {}
        }
    }

    /// Returns the position in a room after the events that were taken, to
    /// [resume](Subscription::resume) from in another program; `None` before its
    /// [`Event::Following`].
    #[must_use]
    pub fn position(&self, room: &str) -> Option<Position> {
        self.positions.get(room).copied()
    }

    /// Follows one more room; one that is followed already begins again from the place named.
    pub fn add(&self, room: impl Into<Subscription>) {
        self.command(Command::Follow(room.into()));
    }

    /// Follows a room no longer. Events that arrived already are still given.
    pub fn remove(&mut self, room: &str) {
        self.positions.remove(room);
        self.command(Command::Unfollow(room.to_owned()));
    }

    /// Tells the others in a followed room that the user types, unless there is no socket just now.
    pub fn type_in(&self, room: &str) {
        self.command(Command::Type(room.to_owned()));
    }

    fn command(&self, command: Command) {
        // Fails after the end of the stream, when there is nothing left to follow.
        let _ = self.commands.send(command);
    }
}

impl Stream for Follower {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}
