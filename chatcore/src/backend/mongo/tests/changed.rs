//! Changes of messages: what they leave in the database, and what a crash leaves of them.

use std::collections::BTreeMap;

use super::*;
use crate::follow::{Update, Watcher};
use crate::model::{CountDelta, MessageChange, ReactionAnswer, ReactionQuery};
use crate::position::Position;
use crate::types::{Emoji, MAX_REACTION_USERS, Reaction, Topic};

fn room() -> RoomName {
    "a".parse().expect("a name")
}

fn user(name: &str) -> Username {
    name.parse().expect("a name")
}

fn seq(n: i64) -> Seq {
    Seq::new(n).expect("a seq")
}

fn emoji(text: &str) -> Emoji {
    text.parse().expect("an emoji")
}

async fn say(store: &ChatStore, sender: &str, text: &str) {
    let message = NewMessage::new(room(), user(sender), text.parse().expect("a text"));
    store.post(message).await.expect("stored");
}

async fn all(store: &dyn Backend) -> Vec<Message> {
    store
        .messages(room(), Range::Newest, 200)
        .await
        .expect("read")
}

/// Checks that the log of changes says what the messages say, and each number once.
async fn check_log(backend: &dyn Backend) {
    let mut expected: Vec<_> = all(backend).await;
    expected.retain(|message| message.change.is_some());
    expected.sort_by_key(|message| message.change);
    let changed = backend
        .changed_messages(room(), ChangeSeq::ZERO, 200)
        .await
        .expect("read");
    assert_eq!(changed, expected);
    let last = backend
        .room(room())
        .await
        .expect("read")
        .expect("a room")
        .last_change;
    assert_eq!(
        changed
            .last()
            .and_then(|message| message.change)
            .unwrap_or_default(),
        last
    );
    for after in 0..=last.get() + 1 {
        let after = ChangeSeq::new(after).expect("a number");
        let rest: Vec<_> = expected
            .iter()
            .filter(|message| message.change > Some(after))
            .take(3)
            .collect();
        let read = backend
            .changed_messages(room(), after, 3)
            .await
            .expect("read");
        assert_eq!(read.iter().collect::<Vec<_>>(), rest, "{after}");
    }
}

fn reactions(message: &Message) -> &[Reaction] {
    let content = message.content.as_ref().expect("not deleted");
    &content.reactions
}

async fn documents(database: &Database, collection: &str) -> Vec<Document> {
    let found = database
        .collection::<Document>(collection)
        .find(doc! {})
        .await
        .expect("read");
    found.try_collect().await.expect("read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_read_as_it_is_after_its_last_change_in_every_way() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let address = mongod::database(kind);
        let backend = open(&address, &Options::default())
            .await
            .expect("a backend");
        let store = ChatStore::over(backend.clone(), Options::default());
        for n in 1..=40 {
            say(
                &store,
                if n % 2 == 0 { "ann" } else { "bob" },
                &format!("secret {n} @cy"),
            )
            .await;
        }
        // Each more than once, the later changes over the earlier.
        for n in (1..=40).step_by(3) {
            store
                .edit_message(&room(), seq(n), "first @cy".parse().expect("a text"))
                .await
                .expect("edited");
            store
                .add_reaction(&room(), seq(n), &user("di"), emoji("👍"))
                .await
                .expect("reacted");
        }
        for n in (1..=40).step_by(6) {
            store
                .edit_message(&room(), seq(n), "second @ed".parse().expect("a text"))
                .await
                .expect("edited");
        }
        for n in (1..=40).step_by(4) {
            store
                .delete_message(&room(), seq(n))
                .await
                .expect("deleted");
        }
        store
            .add_reaction(&room(), seq(2), &user("di"), emoji("👍"))
            .await
            .expect("reacted");
        store
            .remove_reaction(&room(), seq(2), &user("di"), emoji("👍"))
            .await
            .expect("removed");

        let messages = all(&*backend).await;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut of_cy, mut of_ed) = (Vec::new(), Vec::new());
        for (message, n) in messages.iter().zip(1_i64..) {
            let is = |step| n % step == 1;
            let text = match (is(4), is(6), is(3)) {
                (true, ..) => None,
                (_, true, _) => Some("second @ed".to_owned()),
                (.., true) => Some("first @cy".to_owned()),
                _ => Some(format!("secret {n} @cy")),
            };
            assert_eq!(message.text(), text.as_deref(), "{kind:?} {n}");
            let Some(content) = &message.content else {
                continue;
            };
            *counts
                .entry(if n % 2 == 0 { "ann" } else { "bob" })
                .or_default() += 1;
            if is(6) {
                of_ed.push(message.clone())
            } else {
                of_cy.push(message.clone())
            }
            assert_eq!(content.edited_at.is_some(), is(3), "{n}");
            assert_eq!(content.reactions.len(), usize::from(is(3)), "{n}");
        }
        assert_eq!(messages.len(), 40);
        for (name, n) in counts {
            assert_eq!(count(&store, name).await, n, "{kind:?} {name}");
        }
        for (name, mut expected) in [("cy", of_cy), ("ed", of_ed)] {
            expected.reverse();
            let read = backend
                .mentions(user(name), Timestamp::MAX, 200)
                .await
                .expect("read");
            assert_eq!(read, expected, "{kind:?} {name}");
            let targets = backend
                .newest_mentions(user(name), 200)
                .await
                .expect("read");
            assert_eq!(targets.len(), expected.len(), "{kind:?} {name}");
            let older = backend
                .mentions(user(name), expected[0].timestamp, 2)
                .await
                .expect("read");
            assert_eq!(older, expected[1..3], "{kind:?} {name}");
        }
        check_log(&*backend).await;

        for state in [ReadState::Newest, ReadState::Durable] {
            let target = |n| Target {
                room: room(),
                seq: seq(n),
                reactions: Vec::new(),
            };
            let found = backend
                .targets((0..=41).chain([i64::MAX]).map(target).collect(), state)
                .await
                .expect("read");
            for (found, n) in found.into_iter().zip(0_usize..) {
                let found = found.expect("readable").map(|stored| stored.message);
                assert_eq!(
                    found.as_ref(),
                    n.checked_sub(1).and_then(|n| messages.get(n)),
                    "{n}"
                );
            }
        }

        // Nothing is left of what was replaced.
        let database = database(&address).await;
        for collection in ["messages", "changes"] {
            for document in documents(&database, collection).await {
                let text = document.to_string();
                for n in (1..=40).filter(|n| n % 3 == 1 || n % 4 == 1) {
                    assert!(
                        !text.contains(&format!("secret {n} ")),
                        "{kind:?} {collection} {text}"
                    );
                }
            }
        }
        for reaction in documents(&database, "reactions").await {
            let n = reaction
                .get_document("_id")
                .expect("an id")
                .get_i64("seq")
                .expect("a seq");
            assert!(n % 3 == 1 && n % 4 != 1, "{kind:?} {reaction}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reactions_of_many_users_are_counted_and_the_first_of_them_move_up() {
    const USERS: usize = 30;
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let address = mongod::database(kind);
        let backend = open(&address, &Options::default())
            .await
            .expect("a backend");
        let store = ChatStore::over(backend.clone(), Options::default());
        say(&store, "ann", "x").await;
        let heart = emoji("❤️");
        let mut users: Vec<_> = (0..USERS).map(|n| user(&format!("user{n}"))).collect();
        for user in &users {
            store
                .add_reaction(&room(), seq(1), user, heart)
                .await
                .expect("reacted");
        }
        // Both users who are named and users who are not.
        for at in [20, 3, 0] {
            let gone = users.remove(at);
            store
                .remove_reaction(&room(), seq(1), &gone, heart)
                .await
                .expect("removed");
            store
                .remove_reaction(&room(), seq(1), &gone, heart)
                .await
                .expect("nothing to remove");
            let message = store.message(&room(), seq(1)).await.expect("read");
            let content = message.content.as_ref().expect("not deleted");
            let [
                Reaction {
                    count,
                    users: first,
                    ..
                },
            ] = content.reactions.as_slice()
            else {
                panic!("one")
            };
            assert_eq!(*count, users.len() as u64, "{kind:?}");
            assert_eq!(*first, users[..MAX_REACTION_USERS], "{kind:?}");
        }
        // Those who are not named have a document each, also one who came again.
        let again = users.remove(5);
        store
            .remove_reaction(&room(), seq(1), &again, heart)
            .await
            .expect("removed");
        store
            .add_reaction(&room(), seq(1), &again, heart)
            .await
            .expect("reacted");
        users.push(again);
        let database = database(&address).await;
        let mut stored: Vec<_> = documents(&database, "reactions").await;
        stored.sort_by_key(|reaction| reaction.get_i64("position").expect("a position"));
        let of = |reaction: &Document| {
            let id = reaction.get_document("_id").expect("an id");
            user(id.get_str("user").expect("a name"))
        };
        let stored: Vec<_> = stored.iter().map(of).collect();
        assert_eq!(stored, users[MAX_REACTION_USERS..], "{kind:?}");

        let asked = vec![
            users[0].clone(),
            user("user0"),
            users[25].clone(),
            user("nobody"),
        ];
        let query = ReactionQuery {
            emoji: heart,
            users: asked,
            first: 12,
        };
        let other = ReactionQuery {
            emoji: emoji("👍"),
            users: vec![users[0].clone()],
            first: 3,
        };
        let target = Target {
            room: room(),
            seq: seq(1),
            reactions: vec![query, other],
        };
        let mut found = backend
            .targets(vec![target], ReadState::Newest)
            .await
            .expect("read");
        let stored = found.pop().expect("one").expect("readable").expect("there");
        let reacted = vec![users[0].clone(), users[25].clone()];
        let answer = ReactionAnswer {
            users: reacted,
            first: users[..12].to_vec(),
        };
        assert_eq!(
            stored.reactions,
            [answer, ReactionAnswer::default()],
            "{kind:?}"
        );

        store
            .delete_message(&room(), seq(1))
            .await
            .expect("deleted");
        assert_eq!(documents(&database, "reactions").await, [], "{kind:?}");
    }
}

/// A batch of two messages of bob's that mention cy, an edit of the first message, a reaction to
/// the second, and a deletion of the third; or of these changes alone.
async fn mixed_batch(backend: &dyn Backend, id: u8, with_messages: bool) -> Batch {
    let head = backend
        .heads(vec![room()])
        .await
        .expect("read")
        .pop()
        .expect("one")
        .expect("read");
    let head = head.expect("a room");
    let mut batch = room_batch(&room(), head, if with_messages { 2 } else { 0 });
    for message in &mut batch.messages {
        message.content.mentions = vec![user("cy")];
    }
    let target = |n| Target {
        room: room(),
        seq: seq(n),
        reactions: Vec::new(),
    };
    let found = backend
        .targets((1..=3).map(target).collect(), ReadState::Newest)
        .await
        .expect("read");
    for (found, n) in found.into_iter().zip(1..) {
        let before = found.expect("readable").expect("there");
        let mut after = before.message.clone();
        after.change = ChangeSeq::new(head.change.get() + n);
        let mut reactions = Vec::new();
        match (n, &mut after.content) {
            (1, Some(content)) => {
                content.text = "edited".parse().expect("a text");
                content.edited_at = Some(testing::time(1));
                content.mentions = vec![user("ed")];
            }
            (2, Some(content)) => {
                let (emoji, user) = (emoji("👍"), user("di"));
                reactions.push(crate::model::ReactionChange {
                    emoji,
                    user: user.clone(),
                    rank: Some(1),
                    was_there: false,
                });
                content.reactions.push(Reaction {
                    emoji,
                    count: 1,
                    users: vec![user],
                });
            }
            _ => after.content = None,
        }
        batch.changes.push(MessageChange {
            before,
            after,
            reactions,
        });
    }
    let count = |name, added, removed| CountDelta {
        user: user(name),
        added,
        removed,
    };
    let mut counts = vec![count("ann", 0, 1)];
    if with_messages {
        counts.push(count("bob", 2, 0));
        batch.members.push(user("bob"));
    }
    Batch {
        id: BatchId([id; 12]),
        rooms: vec![batch],
        counts,
        guests: Vec::new(),
    }
}

/// Checks that a [batch](mixed_batch) is stored once, or of what is not complete nothing but its
/// messages.
async fn check_mixed(store: &ChatStore, backend: &dyn Backend, messages: u64, is_changed: bool) {
    let read = all(backend).await;
    let texts: Vec<_> = read.iter().take(3).map(Message::text).collect();
    let reacted = read[1]
        .content
        .as_ref()
        .is_some_and(|content| !content.reactions.is_empty());
    if is_changed {
        assert_eq!(texts, [Some("edited"), Some("y @cy"), None]);
    } else {
        assert_eq!(texts, [Some("x @cy"), Some("y @cy"), Some("z @cy")]);
    }
    assert_eq!(reacted, is_changed);
    assert_eq!(read.len() as u64, 3 + messages);
    assert_eq!(count(store, "ann").await, if is_changed { 2 } else { 3 });
    assert_eq!(count(store, "bob").await, messages);
    let mentions = |name| backend.newest_mentions(user(name), 100);
    let of_ann = if is_changed { 1 } else { 3 };
    assert_eq!(
        mentions("cy").await.expect("read").len() as u64,
        of_ann + messages
    );
    assert_eq!(
        mentions("ed").await.expect("read").len(),
        usize::from(is_changed)
    );
    let room = backend.room(room()).await.expect("read").expect("a room");
    assert_eq!(room.last_change.get(), if is_changed { 3 } else { 0 });
    assert_eq!(
        (room.last_seq.get() as u64, room.members),
        (3 + messages, 1 + messages.min(1))
    );
    check_log(backend).await;
}

async fn three_messages(address: &str) -> (ChatStore, Arc<dyn Backend>) {
    let backend = open(address, &Options::default()).await.expect("a backend");
    let store = ChatStore::over(backend.clone(), Options::default());
    for text in ["x @cy", "y @cy", "z @cy"] {
        say(&store, "ann", text).await;
    }
    (store, backend)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_changes_is_stored_once_however_often_it_is_tried() {
    for (kind, with_messages) in [Kind::ReplicaSet, Kind::Standalone]
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
    {
        let (store, backend) = three_messages(&mongod::database(kind)).await;
        let batch = Arc::new(mixed_batch(&*backend, 9, with_messages).await);
        let other = Arc::new(Batch {
            id: BatchId([8; 12]),
            ..Batch::clone(&batch)
        });
        assert!(!backend.is_stored(batch.clone()).await.expect("an answer"));
        assert_eq!(
            backend.append(batch.clone()).await.expect("stored"),
            Append::Committed
        );
        for _ in 0..2 {
            assert!(backend.is_stored(batch.clone()).await.expect("an answer"));
            assert!(!backend.is_stored(other.clone()).await.expect("an answer"));
            assert_eq!(
                backend.append(other.clone()).await.expect("refused"),
                Append::HeadMoved
            );
            if kind == Kind::ReplicaSet {
                assert_eq!(
                    backend.append(batch.clone()).await.expect("refused"),
                    Append::HeadMoved
                );
            }
            check_mixed(&store, &*backend, if with_messages { 2 } else { 0 }, true).await;
        }
    }
}

/// A batch that gives the first message another text.
async fn edit_batch(backend: &dyn Backend, id: u8) -> Arc<Batch> {
    let head = backend.heads(vec![room()]).await.expect("read").remove(0);
    let head = head.expect("read").expect("a room");
    let target = Target {
        room: room(),
        seq: seq(1),
        reactions: Vec::new(),
    };
    let found = backend.targets(vec![target], ReadState::Newest).await;
    let before = found.expect("read").remove(0).expect("readable");
    let before = before.expect("there");
    let mut after = before.message.clone();
    after.change = Some(head.change.next());
    if let Some(content) = &mut after.content {
        content.text = format!("text {id}").parse().expect("a text");
    }

    let mut batch = room_batch(&room(), head, 0);
    batch.changes.push(MessageChange {
        before,
        after,
        reactions: Vec::new(),
    });
    Arc::new(Batch {
        id: BatchId([id; 12]),
        rooms: vec![batch],
        counts: Vec::new(),
        guests: Vec::new(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_changes_is_known_as_stored_as_long_as_somebody_holds_it() {
    let address = mongod::database(Kind::ReplicaSet);
    let (_store, backend) = three_messages(&address).await;
    let other = open(&address, &Options::default())
        .await
        .expect("a backend");
    let held = edit_batch(&*backend, 1).await;
    let refused = edit_batch(&*backend, 2).await;
    backend.append(held.clone()).await.expect("stored");

    for id in 10..20 {
        for backend in [&backend, &other] {
            let batch = edit_batch(&**backend, id).await;
            let stored = backend.append(batch.clone()).await.expect("stored");
            assert_eq!(stored, Append::Committed);
            assert!(backend.is_stored(batch).await.expect("an answer"));
        }
        let refusal = backend.append(refused.clone()).await.expect("refused");
        assert_eq!(refusal, Append::HeadMoved);
        assert!(!backend.is_stored(refused.clone()).await.expect("an answer"));
        assert!(backend.is_stored(held.clone()).await.expect("an answer"));
    }

    // Evidence that nobody can ask about does not pile up.
    drop((held, refused));
    let last = edit_batch(&*backend, 30).await;
    backend.append(last).await.expect("stored");
    let slots = database(&address).await.collection::<Document>("counters");
    let slots = slots.find(find::slots());
    let slots: Vec<Document> = slots
        .await
        .expect("read")
        .try_collect()
        .await
        .expect("read");
    for slot in &slots {
        let stored = slot.get_document("stored").map(Document::len);
        assert_eq!(stored.ok(), Some(1), "{slots:?}");
    }
    assert_eq!(slots.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_a_crash_cut_off_are_made_whole_or_not_at_all() {
    for with_messages in [false, true] {
        let steps = 8;
        for done in 0..=steps {
            let address = mongod::database(Kind::Standalone);
            let (store, backend) = three_messages(&address).await;
            let batch = mixed_batch(&*backend, 9, with_messages).await;
            store.close().await.expect("closed");

            // The plan, the messages, the flag and the commands of the changes, cut off after
            // `done` of them.
            let database = database(&address).await;
            let state = database.collection::<Document>("state");
            let last = state
                .find_one(doc! { "_id": "batch" })
                .await
                .expect("read")
                .expect("a plan");
            let number = last.get_i64("number").expect("a number") + 1;
            let mut changes = changes::commands_of(&batch).expect("BSON");
            let mut commands = standalone::plan::commands_of(&batch, number, &changes);
            assert_eq!(commands.len(), 1);
            if with_messages {
                // They are made side by side, so any of them may be the first.
                changes.reverse();
            }
            if with_messages {
                let new = mongodb::bson::rawdoc! { "insert": "messages", "documents": buckets::new_buckets(&batch) };
                commands.extend([new, standalone::plan::complete(number)]);
            }
            let before_changes = commands.len();
            commands.extend(changes);
            for command in commands.iter().take(done) {
                database
                    .run_raw_command(command.clone())
                    .await
                    .expect("written");
            }

            let is_changed = done >= before_changes;
            let messages = if with_messages && done >= 2 { 2 } else { 0 };
            for _ in 0..2 {
                let backend = open(&address, &Options::default())
                    .await
                    .expect("a backend");
                let store = ChatStore::over(backend.clone(), Options::default());
                check_mixed(&store, &*backend, messages, is_changed).await;
                store.close().await.expect("closed");
            }
            // The store goes on from there.
            let store = ChatStore::open(&address).await.expect("a store");
            say(&store, "ann", "on").await;
            store
                .edit_message(&room(), seq(1), "on".parse().expect("a text"))
                .await
                .expect("edited");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_loses_a_command_is_made_once() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        for (command, collection) in [
            ("update", "state"),
            ("insert", "changes"),
            ("update", "messages"),
            ("insert", "reactions"),
            ("insert", "mentions"),
            ("delete", "mentions"),
            ("update", "counters"),
        ] {
            let address = mongod::database(kind);
            let (store, backend) = three_messages(&address).await;
            // Whoever reacts next is not named, and has a document.
            for n in 0..MAX_REACTION_USERS {
                let user = user(&format!("user{n}"));
                store
                    .add_reaction(&room(), seq(2), &user, emoji("👍"))
                    .await
                    .expect("reacted");
            }
            let name = address.rsplit('/').next().expect("a name");
            let name = name.split('?').next().expect("a name").to_owned();
            let admin = database(&address).await.client().database("admin");
            let data = doc! {
                "failCommands": [command], "errorCode": 11_602, "namespace": format!("{name}.{collection}"),
            };
            let fail =
                doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
            admin.run_command(fail).await.expect("set");
            let what = format!("{kind:?} {command} {collection}");

            let text = "edited @ed".parse().expect("a text");
            let (edit, react, delete) = tokio::join!(
                async { store.edit_message(&room(), seq(1), text).await },
                async {
                    store
                        .add_reaction(&room(), seq(2), &user("di"), emoji("👍"))
                        .await
                },
                async { store.delete_message(&room(), seq(3)).await },
            );
            let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
            admin.run_command(off).await.expect("set");
            let answered = [edit.is_ok(), react.is_ok(), delete.is_ok()];
            let read = all(&*backend).await;
            let made = [
                read[0].text() == Some("edited @ed"),
                reactions(&read[1])[0].count > MAX_REACTION_USERS as u64,
                read[2].is_deleted(),
            ];
            for (answered, made) in answered.into_iter().zip(made) {
                assert!(made || !answered, "{what}: {answered} {made}");
            }
            assert_eq!(count(&store, "ann").await, 3 - u64::from(made[2]), "{what}");
            let of_cy = 3 - usize::from(made[0]) - usize::from(made[2]);
            assert_eq!(
                backend
                    .newest_mentions(user("cy"), 10)
                    .await
                    .expect("read")
                    .len(),
                of_cy,
                "{what}"
            );
            check_log(&*backend).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_shows_changes_that_are_committed_and_all_of_them() {
    const MESSAGES: i64 = 5;
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let address = mongod::database(kind);
        let backend = open(&address, &Options::default())
            .await
            .expect("a backend");
        let store = ChatStore::over(backend.clone(), Options::default());
        for n in 1..=MESSAGES {
            say(&store, "ann", &n.to_string()).await;
        }
        let changing = async {
            for round in 0..30 {
                let edit = |n| {
                    let (store, text) = (
                        store.clone(),
                        format!("{n} {round}").parse().expect("a text"),
                    );
                    async move { store.edit_message(&room(), seq(n), text).await }
                };
                futures_util::future::try_join_all((1..=MESSAGES).map(edit))
                    .await
                    .expect("edited");
            }
        };
        let reading = async {
            let mut last = ChangeSeq::ZERO;
            loop {
                let before = backend
                    .changed_messages(room(), ChangeSeq::ZERO, 200)
                    .await
                    .expect("read");
                let page = all(&*backend).await;
                let known = backend
                    .room(room())
                    .await
                    .expect("read")
                    .expect("a room")
                    .last_change;
                for old in before {
                    let new = page
                        .iter()
                        .find(|message| message.seq == old.seq)
                        .expect("there");
                    assert!(new.change >= old.change, "{kind:?} {old:?} {new:?}");
                }
                let newest = page
                    .iter()
                    .filter_map(|message| message.change)
                    .max()
                    .unwrap_or_default();
                assert!(
                    last <= newest && newest <= known,
                    "{kind:?} {last} {newest} {known}"
                );
                last = newest;
            }
        };
        tokio::select! {
            () = changing => {}
            never = reading => never,
        }
        check_log(&*backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_change_the_same_messages_lose_nothing() {
    const USERS: usize = 40;
    let address = mongod::database(Kind::ReplicaSet);
    let (store, backend) = three_messages(&address).await;
    let other = ChatStore::open(&address).await.expect("a store");
    let react = |n: usize| {
        let store = if n.is_multiple_of(2) {
            store.clone()
        } else {
            other.clone()
        };
        async move {
            let name = format!("user{n}");
            store
                .add_reaction(&room(), seq(1), &user(&name), emoji("👍"))
                .await?;
            say(&store, &name, "x").await;
            store
                .add_reaction(&room(), seq(2), &user(&name), emoji("👍"))
                .await?;
            store
                .remove_reaction(&room(), seq(1), &user(&name), emoji("👍"))
                .await
        }
    };
    futures_util::future::try_join_all((0..USERS).map(react))
        .await
        .expect("changed");

    let read = all(&*backend).await;
    assert_eq!(reactions(&read[0]), []);
    assert_eq!(reactions(&read[1])[0].count, USERS as u64);
    assert_eq!(read.len(), 3 + USERS);
    let of_others = documents(&database(&address).await, "reactions").await;
    assert_eq!(of_others.len(), USERS - MAX_REACTION_USERS);
    check_log(&*backend).await;
}

async fn changed(watcher: &mut Watcher, expected: usize) -> Vec<Message> {
    let mut changed = Vec::new();
    while changed.len() < expected {
        let next = tokio::time::timeout(Duration::from_secs(10), watcher.next());
        if let Update::Changed(messages) = next.await.expect("in time").expect("an update") {
            changed.extend(messages.iter().map(|message| Message::clone(message)));
        }
    }
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_learns_of_changes_topics_and_mentions() {
    let address = mongod::database(Kind::ReplicaSet);
    let (store, backend) = three_messages(&address).await;
    let other = ChatStore::open(&address).await.expect("a store");
    let mut watcher = other.watch(&room(), Position::START);
    for n in 1..=3 {
        store
            .edit_message(&room(), seq(n), format!("new {n}").parse().expect("a text"))
            .await
            .expect("edited");
        let [message] = changed(&mut watcher, 1).await.try_into().expect("one");
        assert_eq!(
            Some(message),
            all(&*backend)
                .await
                .get(usize::try_from(n).expect("small") - 1)
                .cloned()
        );
    }
    store
        .delete_message(&room(), seq(2))
        .await
        .expect("deleted");
    assert!(changed(&mut watcher, 1).await[0].is_deleted());

    let topic: Topic = "tea".parse().expect("a topic");
    assert_eq!(
        store
            .set_topic(&room(), topic.clone())
            .await
            .expect("set")
            .topic,
        Some(topic.clone())
    );
    let next = async {
        loop {
            if let Update::Topic(topic) = watcher.next().await.expect("an update") {
                return topic;
            }
        }
    };
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(10), next)
            .await
            .expect("in time"),
        topic
    );
    let nothing = store
        .set_topic(&room(), "".parse().expect("a topic"))
        .await
        .expect("set");
    assert_eq!(nothing.topic, None);
    assert!(matches!(
        store.set_topic(&"b".parse().expect("a name"), topic).await,
        Err(Error::RoomNotFound)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_many_megabytes_are_made_and_made_again_after_a_crash() {
    const MESSAGES: i64 = 200;
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let address = mongod::database(kind);
        let backend = open(&address, &Options::default())
            .await
            .expect("a backend");
        append(&*backend, Head::EMPTY, 1, MESSAGES).await;
        let head = backend
            .heads(vec![room()])
            .await
            .expect("read")
            .pop()
            .expect("one")
            .expect("read");
        let head = head.expect("a room");

        // Each as large as one can be.
        let long = "𝄞".repeat(crate::types::MAX_NAME_CHARS - 2);
        let users: Vec<_> = (0..MAX_REACTION_USERS)
            .map(|n| user(&format!("{long}{n}")))
            .collect();
        let mut batch = room_batch(&room(), head, 0);
        let target = |n| Target {
            room: room(),
            seq: seq(n),
            reactions: Vec::new(),
        };
        let found = backend
            .targets((1..=MESSAGES).map(target).collect(), ReadState::Newest)
            .await;
        for (found, n) in found.expect("read").into_iter().zip(1..) {
            let before = found.expect("readable").expect("there");
            let mut after = before.message.clone();
            after.change = ChangeSeq::new(n);
            let content = after.content.as_mut().expect("not deleted");
            content.text = "𝄞"
                .repeat(crate::types::MAX_TEXT_CHARS)
                .parse()
                .expect("a text");
            content.mentions = users.clone();
            let reaction = Reaction {
                emoji: emoji("👍"),
                count: 1,
                users: users.clone(),
            };
            content.reactions = vec![reaction; crate::types::MAX_REACTIONS];
            batch.changes.push(MessageChange {
                before,
                after,
                reactions: Vec::new(),
            });
        }
        let batch = Batch {
            id: BatchId([2; 12]),
            rooms: vec![batch],
            counts: Vec::new(),
            guests: Vec::new(),
        };
        if kind == Kind::Standalone {
            backend.close().await.expect("closed");
            let changes = changes::commands_of(&batch).expect("BSON");
            for command in standalone::plan::commands_of(&batch, 1_000, &changes) {
                database(&address)
                    .await
                    .run_raw_command(command)
                    .await
                    .expect("written");
            }
        } else {
            assert_eq!(
                backend.append(Arc::new(batch)).await.expect("stored"),
                Append::Committed
            );
        }

        let backend = open(&address, &Options::default())
            .await
            .expect("a backend");
        let room = backend.room(room()).await.expect("read").expect("a room");
        assert_eq!(room.last_change.get(), MESSAGES, "{kind:?}");
        let mut read = 0;
        while let Some(last) = backend
            .changed_messages(self::room(), ChangeSeq::new(read).expect("a number"), 100)
            .await
            .expect("read")
            .last()
        {
            read = last.change.expect("changed").get();
        }
        assert_eq!(read, MESSAGES, "{kind:?}");
        let page = all(&*backend).await;
        assert!(
            page.len() == 200 && page.iter().all(|message| message.change.is_some()),
            "{kind:?}"
        );
        let found = backend
            .targets((1..=MESSAGES).map(target).collect(), ReadState::Newest)
            .await;
        let change =
            |found: Result<Option<Stored>>| found.expect("readable").expect("there").message.change;
        let numbers = found.expect("read").into_iter().map(change);
        assert!(numbers.eq((1..=MESSAGES).map(ChangeSeq::new)), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_whose_buckets_are_too_large_for_one_reply_are_found() {
    const MESSAGES: i64 = 1_200;
    let backend = open(&mongod::database(Kind::ReplicaSet), &Options::default())
        .await
        .expect("a backend");
    let mut head = Head::EMPTY;
    for id in 1..=4 {
        let mut batch = room_batch(&room(), head, MESSAGES / 4);
        for message in &mut batch.messages {
            message.content.text = "𝄞"
                .repeat(crate::types::MAX_TEXT_CHARS)
                .parse()
                .expect("a text");
        }
        head = batch.head();
        let batch = Batch {
            id: BatchId([id; 12]),
            rooms: vec![batch],
            counts: Vec::new(),
            guests: Vec::new(),
        };
        assert_eq!(
            backend.append(Arc::new(batch)).await.expect("stored"),
            Append::Committed
        );
    }
    let target = |n| Target {
        room: room(),
        seq: seq(n),
        reactions: Vec::new(),
    };
    let targets = (1..=MESSAGES).step_by(6).chain([MESSAGES + 1]);
    let found = backend
        .targets(targets.map(target).collect(), ReadState::Newest)
        .await
        .expect("read");
    let found: Vec<_> = found
        .into_iter()
        .map(|found| found.expect("readable").is_some())
        .collect();
    assert_eq!(
        found.iter().filter(|found| **found).count(),
        found.len() - 1
    );
}
