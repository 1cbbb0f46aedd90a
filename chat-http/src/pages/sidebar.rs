//! The list of rooms beside every page.

use chatcore::{
    Error, MAX_NAMES, Privacy, Range, Room, RoomName, SharedMessage, UserRoom, UserStore, Username,
};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use super::markdown::to_line;
use super::message::{hue, initials};
use super::room_page;
use crate::app::App;
use crate::credentials::CurrentUser;
use crate::direct::partner;
use crate::error::Result;
use crate::request::Call;

/// Rooms in the list.
const MAX_ROOMS: u32 = 100;
/// Rooms that are read at the same time.
const ROOMS_AT_ONCE: usize = 8;
/// Characters of the last message of a room.
const MAX_LINE_CHARS: usize = 80;

/// The list of rooms beside a page.
#[derive(Serialize)]
pub(super) struct Sidebar {
    rooms: Vec<Entry>,
    /// Set if there are more rooms than are listed.
    more: bool,
}

/// A room in the list.
#[derive(Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Name that is shown: that of the other user for a direct conversation.
    pub(super) label: String,
    pub(super) href: String,
    pub(super) direct: bool,
    pub(super) private: bool,
    current: bool,
    hue: u32,
    initials: String,
    last_seq: i64,
    unread: u64,
    mentions: u64,
    /// Time of the last message.
    at: Option<String>,
    /// Sender of the last message, and its beginning.
    by: Option<String>,
    line: Option<String>,
}

impl Entry {
    pub(super) fn new(app: &App, room: &RoomName, user: Option<&CurrentUser>) -> Self {
        let other = user.and_then(|user| partner(room, &user.username));
        let label = other.unwrap_or(room.as_str()).to_owned();
        Self {
            name: room.as_str().to_owned(),
            href: room_page(app, room),
            direct: other.is_some(),
            private: other.is_some(),
            current: false,
            hue: hue(&label),
            initials: initials(&label),
            label,
            last_seq: 0,
            unread: 0,
            mentions: 0,
            at: None,
            by: None,
            line: None,
        }
    }

    fn show_last(&mut self, message: &SharedMessage) {
        self.at = Some(message.timestamp.to_string());
        self.by = message.sender().map(Username::to_string);
        let line = to_line(message.text().unwrap_or_default());
        self.line = Some(line.chars().take(MAX_LINE_CHARS).collect());
    }

    /// Reads a room of the user's.
    async fn load(
        app: &App,
        store: &UserStore,
        user: &CurrentUser,
        room: &UserRoom,
    ) -> std::result::Result<Self, Error> {
        let mut entry = Self::new(app, &room.room, Some(user));
        entry.unread = room.unread();
        entry.mentions = room.mentions;
        entry.last_seq = room.last_seq.get();
        entry.private = app.store().privacy(&room.room).await? == Some(Privacy::Private);
        if let Some(last) = store.messages(&room.room, Range::Newest, 1).await?.first() {
            entry.show_last(last);
        }
        Ok(entry)
    }
}

impl Sidebar {
    /// Reads the rooms of the user, the one with the newest message first; for who is not logged
    /// in, the first public rooms. A room that cannot be read is left out.
    pub(super) async fn load(app: &App, call: &Call, current: Option<&RoomName>) -> Result<Self> {
        let store = call.user_store(app);
        let Some(user) = &call.user else {
            return Self::of_strangers(app, &store, current).await;
        };

        let mut found = app
            .store()
            .rooms_of(&user.username, None, MAX_NAMES)
            .await?;
        let more = found.len() > MAX_ROOMS as usize;
        // The times of messages are not known yet. Of more rooms than are listed, the open one and
        // those with unread messages matter most; the sort keeps the order of names.
        found.sort_by_key(|room| {
            let is_current = Some(&room.room) == current;
            (!is_current, room.mentions == 0, room.unread() == 0)
        });
        found.truncate(MAX_ROOMS as usize);

        let reads: Vec<_> = found
            .iter()
            .map(|room| Entry::load(app, &store, user, room))
            .collect();
        let read: Vec<_> = stream::iter(reads).buffered(ROOMS_AT_ONCE).collect().await;
        let log = |error: &Error| tracing::debug!(%error, "a room is left out of the list");
        let mut rooms: Vec<_> = read
            .into_iter()
            .filter_map(|entry| entry.inspect_err(log).ok())
            .collect();

        if let Some(current) = current {
            let is_current = |entry: &Entry| entry.name == current.as_str();
            if !rooms.iter().any(is_current) && store.room(current).await.is_ok() {
                rooms.push(Entry::new(app, current, Some(user)));
            }
            for entry in rooms.iter_mut().filter(|entry| is_current(entry)) {
                entry.current = true;
            }
        }
        rooms.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.label.cmp(&b.label)));
        Ok(Self { rooms, more })
    }

    async fn of_strangers(
        app: &App,
        store: &UserStore,
        current: Option<&RoomName>,
    ) -> Result<Self> {
        let found = store.rooms(None, MAX_ROOMS).await?;
        let entry = |room: &RoomName| Entry {
            current: Some(room) == current,
            ..Entry::new(app, room, None)
        };
        Ok(Self {
            more: found.len() == MAX_ROOMS as usize,
            rooms: found.iter().map(entry).collect(),
        })
    }
}

/// Returns the name of a room as a user reads it.
pub(super) fn label(room: &Room, user: Option<&CurrentUser>) -> String {
    let other = user.and_then(|user| partner(&room.name, &user.username));
    other.unwrap_or(room.name.as_str()).to_owned()
}
