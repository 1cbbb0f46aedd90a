//! Mentions: in messages, in the lists of those who are mentioned, and their counts.

use std::collections::HashSet;
use std::net::SocketAddr;

use chat_client::Client;
use chat_client::wire::Message;

use super::Stored;
use super::rooms::{NAMES, PAGE};
use crate::checker::{Account, MessageId};

/// The newest mentions of a user, among which the unread ones are counted.
const MAX_COUNTED: usize = 1_000;

pub(super) async fn check(
    readers: &[Account],
    address: SocketAddr,
    stored: &Stored,
    faults: &mut Vec<String>,
) {
    for message in stored.values().flatten() {
        let named = message.text.split_once('@');
        let named = named.map(|(_, name)| name.to_lowercase());
        if !message.mentions.iter().eq(&named) {
            faults.push(format!("the mentions of {message:?} are wrong"));
        }
    }
    for reader in readers {
        let mut mentions: Vec<&Message> = stored
            .values()
            .flatten()
            .filter(|message| message.mentions.contains(&reader.name))
            .collect();
        mentions.sort_by(|a, b| b.timestamp.cmp(&a.timestamp));
        let client = reader.client(address).await;
        check_list(&client, &reader.name, &mentions, faults).await;
        check_counts(&client, &reader.name, &mentions, faults).await;
    }
}

fn id_of(message: &Message) -> MessageId {
    (message.room.clone(), message.seq)
}

/// Checks that the list of mentions, page by page, has every message once, newest first.
async fn check_list(
    client: &Client,
    reader: &str,
    expected: &[&Message],
    faults: &mut Vec<String>,
) {
    let mut listed: Vec<Message> = Vec::new();
    // A page ends at a time, and messages of other rooms may have the same.
    let mut ends = HashSet::new();
    loop {
        let before = listed.last().map(|last| last.timestamp.as_str());
        let page = client.mentions(before, PAGE).await.expect("a page");
        let Some(last) = page.last() else { break };
        ends.insert(last.timestamp.clone());
        listed.extend(page);
    }

    let mut pairs = listed.windows(2);
    let is_sorted = pairs.all(|pair| pair[0].timestamp >= pair[1].timestamp);
    let found: HashSet<_> = listed.iter().map(id_of).collect();
    if !is_sorted || found.len() != listed.len() {
        faults.push(format!(
            "the mentions of {reader} are not in order, or not once each"
        ));
    }
    let missing = expected
        .iter()
        .find(|one| !found.contains(&id_of(one)) && !ends.contains(&one.timestamp));
    let wrong = listed.iter().find(|message| !expected.contains(message));
    if missing.is_some() || wrong.is_some() {
        faults.push(format!(
            "mentions of {reader}: {missing:?} is missing, {wrong:?} is wrong"
        ));
    }
}

/// Checks the number of unread mentions in each room of a reader.
async fn check_counts(
    client: &Client,
    reader: &str,
    mentions: &[&Message],
    faults: &mut Vec<String>,
) {
    let newest = &mentions[..mentions.len().min(MAX_COUNTED)];
    for room in client.my_rooms(None, NAMES).await.expect("rooms") {
        let is_unread = |one: &&&Message| one.room == room.room && one.seq > room.read_seq;
        let unread = newest.iter().filter(is_unread).count() as u64;
        if room.mentions != unread {
            faults.push(format!("{reader} has {unread} unread mentions in {room:?}"));
        }
    }
}
