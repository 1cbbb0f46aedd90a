//! Commands, answers and events as JSON, over whatever carries text to a browser.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The answer to a command, or the browser's reason for refusing it.
pub(super) type Answer = Result<Value, String>;

type Write = Box<dyn Fn(&str) + Send + Sync>;

/// One connection to a browser, shared by all its pages.
pub(super) struct Connection {
    write: Write,
    last_id: AtomicU64,
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// Events of each page in the order of their arrival.
    events: Mutex<HashMap<String, Vec<Value>>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(write: Write) -> Self {
        Self {
            write,
            last_id: AtomicU64::new(0),
            pending: Mutex::default(),
            events: Mutex::default(),
        }
    }

    /// Sends a command, to which this adds an id. The answer may be waited for or not.
    pub(super) fn send(&self, mut command: Value) -> impl Future<Output = Answer> + use<> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        command["id"] = json!(id);
        let (answer, answered) = oneshot::channel();
        lock(&self.pending).insert(id, answer);
        (self.write)(&command.to_string());

        async {
            answered
                .await
                .unwrap_or_else(|_| Err("the browser ended".to_owned()))
        }
    }

    /// Takes a message of the browser. `page_of` names the page that an event belongs to.
    pub(super) fn receive(&self, message: &str, page_of: impl Fn(&Value) -> Option<&str>) {
        let Ok(mut message) = serde_json::from_str::<Value>(message) else {
            return;
        };

        if let Some(id) = message["id"].as_u64() {
            let answer = if message["error"].is_null() {
                Ok(message["result"].take())
            } else {
                Err(message.to_string())
            };
            if let Some(waiting) = lock(&self.pending).remove(&id) {
                let _ = waiting.send(answer);
            }
            return;
        }

        if let Some(page) = page_of(&message).map(str::to_owned) {
            lock(&self.events).entry(page).or_default().push(message);
        }
    }

    /// Fails every command that waits: the browser is gone.
    pub(super) fn end(&self) {
        lock(&self.pending).clear();
    }

    /// Calls `read` with the events of a page so far.
    pub(super) fn with_events<T>(&self, page: &str, read: impl FnOnce(&mut Vec<Value>) -> T) -> T {
        read(lock(&self.events).entry(page.to_owned()).or_default())
    }

    pub(super) fn forget(&self, page: &str) {
        lock(&self.events).remove(page);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under the lock")
}
