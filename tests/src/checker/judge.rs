//! Outcome of everything that was sent.

mod changes;
mod mentions;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_client::wire::Message;
use chat_client::{Client, Page};

use super::{Account, Answered, Record, Verdict, connect, lock};

/// Messages in one page.
const PAGE: u32 = 200;
/// Names in one list; there are fewer.
const NAMES: u32 = 1_000;

/// All messages of each room, in order.
type Stored = HashMap<String, Vec<Message>>;

pub(super) async fn judge(record: &Record, readers: &[Account], address: SocketAddr) -> Verdict {
    let client = connect(address).await;
    let mut faults: Vec<String> = lock(&record.wrong).clone();
    let answered = lock(&record.answered).clone();
    let unanswered = lock(&record.unanswered).clone();

    let mut stored = Stored::new();
    for room in client.rooms(None, NAMES).await.expect("rooms") {
        let messages = read_every_way(&client, &room, &mut faults).await;
        check_room(&client, &room, &messages, &mut faults).await;
        changes::check_log(&client, &room, &messages, &mut faults).await;
        stored.insert(room, messages);
    }

    changes::check_reactions(record, &stored, &mut faults);
    mentions::check(readers, address, &stored, &mut faults).await;

    let (deleted, found_deleted) = (
        lock(&record.deleted).clone(),
        lock(&record.found_deleted).clone(),
    );
    let perhaps_deleted = lock(&record.perhaps_deleted).clone();
    for message in stored.values().flatten() {
        let place = (message.room.clone(), message.seq);
        let is_blank = message.text.is_empty() && message.sender.is_empty() && message.deleted;
        let is_whole = !message.text.is_empty() && !message.sender.is_empty() && !message.deleted;
        let may_be = perhaps_deleted.contains(&place);
        match deleted.contains(&place) || found_deleted.contains(&place) {
            true if !is_blank => faults.push(format!("there still is {message:?}")),
            false if !(is_whole || may_be && is_blank) => {
                faults.push(format!("nobody deleted {message:?}"));
            }
            _ => {}
        }
    }

    let mut copies: HashMap<&str, usize> = HashMap::new();
    let mut by_sender: HashMap<&str, u64> = HashMap::new();
    for message in stored.values().flatten().filter(|message| !message.deleted) {
        *copies.entry(changes::origin(&message.text)).or_insert(0) += 1;
        *by_sender.entry(&message.sender).or_insert(0) += 1;
    }
    let doubled = copies.values().filter(|n| **n > 1).count();

    let texts = lock(&record.texts).clone();
    let has_text = |post: &Answered, message: &Message| match texts.get(&post.place()) {
        Some(asked) => asked.allows(&message.text, &post.text),
        None => message.text == post.text,
    };
    let is_there = |post: &Answered| {
        let at = usize::try_from(post.seq - 1).ok();
        let found = at.and_then(|at| stored.get(&post.room)?.get(at));
        found.is_some_and(|message| {
            let is_whole = || {
                has_text(post, message)
                    && message.sender == post.sender
                    && message.reply_to == post.reply_to
            };
            (message.deleted || is_whole())
                && message.timestamp == post.timestamp
                && message.seq == post.seq
        })
    };
    let missing: Vec<&Answered> = answered.iter().filter(|post| !is_there(post)).collect();
    // A few of them, so that somebody can find out why.
    faults.extend(missing.iter().take(5).map(|post| {
        let at = usize::try_from(post.seq - 1).ok();
        let found = at.and_then(|at| stored.get(&post.room)?.get(at));
        format!("{post:?} with {:?} is {found:?}", texts.get(&post.place()))
    }));
    let lost = missing.len();

    // Nothing is stored that nobody sent.
    let sent = answered
        .iter()
        .map(|post| (post.room.as_str(), post.sender.as_str(), post.text.as_str()));
    let tried = unanswered
        .iter()
        .map(|post| (post.room.as_str(), post.sender.as_str(), post.text.as_str()));
    let known: HashSet<_> = sent.chain(tried).collect();
    for message in stored.values().flatten() {
        let is_edited = texts.contains_key(&(message.room.clone(), message.seq));
        let sent = (&*message.room, &*message.sender, &*message.text);
        if !message.deleted && !is_edited && !known.contains(&sent) {
            faults.push(format!("nobody sent {message:?}"));
        }
    }
    let is_stored = |text: &str| copies.contains_key(changes::origin(text));
    let unanswered_stored = unanswered
        .iter()
        .filter(|post| is_stored(&post.text))
        .count();

    let senders: HashSet<&str> = answered
        .iter()
        .map(|post| post.sender.as_str())
        .chain(unanswered.iter().map(|post| post.sender.as_str()))
        .collect();
    for sender in senders {
        let count = client.message_count(sender).await.expect("a count");
        let expected = by_sender.get(sender).copied().unwrap_or(0);
        if count != expected {
            faults.push(format!(
                "{sender} has {expected} messages and a counter of {count}"
            ));
        }
    }
    let number = |of: &AtomicU64| usize::try_from(of.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    Verdict {
        answered: answered.len(),
        unanswered: unanswered.len(),
        unanswered_stored,
        deleted: deleted.len(),
        edited: number(&record.edits),
        reacted: number(&record.reacted),
        lost,
        doubled,
        faults,
    }
}

/// All messages of a room, which must be the same by `after`, by `since` and by `before`.
async fn read_every_way(client: &Client, room: &str, faults: &mut Vec<String>) -> Vec<Message> {
    let page = async |page: Page| {
        let messages = client.messages(room, page, PAGE).await;
        messages.expect("a page")
    };
    let mut by_after: Vec<Message> = Vec::new();
    loop {
        let seq = by_after.last().map_or(0, |last| last.seq);
        let next = page(Page::After(seq)).await;
        if next.is_empty() {
            break;
        }
        by_after.extend(next);
    }

    let mut by_since: Vec<Message> = Vec::new();
    loop {
        let last = by_since.last().map(|last| last.timestamp.clone());
        let since = last.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
        let next = page(Page::Since(since)).await;
        if next.is_empty() {
            break;
        }
        by_since.extend(next);
    }

    let mut by_before: Vec<Message> = Vec::new();
    let mut before = i64::MAX;
    loop {
        let mut next = page(Page::Before(before)).await;
        let Some(first) = next.first() else { break };
        before = first.seq;
        next.append(&mut by_before);
        by_before = next;
    }

    for (way, read) in [("since", &by_since), ("before", &by_before)] {
        if *read != by_after {
            let mut pairs = read.iter().zip(&by_after);
            let differing = pairs.find(|(read, after)| read != after);
            faults.push(format!(
                "{room} reads otherwise by {way}: {} messages, not {}; the first that differs: {differing:?}",
                read.len(),
                by_after.len()
            ));
        }
    }
    by_after
}

async fn check_room(client: &Client, room: &str, messages: &[Message], faults: &mut Vec<String>) {
    let mut numbered = messages.iter().zip(1_i64..);
    if let Some((message, expected)) = numbered.find(|(message, number)| message.seq != *number) {
        faults.push(format!(
            "{room} has {} where {expected} belongs",
            message.seq
        ));
    }
    let mut pairs = messages.windows(2);
    if let Some(pair) = pairs.find(|pair| pair[0].timestamp >= pair[1].timestamp) {
        let at = &pair[1];
        faults.push(format!("{room}: the time does not increase at {at:?}"));
    }

    let state = client.room(room).await.expect("a room");
    let members = client.members(room, None, NAMES).await.expect("members");
    if state.users != members.len() as u64 {
        faults.push(format!(
            "{room} says that it has {} members and lists {members:?}",
            state.users
        ));
    }
    let last = messages.last().map_or(0, |message| message.seq);
    if state.last_seq != last {
        faults.push(format!(
            "{room} says that it ends at {} and ends at {last}",
            state.last_seq
        ));
    }
}
