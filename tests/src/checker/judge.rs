//! Outcome of everything that was sent.

mod changes;
mod mentions;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Account, Answered, Record, Verdict, lock, number_of, room_path, text_of};
use crate::http::Client;

/// All messages of each room, in order.
type Stored = HashMap<String, Vec<Value>>;

pub(super) async fn judge(record: &Record, readers: &[Account], address: SocketAddr) -> Verdict {
    let mut client = Client::new(address);
    let mut faults: Vec<String> = lock(&record.wrong).clone();
    let answered = lock(&record.answered).clone();
    let unanswered = lock(&record.unanswered).clone();

    let rooms = client.get("/chat/").await.json();
    let mut stored = Stored::new();
    for room in rooms
        .as_array()
        .expect("rooms")
        .iter()
        .filter_map(Value::as_str)
    {
        let messages = read_every_way(&mut client, room, &mut faults).await;
        check_room(&mut client, room, &messages, &mut faults).await;
        changes::check_log(&mut client, room, &messages, &mut faults).await;
        stored.insert(room.to_owned(), messages);
    }

    changes::check_reactions(record, &stored, &mut faults);
    mentions::check(readers, address, &stored, &mut faults).await;

    let (deleted, found_deleted) = (
        lock(&record.deleted).clone(),
        lock(&record.found_deleted).clone(),
    );
    let perhaps_deleted = lock(&record.perhaps_deleted).clone();
    for ((room, message), place) in stored
        .iter()
        .flat_map(|(room, all)| all.iter().map(move |m| (room, m)))
        .map(|(room, message)| {
            (
                (room, message),
                (room.clone(), message["seq"].as_i64().unwrap_or(0)),
            )
        })
    {
        let is_blank =
            message["text"] == "" && message["sender"] == "" && message["deleted"] == true;
        let is_whole =
            message["text"] != "" && message["sender"] != "" && message["deleted"].is_null();
        let may_be = perhaps_deleted.contains(&place);
        match deleted.contains(&place) || found_deleted.contains(&place) {
            true if !is_blank => faults.push(format!("{room} still has {message}")),
            false if !(is_whole || may_be && is_blank) => {
                faults.push(format!("nobody deleted {message}"))
            }
            _ => {}
        }
    }
    let is_deleted = |message: &Value| message["deleted"] == true;

    let mut copies: HashMap<&str, usize> = HashMap::new();
    let mut by_sender: HashMap<&str, u64> = HashMap::new();
    for message in stored
        .values()
        .flatten()
        .filter(|message| !is_deleted(message))
    {
        *copies
            .entry(changes::origin(text_of(message, "text")))
            .or_insert(0) += 1;
        *by_sender.entry(text_of(message, "sender")).or_insert(0) += 1;
    }
    let doubled = copies.values().filter(|n| **n > 1).count();

    let texts = lock(&record.texts).clone();
    let has_text = |post: &Answered, message: &Value| match texts.get(&post.place()) {
        Some(asked) => asked.allows(&text_of(message, "text").to_owned(), &post.text),
        None => message["text"] == post.text,
    };
    let is_there = |post: &Answered| {
        let at = usize::try_from(post.seq - 1).ok();
        let found = at.and_then(|at| stored.get(&post.room)?.get(at));
        found.is_some_and(|message| {
            let is_whole = || {
                has_text(post, message)
                    && message["sender"] == post.sender
                    && message["reply_to"].as_i64() == post.reply_to
            };
            (is_deleted(message) || is_whole())
                && message["timestamp"] == post.timestamp
                && message["seq"] == post.seq
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
    for (room, message) in stored
        .iter()
        .flat_map(|(room, all)| all.iter().map(move |m| (room.as_str(), m)))
    {
        let (sender, text) = (text_of(message, "sender"), text_of(message, "text"));
        let is_edited = texts.contains_key(&(room.to_owned(), number_of(message, "seq")));
        if !is_deleted(message) && !is_edited && !known.contains(&(room, sender, text)) {
            faults.push(format!("nobody sent {message}"));
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
        let count =
            client.get(&format!("/users/{sender}/count")).await.json()["message_count"].clone();
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
async fn read_every_way(client: &mut Client, room: &str, faults: &mut Vec<String>) -> Vec<Value> {
    let path = format!("{}/messages?limit=200", room_path(room));
    let mut pages = async |query: String| {
        let reply = client.get(&format!("{path}&{query}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json().as_array().expect("messages").clone()
    };
    let mut by_after: Vec<Value> = Vec::new();
    loop {
        let page = pages(format!(
            "after={}",
            by_after
                .last()
                .map_or(0, |m| m["seq"].as_i64().unwrap_or(0))
        ))
        .await;
        if page.is_empty() {
            break;
        }
        by_after.extend(page);
    }
    let mut by_since: Vec<Value> = Vec::new();
    loop {
        let last = by_since
            .last()
            .and_then(|m| m["timestamp"].as_str())
            .unwrap_or("1970-01-01T00:00:00Z");
        let page = pages(format!("since={last}")).await;
        if page.is_empty() {
            break;
        }
        by_since.extend(page);
    }
    let mut by_before: Vec<Value> = Vec::new();
    let mut before = i64::MAX;
    loop {
        let mut page = pages(format!("before={before}")).await;
        let Some(first) = page.first() else { break };
        before = first["seq"].as_i64().unwrap_or(0);
        page.append(&mut by_before);
        by_before = page;
    }
    for (way, read) in [("since", &by_since), ("before", &by_before)] {
        if *read != by_after {
            let differing = read
                .iter()
                .zip(&by_after)
                .find(|(read, after)| read != after);
            faults.push(format!(
                "{room} reads otherwise by {way}: {} messages, not {}; the first that differs: {differing:?}",
                read.len(),
                by_after.len()
            ));
        }
    }
    by_after
}

async fn check_room(client: &mut Client, room: &str, messages: &[Value], faults: &mut Vec<String>) {
    for (message, expected) in messages.iter().zip(1_i64..) {
        if message["seq"] != expected {
            faults.push(format!(
                "{room} has {} where {expected} belongs",
                message["seq"]
            ));
            break;
        }
    }
    let time = |message: &Value| message["timestamp"].as_str().unwrap_or_default().to_owned();
    if let Some(pair) = messages
        .windows(2)
        .find(|pair| time(&pair[0]) >= time(&pair[1]))
    {
        faults.push(format!("{room}: the time does not increase at {}", pair[1]));
    }
    let state = client.get(&room_path(room)).await.json();
    let last = messages
        .last()
        .map_or(json!(0), |message| message["seq"].clone());
    let members = client
        .get(&format!("{}/users?limit=1000", room_path(room)))
        .await
        .json();
    if state["users"] != json!(members.as_array().map_or(0, Vec::len)) {
        faults.push(format!(
            "{room} says that it has {} members and lists {members}",
            state["users"]
        ));
    }
    if state["last_seq"] != last {
        faults.push(format!(
            "{room} says that it ends at {} and ends at {last}",
            state["last_seq"]
        ));
    }
}
