//! Two processes on one replica set, played by two stores: each hears of what the other posts.

use std::time::Duration;

use chat_testkit::mongod::{self, Kind};
use chatcore::{ChatStore, NewMessage, Range, Seq};
use futures_util::{StreamExt as _, TryStreamExt as _};
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
        let stream = store.follow(&"a".parse().expect("a name"), Seq::ZERO).into_stream().take(2 * EACH);
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
        let found = follower.await.expect("no panic").expect("in time").expect("followed");
        let places: Vec<_> = found.iter().map(|m| m.seq.get()).collect();
        assert_eq!(places, (1..=2 * EACH as i64).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_at_one_process_is_woken_by_a_post_at_the_other() {
    let [here, there] = two().await;
    let room = "a".parse().expect("a name");
    for i in 1..=20 {
        let after = Range::After(Seq::new(i - 1).expect("a place"));
        let waiting = tokio::spawn({
            let (here, room) = (here.clone(), "a".parse().expect("a name"));
            async move { here.wait_for_messages(&room, after, 50, SOON).await.expect("read") }
        });
        post(&there, "x").await;
        let found = waiting.await.expect("no panic");
        assert_eq!(found.iter().map(|m| m.seq.get()).collect::<Vec<_>>(), [i]);
        assert_eq!(here.messages(&room, Range::Newest, 1).await.expect("read"), found);
    }
}
