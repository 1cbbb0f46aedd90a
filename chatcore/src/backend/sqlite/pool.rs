//! Threads that own a connection each and work off one bounded queue.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Calls that may wait for a thread.
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Pool {
    /// `None` once closed.
    queue: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Starts a thread for each connection. `lock` is held until the threads have ended.
    pub(super) fn start(name: &str, connections: Vec<Connection>, lock: Option<File>) -> Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let lock = Arc::new(lock);
        let start = |connection| {
            let (jobs, lock) = (jobs.clone(), lock.clone());
            std::thread::Builder::new().name(name.into()).spawn(move || {
                work(connection, &jobs);
                drop(lock);
            })
        };
        let threads = connections.into_iter().map(start).collect::<std::io::Result<_>>();
        let threads = threads.map_err(|e| Error::Open(format!("no thread could be started: {e}")))?;
        Ok(Self { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) })
    }

    /// Runs `job` on one of the threads. It runs to its end even if the answer is not waited for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(reply.send(job(connection))));
        self.send(job)?;
        match answer.await {
            Ok(result) => result.map_err(super::error),
            Err(_) => Err(Error::Unavailable("a call ended without an answer".into())),
        }
    }

    fn send(&self, job: Job) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or_else(|| Error::Unavailable("it is closed".into()))?;
        queue.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => Error::Unavailable("too many calls are waiting".into()),
            TrySendError::Disconnected(_) => Error::Unavailable("its threads have ended".into()),
        })
    }

    /// Works off the queue and closes the connections.
    pub(super) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let join = || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

fn work(mut connection: Connection, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { break };
        // A panic costs its caller the answer, not everyone the thread. An open transaction was
        // rolled back when it was dropped.
        if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
            tracing::error!("a call to the store panicked");
        }
    }
}
