//! Readers who wait, followers, watchers, presence and read marks.

use std::time::Duration;

use chatcore::{
    ChangeSeq, ChatStore, Error, Position, Range, Seq, SharedMessage, Update, UserUpdate, Watcher,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use crate::support::{Database, SOON, post, post_many, room, user};

fn numbers(messages: &[SharedMessage]) -> Vec<i64> {
    messages.iter().map(|m| m.seq.get()).collect()
}

/// The numbers of the next `n` messages after `after`.
async fn follow(store: &ChatStore, name: &str, after: i64, n: usize) -> Vec<i64> {
    let after = Seq::new(after).expect("a seq");
    let stream = store.follow(&room(name), after).take(n);
    let found = timeout(SOON, stream.try_collect::<Vec<_>>())
        .await
        .expect("in time")
        .expect("followed");
    numbers(&found)
}

pub(crate) async fn a_follower_gets_history_and_then_what_is_posted(database: &Database) {
    let store = database.open().await;
    post_many(&store, "a", "ann", 1_000).await;
    let follower = tokio::spawn({
        let store = store.clone();
        async move { follow(&store, "a", 3, 1_297).await }
    });
    let unborn = tokio::spawn({
        let store = store.clone();
        async move { follow(&store, "b", 0, 1).await }
    });
    post_many(&store, "a", "bob", 300).await;
    post(&store, "b", "bob", "first").await;

    assert_eq!(
        follower.await.expect("followed"),
        (4..=1_300).collect::<Vec<_>>()
    );
    assert_eq!(unborn.await.expect("followed"), [1]);
}

pub(crate) async fn followers_of_a_room_share_its_messages(database: &Database) {
    let store = database.open().await;
    let (mut one, mut two) = (
        store.follow(&room("a"), Seq::ZERO),
        store.follow(&room("a"), Seq::ZERO),
    );
    post(&store, "a", "ann", "hello").await;
    let first = timeout(SOON, one.next())
        .await
        .expect("in time")
        .expect("followed");
    let second = timeout(SOON, two.next())
        .await
        .expect("in time")
        .expect("followed");

    assert_eq!(first, second);
    assert_eq!(one.position().get(), 1);

    let read = store
        .messages(&room("a"), Range::Newest, 1)
        .await
        .expect("read");
    assert_eq!(read, first);
}

pub(crate) async fn a_reader_who_waits_is_answered_by_the_next_post(database: &Database) {
    let store = database.open().await;
    post(&store, "a", "ann", "1").await;
    let newest = store
        .messages(&room("a"), Range::Newest, 1)
        .await
        .expect("read")[0]
        .clone();

    for range in [Range::After(newest.seq), Range::Since(newest.timestamp)] {
        let none = store
            .wait_for_messages(&room("a"), range, 50, Duration::ZERO)
            .await
            .expect("read");
        assert!(none.is_empty());
    }

    let waits = [Range::After(newest.seq), Range::Since(newest.timestamp)].map(|range| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .wait_for_messages(&room("a"), range, 50, SOON)
                .await
                .expect("read")
        })
    });
    post(&store, "a", "ann", "2").await;
    for wait in waits {
        assert_eq!(numbers(&wait.await.expect("waited")), [2]);
    }

    // Messages that are there already are not waited for.
    let all = store
        .wait_for_messages(&room("a"), Range::After(Seq::ZERO), 50, SOON)
        .await
        .expect("read");
    assert_eq!(numbers(&all), [1, 2]);
}

pub(crate) async fn a_post_is_read_at_once(database: &Database) {
    let store = database.open().await;
    for i in 1..=100 {
        let posted = post(&store, "a", "ann", "x").await.message;
        let after = Range::After(Seq::new(i - 1).expect("a seq"));
        assert_eq!(
            store.messages(&room("a"), after, 50).await.expect("read"),
            std::slice::from_ref(&posted)
        );
        assert_eq!(
            store
                .messages(&room("a"), Range::Newest, 1)
                .await
                .expect("read"),
            [posted]
        );
    }

    assert_eq!(store.last_seq(&room("a")).await.expect("read").get(), 100);
    assert_eq!(store.last_seq(&room("none")).await.expect("read").get(), 0);
}

pub(crate) async fn followers_end_with_what_the_store_holds(database: &Database) {
    let store = database.open().await;
    post(&store, "a", "ann", "x").await;
    let (a, end) = (room("a"), Seq::ZERO.next());
    let mut follower = store.follow(&a, end);
    let mut watcher = store.watch(&a, Position::new(end, ChangeSeq::ZERO));
    until_present(&mut watcher, &[]).await;
    let mut user_watcher = store.watch_user(&user("ann"));
    let stream = store.follow(&a, end).collect::<Vec<_>>();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .wait_for_messages(&room("a"), Range::After(end), 1, SOON)
                .await
        }
    });

    let ends = tokio::spawn(async move {
        let followed = follower.next().await.map(drop);
        let again = follower.next().await.map(drop);
        [
            followed,
            again,
            watcher.next().await.map(drop),
            user_watcher.next().await.map(drop),
        ]
    });
    let stream = tokio::spawn(stream);
    store.close().await.expect("closed");

    for end in timeout(SOON, ends)
        .await
        .expect("in time")
        .expect("no panic")
    {
        assert!(matches!(end, Err(Error::Closed)), "{end:?}");
    }

    assert!(
        timeout(SOON, stream)
            .await
            .expect("in time")
            .expect("no panic")
            .is_empty()
    );

    let waited = timeout(SOON, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(matches!(waited, Err(Error::Closed)), "{waited:?}");
}

async fn until<T>(watcher: &mut Watcher, mut wanted: impl FnMut(Update) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = wanted(watcher.next().await.expect("watched")) {
                return found;
            }
        }
    };
    timeout(SOON, found).await.expect("in time")
}

/// Waits until these are there.
async fn until_present(watcher: &mut Watcher, names: &[&str]) {
    let wanted: Vec<_> = names.iter().map(|name| user(name)).collect();
    until(watcher, |update| {
        matches!(update, Update::Presence(p) if p.users() == wanted).then_some(())
    })
    .await;
}

pub(crate) async fn a_watcher_sees_presence_typing_and_posts(database: &Database) {
    let store = database.open().await;
    let mut watcher = store.watch(&room("a"), Position::START);
    until_present(&mut watcher, &[]).await;
    let ann = store.enter(&room("a"), &user("ann"));
    let ann_again = store.enter(&room("a"), &user("ann"));
    let bob = store.enter(&room("a"), &user("bob"));
    let _elsewhere = store.enter(&room("b"), &user("eve"));
    until_present(&mut watcher, &["ann", "bob"]).await;
    drop((ann, bob));
    until_present(&mut watcher, &["ann"]).await;
    store.type_in(&room("a"), &user("ann"));
    let typing = until(&mut watcher, |update| match update {
        Update::Typing(users) => Some(users),
        _ => None,
    });

    assert_eq!(typing.await, [user("ann")]);

    post(&store, "a", "ann", "hello").await;
    let posted = until(&mut watcher, |update| match update {
        Update::Messages(messages) => Some(numbers(&messages)),
        _ => None,
    });
    assert_eq!(posted.await, [1]);

    drop(ann_again);
    until_present(&mut watcher, &[]).await;
}

pub(crate) async fn a_slow_watcher_of_a_user_is_told_that_updates_are_missing(database: &Database) {
    let store = database.open().await;
    let ann = user("ann");
    let mut watcher = store.watch_user(&ann);

    for n in 0..40 {
        let joined = store.join(&room(&format!("room{n}")), &ann).await;
        joined.expect("joined");
    }

    let first = timeout(SOON, watcher.next()).await.expect("in time");
    assert_eq!(first.expect("heard"), UserUpdate::Missed);
    let next = timeout(SOON, watcher.next()).await.expect("in time");
    assert_eq!(next.expect("heard"), UserUpdate::RoomsChanged);
}

pub(crate) async fn a_read_mark_only_moves_forward(database: &Database) {
    let store = database.open().await;
    let (ann, seq) = (user("ann"), |n| Seq::new(n).expect("a seq"));
    assert!(matches!(
        store.mark_read(&ann, &room("a"), seq(0)).await,
        Err(Error::RoomNotFound)
    ));

    post_many(&store, "a", "bob", 5).await;
    post_many(&store, "b", "bob", 2).await;
    store.join(&room("a"), &ann).await.expect("joined");
    store.join(&room("empty"), &ann).await.expect("joined");
    let mut heard = store.watch_user(&ann);

    for (to, is) in [(3, 3), (2, 3), (5, 5), (0, 5)] {
        assert_eq!(
            store
                .mark_read(&ann, &room("a"), seq(to))
                .await
                .expect("marked"),
            seq(is)
        );
    }

    let first = timeout(SOON, heard.next())
        .await
        .expect("in time")
        .expect("heard");
    assert_eq!(
        first,
        UserUpdate::Read {
            room: room("a"),
            seq: seq(3)
        }
    );

    let beyond = store
        .mark_read(&ann, &room("a"), seq(6))
        .await
        .expect_err("beyond the end");
    assert_eq!(
        beyond.to_string(),
        "seq must be at most 5, the newest message"
    );

    // The mark in a room that one has not joined is kept until one joins.
    store
        .mark_read(&ann, &room("b"), seq(1))
        .await
        .expect("marked");
    post(&store, "a", "bob", "6").await;
    let summary = async || {
        let rooms = store.rooms_of(&ann, None, 10).await.expect("rooms");
        rooms
            .iter()
            .map(|r| (r.room.to_string(), r.read_seq.get(), r.unread()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        summary().await,
        [("a".into(), 5, 1), ("empty".into(), 0, 0)]
    );

    store.join(&room("b"), &ann).await.expect("joined");
    assert_eq!(
        summary().await,
        [
            ("a".into(), 5, 1),
            ("b".into(), 1, 1),
            ("empty".into(), 0, 0)
        ]
    );

    store.leave(&room("a"), &ann).await.expect("left");
    assert_eq!(
        summary().await,
        [("b".into(), 1, 1), ("empty".into(), 0, 0)]
    );
    assert!(
        store
            .rooms_of(&user("nobody"), None, 10)
            .await
            .expect("rooms")
            .is_empty()
    );
}

pub(crate) async fn read_marks_outlive_the_store_and_never_move_back(database: &Database) {
    let (store, a) = (database.open().await, room("a"));
    post_many(&store, "a", "bob", 50).await;
    let users: Vec<_> = (0..20).map(|i| user(&format!("user{i}"))).collect();
    let seq = |n| Seq::new(n).expect("a seq");
    let marks_of = async |store: &ChatStore| {
        let mut numbers = Vec::new();
        for user in &users {
            numbers.extend(
                store
                    .rooms_of(user, None, 10)
                    .await
                    .expect("rooms")
                    .iter()
                    .map(|room| room.read_seq.get()),
            );
        }
        numbers
    };
    for user in &users {
        store.join(&a, user).await.expect("joined");
    }

    for to in 1..=50 {
        for user in &users {
            assert_eq!(
                store.mark_read(user, &a, seq(to)).await.expect("marked"),
                seq(to)
            );
        }
    }

    assert_eq!(
        marks_of(&store).await,
        [50; 20],
        "seen before they are written"
    );

    store.close().await.expect("closed");
    let late = store.mark_read(&users[0], &a, seq(50)).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");

    let store = database.open().await;
    assert_eq!(marks_of(&store).await, [50; 20]);

    post(&store, "a", "bob", "51").await;
    for (to, is) in [(7, 50), (51, 51), (9, 51)] {
        assert_eq!(
            store
                .mark_read(&users[0], &a, seq(to))
                .await
                .expect("marked"),
            seq(is)
        );
    }

    // Dropped, it writes them too.
    drop(store);
    let written = async {
        loop {
            match ChatStore::open(&database.address).await {
                Ok(store) if marks_of(&store).await[0] == 51 => break,
                Ok(store) => store.close().await.expect("closed"),
                Err(error) => assert!(matches!(error, Error::InUse(_)), "{error}"),
            }
        }
    };

    timeout(SOON, written).await.expect("in time");
}

pub(crate) async fn followers_who_go_leave_nothing_behind(database: &Database) {
    let store = database.open().await;
    let mut held = Vec::new();
    for i in 0..50 {
        let (name, who) = (room(&(i % 3).to_string()), user(&(i % 7).to_string()));
        held.push((
            store.watch(&name, Position::START),
            store.enter(&name, &who),
            store.watch_user(&who),
        ));
    }

    let counts = store.live_counts();
    assert_eq!(
        (counts.rooms, counts.followers, counts.present, counts.users),
        (3, 50, 50, 7)
    );

    drop(held);
    let counts = store.live_counts();
    assert_eq!((counts.followers, counts.present, counts.users), (0, 0, 0));
}
