//! Private rooms, owners, and bans.

use std::time::Duration;

use chatcore::{
    Actor, ChangeSeq, ChatStore, Error, NewMessage, Position, Privacy, Range, Result, Seq, Update,
    UserStore,
};
use tokio::time::timeout;

use crate::support::{
    Database, SOON, as_account, as_guest, assert_forbidden, assert_hidden, message, post,
    post_verified, register_all, room, seq, user, verified, with_nonce,
};

#[track_caller]
fn assert_claimed<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::NameClaimed)), "{result:?}");
}

/// A private room of ann's with one message, seen at two processes.
async fn private(database: &Database) -> [ChatStore; 2] {
    let stores = database.open_twice().await;
    register_all(&stores[0], &["ann", "bob", "eve"]).await;
    assert!(
        as_account(&stores[0], "ann")
            .create_room(&room("p"), Privacy::Private)
            .await
            .expect("created")
    );

    post_verified(&stores[0], "p", "ann", "secret").await;
    stores
}

async fn sees_nothing(store: &ChatStore, view: &UserStore) {
    let p = room("p");
    assert_hidden(view.room(&p).await);
    assert_hidden(view.members(&p, None, 10).await);

    for range in [
        Range::Newest,
        Range::After(Seq::ZERO),
        Range::Before(seq(9)),
    ] {
        assert!(view.messages(&p, range, 10).await.expect("read").is_empty());
    }

    let waited = view
        .wait_for_messages(&p, Range::After(Seq::ZERO), 10, Duration::from_millis(1))
        .await;
    assert!(waited.expect("read").is_empty());
    assert_eq!(view.last_seq(&p).await.expect("read"), Seq::ZERO);
    assert_hidden(view.follow(&p, Seq::ZERO).await);
    assert_hidden(view.watch(&p, Position::START).await);
    assert!(!view.rooms(None, 10).await.expect("rooms").contains(&p));
    assert!(!store.rooms(None, 10).await.expect("rooms").contains(&p));
    assert_forbidden(view.create_room(&p, Privacy::Public).await);
    assert_forbidden(view.create_room(&p, Privacy::Private).await);
    assert_hidden(view.delete_message(&p, seq(1)).await);
    assert_hidden(view.invite(&p, &user("eve")).await);
    assert_hidden(view.remove(&p, &user("ann")).await);
    assert_hidden(view.ban(&p, &user("ann")).await);
    assert_hidden(view.unban(&p, &user("ann")).await);
    assert_hidden(view.bans(&p, None, 10).await);
}

pub(crate) async fn a_private_room_is_there_for_its_members_alone(database: &Database) {
    let [store, other] = private(database).await;
    let p = room("p");
    for store in [&store, &other] {
        for view in [
            as_account(store, "eve"),
            as_guest(store, "guest"),
            as_guest(store, "ann"),
            store.as_user(Actor::Anonymous),
        ] {
            sees_nothing(store, &view).await;
        }
        for view in [as_account(store, "eve"), as_guest(store, "guest")] {
            assert_hidden(view.join(&p).await);
            assert_hidden(view.leave(&p).await);
            assert_hidden(view.mark_read(&p, seq(1)).await);
            assert_hidden(view.type_in(&p).await);
        }
        assert_hidden(store.post(verified("p", "eve", "let me in")).await);
        assert_hidden(store.post(message("p", "guest", "let me in")).await);
        assert_hidden(store.post(with_nonce("p", "guest", "let me in", "n")).await);
        // Not even who is in it: a name with an account gets the same answer, whether it is a
        // member's or not, and in a room that does not exist.
        for (to, name) in [("p", "ann"), ("p", "eve"), ("none", "ann")] {
            assert_claimed(store.post(message(to, name, "as somebody else")).await);
        }
    }

    assert!(
        as_account(&store, "eve")
            .rooms(None, 10)
            .await
            .expect("rooms")
            .is_empty()
    );
    assert!(
        store
            .rooms_of(&user("eve"), None, 10)
            .await
            .expect("rooms")
            .is_empty()
    );

    let ann = as_account(&other, "ann");
    let found = ann.room(&p).await.expect("a room");
    assert_eq!(
        (found.private, found.owner, found.last_seq, found.members),
        (true, Some(user("ann")), seq(1), 1)
    );
    assert_eq!(
        ann.messages(&p, Range::Newest, 10).await.expect("read")[0].text(),
        Some("secret")
    );
    assert_eq!(
        ann.rooms(None, 10).await.expect("rooms"),
        std::slice::from_ref(&p)
    );
    assert_eq!(
        store.privacy(&p).await.expect("asked"),
        Some(Privacy::Private)
    );
    assert_eq!(store.privacy(&room("q")).await.expect("asked"), None);

    // Who is invited is in it at every process.
    ann.invite(&p, &user("bob")).await.expect("invited");
    for store in [&store, &other] {
        let bob = as_account(store, "bob");
        assert_eq!(
            bob.messages(&p, Range::Newest, 10)
                .await
                .expect("read")
                .len(),
            1
        );
        assert_eq!(
            bob.members(&p, None, 10).await.expect("users"),
            [user("ann"), user("bob")]
        );
        assert_eq!(
            bob.rooms(None, 10).await.expect("rooms"),
            std::slice::from_ref(&p)
        );
        assert!(
            !bob.create_room(&p, Privacy::Private)
                .await
                .expect("existed")
        );
        assert!(!bob.create_room(&p, Privacy::Public).await.expect("existed"));
        bob.join(&p).await.expect("is a member");
        bob.mark_read(&p, seq(1)).await.expect("marked");
        assert_forbidden(bob.invite(&p, &user("eve")).await);
        assert_forbidden(bob.remove(&p, &user("ann")).await);
        assert_forbidden(bob.ban(&p, &user("ann")).await);
        assert_forbidden(bob.delete_message(&p, seq(1)).await);
    }

    post_verified(&other, "p", "bob", "thanks").await;
    let rooms = store.rooms_of(&user("bob"), None, 10).await.expect("rooms");
    assert_eq!((rooms.len(), rooms[0].unread()), (1, 1));

    sees_nothing(&store, &as_account(&store, "eve")).await;
}

pub(crate) async fn private_and_public_rooms_are_listed_in_one_order(database: &Database) {
    let store = database.open().await;
    register_all(&store, &["ann", "bob"]).await;
    for name in ["b", "d", "f"] {
        assert!(store.create_room(&room(name)).await.expect("created"));
    }

    for (name, owner) in [("a", "ann"), ("c", "ann"), ("e", "bob"), ("g", "ann")] {
        assert!(
            as_account(&store, owner)
                .create_room(&room(name), Privacy::Private)
                .await
                .expect("created")
        );
    }

    let listed = async |view: &UserStore, after: Option<&str>, limit| {
        let rooms = view
            .rooms(after.map(room).as_ref(), limit)
            .await
            .expect("rooms");
        rooms
            .iter()
            .map(|room| room.as_str().to_owned())
            .collect::<String>()
    };
    assert_eq!(listed(&as_account(&store, "ann"), None, 10).await, "abcdfg");
    assert_eq!(
        listed(&as_account(&store, "ann"), Some("b"), 3).await,
        "cdf"
    );
    assert_eq!(listed(&as_account(&store, "ann"), Some("f"), 3).await, "g");
    assert_eq!(listed(&as_account(&store, "bob"), None, 10).await, "bdef");
    assert_eq!(listed(&as_guest(&store, "bob"), None, 10).await, "bdf");
    assert_eq!(
        listed(&store.as_user(Actor::Anonymous), None, 10).await,
        "bdf"
    );
}

pub(crate) async fn whether_a_room_is_private_never_changes(database: &Database) {
    let [store, other] = private(database).await;
    let (p, q) = (room("p"), room("q"));
    let ann = as_account(&other, "ann");
    assert!(!ann.create_room(&p, Privacy::Public).await.expect("existed"));
    assert_eq!(
        store.privacy(&p).await.expect("asked"),
        Some(Privacy::Private)
    );
    assert!(!store.create_room(&p).await.expect("existed"));

    post(&store, "q", "guest", "first").await;
    assert!(matches!(
        ann.create_room(&q, Privacy::Private).await,
        Err(Error::PrivacyFixed)
    ));
    assert!(matches!(
        ann.invite(&q, &user("bob")).await,
        Err(Error::Forbidden(_))
    ));

    // The maker of a room owns it; a room made by a post has no owner.
    assert_eq!(store.room(&q).await.expect("a room").owner, None);
    assert!(
        ann.create_room(&room("r"), Privacy::Public)
            .await
            .expect("created")
    );
    assert_eq!(
        store.room(&room("r")).await.expect("a room").owner,
        Some(user("ann"))
    );
    assert!(matches!(
        ann.invite(&room("r"), &user("bob")).await,
        Err(Error::RoomIsPublic)
    ));
    assert!(matches!(
        ann.remove(&room("r"), &user("bob")).await,
        Err(Error::RoomIsPublic)
    ));
    assert_forbidden(
        store
            .as_user(Actor::Anonymous)
            .create_room(&room("s"), Privacy::Private)
            .await,
    );
    assert_forbidden(
        as_guest(&store, "guest")
            .create_room(&room("s"), Privacy::Private)
            .await,
    );
    assert!(
        as_guest(&store, "guest")
            .create_room(&room("s"), Privacy::Public)
            .await
            .expect("created")
    );
    assert_eq!(store.room(&room("s")).await.expect("a room").owner, None);

    for name in ["nobody", "Bob"] {
        let unknown = ann.invite(&p, &user(name)).await;
        assert!(
            matches!(unknown, Err(Error::AccountNotFound)),
            "{name}: {unknown:?}"
        );
    }

    let unknown = store
        .create_room_for(&room("t"), &user("nobody"), Privacy::Private)
        .await;
    assert!(matches!(unknown, Err(Error::AccountNotFound)));
    assert_hidden(store.invite(&room("t"), &user("bob")).await);
    assert_hidden(store.ban(&room("t"), &user("bob")).await);
}

pub(crate) async fn of_creations_at_the_same_time_one_makes_the_room(database: &Database) {
    let stores = database.open_twice().await;
    register_all(&stores[0], &["ann", "bob"]).await;
    for i in 0..10 {
        let name = room(&i.to_string());
        let make = |store: &ChatStore, owner: &str, privacy| {
            let (view, name) = (as_account(store, owner), name.clone());
            tokio::spawn(async move { view.create_room(&name, privacy).await })
        };
        let post = tokio::spawn({
            let (store, message) = (stores[1].clone(), message(name.as_str(), "guest", "x"));
            async move { store.post(message).await }
        });
        let (a, b) = (
            make(&stores[0], "ann", Privacy::Private),
            make(&stores[1], "bob", Privacy::Public),
        );
        let (a, b, post) = (
            a.await.expect("no panic"),
            b.await.expect("no panic"),
            post.await.expect("no panic"),
        );
        let made = [&a, &b]
            .into_iter()
            .filter(|made| matches!(made, Ok(true)))
            .count();
        let found = stores[0].room(&name).await.expect("a room");
        assert!(made <= 1, "{a:?} {b:?}");
        match found.private {
            true => assert!(
                post.is_err() && found.owner == Some(user("ann")) && found.last_seq == Seq::ZERO
            ),
            false => assert!(post.is_ok() && !matches!(a, Ok(true)), "{post:?} {a:?}"),
        }
    }
}

pub(crate) async fn nothing_reaches_a_removed_user(database: &Database) {
    let [store, other] = private(database).await;
    let p = room("p");
    let ann = as_account(&store, "ann");
    ann.invite(&p, &user("bob")).await.expect("invited");
    let bob = as_account(&other, "bob");
    let mut follower = bob.follow(&p, Seq::ZERO).await.expect("let in");
    let watch = bob.watch(&p, Position::START).await.expect("let in");
    let (mut watcher, attending) = (watch.watcher, watch.presence);
    let waiting = tokio::spawn({
        let (bob, p) = (bob.clone(), p.clone());
        async move {
            bob.wait_for_messages(&p, Range::After(seq(2)), 10, Duration::from_secs(2))
                .await
        }
    });
    for text in ["2"] {
        post_verified(&store, "p", "ann", text).await;
    }

    let mut followed = 0;
    while followed < 2 {
        followed += timeout(SOON, follower.next())
            .await
            .expect("in time")
            .expect("followed")
            .len();
    }

    post_verified(&other, "p", "bob", "3").await;
    let third = timeout(SOON, follower.next())
        .await
        .expect("in time")
        .expect("followed");
    assert_eq!(third[0].text(), Some("3"));

    ann.remove(&p, &user("bob")).await.expect("removed");
    assert_hidden(other.post(verified("p", "bob", "again")).await);

    for i in 0..20 {
        let by = if i % 2 == 0 { &store } else { &other };
        post_verified(by, "p", "ann", "after").await;
    }
    assert_hidden(timeout(SOON, follower.next()).await.expect("in time"));

    loop {
        match timeout(SOON, watcher.next()).await.expect("in time") {
            Ok(Update::Messages(messages)) => {
                assert!(messages.iter().all(|m| m.text() != Some("after")))
            }
            Ok(_) => {}
            Err(error) => break assert!(matches!(error, Error::RoomNotFound), "{error:?}"),
        }
    }

    drop(attending);
    let waited = waiting.await.expect("no panic").expect("read");
    assert!(
        waited.iter().all(|m| m.text() != Some("after")),
        "{waited:?}"
    );

    sees_nothing(&other, &bob).await;
    // Until there is another invitation, which shows all of it.
    ann.invite(&p, &user("bob")).await.expect("invited");
    assert_eq!(bob.last_seq(&p).await.expect("read"), seq(23));
    assert_eq!(post_verified(&other, "p", "bob", "back").await, seq(24));

    bob.leave(&p).await.expect("left");
    sees_nothing(&other, &bob).await;
}

pub(crate) async fn no_post_of_a_banned_user_is_stored(database: &Database) {
    let stores = database.open_twice().await;
    let [store, other] = &stores;
    register_all(store, &["ann"]).await;
    let (q, ann) = (room("q"), as_account(store, "ann"));
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));

    post(store, "q", "ann2", "first").await;
    for round in 0..5 {
        let name = format!("guest{round}");
        let hammers = stores.clone().map(|store| {
            let name = name.clone();
            tokio::spawn(async move {
                let mut stored = 0;
                loop {
                    match store.post(message("q", &name, "spam")).await {
                        Ok(_) => stored += 1,
                        Err(error) => {
                            assert!(matches!(error, Error::Banned), "{error:?}");
                            return stored;
                        }
                    }
                }
            })
        });
        while store.message_count(&user(&name)).await.expect("count") < 5 {
            tokio::task::yield_now().await;
        }
        ann.ban(&q, &user(&name)).await.expect("banned");
        // As the store has it: what was committed before the ban may be published after it.
        let at_the_ban = store.room(&q).await.expect("a room").last_seq;
        assert!(matches!(
            other.post(message("q", &name, "more")).await,
            Err(Error::Banned)
        ));
        let mut stored: u64 = 0;
        for hammer in hammers {
            stored += hammer.await.expect("no panic");
        }
        assert_eq!(
            store.message_count(&user(&name)).await.expect("count"),
            stored
        );
        let after = store
            .messages(&q, Range::After(at_the_ban), 200)
            .await
            .expect("read");
        assert!(
            after.iter().all(|m| m.sender() != Some(&user(&name))),
            "{after:?}"
        );
        assert!(
            !store
                .members(&q, None, 100)
                .await
                .expect("users")
                .contains(&user(&name))
        );
    }
}

pub(crate) async fn a_ban_holds_for_a_name_in_any_case_until_it_is_lifted(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann"]).await;
    let (q, ann) = (room("q"), as_account(&store, "ann"));
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));

    post(&other, "q", "bob", "x").await;
    let mut watching = as_guest(&other, "bob")
        .watch(&q, Position::new(seq(1), ChangeSeq::ZERO))
        .await
        .expect("let in");
    ann.ban(&q, &user("bob")).await.expect("banned");
    ann.ban(&q, &user("bob")).await.expect("banned already");

    for name in ["bob", "BOB"] {
        assert!(
            matches!(
                other.post(message("q", name, "x")).await,
                Err(Error::Banned)
            ),
            "{name}"
        );
        assert!(
            matches!(as_guest(&other, name).join(&q).await, Err(Error::Banned)),
            "{name}"
        );
        assert!(
            matches!(as_guest(&store, name).type_in(&q).await, Err(Error::Banned)),
            "{name}"
        );
        assert!(
            matches!(
                as_guest(&store, name).watch(&q, Position::START).await,
                Err(Error::Banned)
            ),
            "{name}"
        );
    }

    let ended = async {
        loop {
            if let Err(error) = watching.watcher.next().await {
                break error;
            }
        }
    };
    assert!(matches!(
        timeout(SOON, ended).await.expect("in time"),
        Error::Banned
    ));

    // The room is as public as before.
    assert_eq!(
        as_guest(&other, "bob")
            .messages(&q, Range::Newest, 10)
            .await
            .expect("read")
            .len(),
        1
    );
    assert_eq!(
        other
            .as_user(Actor::Anonymous)
            .room(&q)
            .await
            .expect("a room")
            .members,
        0
    );

    post(&other, "q", "eve", "y").await;
    as_guest(&other, "eve")
        .watch(&q, Position::START)
        .await
        .expect("let in");
    assert_forbidden(ann.ban(&q, &user("Ann")).await);
    assert_forbidden(as_guest(&store, "ann").ban(&q, &user("eve")).await);

    for name in ["zoe", "amy"] {
        ann.ban(&q, &user(name)).await.expect("banned");
    }
    assert_eq!(
        ann.bans(&q, None, 10).await.expect("bans"),
        ["amy", "bob", "zoe"].map(user)
    );
    assert_eq!(
        ann.bans(&q, Some(&user("amy")), 1).await.expect("bans"),
        [user("bob")]
    );
    assert!(ann.unban(&q, &user("Bob")).await.expect("lifted"));
    assert!(!ann.unban(&q, &user("bob")).await.expect("there was none"));

    post(&other, "q", "bob", "back").await;
    as_guest(&other, "bob")
        .watch(&q, Position::START)
        .await
        .expect("let in");

    // In a private room, who is banned cannot be invited.
    register_all(&store, &["bob"]).await;
    let p = room("p");
    assert!(
        ann.create_room(&p, Privacy::Private)
            .await
            .expect("created")
    );

    ann.invite(&p, &user("bob")).await.expect("invited");
    ann.ban(&p, &user("bob")).await.expect("banned");
    assert_hidden(as_account(&other, "bob").room(&p).await);
    assert_hidden(as_account(&other, "bob").join(&p).await);
    assert_hidden(other.post(verified("p", "bob", "x")).await);
    assert!(matches!(
        ann.invite(&p, &user("bob")).await,
        Err(Error::Banned)
    ));
    assert!(ann.unban(&p, &user("bob")).await.expect("lifted"));

    // The account may be written in another case.
    for by_ban in [true, false] {
        ann.invite(&p, &user("bob")).await.expect("invited");
        as_account(&other, "bob").room(&p).await.expect("seen");
        match by_ban {
            true => ann.ban(&p, &user("BOB")).await.expect("banned"),
            false => ann.remove(&p, &user("Bob")).await.expect("removed"),
        }
        assert_hidden(as_account(&other, "bob").room(&p).await);
        assert!(
            as_account(&other, "bob")
                .messages(&p, Range::Newest, 10)
                .await
                .expect("read")
                .is_empty()
        );
        assert!(
            as_account(&store, "bob")
                .rooms(None, 10)
                .await
                .expect("rooms")
                .iter()
                .all(|room| *room != p)
        );
        assert_eq!(ann.unban(&p, &user("bOb")).await.expect("asked"), by_ban);
    }
}

pub(crate) async fn a_removed_user_does_not_return_by_joining(database: &Database) {
    let [store, other] = private(database).await;
    let p = room("p");
    let ann = as_account(&store, "ann");

    for _ in 0..10 {
        ann.invite(&p, &user("bob")).await.expect("invited");
        let bob = as_account(&other, "bob");
        let joining = tokio::spawn({
            let (bob, p) = (bob.clone(), p.clone());
            async move { while bob.join(&p).await.is_ok() {} }
        });
        while bob.room(&p).await.expect("seen").members < 2 {
            tokio::task::yield_now().await;
        }
        ann.remove(&p, &user("bob")).await.expect("removed");
        timeout(SOON, joining)
            .await
            .expect("it ends")
            .expect("no panic");
        assert_eq!(
            ann.members(&p, None, 10).await.expect("users"),
            [user("ann")]
        );
        assert_hidden(bob.room(&p).await);
    }
}

pub(crate) async fn a_guest_who_sends_a_members_nonce_fails_alone(database: &Database) {
    let [store, _other] = private(database).await;
    for i in 0..20 {
        let guest = with_nonce("p", "ann", "x", &i.to_string());
        let member = NewMessage {
            verified: true,
            ..guest.clone()
        };
        let (refused, stored, again) = tokio::join!(
            store.post(guest.clone()),
            store.post(member),
            store.post(guest)
        );
        assert_claimed(refused);
        assert_claimed(again);
        assert_eq!(stored.expect("stored").message.seq, seq(2 + i));
    }
}
