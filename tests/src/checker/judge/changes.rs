//! The log of changes, and the reactions that are stored.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Stored;
use crate::checker::changing::has_reacted;
use crate::checker::{Record, lock, number_of, room_path, text_of};
use crate::http::Client;

/// Messages in one page of the log: few enough that there are many pages.
const PAGE: usize = 50;

/// Returns the part of a text that stays when its author edits it.
pub(super) fn origin(text: &str) -> &str {
    let end = text.find([',', '@']).unwrap_or(text.len());
    text[..end].trim_end()
}

/// Checks that the log of a room has each changed message once, as it is stored, in the order of
/// the changes, and from any change on.
pub(super) async fn check_log(
    client: &mut Client,
    room: &str,
    messages: &[Value],
    faults: &mut Vec<String>,
) {
    let mut expected: Vec<&Value> = messages
        .iter()
        .filter(|message| !message["change"].is_null())
        .collect();
    expected.sort_by_key(|message| number_of(message, "change"));
    let last = expected
        .last()
        .map_or(0, |message| number_of(message, "change"));
    let state = client.get(&room_path(room)).await.json();
    if state["last_change"] != last {
        faults.push(format!(
            "{room} says that its last change is {}, and it is {last}",
            state["last_change"]
        ));
    }
    if let Some(pair) = expected
        .windows(2)
        .find(|pair| pair[0]["change"] == pair[1]["change"])
    {
        faults.push(format!(
            "{room}: {} and {} have one change",
            pair[0], pair[1]
        ));
    }
    let unmarked = messages.iter().find(|message| {
        let is_changed = ["edited_at", "reactions", "deleted"]
            .iter()
            .any(|field| !message[*field].is_null());
        is_changed && message["change"].is_null()
    });
    if let Some(message) = unmarked {
        faults.push(format!("{room}: {message} has no change"));
    }

    let mut page = async |after: i64| {
        let path = format!("{}/changes?after={after}&limit={PAGE}", room_path(room));
        let reply = client.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json().as_array().expect("messages").clone()
    };
    let mut log: Vec<Value> = Vec::new();
    loop {
        let next = page(log.last().map_or(0, |message| number_of(message, "change"))).await;
        if next.is_empty() {
            break;
        }
        log.extend(next);
    }
    if !log.iter().eq(expected.iter().copied()) {
        let differing = log
            .iter()
            .zip(&expected)
            .find(|(read, stored)| read != *stored);
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
            .filter(|message| number_of(message, "change") > after)
            .take(PAGE);
        if !found.iter().eq(rest.copied()) {
            faults.push(format!("{room}: the log after {after} is {}", json!(found)));
        }
    }
    let beyond = format!("{}/changes?after={}", room_path(room), last + 1);
    let status = client.get(&beyond).await.status;
    if status != 410 {
        faults.push(format!("{beyond} was answered with {status}"));
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
        let is_there = has_reacted(message, user, emoji);
        *known.entry((room, *seq)).or_default() += usize::from(is_there);
        if message["deleted"] != true && !asked.allows(&is_there, &false) {
            faults.push(format!(
                "{user} reacted with {emoji}: {asked:?}, and there is {message}"
            ));
        }
    }

    for (room, message) in stored
        .iter()
        .flat_map(|(room, all)| all.iter().map(move |m| (room.as_str(), m)))
    {
        let reactions = message["reactions"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let users = |reaction: &Value| reaction["users"].as_array().map_or(0, Vec::len);
        if let Some(reaction) = reactions
            .iter()
            .find(|one| json!(users(one)) != one["count"])
        {
            faults.push(format!("{room}: the count of {reaction} is wrong"));
        }
        let emoji: Vec<_> = reactions
            .iter()
            .map(|reaction| text_of(reaction, "emoji"))
            .collect();
        let is_twice = emoji
            .iter()
            .enumerate()
            .any(|(at, one)| emoji[..at].contains(one));
        let count: usize = reactions.iter().map(users).sum();
        let expected = known
            .get(&(room, number_of(message, "seq")))
            .copied()
            .unwrap_or(0);
        if is_twice || count != expected {
            faults.push(format!(
                "{room}: nobody asked for the reactions of {message}"
            ));
        }
    }
}
