//! Documents that another deployment or a crash leaves, made by hand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_testkit::mongod::{self, Kind};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, RawDocumentBuf, doc, oid::ObjectId};
use mongodb::{Client, Database};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::open::{POOL, open, start};
use super::schema::Server;
use super::{buckets, changes, find, schema, standalone, watch};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::{
    Append, Batch, BatchId, BatchMessage, CountDelta, Head, Page, ReadState, RoomBatch, Stored,
    Target,
};
use crate::options::Options;
use crate::store::ChatStore;
use crate::testing::{self, model};
use crate::timestamp::Timestamp;
use crate::types::{ChangeSeq, Content, Message, NewMessage, Range, RoomName, Seq, Username};

mod changed;

async fn database(address: &str) -> Database {
    let client = Client::with_uri_str(address).await.expect("a client");
    client.default_database().expect("named in the address")
}

async fn post(store: &ChatStore, sender: &str) {
    let message = NewMessage::new(
        "a".parse().expect("a name"),
        sender.parse().expect("a name"),
        "x".parse().expect("a text"),
    );
    store.post(message).await.expect("stored");
}

async fn count(store: &ChatStore, user: &str) -> u64 {
    store
        .message_count(&user.parse().expect("a name"))
        .await
        .expect("a count")
}

/// Opens the store as it is opened on a sharded cluster.
async fn open_as_sharded(address: &str) -> ChatStore {
    let options = Options::default();
    let database = database(address).await;
    let server = schema::prepare(&database, options.session_idle)
        .await
        .expect("prepared");
    let server = Server {
        sharded: true,
        ..server
    };
    ChatStore::over(
        start(database, &server, options.timeout, POOL)
            .await
            .expect("a backend"),
        options,
    )
}

/// `n` messages of bob's after `head`.
fn room_batch(room: &RoomName, head: Head, n: i64) -> RoomBatch {
    let sender: Username = "bob".parse().expect("a name");
    let message = |seq: i64| BatchMessage {
        content: Content {
            sender: sender.clone(),
            ..testing::content(&seq.to_string())
        },
        ..testing::batch_message(seq)
    };
    let messages = (1..=n).map(|i| message(head.seq.get() + i)).collect();
    let after = (head.seq > Seq::ZERO).then_some(head);
    RoomBatch {
        room: room.clone(),
        after,
        messages,
        changes: Vec::new(),
        members: Vec::new(),
        after_is_durable: false,
        assumes_members: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_range_is_exact_in_whatever_batches_the_messages_came() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let backend = open(&mongod::database(kind), &Options::default())
            .await
            .expect("a backend");
        let room: RoomName = "a".parse().expect("a name");
        let mut head = Head::EMPTY;
        let mut all = Vec::new();
        for (id, size) in (1..).zip([1, 1, 3, 16, 17, 1, 40, 2, 1, 47, 9]) {
            all.extend(
                room_batch(&room, head, size)
                    .messages
                    .iter()
                    .map(|message| message.to_message(&room)),
            );
            head = append(&*backend, head, id, size).await;
        }
        for limit in [1, 7, 16, 50, 200] {
            let mut ranges = vec![Range::Newest, Range::Since(Timestamp::MIN)];
            for n in (0..=head.seq.get() + 1).chain([i64::MAX]) {
                let seq = Seq::new(n).expect("a seq");
                let time = Timestamp::from_micros(n.saturating_mul(10)).unwrap_or(Timestamp::MAX);
                ranges.extend([Range::Before(seq), Range::After(seq), Range::Since(time)]);
            }
            for range in ranges {
                let read = backend
                    .messages(room.clone(), range, limit)
                    .await
                    .expect("read");
                assert_eq!(
                    read,
                    model(&all, range, limit as usize),
                    "{kind:?} {range:?} {limit}"
                );
            }
        }
    }
}

/// Returns a batch of `size` messages for the room "a" after `head`.
fn batch_after(head: Head, id: u8, size: i64) -> Batch {
    let counts = vec![CountDelta {
        user: "bob".parse().expect("a name"),
        added: size,
        removed: 0,
    }];

    Batch {
        id: BatchId([id; 12]),
        rooms: vec![room_batch(&"a".parse().expect("a name"), head, size)],
        counts,
        guests: Vec::new(),
    }
}

/// Appends a batch of `size` messages to the room "a" after `head`.
async fn append(backend: &dyn Backend, head: Head, id: u8, size: i64) -> Head {
    let batch = batch_after(head, id, size);
    let after = batch.rooms[0].head();

    assert_eq!(
        backend.append(Arc::new(batch)).await.expect("stored"),
        Append::Committed
    );
    after
}

/// A head that is read may be that of a commit which a failover takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_after_messages_that_were_rolled_back_is_refused() {
    let address = mongod::database(Kind::ReplicaSet);
    let backend = open(&address, &Options::default()).await.expect("a store");
    let kept = append(&*backend, Head::EMPTY, 1, 1).await;
    let lost = append(&*backend, kept, 2, 2).await;

    let database = database(&address).await;
    let room = doc! { "_id": { "room": "a" } };
    let back = doc! { "$set": {
        "last_seq": kept.seq.get(),
        "last_timestamp": kept.timestamp.as_micros(),
    } };
    let heads = database.collection::<Document>("counters");
    heads.update_one(room, back).await.expect("rolled back");
    let messages = database.collection::<Document>("messages");
    let second = doc! { "_id": { "room": "a", "seq": kept.seq.get() + 1 } };
    let deleted = messages.delete_one(second).await.expect("rolled back");
    assert_eq!(deleted.deleted_count, 1);

    let late = Arc::new(batch_after(lost, 3, 1));
    assert_eq!(
        backend.append(late.clone()).await.expect("an answer"),
        Append::HeadMoved
    );
    assert!(!backend.is_stored(late).await.expect("an answer"));
    append(&*backend, kept, 4, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_change_stream_leaves_own_batches_out() {
    let address = mongod::database(Kind::ReplicaSet);
    drop(open(&address, &Options::default()).await.expect("a store"));
    let database = database(&address).await;
    let client = database.client();
    let mut own = client.start_session().await.expect("a session");
    let mut others = client.start_session().await.expect("a session");
    let pipeline = [watch::filter(ObjectId::new(), own.id())];
    let mut events = database.watch().pipeline(pipeline).await.expect("a stream");

    for n in 1..=4 {
        let session = if n % 2 == 1 { &mut own } else { &mut others };
        let messages = database.collection::<Document>("messages");
        session.start_transaction().await.expect("begun");
        let insert = messages
            .insert_one(doc! { "_id": n })
            .session(&mut *session);
        insert.await.expect("stored");
        session.commit_transaction().await.expect("committed");
    }

    for n in [2, 4] {
        let event = events.try_next().await.expect("read").expect("an event");
        assert_eq!(event.document_key, Some(doc! { "_id": n }));
    }
}

/// Commits that a proxy in front of a mongod holds back.
#[derive(Default)]
struct Held {
    is_holding: AtomicBool,
    /// Connections to client and server, and what the client wrote.
    commits: Mutex<Vec<(TcpStream, TcpStream, Vec<u8>)>>,
}

/// Passes on what a client writes and reads, until it makes a commit that is held back.
async fn proxy(mut client: TcpStream, server: SocketAddr, held: Arc<Held>) {
    let mut server = TcpStream::connect(server).await.expect("a connection");
    let mut asked = vec![0; 1 << 16];
    let mut answered = vec![0; 1 << 16];
    loop {
        tokio::select! {
            n = client.read(&mut asked) => match n {
                Ok(n @ 1..)
                    if held.is_holding.load(Ordering::SeqCst)
                        && asked[..n].windows(17).any(|name| name == b"commitTransaction") =>
                {
                    let commit = (client, server, asked[..n].to_vec());
                    return held.commits.lock().unwrap().push(commit);
                }
                Ok(n @ 1..) => server.write_all(&asked[..n]).await.expect("passed on"),
                _ => return,
            },
            n = server.read(&mut answered) => match n {
                Ok(n @ 1..) => client.write_all(&answered[..n]).await.expect("passed on"),
                _ => return,
            },
        }
    }
}

/// The driver gave up on the commit, which the server gets after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_the_committer_asked_for_it_is_refused() {
    let address = mongod::database(Kind::ReplicaSet);
    let server = address.split('/').nth(2).expect("a host");
    let server: SocketAddr = server.parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let proxied = listener.local_addr().expect("an address");
    let held = Arc::new(Held::default());
    tokio::spawn({
        let held = held.clone();
        async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(proxy(client, server, held.clone()));
            }
        }
    });
    let name = database(&address).await.name().to_owned();
    let options = Options {
        timeout: Duration::from_secs(4),
        ..Options::default()
    };
    let backend = open(
        &format!("mongodb://{proxied}/{name}?directConnection=true"),
        &options,
    )
    .await
    .expect("a store");

    let batch = Arc::new(batch_after(Head::EMPTY, 1, 1));
    held.is_holding.store(true, Ordering::SeqCst);
    let appended = backend.append(batch.clone()).await;
    assert!(matches!(appended, Err(Error::Unavailable(_))));
    held.is_holding.store(false, Ordering::SeqCst);
    assert!(!backend.is_stored(batch.clone()).await.expect("an answer"));

    let commits = std::mem::take(&mut *held.commits.lock().unwrap());
    assert!(!commits.is_empty());
    for (_client, mut server, commit) in commits {
        server.write_all(&commit).await.expect("sent");
        let n = server.read(&mut [0; 1 << 16]).await.expect("read");
        assert!(n > 0, "an answer");
    }
    assert!(!backend.is_stored(batch).await.expect("an answer"));
}

/// After a batch whose senders were all new, those of the next one are taken for new too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_who_are_members_already_are_counted_once() {
    let address = mongod::database(Kind::ReplicaSet);
    let backend = open(&address, &Options::default()).await.expect("a store");
    let room: RoomName = "a".parse().expect("a name");
    let user = |n: u32| -> Username { format!("user{n:03}").parse().expect("a name") };

    let mut head = Head::EMPTY;
    for (id, senders) in [
        (1, 0..20),
        (2, 10..40),
        (3, 40..80),
        (4, 80..120),
        (5, 0..130),
    ] {
        let mut batch = batch_after(head, id, 1);
        batch.rooms[0].members = senders.clone().map(user).collect();
        head = batch.rooms[0].head();
        assert_eq!(
            backend.append(Arc::new(batch)).await.expect("an answer"),
            Append::Committed
        );

        let described = backend.room(room.clone()).await.expect("read");
        let all = u64::from(senders.end);
        assert_eq!(described.map(|room| room.members), Some(all), "batch {id}");
    }
    let page = Page {
        after: None,
        limit: 200,
    };
    let members = backend.members(room, page).await.expect("read");
    assert_eq!(members, Some((0..130).map(user).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reads_few_more_messages_than_it_has() {
    const PAGE: i64 = 50;
    let capacity = i64::try_from(buckets::CAPACITY).expect("small");
    let address = mongod::database(Kind::ReplicaSet);
    let backend = open(&address, &Options::default())
        .await
        .expect("a backend");
    let room: RoomName = "a".parse().expect("a name");
    // Full buckets, then buckets of one message each.
    let mut head = Head::EMPTY;
    for id in 1..=100 {
        head = append(&*backend, head, id, if id <= 40 { capacity } else { 1 }).await;
    }
    let full = 40 * capacity;
    let database = database(&address).await;
    let profile = database.collection::<Document>("system.profile");
    let time = |seq: i64| Timestamp::from_micros(10 * seq).expect("a time");
    let at = |seq: i64| Seq::new(seq).expect("a seq");

    // The most buckets that hold a page, and the one more that is asked for. A search for a number
    // passes over buckets that end before it, and one for a time also finds a milestone, and passes
    // over what lies between that and the time.
    let (in_full, in_single) = (PAGE / capacity + 3, PAGE + 1);
    let (milestone, passed) = (1, 64);
    for (range, most, passed) in [
        (Range::Before(at(full + 1)), in_full, 0),
        (Range::Before(at(300)), in_full, 0),
        (
            Range::Since(time(100)),
            in_full + milestone,
            passed / capacity,
        ),
        (Range::After(at(100)), in_full, 0),
        (Range::Newest, in_single, 0),
        (Range::Before(at(full + 20)), in_single, 0),
        (Range::Since(time(full - 20)), in_single + milestone, passed),
        (Range::Since(time(full + 9)), in_single + milestone, passed),
    ] {
        database
            .run_command(doc! { "profile": 2 })
            .await
            .expect("profiled");
        let read = backend
            .messages(room.clone(), range, PAGE as u32)
            .await
            .expect("read");
        assert_eq!(read.len() as i64, PAGE, "{range:?}");
        database
            .run_command(doc! { "profile": 0 })
            .await
            .expect("not profiled");
        let of_messages = doc! { "command.find": "messages" };
        let queries: Vec<_> = profile
            .find(of_messages)
            .await
            .expect("read")
            .try_collect()
            .await
            .expect("read");
        profile.drop().await.expect("dropped");
        let sum = |field| -> i64 {
            let numbers = queries.iter().map(|query| query.get_i32(field));
            numbers
                .map(|number| i64::from(number.expect("a number")))
                .sum()
        };
        let (returned, examined) = (sum("nreturned"), sum("docsExamined"));
        assert!(
            (1..=most).contains(&returned) && examined <= most + passed + capacity,
            "{range:?}: {returned} of at most {most}, {examined} examined"
        );
        let searches = usize::from(matches!(range, Range::Since(_)));
        assert!(queries.len() <= 2 + searches, "{range:?}: {queries:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_with_and_without_slots_one_after_the_other() {
    let address = mongod::database(Kind::ReplicaSet);
    let with = ChatStore::open(&address).await.expect("a store");
    // The second time they are counted in the slot.
    for n in 1..=3 {
        post(&with, "ann").await;
        post(&with, "a.n$n%").await;
        assert_eq!(
            (count(&with, "ann").await, count(&with, "a.n$n%").await),
            (n, n)
        );
    }
    with.close().await.expect("closed");

    let without = open_as_sharded(&address).await;
    assert_eq!(
        (
            count(&without, "ann").await,
            count(&without, "a.n$n%").await
        ),
        (3, 3)
    );
    for _ in 0..2 {
        post(&without, "ann").await;
        post(&without, "bob").await;
    }
    assert_eq!(
        (count(&without, "ann").await, count(&without, "bob").await),
        (5, 2)
    );
    without.close().await.expect("closed");

    let with = ChatStore::open(&address).await.expect("a store");
    for n in 3..=5 {
        post(&with, "bob").await;
        assert_eq!(
            (count(&with, "ann").await, count(&with, "bob").await),
            (5, n)
        );
    }
    assert_eq!(count(&with, "a.n$n%").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_waits_for_the_slot_that_its_counter_has_taken_in() {
    let address = mongod::database(Kind::ReplicaSet);
    let store = ChatStore::open(&address).await.expect("a store");
    post(&store, "ann").await;
    // As if a flush of the slot came between a reader's look at the slot and at the counter.
    let counters = database(&address)
        .await
        .collection::<RawDocumentBuf>("counters");
    let ann = doc! { "_id": { "user": "ann" } };
    let folded = doc! { "$set": { "message_count": 1_i64, "folded": { "0": 2_i64 } } };
    counters
        .update_one(ann, folded)
        .upsert(true)
        .await
        .expect("written");
    let ann = "ann".parse().expect("a name");
    assert!(matches!(
        store.message_count(&ann).await,
        Err(Error::Unavailable(_))
    ));
    let after = doc! { "$set": { "folds": 2_i64, "counts": {} } };
    counters
        .update_one(doc! { "_id": { "tally": 0 } }, after)
        .await
        .expect("written");
    assert_eq!(store.message_count(&ann).await.expect("a count"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_counted_in_slots_and_in_no_other_document() {
    let address = mongod::database(Kind::ReplicaSet);
    let store = ChatStore::open(&address).await.expect("a store");
    post(&store, "bob").await;
    let password = "correct horse".parse().expect("a password");
    let ann = "ann".parse().expect("a name");
    store
        .register(&ann, &password, "")
        .await
        .expect("registered");

    let counters = database(&address).await.collection::<Document>("counters");
    let all: Vec<Document> = counters
        .find(doc! {})
        .await
        .expect("read")
        .try_collect()
        .await
        .expect("read");
    for counter in &all {
        let id = counter.get_document("_id").expect("an id");
        assert_eq!(
            counter.contains_key("claims"),
            id.contains_key("tally"),
            "{counter}"
        );
    }
    assert_eq!(all.len(), 3, "a room, a user, a slot: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_arrived_in_part_is_cut_off_at_the_first_missing_bucket() {
    let address = mongod::database(Kind::Standalone);
    let store = ChatStore::open(&address).await.expect("a store");
    post(&store, "ann").await;
    store.close().await.expect("closed");

    // The plan and two of three buckets of a batch that a crash ended.
    let room: RoomName = "a".parse().expect("a name");
    let size = 2 * i64::try_from(buckets::CAPACITY).expect("small") + 1;
    let (after, last) = (
        Head {
            seq: Seq::ZERO.next(),
            ..Head::EMPTY
        },
        1 + size,
    );
    let batch = RoomBatch {
        after: Some(after),
        ..room_batch(&room, after, size)
    };
    let batch = Batch {
        id: BatchId([7; 12]),
        rooms: vec![batch],
        counts: Vec::new(),
        guests: Vec::new(),
    };
    let written = buckets::new_buckets(&batch);
    let written: Vec<_> = written
        .into_iter()
        .map(|bucket| {
            bucket
                .expect("BSON")
                .as_document()
                .expect("a document")
                .to_owned()
        })
        .collect();
    assert_eq!(written.len(), 3);
    let database = database(&address).await;
    let there = [written[0].clone(), written[2].clone()];
    database
        .collection::<RawDocumentBuf>("messages")
        .insert_many(there)
        .await
        .expect("written");
    let plan = doc! {
        "_id": "batch", "number": 2_i64, "id": ObjectId::from_bytes([7; 12]),
        "rooms": [{ "room": "a", "after": 1_i64, "last": last }],
        "is_complete": false, "counts": [], "changes": [], "more_changes": 0_i64,
    };
    let state = database.collection::<Document>("state");
    state
        .replace_one(doc! { "_id": "batch" }, plan)
        .upsert(true)
        .await
        .expect("written");

    let store = ChatStore::open(&address).await.expect("a store");
    let arrived = 1 + i64::try_from(buckets::CAPACITY).expect("small");
    let read = store
        .messages(&room, Range::Newest, 200)
        .await
        .expect("read");
    assert_eq!(
        read.iter().map(|m| m.seq.get()).collect::<Vec<_>>(),
        (1..=arrived).collect::<Vec<_>>()
    );
    assert_eq!(count(&store, "bob").await.cast_signed(), arrived - 1);
    let found = store.room(&room).await.expect("a room");
    assert_eq!(
        (found.last_seq.get(), found.members),
        (arrived, 2),
        "ann and bob are members"
    );
    post(&store, "ann").await;
    let next = store.messages(&room, Range::Newest, 1).await.expect("read");
    assert_eq!(next[0].seq.get(), arrived + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_cannot_be_read_fails_alone() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let address = mongod::database(kind);
        let store = ChatStore::open(&address).await.expect("a store");
        let message = |room: &str| {
            let (room, sender) = (
                room.parse().expect("a name"),
                "ann".parse().expect("a name"),
            );
            NewMessage::new(room, sender, "x".parse().expect("a text"))
        };
        store.post(message("broken")).await.expect("stored");
        store.close().await.expect("closed");
        let counters = database(&address).await.collection::<Document>("counters");
        let wrong = doc! { "$set": { "last_seq": "many" } };
        counters
            .update_one(doc! { "_id": { "room": "broken" } }, wrong)
            .await
            .expect("written");

        let store = ChatStore::open(&address).await.expect("a store");
        // All at once, so that they share batches.
        let posts = (0..40).map(|i| {
            let (store, i) = (store.clone(), i % 4);
            let message = message(if i == 0 { "broken" } else { "whole" });
            tokio::spawn(async move { (i == 0, store.post(message).await) })
        });
        for (is_broken, posted) in futures_util::future::try_join_all(posts)
            .await
            .expect("no panic")
        {
            match is_broken {
                true => assert!(matches!(posted, Err(Error::Corrupt(_))), "{posted:?}"),
                false => assert!(posted.is_ok(), "{posted:?}"),
            }
        }
        assert_eq!(count(&store, "ann").await, 31);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_a_standalone_cut_off_lets_nobody_post() {
    let address = mongod::database(Kind::Standalone);
    let store = ChatStore::open(&address).await.expect("a store");
    let (ann, bob): (Username, Username) = (
        "ann".parse().expect("a name"),
        "bob".parse().expect("a name"),
    );
    for user in [&ann, &bob] {
        store
            .register(user, &"correct horse".parse().expect("a password"), "")
            .await
            .expect("registered");
    }
    let name = address.rsplit('/').next().expect("a name").to_owned();
    let admin = database(&address).await.client().database("admin");

    // Each of its writes to the room is lost in turn.
    for (command, collection) in [("update", "counters"), ("delete", "members")] {
        let room: RoomName = collection.parse().expect("a name");
        store
            .create_room_for(&room, &ann, crate::types::Privacy::Private)
            .await
            .expect("created");
        store.invite(&room, &bob).await.expect("invited");
        let by_bob = || NewMessage {
            verified: true,
            ..NewMessage::new(room.clone(), bob.clone(), "x".parse().expect("a text"))
        };
        store.post(by_bob()).await.expect("stored");

        let data = doc! {
            "failCommands": [command], "errorCode": 11_602, "namespace": format!("{name}.{collection}"),
        };
        let fail =
            doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
        admin.run_command(fail).await.expect("set");
        assert!(store.remove(&room, &bob).await.is_err(), "{command}");
        store.remove(&room, &bob).await.expect("removed");
        assert!(
            matches!(store.post(by_bob()).await, Err(Error::RoomNotFound)),
            "{command}"
        );
        assert_eq!(
            store.room(&room).await.expect("a room").members,
            1,
            "{command}"
        );
    }
}
