//! The newest messages of one room, in memory.

use std::collections::VecDeque;

use super::freshness::{Generation, Latest};
use crate::shared::SharedMessage;
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Range, Seq};

/// The most messages of one ring, and their bytes.
const MAX_MESSAGES: usize = 512;
const MAX_BYTES: usize = 512 * 1024;
/// The most changed messages of one ring, and their part of the bytes.
const MAX_CHANGED: usize = 1_024;
const MAX_CHANGED_BYTES: usize = MAX_BYTES / 4;
/// The most changed messages of one ring that arrived after a later change.
const MAX_LATE: usize = 16;

/// Processes that write to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// This one alone: nothing later is stored than it publishes.
    ThisProcess,
    /// Several. A later commit of another may have come before one of this process, and may have
    /// been forgotten.
    Many,
}

/// Newest messages of one room, without a hole, and its newest changes.
#[derive(Default)]
pub(super) struct Ring {
    /// `seq` and time of the newest message; `seq` 0 in an empty room. Nothing is answered before
    /// it is confirmed. One that is not still tells how far followers were served.
    end: Latest<(Seq, Timestamp)>,
    messages: VecDeque<SharedMessage>,
    bytes: usize,
    /// Grows whenever messages in memory become doubtful.
    generation: Generation,
    last_change: Latest<ChangeSeq>,
    /// Messages that changed last, each as one change left it, by the number of the change, without
    /// a hole up to `last_change`.
    changed: VecDeque<SharedMessage>,
    changed_bytes: usize,
    /// `seq` of the last message of which a change was published.
    last_changed: Seq,
    /// Messages here of which a change arrived after a later one, and the number of those before
    /// them.
    late: VecDeque<SharedMessage>,
    late_before: u64,
}

impl Ring {
    /// Returns the bytes of memory that the messages take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.changed_bytes
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Returns the `seq` of the newest message, if it is confirmed.
    pub(super) fn end(&self) -> Option<Seq> {
        self.end.confirmed().map(|(seq, _)| seq)
    }

    /// Takes in a message that was committed. Returns true if it is new here.
    pub(super) fn publish(&mut self, message: &SharedMessage, writers: Writers) -> bool {
        let is_new = self.append(message);
        if writers == Writers::ThisProcess {
            self.end.confirm();
        }
        is_new
    }

    fn append(&mut self, message: &SharedMessage) -> bool {
        match self.end.seen() {
            Some((end, _)) if message.seq <= end => return false,
            // Another process's messages between are not seen yet: the store has them.
            Some((end, _)) if message.seq != end.next() => self.drop_shown(),
            _ => {}
        }
        if message.seq > self.last_changed {
            self.push(message.clone());
            return true;
        }

        // This process changed it before it learned of the message, which is as it was posted.
        let mut changed = self.changed.iter().rev();
        let last_state = changed.find(|changed| changed.seq == message.seq);
        match last_state.cloned() {
            Some(changed) => self.push(changed),
            None => {
                self.drop_shown();
                self.end.advance((message.seq, message.timestamp));
            }
        }
        true
    }

    /// Takes in a message that was changed. Returns true if the change is new here.
    pub(super) fn publish_change(&mut self, message: &SharedMessage, writers: Writers) -> bool {
        let is_new = message
            .change
            .is_some_and(|number| self.append_change(number, message));
        if writers == Writers::ThisProcess {
            self.last_change.confirm();
        }
        is_new
    }

    fn append_change(&mut self, number: ChangeSeq, message: &SharedMessage) -> bool {
        match self.last_change.seen() {
            // The change stream gives the changes of one batch in any order.
            Some(last) if number <= last => {
                self.generation.advance();
                self.last_changed = self.last_changed.max(message.seq);
                return self.replace_shown(message) && self.publish_late(message);
            }
            // Another process's changes between are not seen yet: the store has them.
            Some(last) if number != last.next() => self.drop_changed(),
            _ => {}
        }

        // A message that is being read may be from before.
        self.generation.advance();
        self.last_change.advance(number);
        self.last_changed = self.last_changed.max(message.seq);
        self.changed_bytes += message.weight();
        self.changed.push_back(message.clone());
        while self.changed.len() > MAX_CHANGED || self.changed_bytes > MAX_CHANGED_BYTES {
            let Some(oldest) = self.changed.pop_front() else {
                break;
            };
            self.changed_bytes -= oldest.weight();
        }

        self.replace_shown(message);
        true
    }

    /// Takes note of a change that arrived after a later one. Followers may have passed it.
    fn publish_late(&mut self, message: &SharedMessage) -> bool {
        self.late.push_back(message.clone());
        if self.late.len() > MAX_LATE {
            self.late.pop_front();
            self.late_before += 1;
        }
        true
    }

    /// Returns the number of changes that arrived late.
    pub(super) fn late_changes(&self) -> u64 {
        self.late_before + self.late.len() as u64
    }

    /// Returns the changed messages that arrived late, from after the first `seen` of them.
    pub(super) fn late_after(&self, seen: u64) -> Vec<SharedMessage> {
        let skipped = usize::try_from(seen.saturating_sub(self.late_before)).unwrap_or(usize::MAX);
        self.late.iter().skip(skipped).cloned().collect()
    }

    /// Replaces a message by a newer state of it, if it is here. Returns whether it was.
    fn replace_shown(&mut self, message: &SharedMessage) -> bool {
        let first = self.messages.front().map_or(0, |message| message.seq.get());
        let at = usize::try_from(message.seq.get() - first).ok();
        if let Some(shown) = at.and_then(|at| self.messages.get_mut(at))
            && shown.change < message.change
        {
            self.bytes = self.bytes + message.weight() - shown.weight();
            *shown = message.clone();
            return true;
        }
        false
    }

    /// Takes in the number of the last change of the room when the store was asked. Returns true if
    /// it is new here.
    pub(super) fn learn_last_change(&mut self, number: ChangeSeq) -> bool {
        let is_new = self.last_change.seen().is_none_or(|last| last < number);
        if is_new {
            // A message that is being read may be from before, and what is here is.
            self.generation.advance();
            if number > ChangeSeq::ZERO {
                self.drop_shown();
            }
            self.drop_changed();
            self.last_change.advance(number);
        }

        self.last_change.confirm();
        is_new
    }

    /// Returns the number of the last change, if it is confirmed.
    pub(super) fn last_change(&self) -> Option<ChangeSeq> {
        self.last_change.confirmed()
    }

    /// Returns the messages that changed after the change `after`, as the store would give them, or
    /// `None` where the ring does not reach.
    pub(super) fn read_changes(
        &self,
        after: ChangeSeq,
        limit: usize,
    ) -> Option<Vec<SharedMessage>> {
        let last = self.last_change()?;
        if after == last {
            return Some(Vec::new());
        }
        let first = self.changed.front()?.change?;
        if after > last {
            return None;
        }
        let from = usize::try_from(after.get() + 1 - first.get()).ok()?;
        let mut seen = std::collections::HashSet::new();
        // The last of several changes of a message has the effect of all.
        let mut found: Vec<_> = self
            .changed
            .range(from..)
            .rev()
            .filter(|message| seen.insert(message.seq))
            .cloned()
            .collect();
        found.reverse();
        found.truncate(limit);
        Some(found)
    }

    fn drop_shown(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    fn drop_changed(&mut self) {
        self.changed = VecDeque::new();
        self.changed_bytes = 0;
    }

    /// Takes note that messages may have been posted and changed without being published. Keeps
    /// both ends, from where the rest can be read.
    pub(super) fn miss_events(&mut self) {
        self.drop_messages();
        self.end.miss();
        self.last_change.miss();
        self.generation.advance();
    }

    /// Returns the `seq` of the newest message that was seen, even if there may be newer ones.
    pub(super) fn last_seen(&self) -> Option<Seq> {
        self.end.seen().map(|(seq, _)| seq)
    }

    /// Takes note that there was no message after `seq` when the store was asked. Returns true if
    /// the ring ends there.
    pub(super) fn confirm_end(&mut self, seq: Seq) -> bool {
        let is_end = self.last_seen() == Some(seq);
        if is_end {
            self.end.confirm();
        }
        is_end
    }

    /// Takes note that there was no change after `number` when the store was asked. Returns true if
    /// that is the last change that was published.
    pub(super) fn confirm_last_change(&mut self, number: ChangeSeq) -> bool {
        let is_last = self.last_change.seen() == Some(number);
        if is_last {
            self.last_change.confirm();
        }
        is_last
    }

    fn push(&mut self, message: SharedMessage) {
        self.end.advance((message.seq, message.timestamp));
        self.bytes += message.weight();
        self.messages.push_back(message);
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight();
        }
    }

    /// Takes in messages that were read from the store, in order and without a hole.
    /// `reaches_end` says that there was none after them when they were read.
    pub(super) fn load(&mut self, loaded: &[SharedMessage], reaches_end: bool) {
        let (Some(first), Some(last)) = (loaded.first(), loaded.last()) else {
            return;
        };
        if self.end().is_none() && !reaches_end {
            return;
        }

        let Some(end) = self.last_seen() else {
            loaded.iter().for_each(|message| self.push(message.clone()));
            self.end.confirm();
            return;
        };
        self.end.confirm();
        if first.seq > end.next() {
            self.drop_shown();
        }
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        if last.seq.next() >= start {
            for message in loaded.iter().rev().filter(|m| m.seq < start) {
                if self.messages.len() >= MAX_MESSAGES || self.bytes + message.weight() > MAX_BYTES
                {
                    break;
                }
                self.bytes += message.weight();
                self.messages.push_front(message.clone());
            }
        }
        loaded
            .iter()
            .filter(|m| m.seq > end)
            .for_each(|message| self.push(message.clone()));
    }

    /// Takes note that the room had no message when the store was asked.
    pub(super) fn load_empty(&mut self) {
        if self.end == Latest::Unknown {
            self.end.advance((Seq::ZERO, Timestamp::EPOCH));
        }
        self.end.confirm();
    }

    /// Forgets the messages, new and changed, not where the room ends.
    pub(super) fn drop_messages(&mut self) {
        self.drop_shown();
        self.drop_changed();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.drop_messages();
        self.end = Latest::Unknown;
        self.last_change = Latest::Unknown;
        self.generation.advance();
    }

    /// Returns the messages that the store would give, or `None` where the ring does not reach.
    pub(super) fn read(&self, range: Range, limit: usize) -> Option<Vec<SharedMessage>> {
        let (end, end_time) = self.end.confirmed()?;
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        let from_start = start <= Seq::ZERO.next();
        let take =
            |from: usize, to: usize| self.messages.range(from..to.max(from)).cloned().collect();
        let len = self.messages.len();
        match range {
            Range::After(seq) if seq >= end => Some(Vec::new()),
            Range::After(seq) => {
                let from = usize::try_from(seq.get() + 1 - start.get()).ok()?;
                Some(take(from, len.min(from + limit)))
            }
            Range::Since(time) if time >= end_time => Some(Vec::new()),
            Range::Since(time) => {
                let reaches =
                    from_start || self.messages.front().is_some_and(|m| m.timestamp <= time);
                let from = self.messages.partition_point(|m| m.timestamp <= time);
                reaches.then(|| take(from, len.min(from + limit)))
            }
            Range::Newest => {
                (from_start || len >= limit).then(|| take(len.saturating_sub(limit), len))
            }
            Range::Before(seq) => {
                let to = usize::try_from(seq.get().min(end.get() + 1) - start.get()).ok()?;
                (from_start || to >= limit).then(|| take(to.saturating_sub(limit), to))
            }
        }
    }

    /// Returns true if a read of this range at the store joins on to what is here, so that one
    /// reader's answer serves the others who miss the same.
    pub(super) fn is_near(&self, range: Range, limit: usize) -> bool {
        let Some(end) = self.end() else { return true };
        let start = self.messages.front().map_or(end.next(), |m| m.seq);
        match range {
            Range::After(seq) => {
                start.get() - seq.get() <= i64::try_from(limit).unwrap_or(i64::MAX)
            }
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

    /// Returns the answer of a room of `end` messages.
    fn model(end: i64, range: Range, limit: usize) -> Vec<SharedMessage> {
        let all: Vec<_> = (1..=end).map(testing::message).collect();
        testing::model(&all, range, limit)
            .into_iter()
            .map(SharedMessage::from)
            .collect()
    }

    fn ranges() -> impl Strategy<Value = Range> {
        prop_oneof![
            Just(Range::Newest),
            (0_i64..30).prop_map(|seq| Range::After(Seq::new(seq).expect("a seq"))),
            (0_i64..30).prop_map(|seq| Range::Before(Seq::new(seq).expect("a seq"))),
            (0_i64..300).prop_map(|time| Range::Since(testing::time(time))),
        ]
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// So many messages are committed, by this process unless its bit is set.
        Commit(i64, u8),
        /// The change stream tells of the message that lies so far back, perhaps late.
        Hear(i64),
        /// A reader asks, the store if need be, whose answer is loaded.
        Read(Range, usize),
        DropMessages,
        Clear,
        /// The change stream had a gap.
        MissChanges,
        /// The message that lies so far back is changed by this process, perhaps before it heard of
        /// it.
        Change(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_i64..4, prop_oneof![3 => Just(0_u8), 1 => any::<u8>()]).prop_map(|(n, deaf)| Step::Commit(n, deaf)),
            6 => (ranges(), 1_usize..12).prop_map(|(range, limit)| Step::Read(range, limit)),
            3 => (0_i64..6).prop_map(Step::Hear),
            1 => Just(Step::DropMessages),
            1 => Just(Step::Clear),
            1 => Just(Step::MissChanges),
            2 => (0_i64..10).prop_map(Step::Change),
        ];
        proptest::collection::vec(step, 1..40)
    }

    proptest! {
        /// The ring answers like the store as of the last
        /// message of this process or the last read of the store, or later; or not at all.
        #[test]
        fn a_ring_answers_like_the_store_or_not_at_all(steps in steps()) {
            let mut ring = Ring::default();
            let (mut stored, mut promised) = (0, 0);
            // The newest message at the last gap. The stream tells of none before it again.
            let mut missed = None;
            // The numbers of the messages that were changed, in the order of the changes.
            let mut changes: Vec<i64> = Vec::new();
            let changed = |changes: &[i64], m: SharedMessage| -> SharedMessage {
                match changes.iter().rposition(|seq| *seq == m.seq.get()) {
                    Some(at) => {
                        let change = ChangeSeq::new(at as i64 + 1);
                        let content = Some(testing::content(&format!("change {at}")));
                        Message { change, content, ..(*m).clone() }.into()
                    }
                    None => m,
                }
            };
            let model = |changes: &[i64], end, range, limit| -> Vec<SharedMessage> {
                model(end, range, limit).into_iter().map(|m| changed(changes, m)).collect()
            };
            for step in steps {
                match step {
                    Step::Commit(n, deaf) => for bit in 0..n {
                        stored += 1;
                        if deaf & (1 << bit) == 0 {
                            ring.publish(&message(stored), Writers::ThisProcess);
                            promised = stored;
                        }
                    },
                    Step::Hear(back) => if stored - back > missed.unwrap_or(0) {
                        ring.publish(&message(stored - back), Writers::Many);
                    },
                    Step::Read(range, limit) => {
                        if let Some(found) = ring.read(range, limit) {
                            let end = ring.end().expect("what answers is known").get();
                            prop_assert!(end >= promised);
                            prop_assert_eq!(found, model(&changes, end, range, limit));
                        } else {
                            let loaded = model(&changes, stored, range, limit);
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
                        ring.miss_events();
                        missed = Some(stored);
                        prop_assert!(ring.read(Range::Newest, 1).is_none());
                        if ring.last_seen().is_some_and(|seq| seq.get() == stored) {
                            prop_assert!(ring.confirm_end(Seq::new(stored).expect("a seq")));
                            promised = stored;
                        }
                    }
                    Step::Change(back) => if stored - back > 0 {
                        changes.push(stored - back);
                        let message = changed(&changes, message(stored - back));
                        prop_assert!(ring.publish_change(&message, Writers::ThisProcess));
                        prop_assert_eq!(ring.last_change(), message.change);
                    },
                }
                for after in 0..=changes.len() {
                    let Some(told) = ring.read_changes(ChangeSeq::new(after as i64).expect("a number"), 100) else {
                        continue;
                    };
                    let told: Vec<_> = told.iter().map(|m| (m.change, m.seq.get())).collect();
                    let is_last = |at: usize| !changes[at + 1..].contains(&changes[at]);
                    let wanted = (after..changes.len()).filter(|at| is_last(*at));
                    let wanted: Vec<_> =
                        wanted.map(|at| (ChangeSeq::new(at as i64 + 1), changes[at])).collect();
                    prop_assert_eq!(told, wanted);
                }
                let weights: usize =
                    ring.messages.iter().chain(&ring.changed).map(SharedMessage::weight).sum();
                prop_assert_eq!(ring.bytes(), weights);
                let seqs: Vec<_> = ring.messages.iter().map(|m| m.seq.get()).collect();
                prop_assert!(seqs.windows(2).all(|two| two[0] + 1 == two[1]), "{:?}", seqs);
            }
        }
    }

    fn change(number: i64, seq: i64) -> SharedMessage {
        Message {
            change: ChangeSeq::new(number),
            ..(*message(seq)).clone()
        }
        .into()
    }

    #[test]
    fn changes_of_other_processes_are_told_without_a_hole_or_not_at_all() {
        let mut ring = Ring::default();
        let at = |n| ChangeSeq::new(n).expect("a number");
        let told = |ring: &Ring, after| {
            let told = ring.read_changes(at(after), 100);
            told.map(|told| {
                told.iter()
                    .filter_map(|m| m.change)
                    .map(ChangeSeq::get)
                    .collect::<Vec<_>>()
            })
        };
        assert!(ring.publish_change(&change(3, 1), Writers::Many));
        assert_eq!(told(&ring, 2), None, "there may be others");
        ring.learn_last_change(at(3));
        assert_eq!(
            (told(&ring, 2), told(&ring, 3), told(&ring, 1)),
            (Some(vec![3]), Some(vec![]), None)
        );
        assert!(
            ring.publish_change(&change(4, 2), Writers::Many)
                && !ring.publish_change(&change(4, 2), Writers::Many)
        );
        assert_eq!(told(&ring, 2), Some(vec![3, 4]));
        assert!(
            ring.publish_change(&change(7, 2), Writers::Many),
            "with a hole before it"
        );
        assert_eq!(
            (told(&ring, 4), told(&ring, 6), told(&ring, 9)),
            (None, Some(vec![7]), None)
        );
        ring.miss_events();
        assert_eq!(told(&ring, 7), None);
        assert!(!ring.confirm_last_change(at(8)) && ring.confirm_last_change(at(7)));
        assert_eq!(told(&ring, 7), Some(vec![]));
    }

    #[test]
    fn changes_of_one_batch_are_taken_in_whatever_their_order() {
        let mut ring = Ring::default();
        ring.load(&messages(1..=3), true);
        ring.learn_last_change(ChangeSeq::ZERO);
        assert!(ring.publish_change(&change(2, 3), Writers::Many));
        ring.publish_change(&change(1, 2), Writers::Many);
        let shown = ring.read(Range::Newest, 2).expect("the end");
        assert_eq!(shown, [change(1, 2), change(2, 3)]);
        // A follower that began after the second of them is given the first all the same.
        assert_eq!(
            (ring.late_changes(), ring.late_after(0)),
            (1, vec![change(1, 2)])
        );
        // The log lacks the first of them, which the store has.
        assert_eq!(ring.read_changes(ChangeSeq::ZERO, 10), None);
    }

    #[test]
    fn changed_messages_are_bounded() {
        let mut ring = Ring::default();
        (1..=5_000).for_each(|n| assert!(ring.publish_change(&change(n, n), Writers::ThisProcess)));
        assert!(
            ring.changed.len() <= MAX_CHANGED
                && ring.bytes() <= MAX_CHANGED_BYTES
                && ring.changed.len() > 10
        );
    }

    #[test]
    fn a_ring_is_bounded_by_number_and_by_size() {
        let mut ring = Ring::default();
        messages(1..=10_000)
            .iter()
            .for_each(|m| assert!(ring.publish(m, Writers::ThisProcess)));
        assert_eq!(ring.messages.len(), MAX_MESSAGES);
        let long = |seq| {
            let content = Some(testing::content(&"x".repeat(4_000)));
            SharedMessage::from(Message {
                content,
                ..(*message(seq)).clone()
            })
        };
        (10_001..11_000).for_each(|seq| assert!(ring.publish(&long(seq), Writers::ThisProcess)));
        assert!(
            ring.bytes() <= MAX_BYTES && ring.messages.len() > 10,
            "{}",
            ring.messages.len()
        );
    }
}
