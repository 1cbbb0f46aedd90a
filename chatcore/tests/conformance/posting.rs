//! Posts: order, time, nonces, and faults.

use std::collections::HashSet;
use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use chatcore::{Error, NewMessage, Options, Range, Seq, Timestamp};
use tokio::task::JoinSet;

use crate::support::{
    Database, TestClock, count, message, newest, post, post_many, room, user, with_nonce,
};

pub(crate) async fn a_post_comes_back_as_it_is_stored(database: &Database) {
    let store = database.open().await;
    let mut sent = message("general", "ann", "hello\n\tthere");
    sent.verified = true;
    let posted = store.post(sent).await.expect("stored");
    assert!(!posted.repeated);
    assert_eq!(posted.message.seq.get(), 1);
    assert_eq!(posted.message.text(), Some("hello\n\tthere"));
    assert!(posted.message.is_verified());

    let second = post(&store, "general", "bob", "hi").await;
    assert!(!second.message.is_verified());

    let read = newest(&store, "general").await;
    assert_eq!(read, [posted.message, second.message]);
}

pub(crate) async fn seq_has_no_hole_and_time_strictly_increases(database: &Database) {
    let store = database.open().await;
    for i in 1..=20 {
        assert_eq!(post(&store, "a", "ann", "x").await.message.seq.get(), i);
        if i % 2 == 0 {
            assert_eq!(post(&store, "b", "ann", "x").await.message.seq.get(), i / 2);
        }
    }

    let read = newest(&store, "a").await;
    assert!(read.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
}

pub(crate) async fn time_increases_when_the_clock_stands_still_or_goes_back(database: &Database) {
    let clock = TestClock::at("2026-11-22T20:00:00Z");
    let store = database.open_with(clock.options()).await;
    let first = post(&store, "a", "ann", "1").await.message.timestamp;
    assert_eq!(first.to_string(), "2026-11-22T20:00:00.000000Z");

    let second = post(&store, "a", "ann", "2").await.message.timestamp;
    assert_eq!(second.to_string(), "2026-11-22T20:00:00.000001Z");

    clock.advance(-3_600);
    let third = post(&store, "a", "ann", "3").await.message.timestamp;
    assert_eq!(third.to_string(), "2026-11-22T20:00:00.000002Z");

    clock.advance(7_200);
    let fourth = post(&store, "a", "ann", "4").await.message.timestamp;
    assert_eq!(fourth.to_string(), "2026-11-22T21:00:00.000000Z");
}

pub(crate) async fn a_clock_at_the_end_of_time_fails_posts_and_nothing_else(database: &Database) {
    let clock = TestClock::at("9999-12-31T23:59:59.999999Z");
    let store = database.open_with(clock.options()).await;
    for _ in 0..3 {
        let refused = store.post(message("a", "ann", "x")).await;
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    }
    assert!(!store.is_closed());

    // One batch before the end, a post is still taken, and one after it.
    clock
        .0
        .store(Timestamp::MAX.as_micros() - 512, Ordering::SeqCst);
    let last = post(&store, "a", "ann", "1").await.message.timestamp;
    assert_eq!(last.to_string(), "9999-12-31T23:59:59.999487Z");

    clock
        .0
        .store(Timestamp::EPOCH.as_micros(), Ordering::SeqCst);
    let next = post(&store, "a", "ann", "2").await.message.timestamp;
    assert_eq!(next.to_string(), "9999-12-31T23:59:59.999488Z");

    // From there on the room takes no more. The others do, at the same time too.
    let (a, b) = tokio::join!(
        store.post(message("a", "ann", "3")),
        store.post(message("b", "ann", "1"))
    );
    assert!(matches!(a, Err(Error::Corrupt(_))), "{a:?}");
    assert_eq!(b.expect("stored").message.seq.get(), 1);
    assert_eq!(newest(&store, "a").await.len(), 2);
    assert_eq!(count(&store, "ann").await, 3);
}

pub(crate) async fn a_clock_that_panics_fails_the_posts_of_one_batch(database: &Database) {
    let broken = Arc::new(AtomicBool::new(true));
    let options = Options::default().clock({
        let broken = broken.clone();
        move || {
            assert!(
                !broken.load(Ordering::SeqCst),
                "the clock is broken, by plan"
            );
            Timestamp::now()
        }
    });

    let store = database.open_with(options).await;
    for _ in 0..2 {
        let refused = store.post(message("a", "ann", "x")).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    assert!(!store.is_closed());

    broken.store(false, Ordering::SeqCst);
    assert_eq!(post(&store, "a", "ann", "x").await.message.seq.get(), 1);
    assert_eq!(count(&store, "ann").await, 1);
}

pub(crate) async fn concurrent_posts_are_ordered_and_counted(database: &Database) {
    const WRITERS: usize = 32;
    const EACH: usize = 20;
    let store = database.open().await;
    let mut writers = tokio::task::JoinSet::new();

    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut last = [Seq::ZERO; 2];
            for i in 0..EACH {
                let to = i % 2;
                let posted = post(&store, ["a", "b"][to], &format!("user{writer}"), "x").await;
                assert!(
                    posted.message.seq > last[to],
                    "a later post has a higher number"
                );
                last[to] = posted.message.seq;
            }
        });
    }

    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }

    for name in ["a", "b"] {
        let mut seen = Vec::new();
        loop {
            let after = seen
                .last()
                .map_or(Seq::ZERO, |m: &chatcore::SharedMessage| m.seq);
            let page = store
                .messages(&room(name), Range::After(after), 200)
                .await
                .expect("read");
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        let numbers: Vec<_> = seen.iter().map(|m| m.seq.get()).collect();
        assert_eq!(
            numbers,
            (1..=(WRITERS * EACH / 2) as i64).collect::<Vec<_>>()
        );
        assert!(seen.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    }

    for writer in 0..WRITERS {
        let count = store
            .message_count(&user(&format!("user{writer}")))
            .await
            .expect("count");
        assert_eq!(count, EACH as u64);
    }
}

pub(crate) async fn a_room_is_created_only_by_a_post_that_may(database: &Database) {
    let store = database.open().await;
    let in_old_rooms = |to: &str| NewMessage {
        may_create_room: false,
        ..message(to, "ann", "x")
    };
    let refused = store.post(in_old_rooms("a")).await;
    assert!(matches!(refused, Err(Error::RoomNotFound)), "{refused:?}");
    assert!(matches!(
        store.room(&room("a")).await,
        Err(Error::RoomNotFound)
    ));

    let creating = store
        .post(message("a", "ann", "x").with_nonce("n".parse().expect("a nonce")))
        .await;
    let creating = creating.expect("stored");
    assert!(creating.created_room);

    let repeat = store
        .post(message("a", "ann", "x").with_nonce("n".parse().expect("a nonce")))
        .await;
    let repeat = repeat.expect("answered");
    assert!(repeat.repeated && !repeat.created_room);
    assert!(!post(&store, "a", "ann", "x").await.created_room);
    assert!(
        !store
            .post(in_old_rooms("a"))
            .await
            .expect("stored")
            .created_room
    );

    store.create_room(&room("b")).await.expect("created");
    assert!(
        !store
            .post(in_old_rooms("b"))
            .await
            .expect("stored")
            .created_room
    );
}

pub(crate) async fn of_many_posts_to_a_new_room_one_creates_it(database: &Database) {
    let store = database.open().await;
    let posts = (0..20).map(|i| {
        let store = store.clone();
        async move {
            post(&store, "a", &format!("user{i}"), "x")
                .await
                .created_room
        }
    });

    let created = futures_util::future::join_all(posts).await;
    assert_eq!(created.into_iter().filter(|created| *created).count(), 1);
}

pub(crate) async fn a_nonce_makes_one_message(database: &Database) {
    let store = database.open().await;
    let first = store
        .post(with_nonce("a", "ann", "hello", "n1"))
        .await
        .expect("stored");
    post(&store, "a", "bob", "between").await;
    let again = store
        .post(with_nonce("a", "ann", "hello", "n1"))
        .await
        .expect("repeated");
    assert!(!first.repeated && again.repeated);
    assert_eq!(first.message, again.message);

    let other_text = store.post(with_nonce("a", "ann", "other", "n1")).await;
    assert!(
        matches!(other_text, Err(Error::NonceConflict)),
        "{other_text:?}"
    );
    assert_eq!(count(&store, "ann").await, 1);
    assert_eq!(newest(&store, "a").await.len(), 2);

    store.close().await.expect("closed");
    let store = database.open().await;
    assert!(
        store
            .post(with_nonce("a", "ann", "hello", "n1"))
            .await
            .expect("repeated")
            .repeated
    );
}

pub(crate) async fn a_nonce_belongs_to_its_sender_and_room(database: &Database) {
    let store = database.open().await;
    for (to, sender, nonce) in [
        ("a", "ann", "n"),
        ("a", "bob", "n"),
        ("b", "ann", "n"),
        ("a", "ann", "N"),
    ] {
        let posted = store
            .post(with_nonce(to, sender, "x", nonce))
            .await
            .expect("stored");
        assert!(!posted.repeated, "{to} {sender} {nonce}");
    }
}

pub(crate) async fn the_same_nonce_at_the_same_time_makes_one_message(database: &Database) {
    let store = database.open().await;
    let mut posts = tokio::task::JoinSet::new();
    for i in 0..40 {
        let store = store.clone();
        let text = if i % 4 == 3 { "other" } else { "same" };
        posts.spawn(async move { (text, store.post(with_nonce("a", "ann", text, "n")).await) });
    }

    let answers = posts.join_all().await;
    let read = newest(&store, "a").await;
    let [stored] = read.as_slice() else {
        panic!("{read:?}")
    };
    let mut made = 0;

    for (text, answer) in answers {
        match answer {
            Ok(posted) => {
                assert_eq!(posted.message, *stored);
                assert_eq!(Some(text), stored.text());
                made += usize::from(!posted.repeated);
            }
            Err(Error::NonceConflict) => assert_ne!(Some(text), stored.text()),
            Err(other) => panic!("{other}"),
        }
    }

    assert_eq!(made, 1);
    assert_eq!(count(&store, "ann").await, 1);
}

pub(crate) async fn a_nonce_clash_fails_alone(database: &Database) {
    let store = database.open().await;
    store
        .post(with_nonce("a", "ann", "taken", "n"))
        .await
        .expect("stored");
    let mut posts = tokio::task::JoinSet::new();

    for i in 0..30 {
        let store = store.clone();
        posts.spawn(async move {
            match i % 3 {
                0 => store.post(with_nonce("a", "ann", "clash", "n")).await,
                1 => {
                    store
                        .post(with_nonce("b", "ann", "new", &format!("n{i}")))
                        .await
                }
                _ => store.post(message("a", "bob", "plain")).await,
            }
        });
    }

    let answers = posts.join_all().await;
    let refused = answers
        .iter()
        .filter(|a| matches!(a, Err(Error::NonceConflict)))
        .count();
    let stored: HashSet<_> = answers
        .iter()
        .flatten()
        .map(|p| (p.message.room.clone(), p.message.seq))
        .collect();
    assert_eq!((refused, stored.len()), (10, 20));
    assert_eq!(count(&store, "ann").await, 11);
    assert_eq!(count(&store, "bob").await, 10);

    let numbers = newest(&store, "a").await;
    assert_eq!(
        numbers.iter().map(|m| m.seq.get()).collect::<Vec<_>>(),
        (1..=11).collect::<Vec<_>>()
    );
}

pub(crate) async fn the_nonces_of_a_burst_are_found_again(database: &Database) {
    let store = database.open().await;
    let burst = async |store: &chatcore::ChatStore| {
        let mut posts = tokio::task::JoinSet::new();
        for i in 0..60 {
            let store = store.clone();
            // Every third without a nonce, so that those with one are not in a row.
            let mut message = message("a", ["ann", "bob"][i % 2], &i.to_string());
            if i % 3 > 0 {
                message = message.with_nonce(format!("n{}", i / 2).parse().expect("a nonce"));
            }
            posts.spawn(async move { (i, store.post(message).await.expect("stored")) });
        }
        let mut posted = posts.join_all().await;
        posted.sort_by_key(|(i, _)| *i);
        posted
            .into_iter()
            .map(|(_, posted)| posted)
            .collect::<Vec<_>>()
    };

    let first = burst(&store).await;
    store.close().await.expect("closed");
    let store = database.open().await;
    let again = burst(&store).await;

    for (i, (first, again)) in first.iter().zip(&again).enumerate() {
        assert!(!first.repeated);
        assert_eq!(again.repeated, i % 3 > 0, "{i}");
        assert_eq!(first.message == again.message, i % 3 > 0, "{i}");
    }

    assert_eq!(newest(&store, "a").await.len(), 80);
}

pub(crate) async fn a_dropped_post_is_stored_whole_or_not_at_all(database: &Database) {
    let store = database.open().await;
    for i in 0..20 {
        let mut dropped = Box::pin(store.post(message("a", "ann", &format!("dropped {i}"))));
        // Polled once, so that it is in the queue.
        let _ = dropped
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(dropped);
        post(&store, "a", "bob", "waited for").await;
    }

    let read = newest(&store, "a").await;
    let numbers: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
    assert_eq!(numbers, (1..=read.len() as i64).collect::<Vec<_>>());

    let (by_ann, by_bob): (Vec<_>, Vec<_>) =
        read.iter().partition(|m| m.sender() == Some(&user("ann")));
    assert_eq!(by_bob.len(), 20);
    assert_eq!(count(&store, "ann").await, by_ann.len() as u64);
}

pub(crate) async fn posts_go_on_while_others_read_and_log_in_all_the_time(database: &Database) {
    let store = database.open().await;
    post_many(&store, "a", "ann", 300).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();

    for i in 0..90 {
        let (store, done) = (store.clone(), done.clone());
        others.spawn(async move {
            let guest = user(&format!("guest{i}"));
            while !done.load(Ordering::SeqCst) {
                if i % 3 == 0 {
                    // A turn may be refused under such a load.
                    let _ = store.log_in_guest(&guest, "").await;
                } else {
                    // History comes from the database.
                    let _ = store
                        .messages(
                            &room("a"),
                            Range::Before(Seq::new(100 + i).expect("a seq")),
                            50,
                        )
                        .await;
                }
            }
        });
    }

    for i in 0..15 {
        post(&store, "a", "ann", &i.to_string()).await;
    }

    done.store(true, Ordering::SeqCst);
    others.join_all().await;
}
