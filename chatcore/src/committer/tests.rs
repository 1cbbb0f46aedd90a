//! The committer over a backend that fails on demand: before, after, in between and slowly.

mod faulty;
mod gaps;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use self::faulty::{Fault, Faulty, Peer};
use super::*;
use crate::actor::Actor;
use crate::backend::{Commits as _, Rooms as _};
use crate::follow::Update;
use crate::options::Options;
use crate::position::Position;
use crate::store::ChatStore;
use crate::types::{ChangeSeq, Privacy, Range, Seq};

struct Setup {
    store: ChatStore,
    faulty: Arc<Faulty>,
    _folder: TempDir,
}

/// A store with a plan for its commits and for their confirmations, and a short timeout.
async fn setup(appends: &[Fault], confirmations: &[Fault], queue: usize) -> Setup {
    let options = Options {
        timeout: Duration::from_secs(1),
        queue,
        ..Options::default()
    };
    setup_with(options, None, appends, confirmations).await
}

/// A store that has the usual time for its calls, and perhaps is one of several processes.
async fn setup_with_time(peer: Option<Peer>) -> Setup {
    setup_with(Options::default(), peer, &[], &[]).await
}

async fn setup_with(
    options: Options,
    peer: Option<Peer>,
    appends: &[Fault],
    confirmations: &[Fault],
) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let inner = crate::backend::sqlite::open(folder.path().join("chat.db"), &options)
        .await
        .unwrap();
    let faulty = Arc::new(Faulty {
        inner,
        appends: Mutex::new(appends.iter().copied().collect()),
        confirmations: Mutex::new(confirmations.iter().copied().collect()),
        appended: AtomicUsize::new(0),
        accesses: AtomicUsize::new(0),
        peer,
        release: Arc::new(Notify::new()),
    });

    Setup {
        store: ChatStore::over(faulty.clone(), options),
        faulty,
        _folder: folder,
    }
}

fn message(text: &str) -> NewMessage {
    NewMessage::new(
        "a".parse().unwrap(),
        "ann".parse().unwrap(),
        text.parse().unwrap(),
    )
}

impl Setup {
    async fn post(&self, text: &str) -> Result<Posted> {
        self.store.post(message(text)).await
    }

    /// Returns the stored messages, after a check that they are dense and counted.
    async fn stored(&self) -> Vec<String> {
        let read = self
            .store
            .messages(&"a".parse().unwrap(), Range::Newest, 200)
            .await
            .unwrap();
        let numbers: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(numbers, (1..=read.len() as i64).collect::<Vec<_>>());
        assert_eq!(
            self.store
                .message_count(&"ann".parse().unwrap())
                .await
                .unwrap(),
            read.len() as u64
        );

        read.into_iter()
            .map(|m| m.text().unwrap_or_default().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn a_commit_that_failed_before_is_repeated() {
    let setup = setup(&[Fault::Before, Fault::Before], &[], 16).await;
    assert_eq!(setup.post("x").await.unwrap().message.seq.get(), 1);
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 3);
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn a_commit_that_failed_after_is_found_and_not_repeated() {
    let setup = setup(&[Fault::After], &[], 16).await;
    let posted = setup.post("x").await.unwrap();
    assert_eq!((posted.message.seq.get(), posted.repeated), (1, false));
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 1);
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 2);
    assert_eq!(setup.stored().await, ["x", "y"]);
}

#[tokio::test]
async fn confirming_goes_on_until_there_is_an_answer() {
    let setup = setup(
        &[Fault::After],
        &[Fault::Before, Fault::Before, Fault::Before],
        16,
    )
    .await;
    setup.post("x").await.unwrap();
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 1);
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn an_attempt_that_arrives_late_does_not_double() {
    // The first attempt is under way somewhere; the second is stored; then the first arrives.
    let setup = setup(&[Fault::Late], &[], 16).await;
    setup.post("x").await.unwrap();
    setup.faulty.release.notify_one();
    setup.post("y").await.unwrap();
    assert_eq!(setup.stored().await, ["x", "y"]);
}

#[tokio::test]
async fn an_attempt_that_wins_late_is_not_answered_as_lost_and_stored_again() {
    // Nothing is known of the first attempt until time is up; then it arrives after all.
    let hidden = [Fault::Before; 64];
    let setup = setup(&[Fault::Late], &hidden, 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));

    setup.faulty.confirmations.lock().unwrap().clear();
    setup.faulty.release.notify_one();
    setup.post("y").await.unwrap();
    let stored = setup.stored().await;
    assert!(stored == ["x", "y"] || stored == ["y"], "{stored:?}");
}

#[tokio::test]
async fn a_message_of_unknown_fate_reaches_readers_and_followers_once_it_is_stored() {
    let hidden = [Fault::Before; 64];
    let setup = setup(&[Fault::Late], &hidden, 16).await;
    let room = "a".parse().unwrap();
    let after = Range::After(crate::Seq::ZERO);

    // From here on the room is live in memory.
    assert_eq!(
        setup.store.messages(&room, after, 10).await.unwrap().len(),
        0
    );

    let mut follower = setup.store.follow(&room, crate::Seq::ZERO);
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));

    setup.faulty.release.notify_one();
    setup.faulty.confirmations.lock().unwrap().clear();
    let followed = follower.next().await.unwrap();
    assert_eq!(followed[0].text(), Some("x"));
    assert_eq!(
        setup.store.messages(&room, after, 10).await.unwrap(),
        followed
    );
}

#[tokio::test]
async fn a_late_batch_in_place_of_another_is_not_taken_for_it() {
    let setup = setup(&[Fault::Late, Fault::Overtaken], &[Fault::Hangs; 2], 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    // Built for the same `seq`, which the first takes after all.
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 2);
    assert_eq!(setup.stored().await, ["x", "y"]);
}

#[tokio::test]
async fn a_call_without_an_answer_is_repeated_while_there_is_time() {
    let setup = setup(&[Fault::Hangs], &[], 16).await;
    setup.post("x").await.unwrap();
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn a_commit_without_an_answer_ends_in_time_and_stalls_nobody_after_it() {
    let setup = setup(&[Fault::Hangs; 2], &[], 16).await;
    let started = Instant::now();
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 1);
    assert_eq!(setup.stored().await, ["y"]);
}

#[tokio::test]
async fn a_head_that_moves_again_and_again_is_followed() {
    let setup = setup(&[Fault::Moved, Fault::Moved, Fault::Moved], &[], 16).await;
    setup.post("x").await.unwrap();
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn an_unknown_outcome_that_turns_out_refused_is_built_anew() {
    let setup = setup(&[Fault::Before, Fault::Moved], &[], 16).await;
    setup.post("x").await.unwrap();
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn a_full_disk_refuses_at_once_and_the_store_goes_on() {
    let setup = setup(&[Fault::Full], &[], 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Full)));
    assert_eq!(
        setup.faulty.appended.load(Ordering::SeqCst),
        1,
        "a definite answer is not questioned"
    );

    setup.post("y").await.unwrap();
    assert_eq!(setup.stored().await, ["y"]);
}

#[tokio::test]
async fn a_full_queue_of_the_store_refuses_at_once() {
    let setup = setup(&[Fault::Busy], &[], 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Busy)));
    assert_eq!(
        setup.faulty.appended.load(Ordering::SeqCst),
        1,
        "a definite answer is not questioned"
    );
    assert!(setup.stored().await.is_empty());
}

#[tokio::test]
async fn a_full_disk_after_an_attempt_of_unknown_result_is_no_proof_that_nothing_was_stored() {
    // It is confirmed that it was not stored.
    let known = setup(&[Fault::Before, Fault::Full], &[], 16).await;
    assert!(matches!(known.post("x").await, Err(Error::Full)));
    assert!(known.stored().await.is_empty());

    // It cannot be confirmed after the second attempt.
    let mut confirmations = vec![Fault::None];
    confirmations.extend([Fault::Before; 64]);
    let unknown = setup(&[Fault::Before, Fault::Full], &confirmations, 16).await;
    assert!(matches!(
        unknown.post("x").await,
        Err(Error::Unavailable(_))
    ));

    // The confirmation may not claim it either.
    let unknown = setup(&[Fault::After], &[Fault::Full; 64], 16).await;
    assert!(matches!(
        unknown.post("x").await,
        Err(Error::Unavailable(_))
    ));

    unknown.faulty.confirmations.lock().unwrap().clear();
    assert_eq!(unknown.stored().await, ["x"]);
}

#[tokio::test]
async fn a_panic_fails_the_posts_of_one_batch_and_what_it_stored_is_found() {
    let setup = setup(&[Fault::Panics], &[], 16).await;
    let room = "a".parse().unwrap();

    // From here on the room is live in memory.
    assert!(setup.stored().await.is_empty());

    let mut follower = setup.store.follow(&room, Seq::ZERO);
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    assert_eq!(follower.next().await.unwrap()[0].text(), Some("x"));
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 2);
    assert_eq!(setup.stored().await, ["x", "y"]);
    assert!(!setup.store.is_closed());
}

#[tokio::test]
async fn readers_see_a_batch_that_is_stored_while_the_committer_waits_for_the_answer() {
    let peer = Some(Peer::default());
    let setup = setup_with(Options::default(), peer, &[Fault::Silent], &[]).await;
    let room = "a".parse().unwrap();
    let peer = setup.faulty.peer.as_ref().unwrap();
    peer.is_watching.send_replace(true);
    assert!(setup.stored().await.is_empty());

    let mut follower = setup.store.follow(&room, Seq::ZERO);
    let store = setup.store.clone();
    let posting = tokio::spawn(async move { store.post(message("x")).await });
    assert_eq!(follower.next().await.unwrap()[0].text(), Some("x"));
    assert_eq!(setup.stored().await, ["x"]);
    assert!(!posting.is_finished());

    assert_eq!(posting.await.unwrap().unwrap().message.seq.get(), 1);
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 2);
    assert_eq!(setup.stored().await, ["x", "y"]);
}

#[test]
fn a_store_whose_runtime_has_ended_is_closed() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let ended = runtime();
    let setup = ended.block_on(setup(&[], &[], 16));
    assert!(!setup.store.is_closed());

    drop(ended);
    assert!(setup.store.is_closed());

    runtime().block_on(async {
        assert!(matches!(setup.post("x").await, Err(Error::Closed)));
        assert!(matches!(setup.store.ping().await, Err(Error::Closed)));
        assert!(matches!(
            setup
                .store
                .follow(&"a".parse().unwrap(), Seq::ZERO)
                .next()
                .await,
            Err(Error::Closed)
        ));
        setup.store.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_full_queue_refuses_and_stores_nothing() {
    let setup = setup(&[Fault::Hangs; 2], &[], 4).await;
    // One commit hangs; the queue behind it holds four.
    let hanging = tokio::spawn({
        let store = setup.store.clone();
        async move { store.post(message("hangs")).await }
    });
    while setup.faulty.appended.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }

    let posts = (0..6).map(|i| {
        let store = setup.store.clone();
        tokio::spawn(async move { store.post(message(&format!("queued {i}"))).await })
    });
    let answers: Vec<_> = futures_join(posts.collect()).await;
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Error::Busy)))
        .count();
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((refused, stored), (2, 4));
    assert!(hanging.await.unwrap().is_err());
    assert_eq!(setup.stored().await.len(), 4);
}

async fn futures_join<T: 'static>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

#[tokio::test]
async fn what_arrives_during_a_commit_is_one_batch() {
    let setup = setup(&[Fault::Late], &[Fault::Hangs; 2], 256).await;
    let first = tokio::spawn({
        let store = setup.store.clone();
        async move { store.post(message("first")).await }
    });
    while setup.faulty.appended.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }

    let posts = (0..100).map(|i| {
        let store = setup.store.clone();
        tokio::spawn(async move { store.post(message(&format!("{i}"))).await })
    });
    let answers = futures_join(posts.collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(
        first.await.unwrap().is_err(),
        "nothing was known of it in time"
    );

    // The attempt that hung, and one batch of a hundred.
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 2);
    assert_eq!(setup.stored().await.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_unknown_result_is_made_once_and_given_to_followers() {
    for fault in [Fault::Before, Fault::After, Fault::Hangs, Fault::Moved] {
        let setup = setup(&[], &[], 100).await;
        let (room, ann) = ("a".parse().unwrap(), "ann".parse().unwrap());
        let seq = setup.post("x").await.unwrap().message.seq;
        assert_eq!(setup.store.message_count(&ann).await.unwrap(), 1);
        let mut watcher = setup.store.follow(&room, seq).with_changes(ChangeSeq::ZERO);
        setup.faulty.appends.lock().unwrap().push_back(fault);
        setup
            .store
            .delete_message(&room, seq)
            .await
            .unwrap_or_else(|e| panic!("{fault:?} {e}"));
        let told = tokio::time::timeout(Duration::from_secs(20), watcher.next())
            .await
            .unwrap()
            .unwrap();
        let Update::Changed(changed) = told else {
            panic!("{fault:?} {told:?}")
        };
        assert!(
            changed.len() == 1 && changed[0].seq == seq && changed[0].is_deleted(),
            "{fault:?}"
        );
        let read = setup
            .store
            .messages(&room, Range::Newest, 10)
            .await
            .unwrap();
        assert_eq!(read, changed);
        assert_eq!(setup.store.message_count(&ann).await.unwrap(), 0);
        assert_eq!(setup.store.last_change(&room).await.unwrap().get(), 1);

        // Once more it changes nothing.
        setup.store.delete_message(&room, seq).await.unwrap();
        assert_eq!(setup.store.last_change(&room).await.unwrap().get(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_refused_changes_nothing() {
    let setup = setup(&[], &[], 100).await;
    let (room, ann) = ("a".parse().unwrap(), "ann".parse().unwrap());
    let seq = setup.post("x").await.unwrap().message.seq;
    setup.faulty.appends.lock().unwrap().push_back(Fault::Full);
    assert!(matches!(
        setup.store.delete_message(&room, seq).await,
        Err(Error::Full)
    ));
    assert_eq!(setup.stored().await, ["x"]);
    assert_eq!(setup.store.message_count(&ann).await.unwrap(), 1);
    assert_eq!(
        setup.store.last_change(&room).await.unwrap(),
        ChangeSeq::ZERO
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_posts_that_come_together_are_few_commits() {
    let setup = setup(&[], &[], 1_000).await;
    let room: RoomName = "a".parse().unwrap();
    let seq = setup.post("x").await.unwrap().message.seq;
    let before = setup.faulty.appended.load(Ordering::SeqCst);
    let tasks = (0..200).map(|i| {
        let (store, room) = (setup.store.clone(), room.clone());
        tokio::spawn(async move {
            if i % 2 == 0 {
                return store.post(message(&format!("{i}"))).await.map(drop);
            }
            let user = format!("user{i}").parse().unwrap();
            store
                .add_reaction(&room, seq, &user, "👍".parse().unwrap())
                .await
                .map(drop)
        })
    });

    assert!(
        futures_join(tasks.collect())
            .await
            .iter()
            .all(Result::is_ok)
    );

    let commits = setup.faulty.appended.load(Ordering::SeqCst) - before;
    assert!(commits <= 20, "{commits}");

    let message = setup.store.message(&room, seq).await.unwrap();
    let reaction = &message.content.as_ref().unwrap().reactions[0];
    assert_eq!((reaction.count, reaction.users.len()), (100, 10));

    // All changes of one message in a batch are one.
    let last = setup.store.last_change(&room).await.unwrap().get();
    assert!(last <= commits as i64 && message.change.map(ChangeSeq::get) == Some(last));
    assert_eq!(setup.stored().await.len(), 101);
}

/// A task that follows a room as a user until it may not any more: how many messages it got.
fn watch_until_refused(store: &ChatStore, room: &RoomName, name: &str, verified: bool) -> Watching {
    let (view, room) = (
        store.as_user(Actor::named(name.parse().unwrap(), verified)),
        room.clone(),
    );
    let got = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn({
        let got = got.clone();
        async move {
            let mut watch = view.watch(&room, Position::START).await?;
            loop {
                if let Update::Messages(messages) = watch.watcher.next().await? {
                    got.fetch_add(messages.len(), Ordering::SeqCst);
                }
            }
        }
    });

    Watching { got, task }
}

struct Watching {
    got: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Watching {
    /// Waits until it got so many messages.
    async fn until(&self, messages: usize) {
        let got = async {
            while self.got.load(Ordering::SeqCst) < messages {
                assert!(!self.task.is_finished(), "it may follow");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), got)
            .await
            .unwrap();
    }

    async fn refused(self) -> (Error, usize) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .unwrap()
            .unwrap();
        (ended.unwrap_err(), self.got.load(Ordering::SeqCst))
    }
}

/// Followers of one room, and the most questions to the store that all of them together may ask.
/// All who wait are asked about at once; a busy machine wakes them one by one, which takes more
/// questions.
const FOLLOWERS: usize = 500;
const FEW: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_checks_one_follower_again_and_the_last_lifted_ban_opens_the_room() {
    let setup = setup_with_time(None).await;
    let (store, room) = (&setup.store, "a".parse::<RoomName>().unwrap());
    let accesses = || setup.faulty.accesses.swap(0, Ordering::SeqCst);
    setup.post("1").await.unwrap();
    let name = |i: usize| format!("guest{i}");
    let mut watching: Vec<_> = (0..FOLLOWERS)
        .map(|i| watch_until_refused(store, &room, &name(i), false))
        .collect();
    for follower in &watching {
        follower.until(1).await;
    }

    accesses();
    let is_open = || store.engine.feed.room(&room).is_open();
    assert!(is_open());

    let banned: Username = "GUEST7".parse().unwrap();
    store.ban(&room, &banned).await.unwrap();
    let (error, got) = watching.remove(7).refused().await;
    assert!(
        matches!(error, Error::Banned) && got == 1,
        "{error:?} {got}"
    );

    for text in ["2", "3"] {
        setup.post(text).await.unwrap();
    }

    for follower in &watching {
        follower.until(3).await;
    }

    let asked = accesses();
    // The ban itself, whoever is banned, and who posts.
    assert!(asked <= 3, "{asked}");
    assert!(!is_open());

    assert!(store.unban(&room, &banned).await.unwrap());

    let heads = setup.faulty.heads(vec![room.clone()]).await.unwrap();
    assert!(!heads[0].as_ref().unwrap().unwrap().restricted);

    // Whoever comes next finds the room open, and then it is open for everyone.
    let back = watch_until_refused(store, &room, &name(7), false);
    back.until(3).await;
    assert!(is_open());

    accesses();
    for sender in ["bob", "eve", "joe"] {
        let sender = sender.parse().unwrap();
        store
            .post(NewMessage {
                sender,
                ..message("4")
            })
            .await
            .unwrap();
    }

    for follower in watching.iter().chain([&back]) {
        follower.until(6).await;
    }

    let asked = accesses();
    assert!(asked <= 1, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_checked_together_after_a_removal_by_another_process() {
    let setup = setup_with_time(None).await;
    let (store, room) = (&setup.store, "a".parse::<RoomName>().unwrap());
    let accesses = || setup.faulty.accesses.swap(0, Ordering::SeqCst);
    let (ann, now) = ("ann".parse::<Username>().unwrap(), Timestamp::now());
    setup
        .faulty
        .create_room_for(room.clone(), ann, Privacy::Private, now)
        .await
        .unwrap();
    let name = |i: usize| format!("member{i}");

    for i in 0..FOLLOWERS {
        setup
            .faulty
            .join(room.clone(), name(i).parse().unwrap(), true, now)
            .await
            .unwrap();
    }

    let say = async |text| {
        let message = NewMessage {
            verified: true,
            ..message(text)
        };
        store.post(message).await.unwrap();
    };
    say("1").await;
    let mut watching: Vec<_> = (0..FOLLOWERS)
        .map(|i| watch_until_refused(store, &room, &name(i), true))
        .collect();
    for follower in &watching {
        follower.until(1).await;
    }

    // The first head tells how often somebody was removed so far.
    for (text, got, may_ask) in [("2", 2, FEW), ("3", 3, 0)] {
        accesses();
        say(text).await;
        for follower in &watching {
            follower.until(got).await;
        }
        let asked = accesses();
        assert!(asked <= may_ask, "{text}: {asked}");
    }

    // Not heard of yet: the next message's head tells that somebody was removed.
    setup
        .faulty
        .leave(room.clone(), name(7).parse().unwrap())
        .await
        .unwrap();
    say("4").await;
    let (error, got) = watching.remove(7).refused().await;
    assert!(
        matches!(error, Error::RoomNotFound) && got == 3,
        "{error:?} {got}"
    );

    for follower in &watching {
        follower.until(4).await;
    }

    let asked = accesses();
    assert!(asked <= FEW, "{asked}");

    // Heard of: nobody else is looked up.
    store.leave(&room, &name(8).parse().unwrap()).await.unwrap();
    let (error, got) = watching.remove(7).refused().await;
    assert!(
        matches!(error, Error::RoomNotFound) && got == 4,
        "{error:?} {got}"
    );

    let asked = accesses();
    assert!(asked <= 2, "{asked}");
}
