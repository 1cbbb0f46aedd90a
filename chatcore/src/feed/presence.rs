//! Who is connected to rooms, and who types in them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::room_presence::RoomPresence;
use super::{Feed, RoomFeed};
use crate::model::{ProcessId, ProcessPresence};
use crate::types::{RoomName, Username};

impl Feed {
    /// Changes the people of a room, and sees to it that the change is shown.
    pub(super) fn change_people<T>(
        &self,
        room: &Arc<RoomFeed>,
        change: impl FnOnce(&mut RoomPresence) -> T,
    ) -> T {
        let mut people = room.people();
        let result = change(&mut people);
        if let Some(at) = people.schedule(Instant::now()) {
            // Fails only when the store is gone, and with it everyone who could look.
            let _ = self.due.send((at, room.clone()));
        }
        result
    }

    /// Has a watcher told who is in the room, until [`end_watch`](Self::end_watch).
    pub(crate) fn begin_watch(&self, room: &Arc<RoomFeed>) {
        room.count_watcher();
        self.change_people(room, RoomPresence::want);
    }

    pub(crate) fn end_watch(&self, room: &RoomFeed) {
        room.discount_watcher();
    }

    pub(crate) fn enter(&self, room: &Arc<RoomFeed>, user: &Username) {
        self.change_people(room, |people| people.enter(user));
    }

    pub(crate) fn leave(&self, room: &Arc<RoomFeed>, user: &Username) {
        self.change_people(room, |people| people.leave(user));
    }

    /// Has the people of a room looked at again.
    pub(crate) fn look_again(&self, room: &Arc<RoomFeed>) {
        self.change_people(room, |_| {});
    }

    /// Shows the people of a room at a later time, because other processes could not be told or
    /// asked.
    pub(crate) fn postpone_people(&self, room: &Arc<RoomFeed>, until: Instant) {
        if room.people().postpone() {
            let _ = self.due.send((until, room.clone()));
        }
    }

    /// Numbers what is told to other processes.
    pub(crate) fn next_version(&self) -> i64 {
        self.told.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes note of who is connected to another process; `None` if nobody is any more.
    pub(crate) fn hear_people(
        &self,
        room: &RoomName,
        process: ProcessId,
        there: Option<ProcessPresence>,
    ) {
        let Some(room) = self.get(room) else { return };
        self.change_people(&room, |people| match there {
            Some(attendance) => people.hear(process, attendance),
            None => people.hear_end(process),
        });
    }

    /// Takes note that others were told wrongly of who is connected to this process.
    pub(crate) fn retell_people(&self, room: &RoomName) {
        if let Some(room) = self.get(room) {
            self.change_people(&room, |people| {
                if !people.is_empty() {
                    people.retell();
                }
            });
        }
    }

    /// Tells followers that a user types; says whether that is news.
    pub(crate) fn hear_typing(&self, room: &RoomName, user: &Username) -> bool {
        let Some(room) = self.get(room) else {
            return true;
        };
        let news = room.people().hear_typing(user, Instant::now());
        if news {
            room.wake.send_replace(());
        }
        news
    }
}
