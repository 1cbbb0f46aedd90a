//! The state of following that sockets and polling share: rooms, and events for the program.

use std::time::Duration;

use tokio::sync::mpsc;

use super::event::{Event, Way};
use super::progress::{Arrival, Progress, Rooms};
use super::subscription::Subscription;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::wire::Message;

/// A command for the task that follows.
#[derive(Debug)]
pub(super) enum Command {
    Follow(Subscription),
    Unfollow(String),
    Type(String),
}

/// Reason why a way of following ends.
#[derive(Debug)]
pub(super) enum End {
    /// The program takes no more events.
    Dropped,
    /// The server refuses the client for good.
    Refused(Error),
    /// The connection is lost.
    Lost {
        reason: String,
        /// Time after which the server takes another one, if it says so.
        retry_after: Option<Duration>,
    },
    /// Sockets are blocked on the way to the server.
    Blocked,
    /// Another attempt is due at once, by this way.
    Again(Way),
}

impl End {
    pub(super) fn lost(reason: impl ToString) -> Self {
        Self::Lost {
            reason: reason.to_string(),
            retry_after: None,
        }
    }
}

/// A failed call ends following if it is final.
impl From<Error> for End {
    fn from(error: Error) -> Self {
        if error.is_temporary() {
            Self::Lost {
                reason: error.to_string(),
                retry_after: error.retry_after(),
            }
        } else {
            Self::Refused(error)
        }
    }
}

pub(super) struct Engine {
    pub(super) client: Client,
    pub(super) rooms: Rooms,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) events: mpsc::Sender<Result<Event>>,
    pub(super) backoff: Backoff,
    /// The way that the program was last told of, until it is told of the loss.
    pub(super) connected: Option<Way>,
    /// Sockets in a row on which nothing arrived.
    pub(super) dead_sockets: u32,
}

impl Engine {
    pub(super) fn new(
        client: Client,
        rooms: Vec<Subscription>,
        events: mpsc::Sender<Result<Event>>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let progress = |subscription: Subscription| {
            let progress = Progress::from(&subscription);
            (subscription.room, progress)
        };
        Self {
            backoff: Backoff::new(client.options().longest_pause),
            client,
            rooms: rooms.into_iter().map(progress).collect(),
            commands,
            events,
            connected: None,
            dead_sockets: 0,
        }
    }

    /// Tells the program that events arrive this way.
    pub(super) async fn connected(&mut self, way: Way) -> Result<(), End> {
        if self.connected == Some(way) {
            return Ok(());
        }
        self.connected = Some(way);
        self.emit(Event::Connected(way)).await
    }

    /// Counts a socket as dead, until something arrives on it.
    pub(super) fn socket_opened(&mut self) {
        self.dead_sockets += 1;
    }

    pub(super) fn socket_works(&mut self) {
        self.dead_sockets = 0;
    }

    /// Tells the program that a room is followed.
    pub(super) async fn begin(
        &mut self,
        room: String,
        last_seq: i64,
        last_change: i64,
    ) -> Result<(), End> {
        self.backoff.reset();
        let Some(progress) = self.rooms.get_mut(&room) else {
            return Ok(());
        };
        let position = progress.begin(last_seq, last_change);
        self.emit(Event::Following { room, position }).await
    }

    /// Gives the program a message of a followed room, unless it has it.
    pub(super) async fn give_message(&mut self, message: Message) -> Result<(), End> {
        let Some(progress) = self.rooms.get_mut(&message.room) else {
            return Ok(());
        };
        let arrival = progress.message(&message);
        self.give(arrival, Event::Message(message)).await
    }

    /// Gives the program a changed message of a followed room, unless it has the change.
    pub(super) async fn give_change(&mut self, message: Message) -> Result<(), End> {
        let Some(progress) = self.rooms.get_mut(&message.room) else {
            return Ok(());
        };
        let arrival = progress.changed(&message);
        self.give(arrival, Event::Changed(message)).await
    }

    /// Tells the program that changes up to `last_change` are missing.
    pub(super) async fn give_resync(&mut self, room: String, last_change: i64) -> Result<(), End> {
        let Some(progress) = self.rooms.get_mut(&room) else {
            return Ok(());
        };
        progress.resync(last_change);
        self.emit(Event::Resync { room, last_change }).await
    }

    async fn give(&mut self, arrival: Arrival, event: Event) -> Result<(), End> {
        match arrival {
            Arrival::New => self.emit(event).await,
            Arrival::Known => Ok(()),
            Arrival::Gap => Err(End::lost("the server left something out")),
        }
    }

    pub(super) async fn emit(&self, event: Event) -> Result<(), End> {
        self.events.send(Ok(event)).await.map_err(|_| End::Dropped)
    }

    /// Carries out the commands that came while there was no connection.
    pub(super) fn apply_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Follow(subscription) => self.add(&subscription),
                Command::Unfollow(room) => {
                    self.rooms.remove(&room);
                }
                Command::Type(_) => {}
            }
        }
    }

    pub(super) fn add(&mut self, subscription: &Subscription) {
        let progress = Progress::from(subscription);
        self.rooms.insert(subscription.room.clone(), progress);
    }

    /// Uses the name by which the server knows a room: the same in Unicode's normal form.
    pub(super) fn rename(&mut self, room: &str, name: &str) {
        if room != name
            && let Some(progress) = self.rooms.remove(room)
        {
            self.rooms.insert(name.to_owned(), progress);
        }
    }
}
