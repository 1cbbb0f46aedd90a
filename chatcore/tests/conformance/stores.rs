//! Opening, closing and reopening.

use std::time::Duration;

use chatcore::{ChatStore, Error, Options, Range, Seq};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use crate::support::{Database, count, message, post, room, user, with_nonce};

pub(crate) async fn everything_is_there_after_reopening(database: &Database) {
    let store = database.open().await;
    let first = store
        .post(with_nonce("a", "ann", "1", "n"))
        .await
        .expect("stored")
        .message;
    store.create_room(&room("empty")).await.expect("created");
    store.join(&room("a"), &user("bob")).await.expect("joined");
    let (token, session) = store
        .log_in_guest(&user("ann"), "device")
        .await
        .expect("logged in");
    let state = store.room(&room("a")).await.expect("a room");
    store.close().await.expect("closed");

    let store = database.open().await;
    assert_eq!(store.room(&room("a")).await.expect("a room"), state);
    assert_eq!(
        store.session(&token).await.expect("looked up"),
        Some(session)
    );
    assert_eq!(
        store.members(&room("a"), None, 10).await.expect("users"),
        [user("ann"), user("bob")]
    );

    let second = post(&store, "a", "ann", "2").await.message;
    assert_eq!(second.seq.get(), 2);
    assert!(second.timestamp > first.timestamp);
    assert_eq!(
        store
            .messages(&room("a"), Range::Newest, 10)
            .await
            .expect("read"),
        [first, second]
    );
    assert_eq!(count(&store, "ann").await, 2);
    assert_eq!(post(&store, "empty", "ann", "1").await.message.seq.get(), 1);
}

pub(crate) async fn a_user_who_left_stays_away_after_reopening(database: &Database) {
    let store = database.open().await;
    post(&store, "a", "ann", "1").await;
    store.leave(&room("a"), &user("ann")).await.expect("left");
    store.close().await.expect("closed");
    let store = database.open().await;

    assert!(
        store
            .members(&room("a"), None, 10)
            .await
            .expect("users")
            .is_empty()
    );
    assert_eq!(count(&store, "ann").await, 1);
}

pub(crate) async fn a_closed_store_refuses_and_is_free(database: &Database) {
    let store = database.open().await;
    // Posts in the queue of a store that is closed are still committed.
    let mut posts = tokio::task::JoinSet::new();
    for i in 0..50 {
        let store = store.clone();
        posts.spawn(async move { store.post(message("a", "ann", &i.to_string())).await });
    }

    post(&store, "a", "bob", "x").await;
    store.close().await.expect("closed");
    store.close().await.expect("closed already");
    let stored = posts
        .join_all()
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert!(matches!(
        store.post(message("a", "ann", "late")).await,
        Err(Error::Closed)
    ));

    let store = database.open().await;
    assert_eq!(count(&store, "ann").await, stored as u64);
}

pub(crate) async fn a_close_that_was_given_up_goes_on_and_can_be_repeated(database: &Database) {
    let store = database.open().await;
    post(&store, "a", "ann", "1").await;
    let _ = store.close().now_or_never();
    assert!(store.is_closed());

    store.close().await.expect("closed");
    let refused = [
        store.post(message("a", "ann", "late")).await.map(drop),
        store.messages(&room("a"), Range::Newest, 1).await.map(drop),
        store.message_count(&user("ann")).await.map(drop),
        store.join(&room("a"), &user("bob")).await,
        store.delete_message(&room("a"), Seq::ZERO.next()).await,
        store.ping().await,
    ];
    for refused in refused {
        let error = refused.expect_err("closed");
        assert!(
            matches!(error, Error::Closed) && !error.is_transient(),
            "{error:?}"
        );
    }

    // Given up and not repeated, it is carried out all the same.
    let store = database.open().await;
    let _ = store.close().now_or_never();
    let again = async {
        loop {
            match ChatStore::open(&database.address).await {
                Err(Error::InUse(_)) => tokio::task::yield_now().await,
                opened => break opened.expect("opened"),
            }
        }
    };

    let again = timeout(Duration::from_secs(30), again)
        .await
        .expect("in time");
    assert_eq!(count(&again, "ann").await, 1);
}

pub(crate) async fn options_out_of_their_range_are_refused_by_name(database: &Database) {
    let refused = async |option: &str, options: Options| match ChatStore::open_with(
        &database.address,
        options,
    )
    .await
    {
        Err(Error::Invalid(invalid)) => assert_eq!(invalid.field, option),
        other => panic!("{option}: {other:?}"),
    };
    for queue in [0, usize::MAX] {
        refused("queue", Options::default().queue(queue)).await;
    }

    for time in [Duration::ZERO, Duration::MAX] {
        refused("timeout", Options::default().timeout(time)).await;
        refused("session_idle", Options::default().session_idle(time)).await;
    }

    let largest = Options::default()
        .queue(1_048_576)
        .timeout(Duration::from_secs(60 * 60))
        .session_idle(Duration::from_secs(3_650 * 24 * 60 * 60));
    let store = database.open_with(largest).await;
    post(&store, "a", "ann", "1").await;
}

pub(crate) async fn two_handles_are_one_store(database: &Database) {
    let store = database.open().await;
    let other = store.clone();
    post(&store, "a", "ann", "1").await;
    assert_eq!(post(&other, "a", "ann", "2").await.message.seq.get(), 2);
    drop(store);
    assert_eq!(count(&other, "ann").await, 2);
    other.ping().await.expect("still open");
}
