//! Outcome of everything that was sent.

mod changes;
mod deletions;
mod mentions;
mod posts;
mod rooms;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_client::wire::Message;

use self::posts::Posts;
use super::{Account, Record, Verdict, connect, lock};

/// All messages of each room, in order.
type Stored = HashMap<String, Vec<Message>>;

pub(super) async fn judge(record: &Record, readers: &[Account], address: SocketAddr) -> Verdict {
    let client = connect(address).await;
    let mut faults: Vec<String> = lock(&record.wrong).clone();
    let stored = rooms::read(&client, &mut faults).await;

    changes::check_reactions(record, &stored, &mut faults);
    mentions::check(readers, address, &stored, &mut faults).await;
    deletions::check(record, &stored, &mut faults);

    let posts = Posts::of(record);
    let lost = posts.check_answered(&stored, &mut faults);
    posts.check_unsent(&stored, &mut faults);
    posts.check_counters(&client, &stored, &mut faults).await;

    let number = |of: &AtomicU64| usize::try_from(of.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    Verdict {
        answered: posts.answered.len(),
        unanswered: posts.unanswered.len(),
        unanswered_stored: posts.unanswered_stored(&stored),
        deleted: lock(&record.deleted).len(),
        edited: number(&record.edits),
        reacted: number(&record.reacted),
        lost,
        doubled: posts::doubled(&stored),
        faults,
    }
}
