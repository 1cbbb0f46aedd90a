//! Two processes on one replica set, played by two stores: each hears of what the other posts.

use std::time::Duration;

use chat_testkit::mongod::{self, Deployment, Kind, with_database};
use chatcore::{
    Actor, ChatStore, NewMessage, Position, Privacy, Range, Seq, SharedMessage, Update, UserUpdate,
    Username, Watcher,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::{Bson, doc};
use tokio::time::timeout;

/// For what must happen; no test passes by waiting this long.
const SOON: Duration = Duration::from_secs(30);

async fn two() -> [ChatStore; 2] {
    let address = mongod::database(Kind::ReplicaSet);
    let open = async || ChatStore::open(&address).await.expect("the store opens");
    [open().await, open().await]
}

async fn post(store: &ChatStore, text: &str) {
    let message = NewMessage::new(
        "a".parse().expect("a name"),
        "ann".parse().expect("a name"),
        text.parse().expect("a text"),
    );
    store.post(message).await.expect("posted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_hear_of_both_processes_in_order() {
    const EACH: usize = 300;
    let stores = two().await;
    let followers = stores.clone().map(|store| {
        let stream = store
            .follow(&"a".parse().expect("a name"), Seq::ZERO)
            .take(2 * EACH);
        tokio::spawn(timeout(SOON, stream.try_collect::<Vec<_>>()))
    });

    let writers = stores.clone().map(|store| {
        tokio::spawn(async move {
            for i in 0..EACH {
                post(&store, &i.to_string()).await;
            }
        })
    });
    for writer in writers {
        writer.await.expect("no panic");
    }

    for follower in followers {
        let found = follower
            .await
            .expect("no panic")
            .expect("in time")
            .expect("followed");
        let numbers: Vec<_> = found.iter().map(|m| m.seq.get()).collect();
        assert_eq!(numbers, (1..=2 * EACH as i64).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_at_one_process_is_woken_by_a_post_at_the_other() {
    let [here, there] = two().await;
    let room = "a".parse().expect("a name");
    for i in 1..=20 {
        let after = Range::After(Seq::new(i - 1).expect("a seq"));
        let waiting = tokio::spawn({
            let (here, room) = (here.clone(), "a".parse().expect("a name"));
            async move {
                here.wait_for_messages(&room, after, 50, SOON)
                    .await
                    .expect("read")
            }
        });
        post(&there, "x").await;
        let found = waiting.await.expect("no panic");
        assert_eq!(found.iter().map(|m| m.seq.get()).collect::<Vec<_>>(), [i]);
        assert_eq!(
            here.messages(&room, Range::Newest, 1).await.expect("read"),
            found
        );
    }
}

fn user(name: &str) -> Username {
    name.parse().expect("a name")
}

async fn until_present(watcher: &mut Watcher, names: &[&str]) {
    let wanted: Vec<_> = names.iter().map(|name| user(name)).collect();
    let found = async {
        loop {
            match watcher.next().await.expect("watched") {
                Update::Presence(presence) if presence.users() == wanted => break,
                _ => {}
            }
        }
    };

    timeout(SOON, found).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_typing_and_marks_pass_from_one_process_to_the_other() {
    let [here, there] = two().await;
    let room = "a".parse().expect("a name");
    post(&there, "x").await;

    // Ann was there before anybody here looked.
    let ann = there.enter(&room, &user("ann"));
    let mut watcher = here.watch(&room, Position::START);
    let bob = here.enter(&room, &user("bob"));
    until_present(&mut watcher, &["ann", "bob"]).await;
    let eve = there.enter(&room, &user("eve"));
    drop(bob);
    until_present(&mut watcher, &["ann", "eve"]).await;

    let mut reader = here.watch_user(&user("ann"));
    there
        .mark_read(&user("ann"), &room, Seq::ZERO.next())
        .await
        .expect("marked");
    let heard = timeout(SOON, reader.next())
        .await
        .expect("in time")
        .expect("heard");
    assert_eq!(
        heard,
        UserUpdate::Read {
            room: "a".parse().expect("a name"),
            seq: Seq::ZERO.next()
        }
    );

    there.end_sessions(&user("ann"), None).await.expect("ended");
    let heard = timeout(SOON, reader.next())
        .await
        .expect("in time")
        .expect("heard");
    assert_eq!(heard, UserUpdate::SessionsEnded);

    there
        .join(&"b".parse().expect("a name"), &user("ann"))
        .await
        .expect("joined");
    let heard = timeout(SOON, reader.next())
        .await
        .expect("in time")
        .expect("heard");
    assert_eq!(heard, UserUpdate::RoomsChanged);

    there.type_in(&room, &user("ann"));
    let typing = async {
        loop {
            if let Update::Typing(users) = watcher.next().await.expect("watched") {
                break users;
            }
        }
    };
    assert_eq!(timeout(SOON, typing).await.expect("in time"), [user("ann")]);

    drop(ann);
    until_present(&mut watcher, &["eve"]).await;

    // A process that ends takes its people with it.
    std::mem::forget(eve);
    there.close().await.expect("closed");
    until_present(&mut watcher, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_hear_the_others_reads_from_the_store() {
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let address = with_database(&mongo.uri(), "deaf");
    let open = async || ChatStore::open(&address).await.expect("the store opens");
    let [here, there] = [open().await, open().await];
    let room = "a".parse().expect("a name");
    post(&there, "1").await;

    // From here on the room is live in memory.
    assert_eq!(
        here.messages(&room, Range::Newest, 50)
            .await
            .expect("read")
            .len(),
        1
    );

    let mut follower = here.follow(&room, Seq::ZERO.next());
    let fail = |mode: &str| {
        let data = doc! { "failCommands": ["aggregate", "getMore"], "errorCode": 1 };
        mongo.nodes[0]
            .admin(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data });
    };
    fail("alwaysOn");

    for seq in 2..=20 {
        post(&there, "deaf").await;
        let numbers =
            |messages: &[SharedMessage]| messages.iter().map(|m| m.seq.get()).collect::<Vec<_>>();
        let followed = timeout(SOON, follower.next())
            .await
            .expect("in time")
            .expect("followed");
        assert_eq!(numbers(&followed), [seq]);
        // Once the stream has ended, whoever asks is told at once.
        if seq > 2 {
            post(&there, "deaf, and asked").await;
            let newest = here.messages(&room, Range::Newest, 1).await.expect("read");
            assert_eq!(newest[0].text(), Some("deaf, and asked"));
            break;
        }
    }

    fail("off");
    // It hears again: of what it missed by the store, of the rest by the stream.
    for _ in 0..20 {
        post(&there, "heard").await;
        let last = there.last_seq(&room).await.expect("read");
        while follower.position() < last {
            timeout(SOON, follower.next())
                .await
                .expect("in time")
                .expect("followed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_at_one_process_costs_the_followers_at_another_few_looks_at_the_store() {
    const FOLLOWERS: usize = 200;
    let address = mongod::database(Kind::ReplicaSet);
    let open = async || ChatStore::open(&address).await.expect("the store opens");
    let [here, there] = [open().await, open().await];
    let client = mongodb::Client::with_uri_str(&address)
        .await
        .expect("a client");
    let database = client.default_database().expect("named in the address");
    let room = "a".parse().expect("a name");
    let password = "correct horse".parse().expect("a password");
    there
        .register(&user("ann"), &password, "")
        .await
        .expect("registered");
    let ann = there.as_user(Actor::Account(user("ann")));

    assert!(
        ann.create_room(&room, Privacy::Private)
            .await
            .expect("created")
    );

    // Made by hand: an account takes its time.
    let name = |i: usize| format!("u{i}");
    let member =
        |i| doc! { "_id": { "room": "a", "user": name(i) }, "joined_at": 1_i64, "private": true };
    let members = database.collection::<mongodb::bson::Document>("members");
    members
        .insert_many((0..FOLLOWERS).map(member))
        .await
        .expect("written");

    let say = async |store: &ChatStore, text: &str| {
        let message = NewMessage::new(room.clone(), user("ann"), text.parse().expect("a text"));
        store
            .post(NewMessage {
                verified: true,
                ..message
            })
            .await
            .expect("posted");
    };
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|i| {
            let (view, room) = (here.as_user(Actor::Account(user(&name(i)))), room.clone());
            tokio::spawn(async move {
                let mut got = Vec::new();
                let mut follower = view.follow(&room, Seq::ZERO).await.expect("let in");
                // Until the last message, or the removal.
                while got.last().is_none_or(|text| text != "end") {
                    match follower.next().await {
                        Ok(messages) => {
                            got.extend(messages.iter().filter_map(|m| m.text()).map(str::to_owned))
                        }
                        Err(_) => break,
                    }
                }
                got
            })
        })
        .collect();

    say(&there, "1").await;
    while here.live_counts().followers < FOLLOWERS {
        tokio::task::yield_now().await;
    }

    database
        .run_command(doc! { "profile": 2 })
        .await
        .expect("profiled");
    there.leave(&room, &user("u7")).await.expect("removed");
    for i in 2..12 {
        say(if i % 2 == 0 { &here } else { &there }, &i.to_string()).await;
    }

    say(&here, "end").await;
    for (i, follower) in followers.into_iter().enumerate() {
        let got = timeout(SOON, follower)
            .await
            .expect("in time")
            .expect("no panic");
        match i {
            7 => assert!(got.len() <= 1, "{got:?}"),
            _ => assert_eq!(got.len(), 12, "{got:?}"),
        }
    }

    database
        .run_command(doc! { "profile": 0 })
        .await
        .expect("not profiled");
    let profile = database.collection::<mongodb::bson::Document>("system.profile");
    let of_members = doc! { "command.find": "members" };
    let looks: Vec<_> = profile
        .find(of_members)
        .await
        .expect("read")
        .try_collect()
        .await
        .expect("read");
    assert!(looks.len() < FOLLOWERS / 2, "{}", looks.len());
}

/// Makes commands fail with an error, for a while or for some times.
fn fail(mongo: &Deployment, mode: impl Into<Bson>, commands: &[&str], code: i32) {
    let data = doc! { "failCommands": commands.to_vec(), "errorCode": code };
    let point = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
    mongo.nodes[0].admin(point);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_and_followers_of_thousands_of_rooms_go_on_when_the_change_stream_breaks() {
    const ROOMS: usize = 3_000;
    const POSTED: usize = 300;

    /// Errors of mongod for a stream that cannot be resumed, and for one that can.
    const HISTORY_LOST: i32 = 286;
    const INTERNAL: i32 = 1;
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let address = with_database(&mongo.uri(), "many");
    let open = async || ChatStore::open(&address).await.expect("the store opens");
    let [here, there] = [open().await, open().await];
    let name = |i: usize| {
        format!("r{i}")
            .parse::<chatcore::RoomName>()
            .expect("a name")
    };
    let post_to = async |store: &ChatStore, rooms: std::ops::Range<usize>, text: &str| {
        let text: chatcore::MessageText = text.parse().expect("a text");
        let post = |i| store.post(NewMessage::new(name(i), user("ann"), text.clone()));
        let posted = futures_util::future::join_all(rooms.map(post)).await;
        posted
            .into_iter()
            .for_each(|posted| drop(posted.expect("posted in time")));
    };

    let followed = |i: usize| {
        let mut follower = here.follow(&name(i), Seq::ZERO);
        let (counter, count) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while !counter.is_closed() {
                if let Ok(messages) = follower.next().await {
                    counter.send_modify(|got| *got += messages.len());
                }
            }
        });
        count
    };
    let mut followers: Vec<_> = (0..ROOMS).map(followed).collect();
    post_to(&there, 0..ROOMS, "1").await;
    let mut expected = vec![1; ROOMS];

    for code in [INTERNAL, HISTORY_LOST] {
        for (follower, expected) in followers.iter_mut().zip(&expected) {
            let got = timeout(SOON, follower.wait_for(|got| got == expected))
                .await
                .expect("in time");
            assert_eq!(*got.expect("followed"), *expected);
        }
        // The stream ends, and cannot be opened again for a while.
        fail(&mongo, "alwaysOn", &["getMore", "aggregate"], code);
        post_to(&there, 0..POSTED, "unheard").await;
        fail(&mongo, "off", &[], code);
        post_to(&here, POSTED..2 * POSTED, "at once").await;
        post_to(&there, 2 * POSTED..3 * POSTED, "later").await;
        expected[..3 * POSTED]
            .iter_mut()
            .for_each(|expected| *expected += 1);
    }

    for (follower, expected) in followers.iter_mut().zip(&expected) {
        let got = timeout(SOON, follower.wait_for(|got| got == expected))
            .await
            .expect("in time");
        assert_eq!(*got.expect("followed"), *expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_read_is_skipped_and_the_stream_goes_on() {
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let address = with_database(&mongo.uri(), "corrupt");
    let open = async || ChatStore::open(&address).await.expect("the store opens");
    let [here, there] = [open().await, open().await];
    let room = "a".parse().expect("a name");
    post(&there, "1").await;
    let mut follower = here.follow(&room, Seq::ZERO);

    assert_eq!(
        timeout(SOON, follower.next())
            .await
            .expect("in time")
            .expect("followed")
            .len(),
        1
    );

    let begun = || {
        let status = mongo.nodes[0].admin(doc! { "serverStatus": 1 });
        let metrics = status
            .get_document("metrics")
            .and_then(|m| m.get_document("aggStageCounters"));
        metrics
            .and_then(|counters| counters.get_i64("$changeStream"))
            .expect("a counter")
    };
    let before = begun();
    assert!(before >= 2);

    let client = mongodb::Client::with_uri_str(&address)
        .await
        .expect("a client");
    let database = client.default_database().expect("named in the address");
    for (collection, document) in [
        ("messages", doc! { "_id": { "room": "b", "seq": 1_i64 } }),
        ("messages", doc! { "_id": "b" }),
        (
            "messages",
            doc! { "_id": { "room": "a", "seq": -5_i64 }, "last_seq": "x" },
        ),
        ("presence", doc! { "_id": { "room": "a", "process": "x" } }),
        ("presence", doc! { "_id": { "room": "/" } }),
        ("signals", doc! { "typing": { "room": "a", "user": 5 } }),
        ("signals", doc! { "evicted": { "room": 5 } }),
        (
            "marks",
            doc! { "_id": { "user": "ann", "room": "a" }, "seq": "x" },
        ),
        ("processes", doc! { "_id": "x" }),
    ] {
        database
            .collection(collection)
            .insert_one(document)
            .await
            .expect("written");
        post(&there, "x").await;
        let got = timeout(SOON, follower.next())
            .await
            .expect("in time")
            .expect("followed");
        assert_eq!(got.len(), 1);
    }

    assert_eq!(begun(), before, "no stream was opened again");
}
