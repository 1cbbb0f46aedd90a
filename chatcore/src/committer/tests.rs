//! The committer over a backend that fails on demand: before, after, in between and slowly.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::account::{Account, Fold};
use crate::backend::{Accounts, NewSession, NonceKey, Page};
use crate::session::{Session, SessionId, TokenHash};
use crate::store::{ChatStore, Options};
use crate::types::{Range, Room};

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It is not done, and the caller is told that the store is out of reach.
    Before,
    /// It is done, and the caller is told that the store is out of reach.
    After,
    /// It is done in a task that the caller stops waiting for.
    Late,
    /// It is not done, but a late call is, and the caller is told that the store is out of reach.
    Overtaken,
    /// It never ends and nothing is done.
    Hangs,
    /// It is refused as if another process had moved the head.
    Moved,
    /// The disk is full.
    Full,
    /// It is passed on.
    None,
}

/// An SQLite store whose commits fail by a plan.
struct Faulty {
    inner: Arc<dyn Backend>,
    appends: Mutex<VecDeque<Fault>>,
    looks: Mutex<VecDeque<Fault>>,
    appended: AtomicUsize,
    /// Lets a late call go on.
    release: Arc<Notify>,
}

fn next(plan: &Mutex<VecDeque<Fault>>) -> Fault {
    plan.lock().unwrap().pop_front().unwrap_or(Fault::None)
}

fn out_of_reach<T>() -> Result<T> {
    Err(Error::Unavailable("by plan".into()))
}

#[async_trait]
impl Backend for Faulty {
    async fn append(&self, batch: Arc<Batch>) -> Result<Append> {
        self.appended.fetch_add(1, Ordering::SeqCst);
        match next(&self.appends) {
            Fault::Before => out_of_reach(),
            Fault::After => {
                self.inner.append(batch).await?;
                out_of_reach()
            }
            Fault::Late => {
                let (inner, release) = (self.inner.clone(), self.release.clone());
                tokio::spawn(async move {
                    release.notified().await;
                    inner.append(batch).await
                });
                out_of_reach()
            }
            Fault::Overtaken => {
                self.release.notify_one();
                let rooms: Vec<_> = batch.rooms.iter().map(|room| room.room.clone()).collect();
                while self.inner.heads(rooms.clone()).await?.iter().all(Option::is_none) {
                    tokio::task::yield_now().await;
                }
                out_of_reach()
            }
            Fault::Hangs => std::future::pending().await,
            Fault::Moved => Ok(Append::HeadMoved),
            Fault::Full => Err(Error::Full),
            Fault::None => self.inner.append(batch).await,
        }
    }

    async fn holds(&self, batch: Arc<Batch>) -> Result<bool> {
        match next(&self.looks) {
            Fault::None => self.inner.holds(batch).await,
            Fault::Hangs => std::future::pending().await,
            _ => out_of_reach(),
        }
    }

    async fn heads(&self, rooms: Vec<RoomName>) -> Result<Vec<Option<Head>>> {
        self.inner.heads(rooms).await
    }
    async fn by_nonce(&self, keys: Vec<NonceKey>) -> Result<Vec<Option<Message>>> {
        self.inner.by_nonce(keys).await
    }
    async fn create_room(&self, room: RoomName, now: Timestamp) -> Result<bool> {
        self.inner.create_room(room, now).await
    }
    async fn rooms(&self, page: Page<RoomName>) -> Result<Vec<RoomName>> {
        self.inner.rooms(page).await
    }
    async fn room(&self, room: RoomName) -> Result<Option<Room>> {
        self.inner.room(room).await
    }
    async fn users(&self, room: RoomName, page: Page<Username>) -> Result<Option<Vec<Username>>> {
        self.inner.users(room, page).await
    }
    async fn join(&self, room: RoomName, user: Username, now: Timestamp) -> Result<()> {
        self.inner.join(room, user, now).await
    }
    async fn leave(&self, room: RoomName, user: Username) -> Result<bool> {
        self.inner.leave(room, user).await
    }
    async fn messages(&self, room: RoomName, range: Range, limit: u32) -> Result<Vec<Message>> {
        self.inner.messages(room, range, limit).await
    }
    async fn message_count(&self, user: Username) -> Result<u64> {
        self.inner.message_count(user).await
    }
    async fn mark_read(&self, user: Username, room: RoomName, seq: crate::Seq) -> Result<crate::Seq> {
        self.inner.mark_read(user, room, seq).await
    }
    async fn rooms_of(&self, user: Username, limit: u32) -> Result<Vec<crate::UserRoom>> {
        self.inner.rooms_of(user, limit).await
    }
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Accounts for Faulty {
    async fn account(&self, name: Fold) -> Result<Option<Account>> {
        self.inner.account(name).await
    }
    async fn owners(&self, names: Vec<Fold>) -> Result<Vec<Option<Username>>> {
        self.inner.owners(names).await
    }
    async fn claim(&self, account: Account, first: NewSession) -> Result<bool> {
        self.inner.claim(account, first).await
    }
    async fn change_password(&self, account: Account, keep: SessionId) -> Result<bool> {
        self.inner.change_password(account, keep).await
    }
    async fn upgrade_hash(&self, account: Account, old: String) -> Result<()> {
        self.inner.upgrade_hash(account, old).await
    }
    async fn add_guest(&self, new: NewSession) -> Result<bool> {
        self.inner.add_guest(new).await
    }
    async fn add_session(&self, new: NewSession, version: i64) -> Result<bool> {
        self.inner.add_session(new, version).await
    }
    async fn session(&self, token: TokenHash, alive_since: Timestamp) -> Result<Option<Session>> {
        self.inner.session(token, alive_since).await
    }
    async fn touch_session(&self, token: TokenHash, now: Timestamp) -> Result<()> {
        self.inner.touch_session(token, now).await
    }
    async fn end_session(&self, token: TokenHash) -> Result<Option<Username>> {
        self.inner.end_session(token).await
    }
    async fn sessions(&self, user: Username, alive_since: Timestamp) -> Result<Vec<Session>> {
        self.inner.sessions(user, alive_since).await
    }
    async fn end_session_of(&self, user: Username, id: SessionId) -> Result<bool> {
        self.inner.end_session_of(user, id).await
    }
    async fn end_sessions_of(&self, user: Username, except: Option<SessionId>) -> Result<u64> {
        self.inner.end_sessions_of(user, except).await
    }
}

struct Setup {
    store: ChatStore,
    faulty: Arc<Faulty>,
    _folder: TempDir,
}

/// A store with a plan for its commits and for the looks after them, and a short patience.
async fn setup(appends: &[Fault], looks: &[Fault], queue: usize) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { timeout: Duration::from_millis(400), queue, ..Options::default() };
    let inner = crate::backend::sqlite::open(folder.path().join("chat.db"), &options).await.unwrap();
    let faulty = Arc::new(Faulty {
        inner,
        appends: Mutex::new(appends.iter().copied().collect()),
        looks: Mutex::new(looks.iter().copied().collect()),
        appended: AtomicUsize::new(0),
        release: Arc::new(Notify::new()),
    });
    Setup { store: ChatStore::over(faulty.clone(), options), faulty, _folder: folder }
}

fn message(text: &str) -> NewMessage {
    NewMessage::new("a".parse().unwrap(), "ann".parse().unwrap(), text.parse().unwrap())
}

impl Setup {
    async fn post(&self, text: &str) -> Result<Posted> {
        self.store.post(message(text)).await
    }

    /// What is stored, after a check that it is dense and counted.
    async fn stored(&self) -> Vec<String> {
        let read = self.store.messages(&"a".parse().unwrap(), Range::Newest, 200).await.unwrap();
        let places: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(places, (1..=read.len() as i64).collect::<Vec<_>>());
        assert_eq!(self.store.message_count(&"ann".parse().unwrap()).await.unwrap(), read.len() as u64);
        read.into_iter().map(|m| m.text.to_string()).collect()
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
async fn looking_goes_on_until_there_is_an_answer() {
    let setup = setup(&[Fault::After], &[Fault::Before, Fault::Before, Fault::Before], 16).await;
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
    setup.faulty.looks.lock().unwrap().clear();
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
    assert_eq!(setup.store.messages(&room, after, 10).await.unwrap().len(), 0);
    let mut follower = setup.store.follow(&room, crate::Seq::ZERO);
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    setup.faulty.release.notify_one();
    setup.faulty.looks.lock().unwrap().clear();
    let followed = follower.next().await.unwrap();
    assert_eq!(followed[0].text.as_str(), "x");
    assert_eq!(setup.store.messages(&room, after, 10).await.unwrap(), followed);
}

#[tokio::test]
async fn a_late_batch_in_the_place_of_another_is_not_taken_for_it() {
    let setup = setup(&[Fault::Late, Fault::Overtaken], &[Fault::Hangs], 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    // Planned for the same place, which the first takes after all.
    assert_eq!(setup.post("y").await.unwrap().message.seq.get(), 2);
    assert_eq!(setup.stored().await, ["x", "y"]);
}

#[tokio::test]
async fn a_commit_without_an_answer_ends_in_time_and_stalls_nobody_after_it() {
    let setup = setup(&[Fault::Hangs], &[], 16).await;
    let started = Instant::now();
    assert!(matches!(setup.post("x").await, Err(Error::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(5));
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
async fn an_unknown_outcome_that_turns_out_refused_is_planned_anew() {
    let setup = setup(&[Fault::Before, Fault::Moved], &[], 16).await;
    setup.post("x").await.unwrap();
    assert_eq!(setup.stored().await, ["x"]);
}

#[tokio::test]
async fn a_full_disk_refuses_at_once_and_the_store_goes_on() {
    let setup = setup(&[Fault::Full], &[], 16).await;
    assert!(matches!(setup.post("x").await, Err(Error::Full)));
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 1, "a definite answer is not questioned");
    setup.post("y").await.unwrap();
    assert_eq!(setup.stored().await, ["y"]);
}

#[tokio::test]
async fn a_full_queue_refuses_and_stores_nothing() {
    let setup = setup(&[Fault::Hangs], &[], 4).await;
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
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Error::Busy))).count();
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
    let setup = setup(&[Fault::Late], &[Fault::Hangs], 256).await;
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
    assert!(first.await.unwrap().is_err(), "nothing was known of it in time");
    // The attempt that hung, and one batch of a hundred.
    assert_eq!(setup.faulty.appended.load(Ordering::SeqCst), 2);
    assert_eq!(setup.stored().await.len(), 100);
}
