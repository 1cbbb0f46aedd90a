//! Rooms, their lists, and their members.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chatcore::{ChatStore, Error, Privacy, Range, RoomName};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Database, as_account, count, message, post, register_all, room, user};

pub(crate) async fn rooms_are_created_once_and_listed_in_order(database: &Database) {
    let store = database.open().await;
    for name in ["b", "é", "a", "B", "a b", "😀"] {
        assert!(
            store.create_room(&room(name)).await.expect("created"),
            "{name}"
        );
        assert!(
            !store.create_room(&room(name)).await.expect("existed"),
            "{name}"
        );
    }

    post(&store, "by post", "ann", "x").await;
    store
        .join(&room("by join"), &user("ann"))
        .await
        .expect("joined");
    assert!(!store.create_room(&room("by post")).await.expect("existed"));

    let all: Vec<_> = ["B", "a", "a b", "b", "by join", "by post", "é", "😀"]
        .map(room)
        .into();
    assert_eq!(store.rooms(None, 1_000).await.expect("rooms"), all);
    assert_eq!(store.rooms(None, 3).await.expect("rooms"), all[..3]);
    assert_eq!(
        store.rooms(Some(&all[2]), 3).await.expect("rooms"),
        all[3..6]
    );
    assert_eq!(
        store.rooms(Some(&room("aa")), 1_000).await.expect("rooms"),
        all[3..]
    );
    assert!(
        store
            .rooms(Some(&all[7]), 3)
            .await
            .expect("rooms")
            .is_empty()
    );
}

pub(crate) async fn any_valid_name_is_a_room_and_a_user(database: &Database) {
    let store = database.open().await;
    let long = "é".repeat(64);
    let names = [
        "with'quote",
        "with\"quote",
        "with`tick",
        "$where",
        "$",
        "a.b",
        ".a",
        "a.b.$c",
        "a%2Fb",
        "%",
        "😀🇨🇭",
        "<script>",
        "{x}",
        "back\\slash",
        "?#&=+",
        "null",
        "_id",
        "__proto__",
        "*",
        long.as_str(),
    ];

    for name in names {
        post(&store, name, name, "x").await;
        assert_eq!(
            store.members(&room(name), None, 10).await.expect("users"),
            [user(name)],
            "{name}"
        );
        assert_eq!(
            store.message_count(&user(name)).await.expect("count"),
            1,
            "{name}"
        );
        assert_eq!(
            store
                .messages(&room(name), Range::Newest, 10)
                .await
                .expect("read")
                .len(),
            1,
            "{name}"
        );
        let (token, _) = store
            .log_in_guest(&user(name), "")
            .await
            .expect("logged in");
        let session = store
            .session(&token)
            .await
            .expect("looked up")
            .expect("a session");
        assert_eq!(session.username, user(name));
    }

    post(&store, "with  space", "ann", "x").await;
    assert_eq!(
        store.rooms(None, 1_000).await.expect("rooms").len(),
        names.len() + 1
    );
}

pub(crate) async fn rooms_that_differ_in_case_are_two(database: &Database) {
    let store = database.open().await;
    post(&store, "Room", "ann", "upper").await;
    post(&store, "room", "bob", "lower").await;

    for (name, text, sender) in [("Room", "upper", "ann"), ("room", "lower", "bob")] {
        let read = store
            .messages(&room(name), Range::Newest, 10)
            .await
            .expect("read");
        assert_eq!(
            read.iter()
                .map(|m| (m.seq.get(), m.text()))
                .collect::<Vec<_>>(),
            [(1, Some(text))]
        );
        assert_eq!(
            store.members(&room(name), None, 10).await.expect("users"),
            [user(sender)]
        );
    }
}

pub(crate) async fn a_room_describes_its_state(database: &Database) {
    let store = database.open().await;
    store.create_room(&room("a")).await.expect("created");
    let empty = store.room(&room("a")).await.expect("a room");
    assert_eq!(
        (empty.last_seq.get(), empty.last_timestamp, empty.members),
        (0, None, 0)
    );

    post(&store, "a", "ann", "1").await;
    let last = post(&store, "a", "bob", "2").await.message;
    let state = store.room(&room("a")).await.expect("a room");
    assert_eq!(
        (state.name, state.last_seq, state.last_timestamp),
        (room("a"), last.seq, Some(last.timestamp))
    );
    assert_eq!((state.members, state.created_at), (2, empty.created_at));

    let made_by_post = post(&store, "b", "ann", "1").await.message;
    assert_eq!(
        store.room(&room("b")).await.expect("a room").created_at,
        made_by_post.timestamp
    );
}

pub(crate) async fn members_join_by_posting_and_leave(database: &Database) {
    let store = database.open().await;
    let a = room("a");
    let members = async || store.members(&a, None, 10).await.expect("users");
    post(&store, "a", "bob", "x").await;
    store.join(&a, &user("ann")).await.expect("joined");
    store.join(&a, &user("ann")).await.expect("joined again");

    assert_eq!(members().await, [user("ann"), user("bob")]);

    store.leave(&a, &user("bob")).await.expect("left");
    store.leave(&a, &user("bob")).await.expect("left again");
    assert_eq!(members().await, [user("ann")]);

    post(&store, "a", "bob", "back").await;
    assert_eq!(members().await, [user("ann"), user("bob")]);
    assert_eq!(count(&store, "bob").await, 2);
    assert!(matches!(
        store.leave(&room("nowhere"), &user("ann")).await,
        Err(Error::RoomNotFound)
    ));

    store.leave(&a, &user("ann")).await.expect("left");
    store.leave(&a, &user("bob")).await.expect("left");
    assert!(members().await.is_empty());
}

pub(crate) async fn members_are_listed_by_page(database: &Database) {
    let store = database.open().await;
    for i in 0..25 {
        store
            .join(&room("a"), &user(&format!("u{i:02}")))
            .await
            .expect("joined");
    }

    // A room whose name begins with the other's must not leak into it.
    store
        .join(&room("ab"), &user("stranger"))
        .await
        .expect("joined");
    let mut seen = Vec::new();
    loop {
        let page = store
            .members(&room("a"), seen.last(), 10)
            .await
            .expect("users");
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }

    assert_eq!(
        seen,
        (0..25)
            .map(|i| user(&format!("u{i:02}")))
            .collect::<Vec<_>>()
    );
    assert_eq!(store.room(&room("a")).await.expect("a room").members, 25);
}

pub(crate) async fn the_rooms_of_a_user_are_listed_by_page(database: &Database) {
    let store = database.open().await;
    let ann = user("ann");
    register_all(&store, &["ann"]).await;
    let mut names: Vec<_> = (0..25).map(|i| room(&format!("r{i:02}"))).collect();
    names.extend([room("R"), room("é"), room("p")]);

    for (i, name) in names.iter().enumerate().rev() {
        match name.as_str() {
            "p" => drop(
                as_account(&store, "ann")
                    .create_room(name, Privacy::Private)
                    .await
                    .expect("created"),
            ),
            _ if i % 2 == 0 => drop(post(&store, name.as_str(), "bob", "x").await),
            _ => {}
        }
        store.join(name, &ann).await.expect("joined");
    }

    // Members by posting are listed as those who joined are.
    assert_eq!(
        store
            .rooms_of(&user("bob"), None, 1_000)
            .await
            .expect("rooms")
            .len(),
        14
    );

    names.sort_unstable();
    let mut seen: Vec<RoomName> = Vec::new();
    loop {
        let page = store.rooms_of(&ann, seen.last(), 10).await.expect("rooms");
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|room| room.room));
    }

    assert_eq!(seen, names);

    for limit in [0, 1_001] {
        assert!(matches!(
            store.rooms_of(&ann, None, limit).await,
            Err(Error::Invalid(_))
        ));
    }
}

pub(crate) async fn a_list_is_as_long_as_was_asked_for(database: &Database) {
    const ALL: usize = 250;
    let store = database.open().await;
    let posts = (0..ALL)
        .map(|i| message(&format!("room{i:03}"), "ann", "x"))
        .map(|m| store.post(m));
    futures_util::future::try_join_all(posts)
        .await
        .expect("posted");
    let joins = (0..ALL).map(|i| user(&format!("user{i:03}")));
    for user in joins {
        store.join(&room("room000"), &user).await.expect("joined");
    }
    assert_eq!(store.rooms(None, 1_000).await.expect("rooms").len(), ALL);
    assert_eq!(
        store
            .members(&room("room000"), None, 1_000)
            .await
            .expect("users")
            .len(),
        ALL + 1
    );
}

/// Users who join and leave as fast as they can, until `done`.
async fn come_and_go(store: &ChatStore, users: usize, done: &Arc<AtomicBool>) -> JoinSet<u64> {
    let mut tasks = JoinSet::new();
    let all_began = Arc::new(Barrier::new(users + 1));
    for i in 0..users {
        let (store, done, began) = (store.clone(), done.clone(), all_began.clone());
        tasks.spawn(async move {
            let visitor = user(&format!("visitor{i}"));
            let mut turns = 0;
            while !done.load(Ordering::SeqCst) {
                // Only what succeeds counts; under such a load a turn may be refused.
                let joined = store.join(&room("a"), &visitor).await;
                let left = store.leave(&room("a"), &visitor).await;
                turns += u64::from(joined.is_ok() && left.is_ok());
                if turns == 1 {
                    began.wait().await;
                    turns += 1;
                }
            }
            turns
        });
    }

    all_began.wait().await;
    tasks
}

pub(crate) async fn posts_go_on_while_users_join_and_leave_all_the_time(database: &Database) {
    let [store, other] = database.open_twice().await;
    post(&store, "a", "ann", "first").await;
    let done = Arc::new(AtomicBool::new(false));
    let visitors = come_and_go(&other, 30, &done).await;
    for i in 0..50 {
        post(&store, "a", "ann", &i.to_string()).await;
    }

    done.store(true, Ordering::SeqCst);
    assert!(
        visitors.join_all().await.iter().all(|turns| *turns > 1),
        "nobody was held up"
    );

    assert_eq!(
        store.members(&room("a"), None, 10).await.expect("users"),
        [user("ann")]
    );
    assert_eq!(store.room(&room("a")).await.expect("a room").members, 1);
}

pub(crate) async fn the_number_of_members_is_exact_while_they_come_and_go(database: &Database) {
    let [store, other] = database.open_twice().await;
    let mut tasks = JoinSet::new();
    for i in 0..8 {
        let store = if i % 2 == 0 {
            store.clone()
        } else {
            other.clone()
        };
        tasks.spawn(async move {
            for turn in 0..12 {
                // The same few users by all tasks, so that they meet.
                let name = user(&format!("u{}", (i * 5 + turn * 3) % 7));
                match (i + turn) % 3 {
                    0 => store.join(&room("a"), &name).await.expect("joined"),
                    1 => drop(
                        store
                            .post(message("a", name.as_str(), "x"))
                            .await
                            .expect("stored"),
                    ),
                    _ => drop(store.leave(&room("a"), &name).await),
                }
            }
        });
    }

    tasks.join_all().await;

    let listed = store
        .members(&room("a"), None, 100)
        .await
        .expect("users")
        .len();
    assert_eq!(
        store.room(&room("a")).await.expect("a room").members,
        listed as u64
    );
}

pub(crate) async fn a_user_who_posts_after_leaving_is_a_member_again(database: &Database) {
    let [store, other] = database.open_twice().await;
    for turn in 0..20 {
        post(&store, "a", "ann", &turn.to_string()).await;
        other.leave(&room("a"), &user("ann")).await.expect("left");
        assert!(
            store
                .members(&room("a"), None, 10)
                .await
                .expect("users")
                .is_empty()
        );
    }

    post(&store, "a", "ann", "back").await;
    assert_eq!(
        other.members(&room("a"), None, 10).await.expect("users"),
        [user("ann")]
    );
    assert_eq!(other.room(&room("a")).await.expect("a room").members, 1);
}
