//! Accounts, and the names that they close to guests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chatcore::{ChatStore, Error, Password, UserUpdate, UserWatcher, Username};
use tokio::task::JoinSet;

use crate::support::{Database, count, message, newest, post, room, user, verified};

const PASSWORD: &str = "correct horse";

fn password(text: &str) -> Password {
    text.parse().expect(text)
}

async fn register(store: &ChatStore, name: &str) -> (chatcore::SessionToken, chatcore::Session) {
    store
        .register(&user(name), &password(PASSWORD), "device")
        .await
        .expect("registered")
}

pub(crate) async fn an_account_is_registered_and_logged_into(database: &Database) {
    let store = database.open().await;
    let ann = user("ann");
    assert_eq!(store.account_name(&ann).await.expect("asked"), None);

    let (token, session) = register(&store, "ann").await;
    assert_eq!(
        (
            session.username.as_str(),
            session.verified,
            session.device.as_str()
        ),
        ("ann", true, "device")
    );
    assert_eq!(
        store
            .session(&token)
            .await
            .expect("looked up")
            .expect("a session"),
        session
    );
    assert_eq!(
        store.account_name(&user("ANN")).await.expect("asked"),
        Some(ann.clone())
    );

    let again = store
        .register(&ann, &password("another password"), "")
        .await;
    assert!(matches!(again, Err(Error::NameTaken)));

    let (other, session) = store.log_in(&ann, PASSWORD, "").await.expect("logged in");
    assert!(session.verified && other != token);

    for (name, wrong) in [
        ("ann", "correct hors"),
        ("ann", ""),
        ("ANN", PASSWORD),
        ("bob", PASSWORD),
    ] {
        let refused = store.log_in(&user(name), wrong, "").await;
        assert!(
            matches!(refused, Err(Error::WrongPassword)),
            "{name} {wrong}"
        );
    }

    assert_eq!(store.sessions(&ann).await.expect("sessions").len(), 2);

    store.close().await.expect("closed");

    let store = database.open().await;
    assert!(store.session(&token).await.expect("looked up").is_some());

    store
        .log_in(&ann, PASSWORD, "")
        .await
        .expect("logged in after reopening");
    assert!(matches!(
        store.post(message("a", "ann", "x")).await,
        Err(Error::NameClaimed)
    ));
}

pub(crate) async fn a_claimed_name_is_closed_to_guests_in_every_case(database: &Database) {
    let [store, other] = database.open_twice().await;
    // Names in use, of whose counters each process knows some, and a session of each.
    let mut guests = HashMap::new();
    for (name, through) in [
        ("straße", &store),
        ("STRASSE", &other),
        ("Straße", &store),
        ("stranger", &store),
    ] {
        post(through, "a", name, "as a guest").await;
        guests.insert(
            name,
            through
                .log_in_guest(&user(name), "")
                .await
                .expect("logged in")
                .0,
        );
    }

    register(&other, "straße").await;
    for (name, token) in &guests {
        for through in [&store, &other] {
            let alive = through.session(token).await.expect("looked up").is_some();
            assert_eq!(alive, *name == "stranger", "{name}");
        }
    }

    for through in [&store, &other] {
        for name in ["straße", "STRASSE", "Straße", "strasse"] {
            let posted = through.post(message("a", name, "too late")).await;
            let session = through.log_in_guest(&user(name), "").await;
            match name {
                "straße" => assert!(
                    matches!(
                        (&posted, &session),
                        (Err(Error::NameClaimed), Err(Error::NameClaimed))
                    ),
                    "{posted:?} {session:?}"
                ),
                _ => assert!(
                    matches!(
                        (&posted, &session),
                        (Err(Error::NameReserved), Err(Error::NameReserved))
                    ),
                    "{name}: {posted:?} {session:?}"
                ),
            }
            let claimed = through.register(&user(name), &password(PASSWORD), "").await;
            assert!(matches!(claimed, Err(Error::NameTaken)), "{name}");
        }
        let posted = through
            .post(verified("a", "straße", "its owner"))
            .await
            .expect("stored");
        assert!(posted.message.is_verified());
        post(through, "a", "stranger", "still open").await;
    }

    assert_eq!(count(&store, "straße").await, 3);
    assert_eq!(count(&store, "STRASSE").await, 1);
    assert_eq!(count(&store, "strasse").await, 0);

    let read = newest(&store, "a").await;
    assert!(read.iter().all(|m| m.text() != Some("too late")));
}

pub(crate) async fn a_refused_guest_fails_alone(database: &Database) {
    let store = database.open().await;
    register(&store, "ann").await;

    // All under way at once, and so in few batches; among them the same nonce from both.
    let mut posts = JoinSet::new();
    for i in 0..60 {
        let (store, text) = (store.clone(), i.to_string());
        let post = match i % 4 {
            0 => message("a", "ann", &text),
            1 => verified("a", "ann", &text),
            2 => message("a", "Ann", &text),
            _ => message("a", "bob", &text),
        };
        let nonce = format!("{}", i / 4).parse().expect("a nonce");
        posts.spawn(async move { (i % 4, store.post(post.with_nonce(nonce)).await) });
    }

    let mut stored = 0;
    while let Some(posted) = posts.join_next().await {
        match posted.expect("no panic") {
            (0, answer) => assert!(matches!(answer, Err(Error::NameClaimed)), "{answer:?}"),
            (2, answer) => assert!(matches!(answer, Err(Error::NameReserved)), "{answer:?}"),
            (kind, answer) => {
                assert_eq!(answer.expect("stored").message.is_verified(), kind == 1);
                stored += 1;
            }
        }
    }

    assert_eq!(stored, 30);
    assert_eq!(
        store.room(&room("a")).await.expect("a room").last_seq.get(),
        30
    );
}

pub(crate) async fn of_registrations_at_the_same_time_one_succeeds(database: &Database) {
    let stores = database.open_twice().await;
    for round in 0..3 {
        let mut tries = JoinSet::new();
        for (i, name) in ["ann", "Ann", "ANN", "ann"].into_iter().enumerate() {
            let (store, name) = (stores[i % 2].clone(), user(&format!("{name}{round}")));
            tries.spawn(async move {
                (
                    name.clone(),
                    store.register(&name, &password(PASSWORD), "").await,
                )
            });
        }
        let mut winners = Vec::new();
        while let Some(tried) = tries.join_next().await {
            match tried.expect("no panic") {
                (name, Ok((token, _))) => winners.push((name, token)),
                (_, answer) => assert!(matches!(answer, Err(Error::NameTaken)), "{answer:?}"),
            }
        }
        let [(name, token)] = winners.as_slice() else {
            panic!("{} succeeded", winners.len())
        };
        for store in &stores {
            assert_eq!(
                store.account_name(name).await.expect("asked").as_ref(),
                Some(name)
            );
            assert!(store.session(token).await.expect("looked up").is_some());
        }
    }
}

/// Requests of a guest, over and over.
#[derive(Clone, Copy)]
enum Act {
    Posts,
    LogsIn,
}

impl Act {
    async fn once(self, store: &ChatStore, name: &Username) -> Result<(), Error> {
        match self {
            Self::Posts => store
                .post(message("a", name.as_str(), "as a guest"))
                .await
                .map(drop),
            Self::LogsIn => store.log_in_guest(name, "").await.map(drop),
        }
    }
}

/// Has guests of these names act through both stores until they are refused, and registers the
/// first name in the middle of it. Returns the last message of room `a` right after that.
async fn besiege(stores: &[ChatStore; 2], names: &[Username], act: Act) -> i64 {
    let claimed = Arc::new(AtomicBool::new(false));
    let succeeded = Arc::new(AtomicUsize::new(0));
    let mut guests = JoinSet::new();

    for (store, name) in stores
        .iter()
        .flat_map(|store| names.iter().map(move |name| (store, name)))
    {
        let (store, name, claimed, succeeded) = (
            store.clone(),
            name.clone(),
            claimed.clone(),
            succeeded.clone(),
        );
        guests.spawn(async move {
            loop {
                let late = claimed.load(Ordering::SeqCst);
                match act.once(&store, &name).await {
                    Ok(()) => assert!(!late, "{name} got through after it was claimed"),
                    Err(Error::NameClaimed | Error::NameReserved) => break,
                    Err(other) => panic!("{name}: {other}"),
                }
                succeeded.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    while succeeded.load(Ordering::SeqCst) < 30 {
        tokio::task::yield_now().await;
    }

    register(&stores[1], names[0].as_str()).await;
    claimed.store(true, Ordering::SeqCst);
    let last = stores[0]
        .room(&room("a"))
        .await
        .map_or(0, |room| room.last_seq.get());
    while let Some(ended) = guests.join_next().await {
        ended.expect("no panic");
    }

    last
}

pub(crate) async fn no_guest_posts_once_the_name_is_claimed(database: &Database) {
    let stores = database.open_twice().await;
    for round in 0..5 {
        let names = ["ann", "Ann", "aNN"].map(|name| user(&format!("{name}{round}")));
        let last = besiege(&stores, &names, Act::Posts).await;
        let now = stores[0]
            .room(&room("a"))
            .await
            .expect("a room")
            .last_seq
            .get();
        assert_eq!(now, last, "a guest's message was stored after the claim");
        let counts = names.each_ref().map(|name| stores[0].message_count(name));
        let mut counted = 0;
        for count in counts {
            counted += count.await.expect("count");
        }
        assert!(counted >= 30);
    }
}

pub(crate) async fn no_guest_logs_in_once_the_name_is_claimed(database: &Database) {
    let stores = database.open_twice().await;
    for round in 0..5 {
        let names = ["ann", "Ann"].map(|name| user(&format!("{name}{round}")));
        besiege(&stores, &names, Act::LogsIn).await;
        let mut alive = Vec::new();
        for name in &names {
            alive.extend(stores[0].sessions(name).await.expect("sessions"));
        }
        assert_eq!(
            alive.iter().map(|s| s.verified).collect::<Vec<_>>(),
            [true],
            "the owner's alone"
        );
    }
}

pub(crate) async fn another_password_ends_the_other_sessions(database: &Database) {
    let store = database.open().await;
    let (one, session) = register(&store, "ann").await;
    let (two, _) = store
        .log_in(&user("ann"), PASSWORD, "")
        .await
        .expect("logged in");
    let (bob, _) = register(&store, "bob").await;
    let new = password("battery staple");
    let wrong = store.change_password(&session, "wrong horse", &new).await;

    assert!(matches!(wrong, Err(Error::WrongPassword)));
    assert!(
        store.session(&two).await.expect("looked up").is_some(),
        "nothing was changed"
    );

    store
        .change_password(&session, PASSWORD, &new)
        .await
        .expect("changed");
    let alive = async |token| store.session(token).await.expect("looked up").is_some();
    assert_eq!(
        (alive(&one).await, alive(&two).await, alive(&bob).await),
        (true, false, true)
    );

    let old = store.log_in(&user("ann"), PASSWORD, "").await;
    assert!(matches!(old, Err(Error::WrongPassword)));

    store
        .log_in(&user("ann"), "battery staple", "")
        .await
        .expect("logged in");
    store
        .log_in(&user("bob"), PASSWORD, "")
        .await
        .expect("another account is another account");
}

pub(crate) async fn no_log_in_with_the_old_password_outlives_the_new_one(database: &Database) {
    let stores = database.open_twice().await;
    let (_, session) = register(&stores[0], "ann").await;
    let mut old = PASSWORD.to_owned();

    for round in 0..4 {
        let new = format!("battery staple {round}");
        let mut log_ins = JoinSet::new();
        for i in 0..6 {
            let (store, old) = (stores[i % 2].clone(), old.clone());
            log_ins.spawn(async move { store.log_in(&user("ann"), &old, "").await });
        }
        let changed = stores[0]
            .change_password(&session, &old, &password(&new))
            .await;
        changed.expect("changed");
        while let Some(log_in) = log_ins.join_next().await {
            match log_in.expect("no panic") {
                Ok(_) | Err(Error::WrongPassword) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let alive = stores[1].sessions(&user("ann")).await.expect("sessions");
        assert_eq!(alive.iter().map(|s| s.id).collect::<Vec<_>>(), [session.id]);
        old = new;
    }
}

pub(crate) async fn users_are_notified_of_ended_sessions(database: &Database) {
    let [store, other] = database.open_twice().await;
    let told = async |watcher: &mut UserWatcher| {
        let update = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
        assert_eq!(
            update.expect("told in time").expect("told"),
            UserUpdate::SessionsEnded
        );
    };

    let (guest, _) = store
        .log_in_guest(&user("ANN"), "")
        .await
        .expect("logged in");
    let (bob, _) = store
        .log_in_guest(&user("bob"), "")
        .await
        .expect("logged in");
    let mut watching_guest = store.watch_user(&user("ANN"));
    let mut watching_bob = store.watch_user(&user("bob"));
    other.log_out(&bob).await.expect("logged out");
    told(&mut watching_bob).await;

    // Every case of the name is open after the session has ended.
    let (_, session) = register(&other, "ann").await;
    told(&mut watching_guest).await;
    assert!(store.session(&guest).await.expect("looked up").is_none());

    let mut watching = store.watch_user(&user("ann"));
    let (_, second) = other
        .log_in(&user("ann"), PASSWORD, "")
        .await
        .expect("logged in");
    assert!(
        other
            .end_session(&user("ann"), second.id)
            .await
            .expect("ended")
    );

    told(&mut watching).await;
    other
        .change_password(&session, PASSWORD, &password("battery staple"))
        .await
        .expect("changed");
    told(&mut watching).await;
    other.end_sessions(&user("ann"), None).await.expect("ended");
    told(&mut watching).await;
}
