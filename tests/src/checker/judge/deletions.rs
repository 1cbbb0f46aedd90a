//! Messages that were deleted, and no others, are blank.

use chat_client::wire::Message;

use super::Stored;
use crate::checker::{Record, lock};

pub(super) fn check(record: &Record, stored: &Stored, faults: &mut Vec<String>) {
    let deleted = lock(&record.deleted);
    let found_deleted = lock(&record.found_deleted);
    let perhaps_deleted = lock(&record.perhaps_deleted);
    for message in stored.values().flatten() {
        let id = (message.room.clone(), message.seq);
        let must_be_blank = deleted.contains(&id) || found_deleted.contains(&id);
        let may_be_blank = must_be_blank || perhaps_deleted.contains(&id);
        if must_be_blank && !is_blank(message) {
            faults.push(format!("there still is {message:?}"));
        }
        let is_as_allowed = is_whole(message) || may_be_blank && is_blank(message);
        if !is_as_allowed {
            faults.push(format!("nobody deleted {message:?}"));
        }
    }
}

fn is_blank(message: &Message) -> bool {
    message.text.is_empty() && message.sender.is_empty() && message.deleted
}

fn is_whole(message: &Message) -> bool {
    !message.text.is_empty() && !message.sender.is_empty() && !message.deleted
}
