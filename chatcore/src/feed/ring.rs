//! The newest messages of one room, in memory.

use std::collections::VecDeque;

use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{Range, Seq};

/// The most that one ring holds.
const MAX_MESSAGES: usize = 512;
const MAX_BYTES: usize = 512 * 1024;
/// Deletions remembered for those who have not been told of them yet.
const MAX_DELETIONS: usize = 1_024;

/// The end of a room as far as it is known: messages without a hole, the last of which is the
/// newest of the room.
#[derive(Default)]
pub(super) struct Ring {
    /// The place and time of the newest message heard of; place 0 in an empty room.
    end: Option<(Seq, Timestamp)>,
    /// Set once `end` was the newest message of the room at a moment of the present change stream.
    /// Nothing is answered before. An older `end` still tells how far followers were served.
    known: bool,
    messages: VecDeque<SharedMessage>,
    bytes: usize,
    /// Grows whenever all that was known becomes doubtful, so that an answer which was asked for
    /// before is not taken for an answer after.
    generation: u64,
    /// What was deleted last, and how many deletions there were before the first of these.
    deleted: VecDeque<Seq>,
    deletions_before: u64,
}

impl Ring {
    /// What the messages take of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The place of the newest message, once it is known.
    pub(super) fn end(&self) -> Option<Seq> {
        self.end.filter(|_| self.known).map(|(seq, _)| seq)
    }

    /// Takes in a message that was committed, `now` if by this process. Says whether it is news.
    pub(super) fn publish(&mut self, message: &SharedMessage, now: bool) -> bool {
        self.known |= now;
        match self.end {
            Some((end, _)) if message.seq <= end => return false,
            // Another process's messages between are not seen yet: the store has them.
            Some((end, _)) if message.seq != end.next() => self.drop_messages(),
            _ => {}
        }
        // Of a deletion one may hear before one hears of the message.
        match self.deleted.contains(&message.seq) {
            true => self.push(message.without_content().into()),
            false => self.push(message.clone()),
        }
        true
    }

    /// Takes in that a message was deleted. Says whether it is news.
    pub(super) fn delete(&mut self, seq: Seq) -> bool {
        if self.deleted.contains(&seq) {
            return false;
        }
        // What is being read may be from before.
        self.generation += 1;
        self.deleted.push_back(seq);
        if self.deleted.len() > MAX_DELETIONS {
            self.deleted.pop_front();
            self.deletions_before += 1;
        }
        let first = self.messages.front().map_or(0, |message| message.seq.get());
        let at = usize::try_from(seq.get() - first).ok();
        if let Some(message) = at.and_then(|at| self.messages.get_mut(at)) {
            let deleted = SharedMessage::from(message.without_content());
            self.bytes = self.bytes + deleted.weight() - message.weight();
            *message = deleted;
        }
        true
    }

    /// Takes note that messages may have been posted and deleted unheard. Keeps the end, so that the
    /// rest can be read from there.
    pub(super) fn miss_changes(&mut self) {
        self.drop_messages();
        self.known = false;
        self.generation += 1;
        self.deletions_before = self.deletions() + 1;
        self.deleted.clear();
    }

    /// The place of the newest message heard of, even if there may be newer ones.
    pub(super) fn last_heard(&self) -> Option<Seq> {
        self.end.map(|(seq, _)| seq)
    }

    /// Takes note that there was no message after `seq` when the store was asked. Returns whether that
    /// is where the ring ends.
    pub(super) fn confirm_end(&mut self, seq: Seq) -> bool {
        let is_end = self.last_heard() == Some(seq);
        self.known |= is_end;
        is_end
    }

    /// How many deletions there were.
    pub(super) fn deletions(&self) -> u64 {
        self.deletions_before + self.deleted.len() as u64
    }

    /// What was deleted after the first `seen` deletions, if anything, and how many there are now.
    /// None is named if not all are known.
    pub(super) fn deleted_after(&self, seen: u64) -> Option<(u64, Vec<Seq>)> {
        let now = self.deletions();
        let known = usize::try_from(seen.checked_sub(self.deletions_before).unwrap_or(u64::MAX));
        (seen < now).then(|| (now, self.deleted.iter().skip(known.unwrap_or(usize::MAX)).copied().collect()))
    }

    fn push(&mut self, message: SharedMessage) {
        self.end = Some((message.seq, message.timestamp));
        self.bytes += message.weight();
        self.messages.push_back(message);
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    /// Takes in messages that were read from the store, in order and without a hole.
    /// `reaches_end` says that there was none after them when they were read.
    pub(super) fn load(&mut self, loaded: &[SharedMessage], reaches_end: bool) {
        let (Some(first), Some(last)) = (loaded.first(), loaded.last()) else {
            return;
        };
        if !self.known && !reaches_end {
            return;
        }
        self.known = true;
        let Some((end, _)) = self.end else {
            loaded.iter().for_each(|message| self.push(message.clone()));
            return;
        };
        if first.seq > end.next() {
            self.drop_messages();
        }
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        if last.seq.next() >= start {
            for message in loaded.iter().rev().filter(|m| m.seq < start) {
                if self.messages.len() >= MAX_MESSAGES || self.bytes + message.weight() > MAX_BYTES {
                    break;
                }
                self.bytes += message.weight();
                self.messages.push_front(message.clone());
            }
        }
        loaded.iter().filter(|m| m.seq > end).for_each(|message| self.push(message.clone()));
    }

    /// Takes note that the room had no message when the store was asked.
    pub(super) fn load_empty(&mut self) {
        self.known = true;
        self.end.get_or_insert((Seq::ZERO, Timestamp::EPOCH));
    }

    /// Forgets the messages, not where the room ends.
    pub(super) fn drop_messages(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.drop_messages();
        self.end = None;
        self.known = false;
        self.generation += 1;
    }

    /// The messages that the store would give, or `None` where the ring does not reach.
    pub(super) fn read(&self, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        let (end, end_time) = self.end.filter(|_| self.known)?;
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        let from_start = start <= Seq::ZERO.next();
        let take = |from: usize, to: usize| self.messages.range(from..to.max(from)).cloned().collect();
        let len = self.messages.len();
        match range {
            Range::After(seq) if seq >= end => Some(Vec::new()),
            Range::After(seq) => {
                let from = usize::try_from(seq.get() + 1 - start.get()).ok()?;
                Some(take(from, len.min(from + limit)))
            }
            Range::Since(time) if time >= end_time => Some(Vec::new()),
            Range::Since(time) => {
                let reaches = from_start || self.messages.front().is_some_and(|m| m.timestamp <= time);
                let from = self.messages.partition_point(|m| m.timestamp <= time);
                reaches.then(|| take(from, len.min(from + limit)))
            }
            Range::Newest => (from_start || len >= limit).then(|| take(len.saturating_sub(limit), len)),
            Range::Before(seq) => {
                let to = usize::try_from(seq.get().min(end.get() + 1) - start.get()).ok()?;
                (from_start || to >= limit).then(|| take(to.saturating_sub(limit), to))
            }
        }
    }

    /// Whether a read of this range at the store joins on to what is here, so that one reader's
    /// answer serves the others who miss the same.
    pub(super) fn is_near(&self, range: Range, limit: usize) -> bool {
        let Some(end) = self.end() else { return true };
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        match range {
            Range::After(seq) => start.get() - seq.get() <= i64::try_from(limit).unwrap_or(i64::MAX),
            Range::Newest => true,
            Range::Since(_) | Range::Before(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;
    use crate::types::Message;

    fn message(seq: i64) -> SharedMessage {
        testing::message(seq).into()
    }

    fn messages(seqs: impl IntoIterator<Item = i64>) -> Vec<SharedMessage> {
        seqs.into_iter().map(message).collect()
    }

    /// What a room of `end` messages answers.
    fn model(end: i64, range: Range, limit: usize) -> Vec<SharedMessage> {
        let all: Vec<_> = (1..=end).map(testing::message).collect();
        testing::model(&all, range, limit).into_iter().map(SharedMessage::from).collect()
    }

    fn ranges() -> impl Strategy<Value = Range> {
        prop_oneof![
            Just(Range::Newest),
            (0_i64..30).prop_map(|seq| Range::After(Seq::new(seq).expect("a place"))),
            (0_i64..30).prop_map(|seq| Range::Before(Seq::new(seq).expect("a place"))),
            (0_i64..300).prop_map(|time| Range::Since(testing::time(time))),
        ]
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// So many messages are committed, by this process unless its bit is set.
        Commit(i64, u8),
        /// The stream of changes tells of the message that lies so far back, perhaps late.
        Hear(i64),
        /// A reader asks, the store if need be, whose answer is loaded.
        Read(Range, usize),
        DropMessages,
        Clear,
        /// The change stream had a gap.
        MissChanges,
        /// The message that lies so far back is deleted, which is heard of at once.
        Delete(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_i64..4, prop_oneof![3 => Just(0_u8), 1 => any::<u8>()]).prop_map(|(n, deaf)| Step::Commit(n, deaf)),
            6 => (ranges(), 1_usize..12).prop_map(|(range, limit)| Step::Read(range, limit)),
            3 => (0_i64..6).prop_map(Step::Hear),
            1 => Just(Step::DropMessages),
            1 => Just(Step::Clear),
            1 => Just(Step::MissChanges),
            2 => (0_i64..10).prop_map(Step::Delete),
        ];
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        /// Whatever was heard of and loaded before, the ring answers like the store as of the last
        /// message of this process or the last look at the store, or later; or not at all.
        #[test]
        fn a_ring_answers_like_the_store_or_not_at_all(steps in steps()) {
            let mut ring = Ring::default();
            let (mut stored, mut promised) = (0, 0);
            // The newest message at the last gap. The stream tells of none before it again.
            let mut missed = None;
            let mut deleted = Vec::new();
            let model = |deleted: &[Seq], end, range, limit| -> Vec<SharedMessage> {
                let blank = |m: SharedMessage| if deleted.contains(&m.seq) { m.without_content().into() } else { m };
                model(end, range, limit).into_iter().map(blank).collect()
            };
            for step in steps {
                match step {
                    Step::Commit(n, deaf) => for bit in 0..n {
                        stored += 1;
                        if deaf & (1 << bit) == 0 {
                            ring.publish(&message(stored), true);
                            promised = stored;
                        }
                    },
                    Step::Hear(back) => if stored - back > missed.unwrap_or(0) {
                        ring.publish(&message(stored - back), false);
                    },
                    Step::Read(range, limit) => {
                        if let Some(found) = ring.read(range, limit) {
                            let end = ring.end().expect("what answers is known").get();
                            prop_assert!(end >= promised);
                            prop_assert_eq!(found, model(&deleted, end, range, limit));
                        } else {
                            let loaded = model(&deleted, stored, range, limit);
                            let reaches_end = match range {
                                Range::Newest => true,
                                Range::Before(_) => false,
                                _ => loaded.len() < limit,
                            };
                            ring.load(&loaded, reaches_end);
                            if loaded.is_empty() && stored == 0 {
                                ring.load_empty();
                            }
                            if reaches_end && !loaded.is_empty() {
                                promised = stored;
                            }
                        }
                    }
                    Step::DropMessages => ring.drop_messages(),
                    Step::Clear => ring.clear(),
                    Step::MissChanges => {
                        ring.miss_changes();
                        missed = Some(stored);
                        prop_assert!(ring.read(Range::Newest, 1).is_none());
                        if ring.last_heard().is_some_and(|seq| seq.get() == stored) {
                            prop_assert!(ring.confirm_end(Seq::new(stored).expect("a place")));
                            promised = stored;
                        }
                    }
                    Step::Delete(back) => if stored - back > 0 {
                        let seq = Seq::new(stored - back).expect("a place");
                        let is_news = ring.delete(seq);
                        prop_assert!(missed.is_some() || is_news != deleted.contains(&seq));
                        if !deleted.contains(&seq) {
                            deleted.push(seq);
                        }
                        if missed.is_some() {
                            continue;
                        }
                        for seen in 0..deleted.len() {
                            let told = ring.deleted_after(seen as u64);
                            prop_assert_eq!(told, Some((deleted.len() as u64, deleted[seen..].to_vec())));
                        }
                        prop_assert_eq!(ring.deleted_after(deleted.len() as u64), None);
                    },
                }
                let weights: usize = ring.messages.iter().map(SharedMessage::weight).sum();
                prop_assert_eq!(ring.bytes(), weights);
                let seqs: Vec<_> = ring.messages.iter().map(|m| m.seq.get()).collect();
                prop_assert!(seqs.windows(2).all(|two| two[0] + 1 == two[1]), "{:?}", seqs);
            }
        }
    }

    #[test]
    fn whoever_missed_too_many_deletions_is_told_that_it_is_not_known_which() {
        let mut ring = Ring::default();
        let most = MAX_DELETIONS as u64;
        (0..=most as i64).for_each(|n| assert!(ring.delete(Seq::new(n + 1).expect("a place"))));
        assert_eq!(ring.deleted_after(0), Some((most + 1, Vec::new())));
        assert_eq!(
            ring.deleted_after(1).map(|(now, places)| (now, places.len())),
            Some((most + 1, MAX_DELETIONS))
        );
        ring.miss_changes();
        assert_eq!(ring.deleted_after(most + 1), Some((most + 2, Vec::new())));
        assert_eq!(ring.deleted_after(most + 2), None);
    }

    #[test]
    fn a_ring_is_bounded_by_number_and_by_size() {
        let mut ring = Ring::default();
        messages(1..=10_000).iter().for_each(|m| assert!(ring.publish(m, true)));
        assert_eq!(ring.messages.len(), MAX_MESSAGES);
        let long = |seq| {
            let content = Some(testing::content(&"x".repeat(4_000)));
            SharedMessage::from(Message { content, ..(*message(seq)).clone() })
        };
        (10_001..11_000).for_each(|seq| assert!(ring.publish(&long(seq), true)));
        assert!(ring.bytes() <= MAX_BYTES && ring.messages.len() > 10, "{}", ring.messages.len());
    }
}
