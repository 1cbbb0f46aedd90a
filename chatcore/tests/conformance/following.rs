use std::time::Duration;

use chatcore::{ChatStore, Range, Seq, SharedMessage};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use crate::{Place, post, post_many, room};

/// For what must happen; no test passes by waiting this long.
const SOON: Duration = Duration::from_secs(20);

fn places(messages: &[SharedMessage]) -> Vec<i64> {
    messages.iter().map(|m| m.seq.get()).collect()
}

/// The places of the next `n` messages after `after`.
async fn follow(store: &ChatStore, name: &str, after: i64, n: usize) -> Vec<i64> {
    let after = Seq::new(after).expect("a place");
    let stream = store.follow(&room(name), after).into_stream().take(n);
    let found = timeout(SOON, stream.try_collect::<Vec<_>>()).await.expect("in time").expect("followed");
    places(&found)
}

pub(crate) async fn a_follower_gets_history_and_then_what_is_posted(place: &Place) {
    let store = place.open().await;
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
    assert_eq!(follower.await.expect("followed"), (4..=1_300).collect::<Vec<_>>());
    assert_eq!(unborn.await.expect("followed"), [1]);
}

pub(crate) async fn followers_of_a_room_share_its_messages(place: &Place) {
    let store = place.open().await;
    let (mut one, mut two) = (store.follow(&room("a"), Seq::ZERO), store.follow(&room("a"), Seq::ZERO));
    post(&store, "a", "ann", "hello").await;
    let first = timeout(SOON, one.next()).await.expect("in time").expect("followed");
    let second = timeout(SOON, two.next()).await.expect("in time").expect("followed");
    assert_eq!(first, second);
    assert_eq!(one.position().get(), 1);
    let read = store.messages(&room("a"), Range::Newest, 1).await.expect("read");
    assert_eq!(read, first);
}

pub(crate) async fn a_reader_who_waits_is_answered_by_the_next_post(place: &Place) {
    let store = place.open().await;
    post(&store, "a", "ann", "1").await;
    let newest = store.messages(&room("a"), Range::Newest, 1).await.expect("read")[0].clone();
    for range in [Range::After(newest.seq), Range::Since(newest.timestamp)] {
        let none = store.wait_for_messages(&room("a"), range, 50, Duration::ZERO).await.expect("read");
        assert!(none.is_empty());
    }
    let waits = [Range::After(newest.seq), Range::Since(newest.timestamp)].map(|range| {
        let store = store.clone();
        tokio::spawn(async move { store.wait_for_messages(&room("a"), range, 50, SOON).await.expect("read") })
    });
    post(&store, "a", "ann", "2").await;
    for wait in waits {
        assert_eq!(places(&wait.await.expect("waited")), [2]);
    }
    // What is there already is not waited for.
    let all = store.wait_for_messages(&room("a"), Range::After(Seq::ZERO), 50, SOON).await.expect("read");
    assert_eq!(places(&all), [1, 2]);
}

pub(crate) async fn what_was_posted_is_read_at_once(place: &Place) {
    let store = place.open().await;
    for i in 1..=100 {
        let posted = post(&store, "a", "ann", "x").await.message;
        let after = Range::After(Seq::new(i - 1).expect("a place"));
        assert_eq!(store.messages(&room("a"), after, 50).await.expect("read"), std::slice::from_ref(&posted));
        assert_eq!(store.messages(&room("a"), Range::Newest, 1).await.expect("read"), [posted]);
    }
    assert_eq!(store.last_seq(&room("a")).await.expect("read").get(), 100);
    assert_eq!(store.last_seq(&room("none")).await.expect("read").get(), 0);
}

pub(crate) async fn a_follower_is_told_when_the_store_closes(place: &Place) {
    let store = place.open().await;
    let mut follower = store.follow(&room("a"), Seq::ZERO);
    let told = tokio::spawn(async move { follower.next().await });
    store.close().await.expect("closed");
    let told = timeout(SOON, told).await.expect("in time").expect("no panic");
    assert!(told.is_err());
}
