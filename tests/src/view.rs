//! The view of a program that follows rooms, beside what the server stores.

use std::collections::BTreeMap;

use chat_client::wire::Message;
use chat_client::{Client, Event, Page};

/// Messages of each room, as the events of a follower tell them.
#[derive(Debug, Default)]
pub struct View {
    rooms: BTreeMap<String, Room>,
    /// Events that a follower must not give.
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Room {
    /// Messages by `seq`.
    messages: BTreeMap<i64, Message>,
    last_change: i64,
}

impl View {
    /// Applies an event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Message(message) => self.add(message),
            Event::Changed(message) => self.change(message),
            Event::Resync { room, .. } => self.wrong.push(format!("a resync of {room}")),
            Event::Ended { room, problem } => self.wrong.push(format!("{room} ended: {problem}")),
            _ => {}
        }
    }

    fn add(&mut self, message: &Message) {
        let room = self.rooms.entry(message.room.clone()).or_default();
        let last = room
            .messages
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default();
        if message.seq != last + 1 {
            self.wrong.push(format!(
                "message {} of {} after {last}",
                message.seq, message.room
            ));
        }
        room.messages.insert(message.seq, message.clone());
    }

    fn change(&mut self, message: &Message) {
        let room = self.rooms.entry(message.room.clone()).or_default();
        let change = message.change.unwrap_or_default();
        if change <= room.last_change {
            self.wrong.push(format!(
                "change {change} of {} after {}",
                message.room, room.last_change
            ));
        }
        room.last_change = change;

        let known = room.messages.insert(message.seq, message.clone());
        match known {
            None => self.wrong.push(format!(
                "change {change} of {} before message {}",
                message.room, message.seq
            )),
            Some(known) if known.change.unwrap_or_default() >= change => self.wrong.push(format!(
                "change {change} of {} again: message {} has {:?}",
                message.room, message.seq, known.change
            )),
            Some(_) => {}
        }
    }

    /// Returns the messages of a room, oldest first.
    #[must_use]
    pub fn messages(&self, room: &str) -> Vec<Message> {
        let room = self.rooms.get(room);
        room.map(|room| room.messages.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Returns the last `seq` and the last change of a room that the view has.
    #[must_use]
    pub fn ends(&self, room: &str) -> (i64, i64) {
        let Some(room) = self.rooms.get(room) else {
            return (0, 0);
        };
        let last_seq = room.messages.keys().next_back().copied();
        // A message may have come with its last change.
        let changes = room.messages.values().filter_map(|message| message.change);
        (
            last_seq.unwrap_or_default(),
            changes.max().unwrap_or_default(),
        )
    }

    /// Panics unless the view of these rooms is exactly what the server stores, and came in order
    /// and once.
    pub async fn check(&self, client: &Client, rooms: &[&str]) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        for room in rooms {
            let stored = all_messages(client, room).await;
            let shown = self.messages(room);
            assert_eq!(shown.len(), stored.len(), "messages of {room}");
            for (shown, stored) in shown.iter().zip(&stored) {
                assert_eq!(shown, stored);
            }
        }
    }
}

/// Reads all messages of a room.
///
/// # Panics
///
/// If the server does not answer.
pub async fn all_messages(client: &Client, room: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let after = messages.last().map_or(0, |message| message.seq);
        let page = client.messages(room, Page::After(after), 200).await;
        let page = page.expect("a page");
        if page.is_empty() {
            return messages;
        }
        messages.extend(page);
    }
}
