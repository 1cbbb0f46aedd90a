//! Threads that own a connection each and work off one bounded queue of calls.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::error::error;
use super::lock::FileLock;
use crate::error::{Error, Reason, Result};

/// Calls of one priority that may wait for a thread.
const MAX_WAITING: usize = 4_096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads with a connection each, which run the calls of one queue.
pub(super) struct Pool {
    queue: Arc<Queue>,
    /// Ends when the last thread does: its senders are dropped then.
    ended: watch::Receiver<()>,
}

/// The order in which waiting calls are begun. Calls of one priority keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Before all others: calls of the committer, which makes one at a time.
    Commit,
    /// Everything else.
    Normal,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes a thread for each new job, and all of them once the queue is closed.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    commits: VecDeque<Job>,
    normal: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, priority: Priority, job: Job) -> Result<()> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Closed);
        }

        let jobs = match priority {
            Priority::Commit => &mut waiting.commits,
            Priority::Normal => &mut waiting.normal,
        };
        if jobs.len() >= MAX_WAITING {
            return Err(Error::Busy);
        }

        jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next job; `None` once the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            let job = waiting
                .commits
                .pop_front()
                .or_else(|| waiting.normal.pop_front());
            if job.is_some() || waiting.closed {
                return job;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

impl Pool {
    /// Starts a thread for each connection. `lock` is held until the threads have ended.
    pub(super) fn start(
        name: &str,
        connections: Vec<Connection>,
        lock: Option<&Arc<FileLock>>,
    ) -> Result<Self> {
        let (running, ended) = watch::channel(());
        let pool = Self {
            queue: Arc::default(),
            ended,
        };

        for connection in connections {
            let (queue, lock, running) = (pool.queue.clone(), lock.cloned(), running.clone());
            let thread = move || {
                work(connection, &queue);
                // After the connection, and before the pool is known to have ended.
                drop(lock);
                drop(running);
            };
            let started = std::thread::Builder::new().name(name.into()).spawn(thread);
            started.map_err(|e| {
                let text = format!("no thread could be started: {e}");
                Error::Open(Reason::with_cause(text, e))
            })?;
        }

        Ok(pool)
    }

    /// Runs `job` on one of the threads. It runs to its end even if the answer is not waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Closed`] if it was not begun, and those of the job.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(
            priority,
            Box::new(move |connection| drop(reply.send(job(connection)))),
        )?;

        match answer.await {
            Ok(result) => result.map_err(error),
            Err(_) => Err(Error::Unavailable("a call ended without an answer".into())),
        }
    }

    /// Works off the queue and closes the connections. Waits until that is done, however often it
    /// is called.
    pub(super) async fn close(&self) {
        self.queue.close();

        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Runs the calls of a queue until it is closed and empty.
fn work(mut connection: Connection, queue: &Queue) {
    while let Some(job) = queue.next() {
        // A panic costs its caller the answer, not everyone the thread. An open transaction was
        // rolled back when it was dropped.
        if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
            tracing::error!("a call to the store panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool whose one thread is busy until the returned sender is dropped.
    async fn busy_pool() -> (Arc<Pool>, mpsc::Sender<()>) {
        let connection = Connection::open_in_memory().expect("memory");
        let pool = Arc::new(Pool::start("test", vec![connection], None).expect("a pool"));
        let (release, released) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        tokio::spawn({
            let pool = pool.clone();
            let wait = move |_: &mut Connection| {
                let _ = began.send(());
                let _ = released.recv();
                Ok(())
            };
            async move { pool.run(Priority::Normal, wait).await }
        });

        begun.await.expect("begun");
        (pool, release)
    }

    fn push(pool: &Pool, priority: Priority, done: &mpsc::Sender<usize>, id: usize) -> Result<()> {
        let done = done.clone();
        pool.queue
            .push(priority, Box::new(move |_| done.send(id).unwrap_or(())))
    }

    #[tokio::test]
    async fn commits_go_before_whatever_else_waits() {
        let (pool, release) = busy_pool().await;
        let (done, order) = mpsc::channel();
        let calls = [
            Priority::Normal,
            Priority::Commit,
            Priority::Normal,
            Priority::Commit,
        ];
        for (id, priority) in calls.into_iter().enumerate() {
            push(&pool, priority, &done, id).expect("accepted");
        }

        drop((release, done));
        pool.close().await;
        assert_eq!(order.iter().collect::<Vec<_>>(), [1, 3, 0, 2]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_leaves_room_for_commits() {
        let (pool, release) = busy_pool().await;
        let (done, order) = mpsc::channel();
        (0..MAX_WAITING).for_each(|id| push(&pool, Priority::Normal, &done, id).expect("accepted"));
        let refused = push(&pool, Priority::Normal, &done, MAX_WAITING);
        assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");

        push(&pool, Priority::Commit, &done, MAX_WAITING).expect("accepted");
        drop((release, done));
        pool.close().await;
        assert_eq!(order.iter().count(), MAX_WAITING + 1);
    }

    #[tokio::test]
    async fn a_close_that_is_given_up_can_be_repeated_and_waits_for_the_end() {
        let (pool, release) = busy_pool().await;
        let (done, order) = mpsc::channel();
        push(&pool, Priority::Normal, &done, 0).expect("accepted");
        assert!(futures_util::FutureExt::now_or_never(pool.close()).is_none());

        let refused = push(&pool, Priority::Commit, &done, 1);
        assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");

        drop((release, done));
        pool.close().await;
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0]);
    }
}
