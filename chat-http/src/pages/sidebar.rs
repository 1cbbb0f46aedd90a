//! The list of rooms beside every page.

use chatcore::{
    Error, MAX_NAMES, Range, Room, RoomName, Seq, SharedMessage, UserRoom, UserStore, Username,
};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use super::message::{beginning, hue, initials};
use super::room_page;
use crate::app::App;
use crate::credentials::CurrentUser;
use crate::direct::partner;
use crate::error::Result;
use crate::request::Call;

/// Rooms in the list.
const MAX_ROOMS: u32 = 100;
/// Invitations in the list: nobody fills the list of another.
const MAX_INVITATIONS: usize = 20;
/// Rooms that are read at the same time.
const ROOMS_AT_ONCE: usize = 8;

/// The list of rooms beside a page.
#[derive(Serialize)]
pub(super) struct Sidebar {
    groups: Vec<Group>,
    /// Set if there are no rooms at all.
    is_empty: bool,
}

/// Rooms that stand together.
#[derive(Serialize)]
struct Group {
    /// Set for private rooms that others put the user into, and of which the user read nothing yet.
    invites: bool,
    rooms: Vec<Entry>,
    count: usize,
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
    /// Set if the user has not come here yet, and was put here by somebody else.
    #[serde(skip)]
    is_invitation: bool,
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
            is_invitation: false,
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
        self.line = Some(beginning(message));
    }

    /// Reads a room of the user's.
    async fn load(
        app: &App,
        store: &UserStore,
        user: &CurrentUser,
        Membership { room, is_private }: &Membership,
    ) -> std::result::Result<Self, Error> {
        let mut entry = Self::new(app, &room.room, Some(user));
        entry.unread = room.unread();
        entry.mentions = room.mentions;
        entry.last_seq = room.last_seq.get();
        entry.private = *is_private;
        if *is_private && is_unseen(room, user) {
            let owner = app.store().room(&room.room).await?.owner;
            entry.is_invitation = owner.as_ref() != Some(&user.username);
        }
        if let Some(last) = store.messages(&room.room, Range::Newest, 1).await?.first() {
            entry.show_last(last);
        }
        Ok(entry)
    }
}

/// A room that a user is a member of.
struct Membership {
    room: UserRoom,
    is_private: bool,
}

impl Membership {
    /// Reads the memberships of a user.
    async fn all(app: &App, store: &UserStore, user: &CurrentUser) -> Result<Vec<Self>> {
        let rooms = app
            .store()
            .rooms_of(&user.username, None, MAX_NAMES)
            .await?;
        let private = store.private_rooms(None, MAX_NAMES).await?;
        let membership = |room: UserRoom| Self {
            is_private: private.binary_search(&room.room).is_ok(),
            room,
        };
        Ok(rooms.into_iter().map(membership).collect())
    }
}

impl Sidebar {
    fn new(rooms: Vec<Entry>, invitations: Vec<Entry>) -> Self {
        let group = |invites, rooms: Vec<Entry>| Group {
            invites,
            count: rooms.len(),
            rooms,
        };
        let is_empty = rooms.is_empty() && invitations.is_empty();
        let mut groups = vec![group(false, rooms)];
        if !invitations.is_empty() {
            groups.push(group(true, invitations));
        }
        Self { groups, is_empty }
    }

    /// Reads the rooms of the user, the one with the newest message first; for who is not logged
    /// in, the first public rooms. A room that cannot be read is left out.
    pub(super) async fn load(app: &App, call: &Call, current: Option<&RoomName>) -> Result<Self> {
        let store = call.user_store(app);
        let Some(user) = &call.user else {
            return Self::of_strangers(app, &store, current).await;
        };

        let mut found = Membership::all(app, &store, user).await?;
        // The times of messages are not known yet. Of more rooms than are listed, the open one and
        // those with unread messages matter most; what may be an invitation comes last, people
        // before rooms. The sort keeps the order of names.
        found.sort_by_key(|Membership { room, is_private }| {
            let is_current = Some(&room.room) == current;
            let may_invite = *is_private && is_unseen(room, user);
            let is_of_room = may_invite && partner(&room.room, &user.username).is_none();
            let is_read = (room.mentions == 0, room.unread() == 0);
            (!is_current, may_invite, is_of_room, is_read)
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
        let (mut invitations, rooms): (Vec<_>, Vec<_>) = rooms
            .into_iter()
            .partition(|entry| entry.is_invitation && !entry.current);
        // A person who wants to talk matters more than a room.
        invitations.sort_by_key(|entry| !entry.direct);
        invitations.truncate(MAX_INVITATIONS);
        Ok(Self::new(rooms, invitations))
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
        Ok(Self::new(found.iter().map(entry).collect(), Vec::new()))
    }
}

/// Returns true for a room of which the user has read nothing, as after an invitation. Messages
/// that somebody wrote to the user alone are no invitation.
fn is_unseen(room: &UserRoom, user: &CurrentUser) -> bool {
    let is_written_to = partner(&room.room, &user.username).is_some() && room.last_seq > Seq::ZERO;
    room.read_seq == Seq::ZERO && !is_written_to
}

/// Returns the name of a room as a user reads it.
pub(super) fn label(room: &Room, user: Option<&CurrentUser>) -> String {
    let other = user.and_then(|user| partner(&room.name, &user.username));
    other.unwrap_or(room.name.as_str()).to_owned()
}
