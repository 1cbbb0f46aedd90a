//! Heads of rooms that the committer remembers, with users whom it need not look up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::calls::Calls;
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::model::{Access, Batch, Head};
use crate::types::{ChangeSeq, RoomName, Username};

/// Rooms, and users of each, kept in memory.
const MAX_ROOMS: usize = 32_768;
const MAX_USERS: usize = 1_024;
/// Pause after a member left before members of that room are remembered again.
const MEMBERS_PAUSE: Duration = Duration::from_secs(1);

/// Rooms as of the last commit that is known to have succeeded.
///
/// Another process may have moved a head since: the guards of a batch notice that, and the batch is
/// refused with [`HeadMoved`](crate::model::Append::HeadMoved).
#[derive(Default)]
pub(super) struct RoomCache(HashMap<RoomName, KnownRoom>);

/// A room with its head, and the conclusions that hold while parts of the head stay the same.
pub(super) struct KnownRoom {
    head: Head,
    /// True if the head was made by a commit of this process. A head that was read may be that of a
    /// commit under way elsewhere, which a failover can still roll back.
    is_durable: bool,
    /// Some of the members, as of `head.departures`.
    members: HashSet<Username>,
    /// No member is remembered before this. In a room that members leave all the time, a batch that
    /// assumes memberships would be refused all the time.
    members_from: Option<Instant>,
    /// Some of the actors who may take part in a restricted room, as of `head.closings`.
    authorized: HashSet<Actor>,
}

impl From<Head> for KnownRoom {
    fn from(head: Head) -> Self {
        Self {
            head,
            is_durable: false,
            members: HashSet::new(),
            members_from: None,
            authorized: HashSet::new(),
        }
    }
}

impl KnownRoom {
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Returns true if no failover rolls the head back.
    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Returns true if the user was a member as of the departures in the head.
    pub(super) fn is_member(&self, user: &Username) -> bool {
        self.members.contains(user)
    }

    /// Returns true if not everyone may take part.
    pub(super) fn is_restricted(&self) -> bool {
        self.head.restricted
    }

    /// Returns true if it is known that the actor may take part in the restricted room.
    pub(super) fn is_authorized(&self, actor: &Actor) -> bool {
        self.authorized.contains(actor)
    }

    /// Remembers that these actors may take part, until somebody loses that right.
    pub(super) fn authorize(&mut self, actors: Vec<Actor>) {
        if self.authorized.len() > MAX_USERS {
            self.authorized.clear();
        }
        self.authorized.extend(actors);
    }

    /// Opens the room to everyone if the last ban was lifted since the head was read. A later ban
    /// moves the closings, and the batch is refused.
    pub(super) fn open_without_bans<'a>(&mut self, mut found: impl Iterator<Item = &'a Access>) {
        self.head.restricted &= found.all(|access| access.restricted);
    }

    /// Replaces the head by the stored one, and forgets the conclusions from the one before.
    fn refresh(&mut self, head: Head) {
        if head.departures != self.head.departures {
            self.members.clear();
            self.members_from = Some(Instant::now() + MEMBERS_PAUSE);
        }
        if head.closings != self.head.closings || head.restricted != self.head.restricted {
            self.authorized.clear();
        }

        self.is_durable &= head == self.head;
        self.head = head;
    }

    /// Moves the head behind a batch that was stored, which made `members` members.
    fn advance(&mut self, head: Head, members: &[Username]) {
        self.head = head;
        self.is_durable = true;

        if self.members_from.is_some_and(|from| Instant::now() < from) {
            return;
        }
        if self.members.len() > MAX_USERS {
            self.members.clear();
        }
        self.members.extend(members.iter().cloned());
    }
}

impl RoomCache {
    pub(super) fn get(&self, room: &RoomName) -> Option<&KnownRoom> {
        self.0.get(room)
    }

    pub(super) fn get_mut(&mut self, room: &RoomName) -> Option<&mut KnownRoom> {
        self.0.get_mut(room)
    }

    /// Returns the head of a room; `None` if the room does not exist.
    pub(super) fn head(&self, room: &RoomName) -> Option<Head> {
        self.get(room).map(KnownRoom::head)
    }

    /// Returns the number of the last change in a room.
    pub(super) fn last_change(&self, room: &RoomName) -> ChangeSeq {
        self.head(room)
            .map_or(ChangeSeq::ZERO, |known| known.change)
    }

    /// Reads the heads of those rooms that are not remembered. Returns the rooms whose head cannot
    /// be read.
    pub(super) async fn load<'a>(
        &mut self,
        calls: &Calls,
        rooms: impl Iterator<Item = &'a RoomName>,
    ) -> Result<Vec<(RoomName, Error)>> {
        if self.0.len() > MAX_ROOMS {
            self.0.clear();
        }

        let mut unknown: Vec<_> = rooms.filter(|room| !self.0.contains_key(*room)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }

        let unknown: Vec<_> = unknown.into_iter().cloned().collect();
        let heads = calls.retry(|| calls.backend.heads(unknown.clone())).await?;

        let mut unreadable = Vec::new();
        for (room, head) in unknown.into_iter().zip(heads) {
            match head {
                Ok(Some(head)) => drop(self.0.insert(room, head.into())),
                Ok(None) => {}
                Err(error) => unreadable.push((room, error)),
            }
        }
        Ok(unreadable)
    }

    /// Reads the heads of rooms again. Returns true if any of them was other than remembered; the
    /// other rooms stay as they are.
    pub(super) async fn refresh(&mut self, calls: &Calls, rooms: Vec<RoomName>) -> Result<bool> {
        let heads = calls.retry(|| calls.backend.heads(rooms.clone())).await?;

        let mut has_moved = false;
        for (room, head) in rooms.into_iter().zip(heads) {
            let known = self.head(&room);
            has_moved |= head.as_ref().ok() != Some(&known);

            match (head, self.0.entry(room)) {
                (Ok(Some(head)), Entry::Occupied(known)) => known.into_mut().refresh(head),
                (Ok(Some(head)), Entry::Vacant(vacant)) => drop(vacant.insert(head.into())),
                (_, Entry::Occupied(known)) => drop(known.remove()),
                (_, Entry::Vacant(_)) => {}
            }
        }
        Ok(has_moved)
    }

    /// Moves the heads behind a batch that was stored.
    pub(super) fn advance(&mut self, batch: &Batch) {
        for room_batch in &batch.rooms {
            let head = room_batch.head();
            self.0
                .entry(room_batch.room.clone())
                .or_insert_with(|| head.into())
                .advance(head, &room_batch.members);
        }
    }

    /// Forgets the rooms of a batch whose result is unknown.
    pub(super) fn forget(&mut self, batch: &Batch) {
        for room_batch in &batch.rooms {
            self.0.remove(&room_batch.room);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
