//! The events of followed rooms as a stream.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::engine::{Command, Engine};
use super::event::Event;
use super::subscription::{Position, Subscription};
use super::task;
use crate::client::Client;
use crate::error::Result;

/// Events that wait for the program to take them. While there are so many, nothing more is read
/// from the server, which then catches up from its store.
const MAX_WAITING: usize = 256;

impl Client {
    /// Follows rooms, each from the position that its subscription names, or from now on. At most
    /// 100 rooms, or 20 without a session, may be followed by one socket.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn follow<S: Into<Subscription>>(&self, rooms: impl IntoIterator<Item = S>) -> Follower {
        Follower::start(self.clone(), rooms.into_iter().map(Into::into).collect())
    }
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
    fn start(client: Client, rooms: Vec<Subscription>) -> Self {
        let (sender, events) = mpsc::channel(MAX_WAITING);
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(task::run(Engine::new(client, rooms, sender, receiver)));
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
        let event = ready!(self.events.poll_recv(context));
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

    /// Follows one more room; one that is followed already begins again from the position named.
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
