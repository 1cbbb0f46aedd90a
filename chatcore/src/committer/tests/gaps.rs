//! A process that follows many rooms while it does not hear of what others commit.

use futures_util::future::join_all;

use super::*;
use crate::backend::EventSink as _;
use crate::follow::Update;
use crate::position::Position;

/// Rooms that are followed, those of them in which another process posts unheard, and those in
/// which somebody is present.
const ROOMS: usize = 2_000;
const MISSED: usize = 300;
const UNCHANGED_TO: usize = ROOMS - MISSED;
const WATCHED: usize = 300;
/// Reads of messages, and calls about presence, that may be under way at once.
const FEW: usize = 8;

fn room(i: usize) -> RoomName {
    format!("room{i}").parse().unwrap()
}

async fn post_to(store: &ChatStore, rooms: impl Iterator<Item = usize>, text: &str) {
    let post = |i| {
        store.post(NewMessage {
            room: room(i),
            ..message(text)
        })
    };
    let posted = join_all(rooms.map(post)).await;
    posted.into_iter().for_each(|posted| drop(posted.unwrap()));
}

/// Follows a room; what it got, in order.
fn follow(store: &ChatStore, i: usize) -> Arc<Mutex<Vec<String>>> {
    let (got, watches) = (Arc::new(Mutex::new(Vec::new())), i < WATCHED);
    let (store, heard) = (store.clone(), got.clone());
    tokio::spawn(async move {
        let take = |messages: Vec<crate::SharedMessage>| {
            let texts = messages.iter().filter_map(|m| m.text().map(str::to_owned));
            heard.lock().unwrap().extend(texts);
        };
        // On a slow machine a read may take longer than a call may; then it goes on.
        if watches {
            let _attending = store.enter(&room(i), &"ann".parse().unwrap());
            let mut watcher = store.watch(&room(i), Position::START);
            while !store.is_closed() {
                if let Ok(Update::Messages(messages)) = watcher.next().await {
                    take(messages);
                }
            }
        } else {
            let mut follower = store.follow(&room(i), Seq::ZERO);
            while !store.is_closed() {
                if let Ok(messages) = follower.next().await {
                    take(messages);
                }
            }
        }
    });

    got
}

async fn until_all_got(
    followers: &[Arc<Mutex<Vec<String>>>],
    expected: impl Fn(usize) -> Vec<&'static str>,
) {
    for (i, got) in followers.iter().enumerate() {
        let expected = expected(i);
        let complete = async {
            while got.lock().unwrap().len() < expected.len() {
                tokio::task::yield_now().await;
            }
        };
        let complete = tokio::time::timeout(Duration::from_secs(60), complete).await;
        assert!(
            complete.is_ok() && *got.lock().unwrap() == expected,
            "{i}: {:?}",
            got.lock().unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_gap_few_rooms_are_read_at_once_and_followers_get_what_they_missed() {
    let setup = setup_with_time(Some(Peer::default())).await;
    let (store, peer) = (&setup.store, setup.faulty.peer.as_ref().unwrap());
    let other = ChatStore::over(setup.faulty.inner.clone(), Options::default());
    let calls = [&peer.reads, &peer.heads, &peer.presence];
    peer.is_watching.send_replace(true);
    let followers: Vec<_> = (0..ROOMS).map(|i| follow(store, i)).collect();
    post_to(&other, 0..ROOMS, "1").await;

    // Not heard of, but found by the next gap.
    peer.is_watching.send_replace(false);
    until_all_got(&followers, |_| vec!["1"]).await;
    peer.is_watching.send_replace(true);
    while !store.engine.feed.is_live() || !store.engine.feed.rooms_to_refresh().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    calls.iter().for_each(|calls| calls.reset());
    peer.is_watching.send_replace(false);
    while store.engine.feed.is_live() {
        tokio::task::yield_now().await;
    }

    post_to(&other, 0..MISSED, "2").await;
    peer.is_watching.send_replace(true);

    // Each is stored within its time limit.
    post_to(store, UNCHANGED_TO..ROOMS, "2").await;
    post_to(&other, 0..10, "3").await;
    post_to(store, 0..10, "4").await;
    until_all_got(&followers, |i| match i {
        0..10 => vec!["1", "2", "3", "4"],
        MISSED..UNCHANGED_TO => vec!["1"],
        _ => vec!["1", "2"],
    })
    .await;
    while !store.engine.feed.rooms_to_refresh().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    // A follower may read for itself if its room is refreshed again before it has taken what was
    // read for it, and where both processes post at the same time.
    for (name, calls, at_once, in_all) in [
        ("reads", &peer.reads, MISSED / 4, 3 * MISSED),
        ("heads", &peer.heads, 3, ROOMS / 10),
        ("presence", &peer.presence, FEW, 4 * WATCHED),
    ] {
        let (most, all) = (
            calls.most.load(Ordering::SeqCst),
            calls.all.load(Ordering::SeqCst),
        );
        assert!(
            most <= at_once && all <= in_all,
            "{name}: {most} at once, {all} in all"
        );
    }

    assert!(
        peer.presence.all.load(Ordering::SeqCst) >= WATCHED,
        "all are asked for again"
    );
}
