//! The task that follows: by a socket, by polling where sockets are blocked, and again after every
//! interruption.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::progress::{Arrival, Progress, Rooms};
use super::{Command, Event, Subscription, Way};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::{Error, Result};

/// Sockets in a row on which nothing arrived, while the server answered calls, after which sockets
/// count as blocked.
const MAX_DEAD_SOCKETS: u32 = 2;

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
    events: mpsc::Sender<Result<Event>>,
    backoff: Backoff,
    /// The way that the program was last told of, until it is told of the loss.
    connected: Option<Way>,
    /// Sockets in a row on which nothing arrived.
    dead_sockets: u32,
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

    pub(super) async fn run(mut self) {
        let mut way = Way::Socket;
        loop {
            let end = match way {
                Way::Socket => self.follow_by_socket().await,
                Way::Polling => self.follow_by_polling().await,
            };
            way = match self.recover(way, end).await {
                Ok(way) => way,
                Err(None) => return,
                Err(Some(error)) => {
                    // Fails if the program takes no more events, and then need not know.
                    let _ = self.events.send(Err(error)).await;
                    return;
                }
            };
        }
    }

    /// Returns the way to go on by, once another attempt is due; or an error to end with, if there
    /// is one.
    async fn recover(
        &mut self,
        way: Way,
        end: Result<Infallible, End>,
    ) -> Result<Way, Option<Error>> {
        let end = match end {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let (reason, retry_after) = match end {
            End::Dropped => return Err(None),
            End::Refused(error) => return Err(Some(error)),
            End::Blocked => return Ok(Way::Polling),
            End::Again(way) => return Ok(way),
            End::Lost {
                reason,
                retry_after,
            } => (reason, retry_after),
        };

        if self.connected.take().is_some() {
            let lost = Event::Disconnected(reason.clone());
            self.emit(lost).await.map_err(|_| None)?;
        }
        if way == Way::Socket && self.dead_sockets >= MAX_DEAD_SOCKETS {
            self.dead_sockets = 0;
            if self.client.check_health().await.is_ok() {
                return Ok(Way::Polling);
            }
        }

        let pause = self.backoff.pause(retry_after);
        tracing::debug!(reason, ?pause, "the connection is opened again");
        sleep(pause).await;
        Ok(Way::Socket)
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

    /// Gives the program an event that it does not have.
    pub(super) async fn give(&mut self, arrival: Arrival, event: Event) -> Result<(), End> {
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
