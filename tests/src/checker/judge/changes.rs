//! The log of changes, and the reactions that are stored.

use std::collections::HashMap;

use chat_client::Client;
use chat_client::wire::Message;

use super::Stored;
use crate::checker::changing::has_reacted;
use crate::checker::{Record, lock};

/// Messages in one page of the log: few enough that there are many pages.
const PAGE: u32 = 50;

/// Returns the part of a text that stays when its author edits it.
pub(super) fn origin(text: &str) -> &str {
    let end = text.find([',', '@']).unwrap_or(text.len());
    text[..end].trim_end()
}

/// Checks that the log of a room has each changed message once, as it is stored, in the order of
/// the changes, and from any change on.
pub(super) async fn check_log(
    client: &Client,
    room: &str,
    messages: &[Message],
    faults: &mut Vec<String>,
) {
    let changed = messages.iter().filter(|message| message.change.is_some());
    let mut expected: Vec<&Message> = changed.collect();
    expected.sort_by_key(|message| message.change);
    let last = expected.last().and_then(|message| message.change);
    let last = last.unwrap_or_default();

    let state = client.room(room).await.expect("a room");
    if state.last_change != last {
        faults.push(format!(
            "{room} says that its last change is {}, and it is {last}",
            state.last_change
        ));
    }
    let mut pairs = expected.windows(2);
    if let Some(pair) = pairs.find(|pair| pair[0].change == pair[1].change) {
        faults.push(format!("{room}: two messages have one change: {pair:?}"));
    }
    let unmarked = messages.iter().find(|message| {
        let is_changed =
            message.edited_at.is_some() || !message.reactions.is_empty() || message.deleted;
        is_changed && message.change.is_none()
    });
    if let Some(message) = unmarked {
        faults.push(format!("{room}: {message:?} has no change"));
    }

    check_pages(client, room, &expected, last, faults).await;
    let beyond = client.changes(room, last + 1, PAGE).await;
    let status = beyond.as_ref().err().and_then(|error| error.status());
    if status != Some(410) {
        faults.push(format!("{room}: what is after all changes is {beyond:?}"));
    }
}

/// Reads the log page by page, and from ten changes on.
async fn check_pages(
    client: &Client,
    room: &str,
    expected: &[&Message],
    last: i64,
    faults: &mut Vec<String>,
) {
    let page = async |after: i64| {
        let changes = client.changes(room, after, PAGE).await;
        changes.expect("a page")
    };
    let mut log: Vec<Message> = Vec::new();
    loop {
        let end = log.last().and_then(|message| message.change);
        let next = page(end.unwrap_or_default()).await;
        if next.is_empty() {
            break;
        }
        log.extend(next);
    }
    if !log.iter().eq(expected.iter().copied()) {
        let mut pairs = log.iter().zip(expected);
        let differing = pairs.find(|(read, stored)| read != *stored);
        let (read, stored) = (log.len(), expected.len());
        faults.push(format!(
            "{room}: the log has {read} messages, {stored} have a change; the first that differs: {differing:?}"
        ));
    }

    for part in 1..=10 {
        let after = last * part / 10;
        let found = page(after).await;
        let rest = expected
            .iter()
            .filter(|message| message.change > Some(after))
            .take(PAGE as usize);
        if !found.iter().eq(rest.copied()) {
            faults.push(format!("{room}: the log after {after} is {found:?}"));
        }
    }
}

/// Checks that the messages have the reactions that were answered, and no other.
pub(super) fn check_reactions(record: &Record, stored: &Stored, faults: &mut Vec<String>) {
    let asked = lock(&record.reactions);
    let mut known: HashMap<(&str, i64), usize> = HashMap::new();
    for (((room, seq), user, emoji), asked) in asked.iter() {
        let at = usize::try_from(seq - 1).ok();
        let Some(message) = at.and_then(|at| stored.get(room)?.get(at)) else {
            continue;
        };
        let is_there = has_reacted(&message.reactions, user, emoji);
        *known.entry((room, *seq)).or_default() += usize::from(is_there);
        if !message.deleted && !asked.allows(&is_there, &false) {
            faults.push(format!(
                "{user} reacted with {emoji}: {asked:?}, and there is {message:?}"
            ));
        }
    }

    for message in stored.values().flatten() {
        let mut reactions = message.reactions.iter();
        if let Some(wrong) = reactions.find(|one| one.users.len() as u64 != one.count) {
            faults.push(format!("the count of {wrong:?} is wrong"));
        }

        let emoji: Vec<_> = message.reactions.iter().map(|one| &one.emoji).collect();
        let is_twice = emoji
            .iter()
            .enumerate()
            .any(|(at, one)| emoji[..at].contains(one));
        let count: usize = message.reactions.iter().map(|one| one.users.len()).sum();
        let expected = known.get(&(message.room.as_str(), message.seq));
        if is_twice || count != expected.copied().unwrap_or_default() {
            faults.push(format!("nobody asked for the reactions of {message:?}"));
        }
    }
}
