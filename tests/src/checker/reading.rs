//! Clients that mark rooms as read.

use std::time::Duration;

use chat_client::Client;

use super::caller::{Attempts, Caller};

/// The pause between two marks, which a user may not set as fast as messages.
const PAUSE: Duration = Duration::from_millis(200);
/// Number of messages that a reader is behind the latest.
const BEHIND: usize = 10;

pub(super) struct Reader {
    caller: Caller<Client>,
}

impl Reader {
    pub(super) fn new(caller: Caller<Client>) -> Self {
        Self { caller }
    }

    pub(super) async fn run(mut self) {
        while !self.caller.record.is_stopped() {
            tokio::time::sleep(PAUSE).await;
            let Some(message) = self.caller.record.latest(BEHIND) else {
                continue;
            };
            let (room, seq) = (message.room.as_str(), message.seq);
            let mark = |client: Client| async move { client.mark_read(room, seq).await };
            let called = self.caller.call(Attempts::UntilAnswered, mark).await;

            // Marks are written later than they are answered, so a crash may move one back.
            match called.answer {
                Some(Ok(read)) if read >= message.seq => {}
                Some(answer) => self
                    .caller
                    .record
                    .wrong(format!("{message:?} was marked as read: {answer:?}")),
                None => {}
            }
        }
    }
}
