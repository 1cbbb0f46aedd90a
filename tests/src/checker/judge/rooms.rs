//! Messages and descriptions of rooms.

use chat_client::wire::Message;
use chat_client::{Client, Page};

use super::{Stored, changes};

/// Messages in one page.
pub(super) const PAGE: u32 = 200;
/// Names in one list; there are fewer.
pub(super) const NAMES: u32 = 1_000;

/// Reads all rooms and checks each.
pub(super) async fn read(client: &Client, faults: &mut Vec<String>) -> Stored {
    let mut stored = Stored::new();
    for room in client.rooms(None, NAMES).await.expect("rooms") {
        let messages = read_every_way(client, &room, faults).await;
        check(client, &room, &messages, faults).await;
        changes::check_log(client, &room, &messages, faults).await;
        stored.insert(room, messages);
    }
    stored
}

/// Reads all messages of a room, which must be the same by `after`, by `since` and by `before`.
async fn read_every_way(client: &Client, room: &str, faults: &mut Vec<String>) -> Vec<Message> {
    let by_after = read_on(client, room, |last| {
        Page::After(last.map_or(0, |last| last.seq))
    })
    .await;
    let by_since = read_on(client, room, |last| {
        let time = last.map_or("1970-01-01T00:00:00Z", |last| &last.timestamp);
        Page::Since(time.to_owned())
    })
    .await;
    let by_before = read_back(client, room).await;

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

/// Reads a room from its start, each page after the last message before it.
async fn read_on(
    client: &Client,
    room: &str,
    after: impl Fn(Option<&Message>) -> Page,
) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let next = page(client, room, after(messages.last())).await;
        if next.is_empty() {
            return messages;
        }
        messages.extend(next);
    }
}

/// Reads a room from its end.
async fn read_back(client: &Client, room: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut before = i64::MAX;
    loop {
        let mut next = page(client, room, Page::Before(before)).await;
        let Some(first) = next.first() else {
            return messages;
        };
        before = first.seq;
        next.append(&mut messages);
        messages = next;
    }
}

async fn page(client: &Client, room: &str, page: Page) -> Vec<Message> {
    let messages = client.messages(room, page, PAGE).await;
    messages.expect("a page")
}

/// Checks that the numbers and times of a room increase, and that its description is right.
async fn check(client: &Client, room: &str, messages: &[Message], faults: &mut Vec<String>) {
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
