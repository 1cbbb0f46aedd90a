//! Calls for the program that owns the store: lists of everything, vouched sessions, counters.

use std::time::Duration;

use chatcore::{Error, NewMessage, Privacy, Seq};
use tokio::time::timeout;

use crate::support::{Database, SOON, message, post, post_many, room, user, with_nonce};

fn assert_name_taken<T: std::fmt::Debug>(result: chatcore::Result<T>) {
    assert!(matches!(result, Err(Error::NameTaken)), "{result:?}");
}

pub(crate) async fn the_program_lists_all_rooms_and_accounts(database: &Database) {
    let store = database.open().await;
    for name in ["zoe", "Ann", "bob"] {
        store.claim_name(&user(name)).await.expect("claimed");
    }
    post(&store, "public b", "guest", "x").await;
    for (name, privacy) in [
        ("private c", Privacy::Private),
        ("public a", Privacy::Public),
    ] {
        let (name, owner) = (room(name), user("Ann"));
        let created = store.create_room_for(&name, &owner, privacy).await;
        assert!(created.expect("created"));
    }

    let all = ["private c", "public a", "public b"].map(room);
    assert_eq!(store.all_rooms(None, 10).await.expect("rooms"), all);
    assert_eq!(store.all_rooms(None, 2).await.expect("rooms"), all[..2]);
    let rest = store.all_rooms(Some(&all[0]), 10).await.expect("rooms");
    assert_eq!(rest, all[1..]);
    assert_eq!(store.rooms(None, 10).await.expect("rooms"), all[1..]);

    let accounts = ["Ann", "bob", "zoe"].map(user);
    assert_eq!(store.accounts(None, 10).await.expect("names"), accounts);
    let first = store.accounts(None, 1).await.expect("names");
    let rest = store.accounts(first.last(), 10).await.expect("names");
    assert_eq!((first, rest), (vec![user("Ann")], accounts[1..].to_vec()));

    let members = store.members(&all[0], None, 10).await.expect("members");
    assert_eq!(members, [user("Ann")]);
    let rooms = store.rooms_of(&user("Ann"), None, 10).await.expect("rooms");
    assert!(rooms.iter().any(|known| known.room == all[0]), "{rooms:?}");
    for limit in [0, 1_001] {
        assert!(store.all_rooms(None, limit).await.is_err());
        assert!(store.accounts(None, limit).await.is_err());
    }
}

pub(crate) async fn a_vouched_account_is_one_without_a_password(database: &Database) {
    let [store, other] = database.open_twice().await;
    let ann = user("ann");
    let (guest, _) = store.log_in_guest(&ann, "").await.expect("a guest");
    let (token, session) = store.vouch(&ann, "Firefox").await.expect("vouched");
    assert!(session.verified);
    assert_eq!(
        other.session(&token).await.expect("asked"),
        Some(session.clone())
    );
    assert_eq!(
        other.session(&guest).await.expect("asked"),
        None,
        "the guest's ended"
    );

    // The name cannot be had in another way, and has no password.
    for name in ["ann", "ANN"] {
        let password = "correct horse".parse().expect("a password");
        assert_name_taken(other.register(&user(name), &password, "").await);
        assert!(other.log_in_guest(&user(name), "").await.is_err(), "{name}");
        assert!(
            other.post(message("a", name, "as a guest")).await.is_err(),
            "{name}"
        );
    }
    for password in ["", "correct horse"] {
        let refused = other.log_in(&ann, password, "").await;
        assert!(matches!(refused, Err(Error::WrongPassword)), "{refused:?}");
    }
    let reserved = other.vouch(&user("Ann"), "").await;
    assert!(matches!(reserved, Err(Error::NameReserved)), "{reserved:?}");

    // It does what an account may.
    let by_ann = other.as_user(session.actor());
    let plans = room("plans");
    assert!(
        by_ann
            .create_room(&plans, Privacy::Private)
            .await
            .expect("created")
    );
    let posted = NewMessage {
        verified: true,
        ..message("plans", "ann", "helo")
    };
    let posted = store.post(posted).await.expect("posted").message;
    let edited = by_ann.edit_message(&plans, posted.seq, "hello".parse().expect("a text"));
    assert_eq!(edited.await.expect("edited").text(), Some("hello"));

    // Another session of the same account, and of one that has a password.
    let (_, second) = other.vouch(&ann, "Safari").await.expect("vouched again");
    assert_eq!(store.sessions(&ann).await.expect("sessions").len(), 2);
    assert_ne!(second.id, session.id);
    let password = "correct horse".parse().expect("a password");
    store
        .register(&user("bob"), &password, "")
        .await
        .expect("registered");
    store.vouch(&user("bob"), "").await.expect("vouched");
    store
        .log_in(&user("bob"), "correct horse", "")
        .await
        .expect("the password stays");
}

pub(crate) async fn of_vouches_at_the_same_time_all_succeed(database: &Database) {
    let stores = database.open_twice().await;
    let mut vouches = tokio::task::JoinSet::new();
    for i in 0..8_usize {
        let store = stores[i % 2].clone();
        vouches.spawn(async move { store.vouch(&user("ann"), "").await });
    }
    for vouched in vouches.join_all().await {
        vouched.expect("vouched");
    }
    assert_eq!(
        stores[0]
            .sessions(&user("ann"))
            .await
            .expect("sessions")
            .len(),
        8
    );
}

pub(crate) async fn a_follower_begins_at_the_read_mark(database: &Database) {
    let store = database.open().await;
    let (a, ann) = (room("a"), user("ann"));
    let posted = post_many(&store, "a", "bob", 3).await;
    assert_eq!(
        store.read_mark(&ann, &a).await.expect("a mark"),
        Seq::ZERO,
        "nothing was read"
    );
    store
        .mark_read(&ann, &a, posted[1].seq)
        .await
        .expect("marked");
    assert_eq!(
        store.read_mark(&ann, &a).await.expect("a mark"),
        posted[1].seq
    );

    let next = async |store: &chatcore::ChatStore| {
        let mut unread = store
            .follow_from_read_mark(&a, &ann)
            .await
            .expect("followed");
        timeout(SOON, unread.next())
            .await
            .expect("in time")
            .expect("messages")
    };
    assert_eq!(next(&store).await, posted[2..]);

    // The mark is stored with the store, and read from it.
    store.close().await.expect("closed");
    let store = database.open().await;
    assert_eq!(next(&store).await, posted[2..]);
    let by_ann = store.as_user(chatcore::Actor::Guest(ann.clone()));
    assert_eq!(by_ann.read_mark(&a).await.expect("a mark"), posted[1].seq);
    let mut unread = by_ann.follow_from_read_mark(&a).await.expect("followed");
    let unread = timeout(SOON, unread.next()).await.expect("in time");
    assert_eq!(unread.expect("messages"), posted[2..]);
}

pub(crate) async fn counters_tell_what_was_posted(database: &Database) {
    let store = database.open().await;
    assert_eq!(store.stats(), chatcore::Stats::default());
    for nonce in ["1", "2", "2"] {
        let post = with_nonce("a", "ann", nonce, nonce);
        store.post(post).await.expect("posted");
    }
    let (a, text) = (room("a"), "edited".parse().expect("a text"));
    let edited = store.edit_message(&a, Seq::ZERO.next(), text).await;
    edited.expect("edited");

    let stats = store.stats();
    assert_eq!((stats.posts, stats.repeats, stats.changes), (2, 1, 1));
    assert_eq!((stats.batches, stats.queued), (3, 0));
    assert!(stats.commit_time > Duration::ZERO, "{stats:?}");
}
