//! Read marks of users: kept in memory, and written together about once a second.
//!
//! A mark counts as soon as it is here. One that is not written yet is lost if the process dies,
//! but not if the store is closed or dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::error::{Error, Result};
use crate::model::ReadMark;
use crate::types::{RoomName, Seq, Username};

/// Marks in memory, written or not. Once there are so many, those that are written go.
const MAX_MARKS: usize = 32_768;
/// Marks in one write.
const MAX_WRITE: usize = 1_000;
/// Time between the first mark that is not written and its write, and before a failed write is
/// tried again.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct ReadMarks {
    table: Mutex<Table>,
    /// Wakes the writer when there is something to write.
    unwritten: Notify,
    /// Held while marks are written, so that who has it knows that no older write is under way.
    writing: AsyncMutex<()>,
}

#[derive(Default)]
struct Table {
    marks: HashMap<Username, HashMap<RoomName, Mark>>,
    /// Number of marks, over all users.
    len: usize,
    /// The marks to write, in the order in which they came. Some may be written or gone by now.
    unwritten: VecDeque<(Username, RoomName)>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Mark {
    seq: Seq,
    /// The `seq` that is known to be stored.
    stored: Seq,
    /// True if the mark is in `unwritten`.
    queued: bool,
}

impl Table {
    fn get_mut(&mut self, user: &Username, room: &RoomName) -> Option<&mut Mark> {
        self.marks.get_mut(user)?.get_mut(room)
    }

    /// Adds a mark as it is stored, unless there is one.
    fn add(&mut self, user: &Username, room: &RoomName, stored: Seq) -> Result<()> {
        if self.get_mut(user, room).is_some() {
            return Ok(());
        }
        if self.len >= MAX_MARKS {
            self.drop_written();
        }
        if self.len >= MAX_MARKS {
            return Err(Error::Busy);
        }

        self.len += 1;
        let mark = Mark {
            seq: stored,
            stored,
            queued: false,
        };
        self.marks
            .entry(user.clone())
            .or_default()
            .insert(room.clone(), mark);
        Ok(())
    }

    fn drop_written(&mut self) {
        self.marks.retain(|_, rooms| {
            rooms.retain(|_, mark| mark.seq > mark.stored);
            !rooms.is_empty()
        });
        self.len = self.marks.values().map(HashMap::len).sum();
    }

    /// Moves a mark forward and returns where it is then; `None` if it is not in memory.
    fn advance(&mut self, user: &Username, room: &RoomName, seq: Seq) -> Option<Seq> {
        let mark = self.get_mut(user, room)?;
        if seq > mark.seq {
            mark.seq = seq;
            self.queue(user.clone(), room.clone());
            return Some(seq);
        }
        Some(mark.seq)
    }

    /// Puts a mark among those to write, if it is to be written and not among them.
    fn queue(&mut self, user: Username, room: RoomName) {
        let Some(mark) = self
            .get_mut(&user, &room)
            .filter(|mark| mark.seq > mark.stored && !mark.queued)
        else {
            return;
        };
        mark.queued = true;
        self.unwritten.push_back((user, room));
    }
}

impl ReadMarks {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a mark forward to `seq`, never back, and publishes where it is then. Returns that, or
    /// `None` if the mark is not in memory; then `stored` has to say where it is in the store.
    ///
    /// It is published under the lock, so that nothing is published after what lies before it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if too many marks are not written, [`Error::Closed`].
    pub(crate) fn advance(
        &self,
        user: &Username,
        room: &RoomName,
        seq: Seq,
        stored: Option<Seq>,
        publish: impl FnOnce(Seq),
    ) -> Result<Option<Seq>> {
        let mut table = self.lock();
        if table.closed {
            return Err(Error::Closed);
        }
        if let Some(stored) = stored {
            table.add(user, room, stored)?;
        }

        let now = table.advance(user, room, seq);
        if let Some(now) = now {
            publish(now);
        }
        if !table.unwritten.is_empty() {
            self.unwritten.notify_one();
        }
        Ok(now)
    }

    /// Takes in that a mark is stored, by whatever process, and publishes it unless it was
    /// published before.
    pub(crate) fn learn(
        &self,
        user: &Username,
        room: &RoomName,
        seq: Seq,
        publish: impl FnOnce(Seq),
    ) {
        let mut table = self.lock();
        match table.get_mut(user, room) {
            Some(mark) if mark.seq >= seq => {}
            Some(mark) => {
                (mark.seq, mark.stored) = (seq, seq);
                publish(seq);
            }
            None => publish(seq),
        }
    }

    /// Returns a mark, if it is in memory.
    pub(crate) fn get(&self, user: &Username, room: &RoomName) -> Option<Seq> {
        self.lock().get_mut(user, room).map(|mark| mark.seq)
    }

    /// Returns the marks of a user that are in memory.
    pub(crate) fn of(&self, user: &Username) -> HashMap<RoomName, Seq> {
        let table = self.lock();
        let rooms = table.marks.get(user).into_iter().flatten();
        rooms.map(|(room, mark)| (room.clone(), mark.seq)).collect()
    }

    /// The next marks to write.
    fn take_unwritten(&self) -> Vec<ReadMark> {
        let mut table = self.lock();
        let mut taken = Vec::new();
        while taken.len() < MAX_WRITE
            && let Some((user, room)) = table.unwritten.pop_front()
        {
            let Some(mark) = table.get_mut(&user, &room) else {
                continue;
            };
            mark.queued = false;
            if mark.seq > mark.stored {
                taken.push(ReadMark {
                    seq: mark.seq,
                    user,
                    room,
                });
            }
        }
        taken
    }

    /// Takes in what became of a write. Marks that moved meanwhile, and all of a failed write, are
    /// still to be written.
    fn written(&self, marks: Vec<ReadMark>, succeeded: bool) {
        let mut table = self.lock();
        for ReadMark { user, room, seq } in marks {
            let Some(mark) = table.get_mut(&user, &room) else {
                continue;
            };
            if succeeded {
                mark.stored = mark.stored.max(seq);
            }
            table.queue(user, room);
        }
    }

    /// Writes the marks that were not written when it began. Of those that come meanwhile it writes
    /// only some, so that it ends.
    ///
    /// # Errors
    ///
    /// Those of `write`; the marks are kept, to be written later.
    pub(crate) async fn flush<F>(&self, write: impl Fn(Vec<ReadMark>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let _writing = self.writing.lock().await;
        let mut left = self.lock().unwritten.len();
        while left > 0 {
            let unwritten = Unwritten {
                marks: self.take_unwritten(),
                of: self,
            };
            if unwritten.marks.is_empty() {
                break;
            }
            left = left.saturating_sub(unwritten.marks.len());
            write(unwritten.marks.clone()).await?;
            unwritten.succeeded();
        }
        Ok(())
    }

    /// Writes marks about a second after they came, until `closed`.
    pub(crate) async fn keep_written<F>(
        &self,
        write: impl Fn(Vec<ReadMark>) -> F,
        closed: impl Future<Output = ()>,
    ) where
        F: Future<Output = Result<()>>,
    {
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = self.unwritten.notified() => {}
                () = &mut closed => return,
            }
            tokio::select! {
                () = tokio::time::sleep(FLUSH_AFTER) => {}
                () = &mut closed => return,
            }
            if let Err(error) = self.flush(&write).await {
                tracing::warn!(%error, "read marks could not be written; they are kept");
                self.unwritten.notify_one();
            }
        }
    }

    /// Refuses further marks, so that a [`flush`](Self::flush) after it writes the last.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }
}

/// Marks that a write has taken. They are to be written again unless it is known to have succeeded,
/// also if it panics or is given up.
struct Unwritten<'a> {
    marks: Vec<ReadMark>,
    of: &'a ReadMarks,
}

impl Unwritten<'_> {
    fn succeeded(mut self) {
        self.of.written(std::mem::take(&mut self.marks), true);
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.of.written(std::mem::take(&mut self.marks), false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn name<T: std::str::FromStr>(text: impl ToString) -> T {
        text.to_string().parse().ok().expect("a name")
    }

    fn seq(n: i64) -> Seq {
        Seq::new(n).expect("a seq")
    }

    /// Marks, and the writes that were made of them.
    #[derive(Default)]
    struct Written {
        marks: ReadMarks,
        writes: Mutex<Vec<Vec<ReadMark>>>,
        broken: AtomicBool,
    }

    impl Written {
        fn advance(&self, user: &str, to: i64) -> Result<Option<Seq>> {
            self.marks
                .advance(&name(user), &name("a"), seq(to), Some(Seq::ZERO), |_| {})
        }

        async fn write(&self, marks: Vec<ReadMark>) -> Result<()> {
            self.writes.lock().unwrap().push(marks);
            match self.broken.load(Ordering::SeqCst) {
                true => Err(Error::Unavailable("by plan".into())),
                false => Ok(()),
            }
        }

        async fn flush(&self) -> Result<()> {
            self.marks.flush(|marks| self.write(marks)).await
        }

        /// Marks written since the last call.
        fn taken(&self) -> Vec<Vec<ReadMark>> {
            std::mem::take(&mut *self.writes.lock().unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_marks_are_one_write() {
        let written = Arc::new(Written::default());
        let (close, closed) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::spawn({
            let written = written.clone();
            async move {
                let closed = async { closed.await.unwrap_or(()) };
                written
                    .marks
                    .keep_written(|marks| written.write(marks), closed)
                    .await;
            }
        });
        for i in 0..1_000 {
            // Ten times by each of a hundred users.
            written
                .advance(&format!("user{}", i % 100), i / 100 + 1)
                .expect("taken");
            tokio::task::yield_now().await;
        }
        assert!(written.taken().is_empty(), "not before its time");
        tokio::time::sleep(2 * FLUSH_AFTER).await;
        let [marks] = written.taken().try_into().expect("one write");
        assert_eq!(marks.len(), 100);
        assert!(marks.iter().all(|mark| mark.seq == seq(10)));

        // Nothing new makes no write.
        written.advance("user1", 3).expect("taken");
        tokio::time::sleep(10 * FLUSH_AFTER).await;
        assert!(written.taken().is_empty());

        // A write that fails is made again.
        written.broken.store(true, Ordering::SeqCst);
        written.advance("user1", 11).expect("taken");
        tokio::time::sleep(FLUSH_AFTER * 5 / 2).await;
        written.broken.store(false, Ordering::SeqCst);
        tokio::time::sleep(10 * FLUSH_AFTER).await;
        let writes = written.taken();
        assert_eq!(writes.len(), 3, "two that failed, and one");
        assert!(
            writes
                .iter()
                .all(|marks| *marks == writes[0] && marks.len() == 1)
        );
        drop(close);
        writer.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_mark_only_moves_forward() {
        let written = Written::default();
        let (user, room) = (name("ann"), name("a"));
        let published = Mutex::new(Vec::new());
        let publish = |seq: Seq| published.lock().unwrap().push(seq.get());
        let advance = |to, stored| {
            written
                .marks
                .advance(&user, &room, seq(to), stored, publish)
                .unwrap()
        };
        assert_eq!(advance(3, None), None, "the store has to be asked");
        assert_eq!(advance(3, Some(seq(5))), Some(seq(5)));
        assert_eq!(advance(7, None), Some(seq(7)));
        // An answer to an earlier question changes nothing.
        assert_eq!(advance(6, Some(seq(2))), Some(seq(7)));
        // The change stream brings its own write, and that of another process.
        for stored in [6, 7, 9, 8] {
            written.marks.learn(&user, &room, seq(stored), publish);
        }
        assert_eq!(*published.lock().unwrap(), [5, 7, 7, 9]);
        assert_eq!(written.marks.of(&user), HashMap::from([(room, seq(9))]));
    }

    #[tokio::test]
    async fn a_mark_that_moves_while_it_is_written_is_written_again() {
        let written = Written::default();
        written.advance("ann", 1).expect("taken");
        let write = |marks| {
            // Once.
            if written.writes.lock().unwrap().is_empty() {
                written.advance("ann", 2).expect("taken");
            }
            written.write(marks)
        };
        written.marks.flush(write).await.expect("written");
        written.flush().await.expect("written");
        let numbers: Vec<_> = written
            .taken()
            .iter()
            .flatten()
            .map(|mark| mark.seq.get())
            .collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[tokio::test]
    async fn the_number_of_marks_has_a_limit_and_those_that_are_written_make_room() {
        let written = Written::default();
        let users: Vec<_> = (0..=MAX_MARKS).map(|i| format!("user{i}")).collect();
        for user in &users[..MAX_MARKS] {
            written.advance(user, 1).expect("taken");
        }
        let refused = written.advance(&users[MAX_MARKS], 1);
        assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
        written.flush().await.expect("written");
        let writes = written.taken();
        assert!(writes.iter().all(|marks| marks.len() <= MAX_WRITE));
        assert_eq!(writes.iter().map(Vec::len).sum::<usize>(), MAX_MARKS);
        written
            .advance(&users[MAX_MARKS], 1)
            .expect("there is room");
        assert_eq!(written.marks.lock().len, 1);
    }

    #[tokio::test]
    async fn nothing_is_taken_once_it_is_closed_and_what_was_is_written() {
        let written = Written::default();
        written.advance("ann", 1).expect("taken");
        written.marks.close();
        assert!(matches!(written.advance("ann", 2), Err(Error::Closed)));
        written.broken.store(true, Ordering::SeqCst);
        assert!(written.flush().await.is_err());
        written.broken.store(false, Ordering::SeqCst);
        written.flush().await.expect("written");
        let writes = written.taken();
        assert!(writes.len() == 2 && writes[0] == writes[1] && writes[1].len() == 1);
    }
}
