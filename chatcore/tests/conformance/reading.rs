//! Reads of messages and counters.

use chatcore::{Error, Range, Seq, SharedMessage, Timestamp};

use crate::support::{Database, TestClock, count, message, newest, post, post_many, room, user};

fn texts(messages: &[SharedMessage]) -> Vec<&str> {
    messages.iter().filter_map(|m| m.text()).collect()
}

pub(crate) async fn an_unknown_room_has_no_messages(database: &Database) {
    let store = database.open().await;
    for range in [
        Range::Newest,
        Range::After(Seq::ZERO),
        Range::Since(Timestamp::EPOCH),
    ] {
        assert_eq!(
            store
                .messages(&room("nowhere"), range, 50)
                .await
                .expect("read"),
            [] as [SharedMessage; 0]
        );
    }

    assert!(matches!(
        store.room(&room("nowhere")).await,
        Err(Error::RoomNotFound)
    ));
    assert!(matches!(
        store.members(&room("nowhere"), None, 10).await,
        Err(Error::RoomNotFound)
    ));
    assert!(store.rooms(None, 10).await.expect("rooms").is_empty());
}

pub(crate) async fn ranges_give_the_right_end(database: &Database) {
    let clock = TestClock::at("2026-11-22T20:00:00Z");
    let store = database.open_with(clock.options()).await;
    for i in 1..=5 {
        post(&store, "a", "ann", &i.to_string()).await;
        post(&store, "b", "ann", "elsewhere").await;
        clock.advance(10);
    }

    let read = async |range, limit| {
        let messages = store
            .messages(&room("a"), range, limit)
            .await
            .expect("read");
        texts(&messages)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let seq = |n| Seq::new(n).expect("a seq");
    let time = |seconds: i64| {
        let start = "2026-11-22T20:00:00Z"
            .parse::<Timestamp>()
            .expect("time")
            .as_micros();
        Timestamp::from_micros(start + seconds * 1_000_000).expect("a time")
    };
    assert_eq!(read(Range::Newest, 2).await, ["4", "5"]);
    assert_eq!(read(Range::Newest, 200).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(read(Range::After(seq(1)), 2).await, ["2", "3"]);
    assert_eq!(read(Range::After(seq(5)), 2).await, [""; 0]);
    assert_eq!(read(Range::After(seq(i64::MAX)), 2).await, [""; 0]);
    assert_eq!(read(Range::Since(time(0)), 2).await, ["2", "3"]);
    assert_eq!(read(Range::Since(time(-1)), 2).await, ["1", "2"]);
    assert_eq!(read(Range::Since(time(35)), 2).await, ["5"]);
    assert_eq!(read(Range::Since(time(40)), 2).await, [""; 0]);
    assert_eq!(read(Range::Before(seq(4)), 2).await, ["2", "3"]);
    assert_eq!(read(Range::Before(seq(1)), 2).await, [""; 0]);
    assert_eq!(read(Range::Before(seq(0)), 2).await, [""; 0]);
    assert_eq!(read(Range::Before(seq(i64::MAX)), 2).await, ["4", "5"]);
}

pub(crate) async fn limits_are_checked(database: &Database) {
    let store = database.open().await;
    post(&store, "a", "ann", "x").await;
    for limit in [0, 201, u32::MAX] {
        let refused = store.messages(&room("a"), Range::Newest, limit).await;
        assert!(
            matches!(&refused, Err(Error::Invalid(e)) if e.field == "limit"),
            "{refused:?}"
        );
    }

    for limit in [0, 1_001] {
        assert!(store.rooms(None, limit).await.is_err());
        assert!(store.members(&room("a"), None, limit).await.is_err());
    }
    assert_eq!(newest(&store, "a").await.len(), 1);
}

pub(crate) async fn a_room_of_10_000_messages_is_paged_in_both_directions(database: &Database) {
    const ALL: i64 = 10_000;
    let store = database.open().await;
    post_many(&store, "long", "ann", ALL as usize).await;

    let mut forward = Vec::new();
    let mut by_time = Vec::new();
    let mut backward = Vec::new();

    while forward.len() < ALL as usize {
        let after = Seq::new(forward.len() as i64).expect("a seq");
        let page = store
            .messages(&room("long"), Range::After(after), 200)
            .await
            .expect("read");
        assert_eq!(page.len(), 200, "a page is as long as was asked for");
        forward.extend(page);
    }

    while by_time.len() < ALL as usize {
        let since = by_time
            .last()
            .map_or(Timestamp::EPOCH, |m: &SharedMessage| m.timestamp);
        let page = store
            .messages(&room("long"), Range::Since(since), 200)
            .await
            .expect("read");
        assert_eq!(page.len(), 200, "a page is as long as was asked for");
        by_time.extend(page);
    }

    while backward.len() < ALL as usize {
        let before = backward
            .first()
            .map_or(Seq::new(i64::MAX).expect("a seq"), |m: &SharedMessage| {
                m.seq
            });
        let mut page = store
            .messages(&room("long"), Range::Before(before), 200)
            .await
            .expect("read");
        assert_eq!(page.len(), 200, "a page is as long as was asked for");
        page.append(&mut backward);
        backward = page;
    }

    let numbers: Vec<_> = forward.iter().map(|m| m.seq.get()).collect();
    assert_eq!(numbers, (1..=ALL).collect::<Vec<_>>());
    assert_eq!(forward, by_time);
    assert_eq!(forward, backward);
    assert_eq!(count(&store, "ann").await, ALL as u64);
}

pub(crate) async fn texts_come_back_to_the_letter(database: &Database) {
    let store = database.open().await;
    let long = "𝄞".repeat(4_000);
    let all = [
        "'; DROP TABLE messages; --",
        "{\"$gt\": \"\"}",
        "$where",
        "<script>alert(1)</script>",
        "{name} {{ if x }}",
        "line\nline\ttab",
        " leading and trailing ",
        "e\u{301} is not normalised in a text",
        "\u{202e}right to left",
        "👩‍👩‍👧‍👦",
        long.as_str(),
    ];
    for text in all {
        store.post(message("a", "ann", text)).await.expect("stored");
    }

    let read = newest(&store, "a").await;
    assert_eq!(texts(&read), all);
}

pub(crate) async fn counters_are_exact_and_zero_for_strangers(database: &Database) {
    let store = database.open().await;
    assert_eq!(count(&store, "ann").await, 0);

    for i in 1..=3 {
        post(&store, "a", "ann", "x").await;
        post(&store, "b", "ann", "x").await;
        post(&store, "a", "Ann", "x").await;
        assert_eq!(count(&store, "ann").await, 2 * i);
        assert_eq!(count(&store, "Ann").await, i);
    }

    store
        .join(&room("a"), &user("lurker"))
        .await
        .expect("joined");
    assert_eq!(count(&store, "lurker").await, 0);
}

pub(crate) async fn counters_of_many_users_are_exact_at_every_moment(database: &Database) {
    const USERS: usize = 700;
    const EACH: u64 = 3;
    let store = database.open().await;
    let watched = user("user0");

    for round in 0..EACH {
        let mut posts = tokio::task::JoinSet::new();
        for i in 0..USERS {
            let (store, message) = (store.clone(), message("a", &format!("user{i}"), "x"));
            posts.spawn(async move { store.post(message).await.expect("stored") });
        }
        while !posts.is_empty() {
            let count = store.message_count(&watched).await.expect("count");
            assert!(
                (round..=round + 1).contains(&count),
                "{count} in round {round}"
            );
            while posts.try_join_next().is_some() {}
        }
    }

    for i in 0..USERS {
        let count = store
            .message_count(&user(&format!("user{i}")))
            .await
            .expect("count");
        assert_eq!(count, EACH, "user{i}");
    }
}
