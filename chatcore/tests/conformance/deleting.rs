//! Deleted messages, and the counters of their senders.

use chatcore::{Actor, ChangeSeq, Error, Position, Privacy, Range, Update};
use tokio::time::timeout;

use crate::support::{
    Database, SOON, as_account, as_guest, assert_forbidden, assert_hidden, count, newest, post,
    post_verified, register_all, room, seq, user, with_nonce,
};

pub(crate) async fn a_deleted_message_leaves_its_number_and_nothing_else(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let q = room("q");
    let ann = as_account(&store, "ann");
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));

    for i in 1..=40 {
        post_verified(
            &store,
            "q",
            if i % 2 == 0 { "bob" } else { "guestless" },
            &i.to_string(),
        )
        .await;
    }

    let nonce = with_nonce("q", "guest", "with a nonce", "n1");
    let last = store.post(nonce.clone()).await.expect("stored").message;
    let before = store.messages(&q, Range::Newest, 200).await.expect("read");
    let mut watchers = Vec::new();

    for store in [&store, &other] {
        watchers.push(store.watch(&q, Position::new(last.seq, ChangeSeq::ZERO)));
        watchers.push(
            store
                .as_user(Actor::Anonymous)
                .follow(&q, last.seq)
                .await
                .expect("let in")
                .with_changes(ChangeSeq::ZERO),
        );
    }

    // The sender's own, and as the owner of the room.
    as_account(&other, "bob")
        .delete_message(&q, seq(4))
        .await
        .expect("deleted");
    ann.delete_message(&q, seq(17)).await.expect("deleted");
    ann.delete_message(&q, last.seq).await.expect("deleted");

    for who in [
        as_account(&store, "bob"),
        as_guest(&store, "guest"),
        as_guest(&store, "bob"),
        store.as_user(Actor::Anonymous),
    ] {
        assert_forbidden(who.delete_message(&q, seq(19)).await);
    }

    let gone = [4, 17, 41];
    for store in [&store, &other] {
        let read = store.messages(&q, Range::Newest, 200).await.expect("read");
        for (was, is) in before.iter().zip(&read) {
            assert_eq!((was.seq, was.timestamp), (is.seq, is.timestamp));
            if gone.contains(&is.seq.get()) {
                assert!(is.is_deleted() && is.content.is_none() && was.change != is.change);
            } else {
                assert_eq!(was, is);
            }
        }
        assert_eq!(
            store
                .messages(&q, Range::After(seq(3)), 1)
                .await
                .expect("read"),
            read[3..4]
        );
        assert_eq!(
            store
                .messages(&q, Range::Before(seq(18)), 1)
                .await
                .expect("read"),
            read[16..17]
        );
        let since = Range::Since(before[15].timestamp);
        assert_eq!(
            store.messages(&q, since, 2).await.expect("read"),
            read[16..18]
        );
        for (name, count) in [("bob", 19), ("guestless", 19), ("guest", 0)] {
            assert_eq!(
                store.message_count(&user(name)).await.expect("count"),
                count,
                "{name}"
            );
        }
        // The post was made, and is not made again.
        let repeat = store.post(nonce.clone()).await.expect("repeated");
        assert!(repeat.repeated && repeat.message.is_deleted() && repeat.message.seq == last.seq);
        assert_eq!(store.room(&q).await.expect("a room").last_seq, last.seq);
    }

    for mut watcher in watchers {
        let mut told = Vec::new();
        while told.len() < gone.len() {
            match timeout(SOON, watcher.next())
                .await
                .expect("in time")
                .expect("watched")
            {
                Update::Changed(changed) => {
                    told.extend(changed.iter().map(|message| message.seq.get()))
                }
                Update::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, gone);
    }

    // Once more changes nothing, whoever asks for it.
    as_account(&other, "bob")
        .delete_message(&q, seq(4))
        .await
        .expect("is deleted");
    ann.delete_message(&q, seq(4)).await.expect("is deleted");
    assert_eq!(count(&store, "bob").await, 19);

    for number in [0, 42, i64::MAX] {
        let missing = ann.delete_message(&q, seq(number)).await;
        assert!(
            matches!(missing, Err(Error::MessageNotFound)),
            "{missing:?}"
        );
    }

    assert_hidden(ann.delete_message(&room("nowhere"), seq(1)).await);
    assert_eq!(post_verified(&other, "q", "bob", "next").await, seq(42));

    store.close().await.expect("closed");
    other.close().await.expect("closed");
    let again = database.open().await;
    let read = again.messages(&q, Range::Newest, 200).await.expect("read");
    let deleted: Vec<_> = read
        .iter()
        .filter(|m| m.is_deleted())
        .map(|m| m.seq.get())
        .collect();

    assert_eq!((read.len(), deleted), (42, gone.into()));
    assert_eq!(count(&again, "bob").await, 20);
}

pub(crate) async fn counters_are_exact_while_messages_come_and_go(database: &Database) {
    let stores = database.open_twice().await;
    let ann = user("ann");
    let churn = stores.clone().map(|store| {
        tokio::spawn(async move {
            for _ in 0..60 {
                let posted = post(&store, "a", "ann", "x").await.message;
                store
                    .delete_message(&room("a"), posted.seq)
                    .await
                    .expect("deleted");
            }
        })
    });

    // Each of the two has at most one message at a time.
    while !churn.iter().all(tokio::task::JoinHandle::is_finished) {
        for store in &stores {
            let count = store.message_count(&ann).await.expect("count");
            assert!(count <= 2, "{count}");
        }
    }

    for done in churn {
        done.await.expect("no panic");
    }

    for store in &stores {
        assert_eq!(store.message_count(&ann).await.expect("count"), 0);
        let read = newest(store, "a").await;
        assert!(read.len() == 120 && read.iter().all(|m| m.is_deleted()));
    }
}
