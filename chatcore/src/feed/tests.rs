use super::rooms::{KEEP, MAX_BYTES, MAX_IDLE};
use super::*;
use crate::backend::EventSink as _;
use crate::model::BatchId;
use crate::testing;
use crate::types::{Message, Seq};

fn name(text: &str) -> RoomName {
    text.parse().expect(text)
}

fn message(room: &RoomName, seq: i64, text: &str) -> SharedMessage {
    let content = Some(testing::content(text));
    Message {
        room: room.clone(),
        content,
        ..testing::message(seq)
    }
    .into()
}

#[test]
fn a_room_nobody_reads_or_follows_goes_after_a_while() {
    let (feed, _due) = Feed::new(true);
    let (read, followed, attended) = (name("read"), name("followed"), name("attended"));
    feed.publish_to(&feed.room(&read), [message(&read, 1, "x")], []);
    let listener = feed.room(&followed).subscribe();
    feed.enter(&feed.room(&attended), &"ann".parse().expect("a name"));
    feed.rooms.sweep_as_of(KEEP.as_secs());
    assert_eq!(feed.live_counts().rooms, 3, "not yet");
    feed.rooms.sweep_as_of(KEEP.as_secs() + 1);
    assert!(feed.rooms.get(&read).is_none());
    assert_eq!((feed.live_counts().rooms, feed.live_counts().bytes), (2, 0));
    drop(listener);
    feed.rooms.sweep_as_of(KEEP.as_secs() + 1);
    assert!(feed.rooms.get(&followed).is_none() && feed.rooms.get(&attended).is_some());
}

#[test]
fn the_number_of_rooms_that_are_only_read_has_a_limit() {
    let (feed, _due) = Feed::new(true);
    for i in 0..4 * MAX_IDLE {
        feed.room(&name(&i.to_string()));
    }
    assert!(feed.live_counts().rooms <= 2 * MAX_IDLE + 1);
}

#[test]
fn the_memory_of_all_rings_has_a_limit() {
    let (feed, _due) = Feed::new(true);
    let text = "x".repeat(4_000);
    let listeners: Vec<_> = (0..400)
        .map(|i| {
            let room = name(&i.to_string());
            let entry = feed.room(&room);
            let listener = entry.subscribe();
            for seq in 1..=40 {
                feed.publish_to(&entry, [message(&room, seq, &text)], []);
                feed.rooms.shrink();
            }
            assert!(feed.live_counts().bytes <= MAX_BYTES);
            listener
        })
        .collect();
    let sum: usize = feed
        .rooms
        .all()
        .iter()
        .map(|room| room.ring().bytes())
        .sum();
    assert_eq!(sum, feed.live_counts().bytes);
    assert!(sum > MAX_BYTES / 2 && listeners.len() == 400);
    // The end of the room is still known.
    assert!(
        feed.rooms
            .all()
            .iter()
            .all(|room| room.end() == Seq::new(40))
    );
}

#[test]
fn a_feed_that_is_paused_says_nothing_and_goes_on_from_there() {
    let (feed, _due) = Feed::new(true);
    let room = name("a");
    feed.publish_to(&feed.room(&room), [message(&room, 1, "x")], []);
    assert!(feed.read(&room, Range::Newest, 1).is_some());
    feed.pause();
    assert!(feed.read(&room, Range::Newest, 1).is_none());
    feed.resume();
    assert!(feed.read(&room, Range::Newest, 1).is_some());
}

/// The first message of a room.
fn batch(room: &RoomName) -> Batch {
    let room_batch = RoomBatch {
        room: room.clone(),
        after: None,
        after_is_durable: false,
        messages: vec![testing::batch_message(1)],
        changes: Vec::new(),
        members: Vec::new(),
        assumes_members: false,
    };
    Batch {
        id: BatchId([1; 12]),
        rooms: vec![room_batch],
        counts: Vec::new(),
        guests: Vec::new(),
    }
}

#[test]
fn a_commit_does_not_hide_a_later_one_of_another_process() {
    for is_forgotten in [false, true] {
        let (feed, _due) = Feed::new(false);
        feed.begin_epoch();
        let room = name("a");
        let entry = feed.room(&room);
        entry.ring().load_empty();

        feed.publish_to(&entry, [message(&room, 2, "later")], []);
        if is_forgotten {
            feed.rooms.update_ring(&entry, Ring::clear);
        }
        feed.publish_batch(&batch(&room));
        let after_own = feed.read(&room, Range::After(Seq::ZERO.next()), 1);
        assert_ne!(after_own, Some(Vec::new()), "{is_forgotten}");
    }
}

#[test]
fn after_a_gap_a_room_answers_once_it_is_renewed_and_its_end_is_known() {
    let (feed, _due) = Feed::new(true);
    let (room, seq) = (name("a"), Seq::ZERO.next());
    let entry = feed.room(&room);
    let _follower = entry.subscribe();
    feed.publish_to(&entry, [message(&room, 1, "x")], []);
    feed.begin_epoch();
    let read = || feed.read(&room, Range::After(seq), 1);
    assert!(read().is_none(), "it may have changed meanwhile");
    assert_eq!(feed.rooms_to_refresh().len(), 1);
    // An answer to an earlier question changes nothing.
    let early = entry.generation();
    feed.renew(&entry);
    assert!(!feed.confirm_end(&entry, early, seq));
    assert!(read().is_none());
    assert_eq!(feed.rooms_to_refresh().len(), 1);
    assert!(feed.confirm_end(&entry, entry.generation(), seq));
    assert_eq!(read(), Some(Vec::new()));
    assert!(
        feed.read(&room, Range::Newest, 1).is_none(),
        "it may have changed"
    );
    assert!(feed.rooms_to_refresh().is_empty());
    assert_eq!(entry.last_change(), None);
}
