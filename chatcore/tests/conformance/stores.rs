use chatcore::{Error, Range};

use crate::{Place, message, post, room, user, with_nonce};

pub(crate) async fn everything_is_there_after_reopening(place: &Place) {
    let store = place.open().await;
    let first = store.post(with_nonce("a", "ann", "1", "n")).await.expect("stored").message;
    store.create_room(&room("empty")).await.expect("created");
    store.join(&room("a"), &user("bob")).await.expect("joined");
    let (token, session) = store.log_in_guest(&user("ann"), "device").await.expect("logged in");
    let state = store.room(&room("a")).await.expect("a room");
    store.close().await.expect("closed");

    let store = place.open().await;
    assert_eq!(store.room(&room("a")).await.expect("a room"), state);
    assert_eq!(store.session(&token).await.expect("looked up"), Some((session, false)));
    assert_eq!(store.users(&room("a"), None, 10).await.expect("users"), [user("ann"), user("bob")]);
    let second = post(&store, "a", "ann", "2").await.message;
    assert_eq!(second.seq.get(), 2);
    assert!(second.timestamp > first.timestamp);
    assert_eq!(store.messages(&room("a"), Range::Newest, 10).await.expect("read"), [first, second]);
    assert_eq!(store.message_count(&user("ann")).await.expect("count"), 2);
    assert_eq!(post(&store, "empty", "ann", "1").await.message.seq.get(), 1);
}

pub(crate) async fn who_has_left_stays_away_after_reopening(place: &Place) {
    let store = place.open().await;
    post(&store, "a", "ann", "1").await;
    store.leave(&room("a"), &user("ann")).await.expect("left");
    store.close().await.expect("closed");
    let store = place.open().await;
    assert!(store.users(&room("a"), None, 10).await.expect("users").is_empty());
    assert_eq!(store.message_count(&user("ann")).await.expect("count"), 1);
}

pub(crate) async fn a_closed_store_refuses_and_is_free(place: &Place) {
    let store = place.open().await;
    // What is in the queue when the store is closed is still committed.
    let mut posts = tokio::task::JoinSet::new();
    for i in 0..50 {
        let store = store.clone();
        posts.spawn(async move { store.post(message("a", "ann", &i.to_string())).await });
    }
    post(&store, "a", "bob", "x").await;
    store.close().await.expect("closed");
    store.close().await.expect("closed already");
    let stored = posts.join_all().await.into_iter().filter(Result::is_ok).count();
    assert!(matches!(store.post(message("a", "ann", "late")).await, Err(Error::Unavailable(_))));

    let store = place.open().await;
    assert_eq!(store.message_count(&user("ann")).await.expect("count"), stored as u64);
}

pub(crate) async fn two_handles_are_one_store(place: &Place) {
    let store = place.open().await;
    let other = store.clone();
    post(&store, "a", "ann", "1").await;
    assert_eq!(post(&other, "a", "ann", "2").await.message.seq.get(), 2);
    drop(store);
    assert_eq!(other.message_count(&user("ann")).await.expect("count"), 2);
    other.ping().await.expect("still open");
}
