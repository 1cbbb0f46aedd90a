//! Clients that mark rooms as read.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::caller::{Attempts, Caller};
use super::room_path;

/// The pause between two marks, which a user may not set as fast as messages.
const PAUSE: Duration = Duration::from_millis(200);
/// Number of messages that a reader is behind the latest.
const BEHIND: usize = 10;

pub(super) struct Reader {
    caller: Caller,
}

impl Reader {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    pub(super) async fn run(mut self) {
        while !self.caller.record.is_stopped() {
            tokio::time::sleep(PAUSE).await;
            let Some(message) = self.caller.record.latest(BEHIND) else {
                continue;
            };
            let path = format!("{}/read", room_path(&message.room));
            let body = json!({ "seq": message.seq });
            let called = self
                .caller
                .call(Method::POST, &path, Some(&body), Attempts::UntilAnswered)
                .await;

            // Marks are written later than they are answered, so a crash may move one back.
            let is_read = called.json()["read_seq"]
                .as_i64()
                .is_some_and(|read| read >= message.seq);
            if called.status().is_some() && !is_read {
                self.caller
                    .record
                    .wrong(format!("POST {path}: {}", called.text()));
            }
        }
    }
}
