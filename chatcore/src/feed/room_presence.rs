//! Who is connected to one room, and who writes in it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::model::{ProcessId, ProcessPresence};
use crate::presence::{MAX_PRESENT, Presence};
use crate::types::{RoomName, Username};

/// How long a user who typed counts as typing.
const TYPING: Duration = Duration::from_secs(5);
/// How often the same user is said to be typing.
const TYPING_PAUSE: Duration = Duration::from_secs(1);
/// Users who type at once, as far as others are told.
const MAX_TYPING: usize = 100;
/// The shortest time between two lists of who is there, and what each listed user adds to it: the
/// more there are, the more a list costs and the less one change in it says.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_PER_USER: Duration = Duration::from_millis(1);

/// What one process knows of the people in a room.
#[derive(Default)]
pub(super) struct RoomPresence {
    /// The users connected to this process, and how often each is.
    here: BTreeMap<Username, usize>,
    /// Those connected to other processes.
    elsewhere: HashMap<ProcessId, ProcessPresence>,
    /// Whether `elsewhere` was read since changes are heard of.
    loaded: bool,
    /// Grows with each of these changes, so that an answer which was asked for before is not taken
    /// for an answer after.
    generation: u64,
    /// What followers are shown, and the number of it.
    shown: Option<Presence>,
    version: u64,
    shown_at: Option<Instant>,
    /// Whether other processes have to be told who is here.
    untold: bool,
    /// Whether something changed since, and whether a refresh will show it.
    dirty: bool,
    scheduled: bool,
    /// Who typed when, and the number of that.
    typing: Vec<(Username, Instant, u64)>,
    typed: u64,
}

impl RoomPresence {
    pub(super) fn enter(&mut self, user: &Username) {
        let connections = self.here.entry(user.clone()).or_insert(0);
        *connections += 1;
        if *connections == 1 {
            self.retell();
        }
    }

    pub(super) fn leave(&mut self, user: &Username) {
        let Some(connections) = self.here.get_mut(user) else {
            return;
        };
        *connections -= 1;
        if *connections == 0 {
            self.here.remove(user);
            self.retell();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty()
    }

    /// Takes note of who is connected to another process. Older news than what is known is ignored.
    pub(super) fn hear(&mut self, process: ProcessId, attendance: ProcessPresence) {
        self.generation += 1;
        self.take(process, attendance);
    }

    fn take(&mut self, process: ProcessId, attendance: ProcessPresence) {
        let known = self
            .elsewhere
            .get(&process)
            .map_or(-1, |known| known.version);
        if attendance.version > known {
            self.dirty = true;
            self.elsewhere.insert(process, attendance);
        }
    }

    /// Takes note that nobody is connected to another process any more.
    pub(super) fn hear_end(&mut self, process: ProcessId) {
        self.generation += 1;
        self.dirty |= self.elsewhere.remove(&process).is_some();
    }

    /// If others must be asked for: as of which generation.
    pub(super) fn lacks_elsewhere(&self) -> Option<u64> {
        (!self.loaded).then_some(self.generation)
    }

    /// Takes in an answer, unless something was heard since it was asked for; then it has to be
    /// asked for again.
    pub(super) fn load(&mut self, generation: u64, elsewhere: Vec<(ProcessId, ProcessPresence)>) {
        self.dirty = true;
        if generation != self.generation {
            return;
        }
        self.loaded = true;
        self.elsewhere
            .retain(|process, _| elsewhere.iter().any(|(other, _)| other == process));
        elsewhere
            .into_iter()
            .for_each(|(process, attendance)| self.take(process, attendance));
    }

    /// Takes note that changes went unheard, elsewhere and perhaps to what others know of those
    /// here.
    pub(super) fn unload(&mut self) {
        self.loaded = false;
        self.generation += 1;
        self.untold |= !self.here.is_empty();
        self.dirty = true;
    }

    /// Has others told again who is here.
    pub(super) fn retell(&mut self) {
        self.untold = true;
        self.dirty = true;
    }

    /// Has it shown who is there, if it never was or others have to be asked for.
    pub(super) fn want(&mut self) {
        self.dirty |= self.shown.is_none() || !self.loaded;
    }

    pub(super) fn has_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// How many connections there are at this process.
    pub(super) fn connections(&self) -> usize {
        self.here.values().sum()
    }

    /// When to show what changed, if it changed and nobody is about to show it yet.
    pub(super) fn schedule(&mut self, now: Instant) -> Option<Instant> {
        if !self.dirty || self.scheduled {
            return None;
        }
        self.scheduled = true;
        let users = self.shown.as_ref().map_or(0, |shown| shown.users().len());
        let pause = PAUSE + PAUSE_PER_USER * u32::try_from(users).unwrap_or(u32::MAX);
        Some(self.shown_at.map_or(now, |shown| (shown + pause).max(now)))
    }

    /// Has it shown who is there at a given time at the earliest, if nobody is about to.
    pub(super) fn postpone(&mut self) -> bool {
        self.retell();
        !std::mem::replace(&mut self.scheduled, true)
    }

    /// Begins to show what changed: gives those connected to this process, if other processes do
    /// not know of them.
    pub(super) fn refresh(&mut self) -> Option<Vec<Username>> {
        self.dirty = false;
        self.scheduled = false;
        std::mem::take(&mut self.untold)
            .then(|| self.here.keys().take(MAX_PRESENT).cloned().collect())
    }

    /// Shows who is there; says whether that is news.
    pub(super) fn show(&mut self, room: &RoomName, now: Instant) -> bool {
        self.shown_at = Some(now);
        let elsewhere = self
            .elsewhere
            .values()
            .flat_map(|attendance| &attendance.users);
        let users = self.here.keys().chain(elsewhere).cloned().collect();
        let presence = Presence::new(room.clone(), users);
        if self
            .shown
            .as_ref()
            .is_some_and(|shown| shown.users() == presence.users())
        {
            return false;
        }
        self.shown = Some(presence);
        self.version += 1;
        true
    }

    /// Who is there, if that is not what the follower saw last.
    pub(super) fn shown_after(&self, seen: u64) -> Option<(u64, Presence)> {
        let shown = self.shown.clone().filter(|_| self.version > seen)?;
        Some((self.version, shown))
    }

    /// Takes note that a user types; says whether followers should be told.
    pub(super) fn hear_typing(&mut self, user: &Username, now: Instant) -> bool {
        self.typing.retain(|(_, at, _)| now - *at < TYPING);
        let known = self.typing.iter().position(|(typist, _, _)| typist == user);
        match known {
            Some(at) if now - self.typing[at].1 < TYPING_PAUSE => return false,
            Some(at) => drop(self.typing.remove(at)),
            None if self.typing.len() >= MAX_TYPING => return false,
            None => {}
        }
        self.typed += 1;
        self.typing.push((user.clone(), now, self.typed));
        true
    }

    /// Who typed since the follower looked last.
    pub(super) fn typing_after(&self, seen: u64, now: Instant) -> Vec<Username> {
        let new = self
            .typing
            .iter()
            .filter(|(_, at, number)| *number > seen && now - *at < TYPING);
        new.map(|(user, _, _)| user.clone()).collect()
    }

    pub(super) fn typed(&self) -> u64 {
        self.typed
    }

    /// Whether nothing would be lost with this.
    pub(super) fn is_idle(&self) -> bool {
        self.here.is_empty() && !self.scheduled
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

    fn shown(people: &mut RoomPresence, now: Instant) -> Option<Vec<String>> {
        people.schedule(now)?;
        people.refresh();
        people.show(&room(), now);
        people
            .shown_after(0)
            .map(|(_, shown)| shown.users().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_user_is_there_while_any_connection_is() {
        let now = Instant::now();
        let mut people = RoomPresence::default();
        people.enter(&user("ann"));
        people.enter(&user("ann"));
        people.enter(&user("bob"));
        assert_eq!(
            shown(&mut people, now),
            Some(vec!["ann".into(), "bob".into()])
        );
        people.leave(&user("ann"));
        assert_eq!(shown(&mut people, now), None, "nothing changed");
        people.leave(&user("ann"));
        people.leave(&user("stranger"));
        assert_eq!(shown(&mut people, now), Some(vec!["bob".into()]));
    }

    #[test]
    fn older_news_of_another_process_is_ignored() {
        let (now, other) = (Instant::now(), ProcessId([1; 12]));
        let mut people = RoomPresence::default();
        let attendance = |version, name| ProcessPresence {
            version,
            users: vec![user(name)],
        };
        people.hear(other, attendance(2, "new"));
        people.hear(other, attendance(1, "old"));
        assert_eq!(shown(&mut people, now), Some(vec!["new".into()]));
        let asked = people.lacks_elsewhere().expect("never asked");
        people.hear(other, attendance(3, "newer"));
        people.load(asked, vec![(other, attendance(2, "new"))]);
        assert_eq!(shown(&mut people, now), Some(vec!["newer".into()]));
        let asked = people.lacks_elsewhere().expect("to be asked again");
        people.load(asked, vec![(other, attendance(1, "old"))]);
        assert_eq!(people.lacks_elsewhere(), None);
        assert_eq!(shown(&mut people, now), Some(vec!["newer".into()]));
        people.hear_end(other);
        assert_eq!(shown(&mut people, now), Some(vec![]));
    }

    #[test]
    fn changes_are_shown_together() {
        let now = Instant::now();
        let mut people = RoomPresence::default();
        people.enter(&user("ann"));
        assert_eq!(people.schedule(now), Some(now), "the first at once");
        people.refresh();
        people.show(&room(), now);
        people.enter(&user("bob"));
        let later = people.schedule(now).expect("scheduled");
        assert_eq!(later, now + PAUSE + PAUSE_PER_USER);
        people.enter(&user("eve"));
        assert_eq!(people.schedule(now), None, "already scheduled");
    }

    #[test]
    fn typing_expires_and_is_not_repeated_at_once() {
        let now = Instant::now();
        let mut people = RoomPresence::default();
        assert!(people.hear_typing(&user("ann"), now));
        assert!(!people.hear_typing(&user("ann"), now));
        assert!(people.hear_typing(&user("ann"), now + TYPING_PAUSE));
        assert_eq!(people.typing_after(0, now + TYPING_PAUSE), [user("ann")]);
        assert_eq!(people.typing_after(people.typed(), now + TYPING_PAUSE), []);
        assert_eq!(people.typing_after(0, now + TYPING_PAUSE + TYPING), []);
        let many = (0..1_000)
            .filter(|i| people.hear_typing(&user(&i.to_string()), now + TYPING))
            .count();
        assert!(many <= MAX_TYPING);
    }
}
