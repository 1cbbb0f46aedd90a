//! Presence in one room: who is connected to it, here and at other processes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::freshness::Generation;
use super::signals::Numbered;
use crate::model::{ProcessId, ProcessPresence};
use crate::presence::{MAX_PRESENT, Presence};
use crate::types::{RoomName, Username};

/// The shortest time between two lists of who is present, and what each listed user adds to it: the
/// longer a list is, the more it costs and the less one change in it says.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_PER_USER: Duration = Duration::from_millis(1);

/// Presence in one room, as far as this process knows.
#[derive(Default)]
pub(super) struct RoomPresence {
    /// Users connected to this process, and the number of connections of each.
    local: BTreeMap<Username, usize>,
    /// Users connected to other processes.
    remote: HashMap<ProcessId, ProcessPresence>,
    /// True once `remote` was read since its changes become known.
    loaded: bool,
    /// Grows with each change of `remote`.
    generation: Generation,
    /// List that followers are given, and its number.
    list: Option<Presence>,
    number: u64,
    listed_at: Option<Instant>,
    /// True if other processes do not know of `local`.
    unpublished: bool,
    /// True if something changed since the list was made.
    dirty: bool,
    /// True if an update of the list is under way.
    scheduled: bool,
}

impl RoomPresence {
    pub(super) fn enter(&mut self, user: &Username) {
        let connections = self.local.entry(user.clone()).or_insert(0);
        *connections += 1;
        if *connections == 1 {
            self.mark_unpublished();
        }
    }

    pub(super) fn leave(&mut self, user: &Username) {
        let Some(connections) = self.local.get_mut(user) else {
            return;
        };
        *connections -= 1;
        if *connections == 0 {
            self.local.remove(user);
            self.mark_unpublished();
        }
    }

    /// Returns true if nobody is connected to this process.
    pub(super) fn is_empty(&self) -> bool {
        self.local.is_empty()
    }

    /// Returns the number of connections to this process.
    pub(super) fn connections(&self) -> usize {
        self.local.values().sum()
    }

    /// Takes in the presence at another process, unless it is older than what is known.
    pub(super) fn set_remote(&mut self, process: ProcessId, presence: ProcessPresence) {
        self.generation.advance();
        self.insert_remote(process, presence);
    }

    fn insert_remote(&mut self, process: ProcessId, presence: ProcessPresence) {
        let known = self.remote.get(&process);
        if known.is_none_or(|known| known.version < presence.version) {
            self.dirty = true;
            self.remote.insert(process, presence);
        }
    }

    /// Takes note that nobody is connected to another process any more.
    pub(super) fn remove_remote(&mut self, process: ProcessId) {
        self.generation.advance();
        self.dirty |= self.remote.remove(&process).is_some();
    }

    /// Returns the generation of a question about other processes, if they have to be asked.
    pub(super) fn begin_question(&self) -> Option<Generation> {
        (!self.loaded).then_some(self.generation)
    }

    /// Takes in the answer to a question of a generation. If something changed since, other
    /// processes have to be asked again.
    pub(super) fn load(&mut self, asked: Generation, remote: Vec<(ProcessId, ProcessPresence)>) {
        self.dirty = true;
        if asked != self.generation {
            return;
        }

        self.loaded = true;
        self.remote
            .retain(|process, _| remote.iter().any(|(other, _)| other == process));
        for (process, presence) in remote {
            self.insert_remote(process, presence);
        }
    }

    /// Takes note that changes were missed, of other processes and perhaps by them.
    pub(super) fn miss_events(&mut self) {
        self.loaded = false;
        self.generation.advance();
        self.unpublished |= !self.local.is_empty();
        self.dirty = true;
    }

    /// Takes note that other processes do not know who is connected to this one.
    pub(super) fn mark_unpublished(&mut self) {
        self.unpublished = true;
        self.dirty = true;
    }

    /// Has a list made, if there is none or other processes have to be asked for it.
    pub(super) fn request_list(&mut self) {
        self.dirty |= self.list.is_none() || !self.loaded;
    }

    pub(super) fn has_list(&self) -> bool {
        self.list.is_some()
    }

    /// Returns the time at which the list has to be updated, if something changed and no update is
    /// under way.
    pub(super) fn schedule(&mut self, now: Instant) -> Option<Instant> {
        if !self.dirty || self.scheduled {
            return None;
        }

        self.scheduled = true;
        let users = self.list.as_ref().map_or(0, |list| list.users().len());
        let pause = PAUSE + PAUSE_PER_USER * u32::try_from(users).unwrap_or(u32::MAX);
        Some(
            self.listed_at
                .map_or(now, |listed| (listed + pause).max(now)),
        )
    }

    /// Returns true if an update at a later time has to be scheduled, because other processes could
    /// not be reached.
    pub(super) fn reschedule(&mut self) -> bool {
        self.mark_unpublished();
        !std::mem::replace(&mut self.scheduled, true)
    }

    /// Begins an update of the list. Returns who is connected to this process, if other processes
    /// do not know.
    pub(super) fn begin_update(&mut self) -> Option<Vec<Username>> {
        self.dirty = false;
        self.scheduled = false;
        let users = || self.local.keys().take(MAX_PRESENT).cloned().collect();
        std::mem::take(&mut self.unpublished).then(users)
    }

    /// Makes the list anew. Returns true if it is another one.
    pub(super) fn update_list(&mut self, room: &RoomName, now: Instant) -> bool {
        self.listed_at = Some(now);
        let remote = self.remote.values().flat_map(|presence| &presence.users);
        let users = self.local.keys().chain(remote).cloned().collect();
        let list = Presence::new(room.clone(), users);
        if self
            .list
            .as_ref()
            .is_some_and(|old| old.users() == list.users())
        {
            return false;
        }

        self.list = Some(list);
        self.number += 1;
        true
    }

    /// Returns the list, if it is a later one than the one numbered `seen`.
    pub(super) fn list_after(&self, seen: u64) -> Option<Numbered<Presence>> {
        let value = self.list.clone().filter(|_| self.number > seen)?;
        Some(Numbered {
            number: self.number,
            value,
        })
    }

    /// Returns true if nothing is lost with this.
    pub(super) fn is_idle(&self) -> bool {
        self.local.is_empty() && !self.scheduled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        name.parse().expect(name)
    }

    fn room() -> RoomName {
        "a".parse().expect("a name")
    }

    fn updated(presence: &mut RoomPresence, now: Instant) -> Option<Vec<String>> {
        presence.schedule(now)?;
        presence.begin_update();
        presence.update_list(&room(), now);
        let list = presence.list_after(0)?.value;
        Some(list.users().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_user_is_present_while_any_connection_is() {
        let now = Instant::now();
        let mut presence = RoomPresence::default();
        for name in ["ann", "ann", "bob"] {
            presence.enter(&user(name));
        }
        assert_eq!(
            updated(&mut presence, now),
            Some(vec!["ann".into(), "bob".into()])
        );

        presence.leave(&user("ann"));
        assert_eq!(updated(&mut presence, now), None, "nothing changed");
        presence.leave(&user("ann"));
        presence.leave(&user("stranger"));
        assert_eq!(updated(&mut presence, now), Some(vec!["bob".into()]));
    }

    #[test]
    fn an_older_presence_of_another_process_is_ignored() {
        let (now, other) = (Instant::now(), ProcessId([1; 12]));
        let mut presence = RoomPresence::default();
        let at = |version, name| ProcessPresence {
            version,
            users: vec![user(name)],
        };
        presence.set_remote(other, at(2, "new"));
        presence.set_remote(other, at(1, "old"));
        assert_eq!(updated(&mut presence, now), Some(vec!["new".into()]));

        let asked = presence.begin_question().expect("never asked");
        presence.set_remote(other, at(3, "newer"));
        presence.load(asked, vec![(other, at(2, "new"))]);
        assert_eq!(updated(&mut presence, now), Some(vec!["newer".into()]));

        let asked = presence.begin_question().expect("to be asked again");
        presence.load(asked, vec![(other, at(1, "old"))]);
        assert_eq!(presence.begin_question(), None);
        assert_eq!(updated(&mut presence, now), Some(vec!["newer".into()]));
        presence.remove_remote(other);
        assert_eq!(updated(&mut presence, now), Some(vec![]));
    }

    #[test]
    fn changes_are_listed_together() {
        let now = Instant::now();
        let mut presence = RoomPresence::default();
        presence.enter(&user("ann"));
        assert_eq!(presence.schedule(now), Some(now), "the first at once");
        presence.begin_update();
        presence.update_list(&room(), now);

        presence.enter(&user("bob"));
        let later = presence.schedule(now).expect("scheduled");
        assert_eq!(later, now + PAUSE + PAUSE_PER_USER);
        presence.enter(&user("eve"));
        assert_eq!(presence.schedule(now), None, "already scheduled");
    }
}
