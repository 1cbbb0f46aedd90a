//! Rooms followed by long polling, where sockets are blocked.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine::{Command, End, Engine};
use super::event::Way;
use super::progress::Progress;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::transport::path;
use crate::wire::{Message, Room};

/// Rooms for which the server holds requests. Each takes two connections.
const MAX_HELD: usize = 4;
/// Time that the server holds a request.
const WAIT: Duration = Duration::from_secs(25);
/// Pause after an answer with nothing new that was not held.
const PAUSE: Duration = Duration::from_secs(2);
/// Messages or changes in one answer.
const LIMIT: u32 = 200;

/// A step of the poller of one room.
enum Step {
    Began(Room),
    Messages(Vec<Message>),
    Changes(Vec<Message>),
    Resync { last_change: i64 },
}

/// A room that is polled, and the position reached.
struct Poller {
    client: Client,
    room: String,
    after: Option<i64>,
    changes_after: Option<i64>,
    /// Time that the server holds each request; zero if there are too many rooms for that.
    wait: Duration,
    steps: mpsc::Sender<(String, Step)>,
}

impl Engine {
    /// Polls all rooms until a socket is to be tried again.
    pub(super) async fn follow_by_polling(&mut self) -> Result<Infallible, End> {
        self.apply_commands();
        self.connected(Way::Polling).await?;
        let try_socket = Instant::now() + self.client.options().socket_retry;
        // Few, so that a program that is busy holds the pollers back.
        let (sender, mut steps) = mpsc::channel(1);
        let mut pollers = self.pollers(&sender);

        loop {
            tokio::select! {
                Some((room, step)) = steps.recv() => self.take_step(room, step).await?,
                Some((room, error)) = pollers.next() => self.end_poller(room, error).await?,
                Some(command) = self.commands.recv() => {
                    if self.changes_rooms(command) {
                        return Err(End::Again(Way::Polling));
                    }
                }
                () = sleep_until(try_socket) => return Err(End::Again(Way::Socket)),
            }
        }
    }

    fn pollers(
        &self,
        steps: &mpsc::Sender<(String, Step)>,
    ) -> FuturesUnordered<impl Future<Output = (String, Error)> + use<>> {
        let is_held = self.rooms.len() <= MAX_HELD;
        let poller = |(room, progress): (&String, &Progress)| {
            let poller = Poller {
                client: self.client.clone(),
                room: room.clone(),
                after: progress.after(),
                changes_after: progress.changes_after(),
                wait: if is_held { WAIT } else { Duration::ZERO },
                steps: steps.clone(),
            };
            poller.run()
        };
        self.rooms.iter().map(poller).collect()
    }

    async fn take_step(&mut self, room: String, step: Step) -> Result<(), End> {
        match step {
            Step::Began(state) => {
                self.rename(&room, &state.name);
                self.begin(state.name, state.last_seq, state.last_change)
                    .await
            }
            Step::Messages(messages) => {
                for message in messages {
                    self.give_message(message).await?;
                }
                Ok(())
            }
            Step::Changes(messages) => {
                for message in messages {
                    self.give_change(message).await?;
                }
                Ok(())
            }
            Step::Resync { last_change } => self.give_resync(room, last_change).await,
        }
    }

    /// Gives a room up that may not be read, or ends all polling.
    async fn end_poller(&mut self, room: String, error: Error) -> Result<(), End> {
        match error {
            Error::Refused { problem, .. } if matches!(problem.status, 400 | 403 | 404) => {
                self.end_room(room, problem).await
            }
            error => Err(error.into()),
        }
    }

    /// Carries out a command. Returns true if other rooms are followed now.
    fn changes_rooms(&mut self, command: Command) -> bool {
        match command {
            Command::Follow(subscription) => self.add(&subscription),
            Command::Unfollow(room) => {
                self.rooms.remove(&room);
            }
            Command::Type(_) => return false,
        }
        true
    }
}

impl Poller {
    /// Polls until a request fails.
    async fn run(mut self) -> (String, Error) {
        let Err(error) = self.poll().await;
        (self.room, error)
    }

    async fn poll(&mut self) -> Result<Infallible> {
        let state = self.state().await?;
        let asked = std::mem::replace(&mut self.room, state.name.clone());
        let mut seq = self.after.unwrap_or(state.last_seq);
        let mut change = self.changes_after.unwrap_or(state.last_change);
        self.send(asked, Step::Began(state)).await;

        let this = &*self;
        let mut messages = Box::pin(this.messages(seq));
        let mut changes = Box::pin(this.changes(change));
        loop {
            tokio::select! {
                found = &mut messages => {
                    seq = this.give_messages(seq, found?).await;
                    messages = Box::pin(this.messages(seq));
                }
                found = &mut changes => match found? {
                    Some(found) => {
                        // A message comes before its changes.
                        let newest = found.iter().map(|message| message.seq).max();
                        while newest.is_some_and(|newest| newest > seq) {
                            let wait = Duration::ZERO;
                            let between = this
                                .client
                                .wait_for_messages(&this.room, seq, LIMIT, wait)
                                .await?;
                            if between.is_empty() {
                                break;
                            }
                            seq = this.give_messages(seq, between).await;
                            messages = Box::pin(this.messages(seq));
                        }
                        change = found.last().and_then(|message| message.change).unwrap_or(change);
                        this.send(this.room.clone(), Step::Changes(found)).await;
                        changes = Box::pin(this.changes(change));
                    }
                    None => {
                        change = this.state().await?.last_change;
                        this.send(this.room.clone(), Step::Resync { last_change: change }).await;
                        changes = Box::pin(this.changes(change));
                    }
                },
            }
        }
    }

    async fn state(&self) -> Result<Room> {
        let path = path(&["chat", &self.room], &[]);
        self.client.poll(path, Duration::ZERO).await
    }

    async fn give_messages(&self, seq: i64, found: Vec<Message>) -> i64 {
        let last = found.last().map_or(seq, |message| message.seq);
        self.send(self.room.clone(), Step::Messages(found)).await;
        last
    }

    /// Waits for messages after a `seq`.
    async fn messages(&self, after: i64) -> Result<Vec<Message>> {
        loop {
            let began = Instant::now();
            let found = self
                .client
                .wait_for_messages(&self.room, after, LIMIT, self.wait)
                .await?;
            if !found.is_empty() {
                return Ok(found);
            }

            // A room that may not be read any more looks like one where nothing happens.
            self.state().await?;
            self.pause(began).await;
        }
    }

    /// Waits for changes after a change; returns `None` if they are not kept any more.
    async fn changes(&self, after: i64) -> Result<Option<Vec<Message>>> {
        loop {
            let began = Instant::now();
            let found = self
                .client
                .wait_for_changes(&self.room, after, LIMIT, self.wait)
                .await;
            match found {
                Ok(found) if !found.is_empty() => return Ok(Some(found)),
                Ok(_) => self.pause(began).await,
                Err(error) if error.status() == Some(410) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Pauses after an answer with nothing new that came at once.
    async fn pause(&self, began: Instant) {
        if began.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }

    async fn send(&self, room: String, step: Step) {
        // Fails when polling ends, and this with it.
        let _ = self.steps.send((room, step)).await;
    }
}
