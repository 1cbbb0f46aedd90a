//! Mentions: in messages, in the lists of those who are mentioned, and their counts.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Stored;
use crate::checker::{Account, Place, number_of, text_of};

/// Messages in one page of mentions.
const PAGE: usize = 200;
/// The newest mentions of a user, among which the unread ones are counted.
const MAX_COUNTED: usize = 1_000;

pub(super) async fn check(
    readers: &[Account],
    address: SocketAddr,
    stored: &Stored,
    faults: &mut Vec<String>,
) {
    for message in stored.values().flatten() {
        let named = text_of(message, "text")
            .split_once('@')
            .map(|(_, name)| name.to_lowercase());
        if message.get("mentions").cloned() != named.map(|name| json!([name])) {
            faults.push(format!("the mentions of {message} are wrong"));
        }
    }
    for reader in readers {
        let mut mentions: Vec<&Value> = stored
            .values()
            .flatten()
            .filter(|message| is_mentioned(message, &reader.name))
            .collect();
        mentions.sort_by(|a, b| text_of(b, "timestamp").cmp(text_of(a, "timestamp")));
        check_list(reader, address, &mentions, faults).await;
        check_counts(reader, address, &mentions, faults).await;
    }
}

fn is_mentioned(message: &Value, user: &str) -> bool {
    let names = message["mentions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    names.iter().any(|name| name == user)
}

fn place(message: &Value) -> Place {
    (
        text_of(message, "room").to_owned(),
        number_of(message, "seq"),
    )
}

/// Checks that the list of mentions, page by page, has every message once, newest first.
async fn check_list(
    reader: &Account,
    address: SocketAddr,
    expected: &[&Value],
    faults: &mut Vec<String>,
) {
    let mut client = reader.client(address);
    let mut listed: Vec<Value> = Vec::new();
    // A page ends at a time, and messages of other rooms may have the same.
    let mut ends = HashSet::new();
    loop {
        let before = listed
            .last()
            .map(|last| format!("&before={}", text_of(last, "timestamp")));
        let path = format!(
            "/users/{}/mentions?limit={PAGE}{}",
            reader.name,
            before.unwrap_or_default()
        );
        let page = client.get(&path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        let page = page.json().as_array().expect("messages").clone();
        let Some(last) = page.last() else { break };
        ends.insert(text_of(last, "timestamp").to_owned());
        listed.extend(page);
    }

    let time = |message: &Value| text_of(message, "timestamp").to_owned();
    let is_sorted = listed
        .windows(2)
        .all(|pair| time(&pair[0]) >= time(&pair[1]));
    let found: HashSet<_> = listed.iter().map(place).collect();
    if !is_sorted || found.len() != listed.len() {
        faults.push(format!(
            "the mentions of {} are not in order, or not once each",
            reader.name
        ));
    }
    let missing = expected
        .iter()
        .find(|one| !found.contains(&place(one)) && !ends.contains(&time(one)));
    let wrong = listed.iter().find(|message| !expected.contains(message));
    if missing.is_some() || wrong.is_some() {
        faults.push(format!(
            "mentions of {}: {missing:?} is missing, {wrong:?} is wrong",
            reader.name
        ));
    }
}

/// Checks the number of unread mentions in each room of a reader.
async fn check_counts(
    reader: &Account,
    address: SocketAddr,
    mentions: &[&Value],
    faults: &mut Vec<String>,
) {
    let rooms = reader
        .client(address)
        .get(&format!("/users/{}/rooms", reader.name))
        .await
        .json();
    let newest = &mentions[..mentions.len().min(MAX_COUNTED)];
    for room in rooms.as_array().expect("rooms") {
        let (name, read) = (text_of(room, "room"), number_of(room, "read_seq"));
        let is_unread = |one: &Value| text_of(one, "room") == name && number_of(one, "seq") > read;
        let unread = newest.iter().filter(|message| is_unread(message)).count();
        if room["mentions"] != json!(unread) {
            faults.push(format!(
                "{} has {unread} unread mentions in {room}",
                reader.name
            ));
        }
    }
}
