use std::time::Duration;

use chatcore::{
    Actor, ChangeSeq, ChatStore, Error, NewMessage, Position, Privacy, Range, Result, Seq, Update,
    UserStore,
};
use tokio::time::timeout;

use crate::{Place, message, post, room, user, with_nonce};

/// For what must happen; no test passes by waiting this long.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn register(store: &ChatStore, names: &[&str]) {
    for name in names {
        let password = "correct horse".parse().expect("a password");
        store
            .register(&user(name), &password, "")
            .await
            .expect("registered");
    }
}

pub(crate) fn view(store: &ChatStore, name: &str) -> UserStore {
    store.as_user(Actor::Account(user(name)))
}

pub(crate) fn guest(store: &ChatStore, name: &str) -> UserStore {
    store.as_user(Actor::Guest(user(name)))
}

pub(crate) fn verified(to: &str, sender: &str, text: &str) -> NewMessage {
    NewMessage {
        verified: true,
        ..message(to, sender, text)
    }
}

pub(crate) async fn say(store: &ChatStore, to: &str, sender: &str, text: &str) -> Seq {
    store
        .post(verified(to, sender, text))
        .await
        .expect("stored")
        .message
        .seq
}

pub(crate) fn seq(n: i64) -> Seq {
    Seq::new(n).expect("a place")
}

#[track_caller]
fn is_claimed<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::NameClaimed)), "{result:?}");
}

#[track_caller]
pub(crate) fn is_hidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::RoomNotFound)), "{result:?}");
}

#[track_caller]
pub(crate) fn is_forbidden<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::Forbidden(_))), "{result:?}");
}

/// A private room of ann's with one message, seen at two processes.
async fn private(place: &Place) -> [ChatStore; 2] {
    let stores = place.open_twice().await;
    register(&stores[0], &["ann", "bob", "eve"]).await;
    assert!(
        view(&stores[0], "ann")
            .create_room(&room("p"), Privacy::Private)
            .await
            .expect("created")
    );
    say(&stores[0], "p", "ann", "secret").await;
    stores
}

async fn sees_nothing(store: &ChatStore, view: &UserStore) {
    let p = room("p");
    is_hidden(view.room(&p).await);
    is_hidden(view.members(&p, None, 10).await);
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
    is_hidden(view.follow(&p, Seq::ZERO).await);
    is_hidden(view.watch(&p, Position::START).await);
    assert!(!view.rooms(None, 10).await.expect("rooms").contains(&p));
    assert!(!store.rooms(None, 10).await.expect("rooms").contains(&p));
    is_forbidden(view.create_room(&p, Privacy::Public).await);
    is_forbidden(view.create_room(&p, Privacy::Private).await);
    is_hidden(view.delete_message(&p, seq(1)).await);
    is_hidden(view.invite(&p, &user("eve")).await);
    is_hidden(view.remove(&p, &user("ann")).await);
    is_hidden(view.ban(&p, &user("ann")).await);
    is_hidden(view.unban(&p, &user("ann")).await);
    is_hidden(view.bans(&p, None, 10).await);
}

pub(crate) async fn a_private_room_is_there_for_its_members_alone(place: &Place) {
    let [store, other] = private(place).await;
    let p = room("p");
    for store in [&store, &other] {
        for view in [
            view(store, "eve"),
            guest(store, "guest"),
            guest(store, "ann"),
            store.as_user(Actor::Anonymous),
        ] {
            sees_nothing(store, &view).await;
        }
        for view in [view(store, "eve"), guest(store, "guest")] {
            is_hidden(view.join(&p).await);
            is_hidden(view.leave(&p).await);
            is_hidden(view.mark_read(&p, seq(1)).await);
            is_hidden(view.type_in(&p).await);
        }
        is_hidden(store.post(verified("p", "eve", "let me in")).await);
        is_hidden(store.post(message("p", "guest", "let me in")).await);
        is_hidden(store.post(with_nonce("p", "guest", "let me in", "n")).await);
        // Not even who is in it: a name with an account gets the same answer, whether it is a
        // member's or not, and in a room that does not exist.
        for (to, name) in [("p", "ann"), ("p", "eve"), ("none", "ann")] {
            is_claimed(store.post(message(to, name, "as somebody else")).await);
        }
    }
    assert!(
        view(&store, "eve")
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
    let ann = view(&other, "ann");
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
        let bob = view(store, "bob");
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
        is_forbidden(bob.invite(&p, &user("eve")).await);
        is_forbidden(bob.remove(&p, &user("ann")).await);
        is_forbidden(bob.ban(&p, &user("ann")).await);
        is_forbidden(bob.delete_message(&p, seq(1)).await);
    }
    say(&other, "p", "bob", "thanks").await;
    let rooms = store.rooms_of(&user("bob"), None, 10).await.expect("rooms");
    assert_eq!((rooms.len(), rooms[0].unread()), (1, 1));
    sees_nothing(&store, &view(&store, "eve")).await;
}

pub(crate) async fn private_and_public_rooms_are_listed_in_one_order(place: &Place) {
    let store = place.open().await;
    register(&store, &["ann", "bob"]).await;
    for name in ["b", "d", "f"] {
        assert!(store.create_room(&room(name)).await.expect("created"));
    }
    for (name, owner) in [("a", "ann"), ("c", "ann"), ("e", "bob"), ("g", "ann")] {
        assert!(
            view(&store, owner)
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
    assert_eq!(listed(&view(&store, "ann"), None, 10).await, "abcdfg");
    assert_eq!(listed(&view(&store, "ann"), Some("b"), 3).await, "cdf");
    assert_eq!(listed(&view(&store, "ann"), Some("f"), 3).await, "g");
    assert_eq!(listed(&view(&store, "bob"), None, 10).await, "bdef");
    assert_eq!(listed(&guest(&store, "bob"), None, 10).await, "bdf");
    assert_eq!(
        listed(&store.as_user(Actor::Anonymous), None, 10).await,
        "bdf"
    );
}

pub(crate) async fn whether_a_room_is_private_never_changes(place: &Place) {
    let [store, other] = private(place).await;
    let (p, q) = (room("p"), room("q"));
    let ann = view(&other, "ann");
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
    // By whom a room is made is who owns it; a post makes a room without an owner.
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
    is_forbidden(
        store
            .as_user(Actor::Anonymous)
            .create_room(&room("s"), Privacy::Private)
            .await,
    );
    is_forbidden(
        guest(&store, "guest")
            .create_room(&room("s"), Privacy::Private)
            .await,
    );
    assert!(
        guest(&store, "guest")
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
    is_hidden(store.invite(&room("t"), &user("bob")).await);
    is_hidden(store.ban(&room("t"), &user("bob")).await);
}

pub(crate) async fn of_creations_at_the_same_time_one_makes_the_room(place: &Place) {
    let stores = place.open_twice().await;
    register(&stores[0], &["ann", "bob"]).await;
    for i in 0..10 {
        let name = room(&i.to_string());
        let make = |store: &ChatStore, owner: &str, privacy| {
            let (view, name) = (view(store, owner), name.clone());
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

pub(crate) async fn nothing_reaches_who_was_removed(place: &Place) {
    let [store, other] = private(place).await;
    let p = room("p");
    let ann = view(&store, "ann");
    ann.invite(&p, &user("bob")).await.expect("invited");
    let bob = view(&other, "bob");
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
        say(&store, "p", "ann", text).await;
    }
    let mut followed = 0;
    while followed < 2 {
        followed += timeout(SOON, follower.next())
            .await
            .expect("in time")
            .expect("followed")
            .len();
    }
    say(&other, "p", "bob", "3").await;
    let third = timeout(SOON, follower.next())
        .await
        .expect("in time")
        .expect("followed");
    assert_eq!(third[0].text(), Some("3"));
    ann.remove(&p, &user("bob")).await.expect("removed");
    is_hidden(other.post(verified("p", "bob", "again")).await);
    for i in 0..20 {
        let by = if i % 2 == 0 { &store } else { &other };
        say(by, "p", "ann", "after").await;
    }
    is_hidden(timeout(SOON, follower.next()).await.expect("in time"));
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
    assert_eq!(say(&other, "p", "bob", "back").await, seq(24));
    bob.leave(&p).await.expect("left");
    sees_nothing(&other, &bob).await;
}

pub(crate) async fn nothing_of_the_banned_is_stored(place: &Place) {
    let stores = place.open_twice().await;
    let [store, other] = &stores;
    register(store, &["ann"]).await;
    let (q, ann) = (room("q"), view(store, "ann"));
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

pub(crate) async fn a_ban_holds_for_a_name_in_any_case_until_it_is_lifted(place: &Place) {
    let [store, other] = place.open_twice().await;
    register(&store, &["ann"]).await;
    let (q, ann) = (room("q"), view(&store, "ann"));
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));
    post(&other, "q", "bob", "x").await;
    let mut watching = guest(&other, "bob")
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
            matches!(guest(&other, name).join(&q).await, Err(Error::Banned)),
            "{name}"
        );
        assert!(
            matches!(guest(&store, name).type_in(&q).await, Err(Error::Banned)),
            "{name}"
        );
        assert!(
            matches!(
                guest(&store, name).watch(&q, Position::START).await,
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
        guest(&other, "bob")
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
    guest(&other, "eve")
        .watch(&q, Position::START)
        .await
        .expect("let in");
    is_forbidden(ann.ban(&q, &user("Ann")).await);
    is_forbidden(guest(&store, "ann").ban(&q, &user("eve")).await);
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
    guest(&other, "bob")
        .watch(&q, Position::START)
        .await
        .expect("let in");
    // In a private room, who is banned cannot be invited.
    register(&store, &["bob"]).await;
    let p = room("p");
    assert!(
        ann.create_room(&p, Privacy::Private)
            .await
            .expect("created")
    );
    ann.invite(&p, &user("bob")).await.expect("invited");
    ann.ban(&p, &user("bob")).await.expect("banned");
    is_hidden(view(&other, "bob").room(&p).await);
    is_hidden(view(&other, "bob").join(&p).await);
    is_hidden(other.post(verified("p", "bob", "x")).await);
    assert!(matches!(
        ann.invite(&p, &user("bob")).await,
        Err(Error::Banned)
    ));
    assert!(ann.unban(&p, &user("bob")).await.expect("lifted"));
    // The account may be written in another case.
    for by_ban in [true, false] {
        ann.invite(&p, &user("bob")).await.expect("invited");
        view(&other, "bob").room(&p).await.expect("seen");
        match by_ban {
            true => ann.ban(&p, &user("BOB")).await.expect("banned"),
            false => ann.remove(&p, &user("Bob")).await.expect("removed"),
        }
        is_hidden(view(&other, "bob").room(&p).await);
        assert!(
            view(&other, "bob")
                .messages(&p, Range::Newest, 10)
                .await
                .expect("read")
                .is_empty()
        );
        assert!(
            view(&store, "bob")
                .rooms(None, 10)
                .await
                .expect("rooms")
                .iter()
                .all(|room| *room != p)
        );
        assert_eq!(ann.unban(&p, &user("bOb")).await.expect("asked"), by_ban);
    }
}

pub(crate) async fn who_is_removed_does_not_come_back_by_joining(place: &Place) {
    let [store, other] = private(place).await;
    let p = room("p");
    let ann = view(&store, "ann");
    for _ in 0..10 {
        ann.invite(&p, &user("bob")).await.expect("invited");
        let bob = view(&other, "bob");
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
        is_hidden(bob.room(&p).await);
    }
}

pub(crate) async fn a_guest_who_sends_a_members_nonce_fails_alone(place: &Place) {
    let [store, _other] = private(place).await;
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
        is_claimed(refused);
        is_claimed(again);
        assert_eq!(stored.expect("stored").message.seq, seq(2 + i));
    }
}
