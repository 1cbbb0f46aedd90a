//! Edits, replies, reactions, mentions and topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chatcore::{
    Actor, ChangeSeq, ChatStore, Emoji, Error, Message, NewMessage, Position, Privacy, Range, Seq,
    SharedMessage, Topic, Update, Watcher,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{
    Database, SOON, as_account, as_guest, assert_forbidden, assert_hidden, count, message, post,
    post_verified, register_all, room, seq, user, verified, with_nonce,
};

fn emoji(text: &str) -> Emoji {
    text.parse().expect(text)
}

fn change(number: i64) -> ChangeSeq {
    ChangeSeq::new(number).expect("a number")
}

fn assert_deleted<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::MessageDeleted)), "{result:?}");
}

fn reactions(message: &Message) -> Vec<(String, u64, Vec<String>)> {
    let reactions = message
        .content
        .iter()
        .flat_map(|content| &content.reactions);
    let names = |users: &[chatcore::Username]| users.iter().map(ToString::to_string).collect();
    reactions
        .map(|r| (r.emoji.to_string(), r.count, names(&r.users)))
        .collect()
}

pub(crate) async fn an_edited_message_keeps_its_number_and_its_time(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let q = room("q");
    let sent = NewMessage {
        verified: true,
        ..with_nonce("q", "ann", "helo", "n1")
    };
    let posted = store.post(sent.clone()).await.expect("stored").message;
    post_verified(&store, "q", "bob", "hi").await;
    post(&store, "q", "guest", "from a guest").await;

    let edited = as_account(&other, "ann")
        .edit_message(&q, seq(1), "hello".parse().expect("a text"))
        .await;
    let edited = edited.expect("edited");
    assert_eq!(
        (edited.seq, edited.timestamp, edited.text()),
        (posted.seq, posted.timestamp, Some("hello"))
    );
    assert_eq!(edited.change, Some(change(1)));

    let edited_at = edited
        .content
        .as_ref()
        .and_then(|content| content.edited_at);
    assert!(edited_at.is_some_and(|at| at >= posted.timestamp));

    for store in [&store, &other] {
        assert_eq!(store.message(&q, seq(1)).await.expect("read"), edited);
        assert_eq!(
            store.messages(&q, Range::Newest, 9).await.expect("read")[0],
            edited
        );
        assert_eq!(
            store.changes(&q, ChangeSeq::ZERO, 9).await.expect("read"),
            std::slice::from_ref(&edited)
        );
        assert_eq!(store.room(&q).await.expect("a room").last_change, change(1));
        assert_eq!(count(store, "ann").await, 1);
        // The post was made, whatever its text is by now.
        let repeat = store.post(sent.clone()).await.expect("repeated");
        assert!(repeat.repeated && repeat.message == *edited);
    }

    // The same text changes nothing.
    let same = as_account(&store, "ann")
        .edit_message(&q, seq(1), "hello".parse().expect("a text"))
        .await;
    assert_eq!(same.expect("is edited"), edited);
    assert_eq!(store.room(&q).await.expect("a room").last_change, change(1));

    let text = || "mine".parse().expect("a text");
    for who in [
        as_account(&store, "bob"),
        as_guest(&store, "ann"),
        as_guest(&store, "guest"),
        store.as_user(Actor::Anonymous),
    ] {
        assert_forbidden(who.edit_message(&q, seq(1), text()).await);
    }

    assert_forbidden(
        as_account(&store, "ann")
            .edit_message(&q, seq(3), text())
            .await,
    );

    let missing = as_account(&store, "ann")
        .edit_message(&q, seq(4), text())
        .await;
    assert!(
        matches!(missing, Err(Error::MessageNotFound)),
        "{missing:?}"
    );
    assert_hidden(
        as_account(&store, "ann")
            .edit_message(&room("nowhere"), seq(1), text())
            .await,
    );

    as_account(&store, "ann")
        .delete_message(&q, seq(1))
        .await
        .expect("deleted");
    assert_deleted(
        as_account(&other, "ann")
            .edit_message(&q, seq(1), text())
            .await,
    );
    assert_deleted(
        as_account(&other, "ann")
            .add_reaction(&q, seq(1), emoji("👍"))
            .await,
    );
    assert_eq!(store.room(&q).await.expect("a room").last_change, change(2));

    store.close().await.expect("closed");
    other.close().await.expect("closed");
    let again = database.open().await;
    let read = again.messages(&q, Range::Newest, 9).await.expect("read");
    assert!(read[0].is_deleted() && read[0].change == Some(change(2)));
    assert_eq!(
        again.changes(&q, change(1), 9).await.expect("read"),
        read[..1]
    );
}

pub(crate) async fn a_reply_answers_an_earlier_message(database: &Database) {
    let [store, other] = database.open_twice().await;
    let q = room("q");
    post(&store, "q", "ann", "question").await;

    for store in [&store, &other] {
        let reply = store
            .post(message("q", "bob", "answer").in_reply_to(seq(1)))
            .await
            .expect("stored");
        assert_eq!(
            reply
                .message
                .content
                .as_ref()
                .and_then(|content| content.reply_to),
            Some(seq(1))
        );
        assert_eq!(
            store.message(&q, reply.message.seq).await.expect("read"),
            reply.message
        );
    }

    for (to, at) in [("q", 0), ("q", 4), ("q", i64::MAX)] {
        let refused = other
            .post(message(to, "bob", "answer").in_reply_to(seq(at)))
            .await;
        assert!(
            matches!(&refused, Err(Error::Invalid(invalid)) if invalid.field == "reply_to"),
            "{refused:?}"
        );
    }

    assert_hidden(
        other
            .post(message("new", "bob", "answer").in_reply_to(seq(1)))
            .await,
    );

    // One that this process has not heard of yet.
    let last = post(&store, "q", "ann", "another").await.message.seq;
    other
        .post(message("q", "bob", "answer").in_reply_to(last))
        .await
        .expect("stored");
    store.delete_message(&q, seq(1)).await.expect("deleted");
    let reply = other.message(&q, seq(2)).await.expect("read");
    assert_eq!(
        reply.content.as_ref().and_then(|content| content.reply_to),
        Some(seq(1))
    );
}

pub(crate) async fn a_user_reacts_once_with_each_emoji(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let q = room("q");
    post(&store, "q", "guest", "x").await;
    let (ann, bob) = (as_account(&store, "ann"), as_account(&other, "bob"));
    let expect = |message: &SharedMessage, expected: &[(&str, u64, &[&str])]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(emoji, n, users)| {
                (
                    emoji.to_string(),
                    *n,
                    users.iter().map(ToString::to_string).collect(),
                )
            })
            .collect();
        assert_eq!(reactions(message), expected);
    };

    for _ in 0..2 {
        let message = ann
            .add_reaction(&q, seq(1), emoji("👍🏽"))
            .await
            .expect("added");
        expect(&message, &[("👍🏽", 1, &["ann"])]);
        assert_eq!(message.change, Some(change(1)));
    }

    bob.add_reaction(&q, seq(1), emoji("👩‍👩‍👧‍👦"))
        .await
        .expect("added");
    as_guest(&other, "guest")
        .add_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("added");
    let message = bob
        .add_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("added");
    expect(
        &message,
        &[("👍🏽", 3, &["ann", "guest", "bob"]), ("👩‍👩‍👧‍👦", 1, &["bob"])],
    );
    ann.remove_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("removed");
    let message = ann
        .remove_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("is removed");
    expect(
        &message,
        &[("👍🏽", 2, &["guest", "bob"]), ("👩‍👩‍👧‍👦", 1, &["bob"])],
    );
    bob.remove_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("removed");
    store
        .remove_reaction(&q, seq(1), &user("guest"), emoji("👍🏽"))
        .await
        .expect("removed");
    let message = ann
        .add_reaction(&q, seq(1), emoji("👍🏽"))
        .await
        .expect("added");
    expect(&message, &[("👩‍👩‍👧‍👦", 1, &["bob"]), ("👍🏽", 1, &["ann"])]);
    for store in [&store, &other] {
        assert_eq!(store.message(&q, seq(1)).await.expect("read"), message);
    }

    let claimed = as_guest(&store, "bob")
        .add_reaction(&q, seq(1), emoji("👍🏽"))
        .await;
    assert!(matches!(claimed, Err(Error::NameClaimed)), "{claimed:?}");
    assert_forbidden(
        store
            .as_user(Actor::Anonymous)
            .add_reaction(&q, seq(1), emoji("👍🏽"))
            .await,
    );
    assert_hidden(
        ann.add_reaction(&room("nowhere"), seq(1), emoji("👍🏽"))
            .await,
    );

    let missing = ann.add_reaction(&q, seq(2), emoji("👍🏽")).await;
    assert!(
        matches!(missing, Err(Error::MessageNotFound)),
        "{missing:?}"
    );

    let sixty: String = "👍".repeat(60);
    for wrong in ["", "x", "👍👎", sixty.as_str(), "👍 ", ":+1:"] {
        assert!(wrong.parse::<Emoji>().is_err(), "{wrong}");
    }
}

pub(crate) async fn a_reaction_that_goes_and_comes_at_once_is_there(database: &Database) {
    let store = database.open().await;
    let q = room("q");
    post(&store, "q", "ann", "x").await;
    let (bob, thumb) = (user("bob"), emoji("👍"));
    store
        .add_reaction(&q, seq(1), &bob, thumb)
        .await
        .expect("added");

    for _ in 0..20 {
        // A first commit is under way when the others come, so they are in one batch.
        let (first, gone, again) = tokio::join!(
            store.post(message("q", "ann", "y")),
            store.remove_reaction(&q, seq(1), &bob, thumb),
            store.add_reaction(&q, seq(1), &bob, thumb),
        );
        first.expect("stored");
        gone.expect("removed");
        let message = again.expect("added");
        assert_eq!(
            reactions(&message),
            [("👍".to_owned(), 1, vec!["bob".to_owned()])]
        );
    }

    let message = store
        .remove_reaction(&q, seq(1), &bob, thumb)
        .await
        .expect("removed");
    assert!(reactions(&message).is_empty());
}

pub(crate) async fn a_wrong_reply_lets_in_nobody_who_was_removed(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let p = room("p");
    let ann = as_account(&store, "ann");
    assert!(
        ann.create_room(&p, Privacy::Private)
            .await
            .expect("created")
    );

    ann.invite(&p, &user("bob")).await.expect("invited");
    post_verified(&other, "p", "bob", "hi").await;
    ann.remove(&p, &user("bob")).await.expect("removed");
    let (wrong, post) = tokio::join!(
        other.post(verified("p", "bob", "answer").in_reply_to(seq(99))),
        other.post(verified("p", "bob", "once more")),
    );
    assert_hidden(wrong);
    assert_hidden(post);
    assert_eq!(
        ann.members(&p, None, 10).await.expect("members"),
        [user("ann")]
    );

    // A stranger learns from an answer no more than from a post.
    assert_hidden(
        store
            .post(message("nowhere", "eve", "answer").in_reply_to(seq(1)))
            .await,
    );
}

pub(crate) async fn a_message_has_at_most_20_different_reactions(database: &Database) {
    let store = database.open().await;
    let q = room("q");
    post(&store, "q", "ann", "x").await;
    const FRUIT: &str = "🍇🍈🍉🍊🍋🍌🍍🥭🍎🍏🍐🍑🍒🍓🫐🥝🍅🫒🥥🥑🍆";
    let fruit: Vec<_> = FRUIT
        .chars()
        .map(|fruit| emoji(&fruit.to_string()))
        .collect();

    for fruit in &fruit[..20] {
        store
            .add_reaction(&q, seq(1), &user("bob"), *fruit)
            .await
            .expect("added");
    }

    let refused = store
        .add_reaction(&q, seq(1), &user("bob"), fruit[20])
        .await;
    assert!(
        matches!(refused, Err(Error::TooManyReactions)),
        "{refused:?}"
    );

    store
        .add_reaction(&q, seq(1), &user("eve"), fruit[19])
        .await
        .expect("one of the 20");
    store
        .remove_reaction(&q, seq(1), &user("bob"), fruit[0])
        .await
        .expect("removed");
    let message = store
        .add_reaction(&q, seq(1), &user("bob"), fruit[20])
        .await
        .expect("there is room");
    let order: Vec<_> = reactions(&message)
        .into_iter()
        .map(|(emoji, _, _)| emoji)
        .collect();
    assert_eq!(
        order,
        fruit[1..]
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
}

pub(crate) async fn thousands_of_users_react_to_one_message(database: &Database) {
    const USERS: usize = 10_000;
    let stores = database.open_twice().await;
    let q = room("q");
    post(&stores[0], "q", "ann", "x").await;
    let name = |i: usize| user(&format!("user{i:05}"));
    let all = async |is_added: bool, users: std::ops::Range<usize>| {
        let mut tasks = JoinSet::new();
        for i in users {
            if tasks.len() >= 512 {
                tasks.join_next().await.expect("a task").expect("no panic");
            }
            let (store, q) = (stores[i % 2].clone(), q.clone());
            tasks.spawn(async move {
                let done = match is_added {
                    true => store.add_reaction(&q, seq(1), &name(i), emoji("👍")).await,
                    false => {
                        store
                            .remove_reaction(&q, seq(1), &name(i), emoji("👍"))
                            .await
                    }
                };
                done.expect("done");
            });
        }
        tasks.join_all().await;
    };

    all(true, 0..USERS).await;
    let message = stores[1].message(&q, seq(1)).await.expect("read");
    let [(_, count, first)] = reactions(&message).try_into().expect("one");
    assert_eq!((count, first.len()), (USERS as u64, 10));

    // Those who are shown go, and the next ones are shown.
    for gone in &first {
        stores[0]
            .remove_reaction(&q, seq(1), &user(gone), emoji("👍"))
            .await
            .expect("removed");
    }

    let message = stores[1].message(&q, seq(1)).await.expect("read");
    let [(_, count, next)] = reactions(&message).try_into().expect("one");
    assert!(
        count == USERS as u64 - 10
            && next.len() == 10
            && next.iter().all(|user| !first.contains(user))
    );

    all(false, 0..USERS).await;
    let message = stores[0].message(&q, seq(1)).await.expect("read");
    assert!(reactions(&message).is_empty() && message.text() == Some("x"));
}

pub(crate) async fn mentions_are_found_counted_and_read(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["Ann", "bob"]).await;
    let (q, ann, bob) = (
        room("q"),
        as_account(&other, "Ann"),
        as_account(&store, "bob"),
    );
    let text = "hello @ann, @ANN and @nobody";
    let posted = store
        .post(verified("q", "bob", text))
        .await
        .expect("stored")
        .message;

    assert_eq!(posted.mentions(), [user("Ann"), user("nobody")]);

    other.join(&q, &user("Ann")).await.expect("joined");
    post(&other, "q", "guest", "and @Ann again").await;
    post(&other, "q", "guest", "mail me: x@ann.example").await;
    let unread = async |store: &ChatStore| {
        let rooms = store.rooms_of(&user("Ann"), None, 10).await.expect("rooms");
        rooms.iter().map(|room| room.mentions).collect::<Vec<_>>()
    };

    for store in [&store, &other] {
        assert_eq!(unread(store).await, [2]);
        let found = as_account(store, "Ann")
            .mentions(None, 10)
            .await
            .expect("listed");
        assert_eq!(
            found.iter().map(|m| m.seq.get()).collect::<Vec<_>>(),
            [2, 1]
        );
        let older = as_account(store, "Ann")
            .mentions(Some(found[0].timestamp), 10)
            .await
            .expect("listed");
        assert_eq!(older, found[1..]);
        assert_eq!(
            as_account(store, "Ann")
                .mentions(None, 1)
                .await
                .expect("listed"),
            found[..1]
        );
        assert_eq!(
            as_guest(store, "nobody")
                .mentions(None, 10)
                .await
                .expect("listed"),
            found[1..]
        );
    }

    // Reading a room reads its mentions.
    ann.mark_read(&q, seq(1)).await.expect("marked");
    assert_eq!(unread(&other).await, [1]);

    ann.mark_read(&q, seq(2)).await.expect("marked");
    assert_eq!(unread(&other).await, [0]);

    // They follow the text.
    bob.edit_message(&q, seq(1), "hello @bob".parse().expect("a text"))
        .await
        .expect("edited");
    let found = ann.mentions(None, 10).await.expect("listed");
    assert_eq!(found.iter().map(|m| m.seq.get()).collect::<Vec<_>>(), [2]);
    assert_eq!(
        bob.mentions(None, 10).await.expect("listed")[0].text(),
        Some("hello @bob")
    );

    store.delete_message(&q, seq(2)).await.expect("deleted");
    assert!(ann.mentions(None, 10).await.expect("listed").is_empty());

    let many: String = (0..30).map(|i| format!("@user{i} ")).collect();
    assert_eq!(
        post(&store, "q", "guest", &many)
            .await
            .message
            .mentions()
            .len(),
        20
    );
}

pub(crate) async fn mentions_reach_only_users_who_may_read_them(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob", "eve"]).await;
    let p = room("p");
    let ann = as_account(&store, "ann");
    assert!(
        ann.create_room(&p, Privacy::Private)
            .await
            .expect("created")
    );

    ann.invite(&p, &user("bob")).await.expect("invited");
    store
        .post(verified("p", "ann", "@bob and @eve"))
        .await
        .expect("stored");
    let listed = async |name: &str| {
        let mut all = Vec::new();
        for store in [&store, &other] {
            all.push(
                as_account(store, name)
                    .mentions(None, 10)
                    .await
                    .expect("listed")
                    .len(),
            );
        }
        all
    };
    assert_eq!(
        (listed("bob").await, listed("eve").await),
        (vec![1, 1], vec![0, 0])
    );
    assert!(
        as_guest(&other, "bob")
            .mentions(None, 10)
            .await
            .expect("listed")
            .is_empty()
    );

    ann.remove(&p, &user("bob")).await.expect("removed");
    assert_eq!(listed("bob").await, [0, 0]);

    let q = room("q");
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));

    store
        .post(verified("q", "ann", "@eve"))
        .await
        .expect("stored");
    assert_eq!(listed("eve").await, [1, 1]);

    ann.ban(&q, &user("eve")).await.expect("banned");
    assert_eq!(listed("eve").await, [0, 0]);
}

pub(crate) async fn the_commit_decides_who_may_change_a_message(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let text = || "changed".parse().expect("a text");

    for (name, privacy) in [("p", Privacy::Private), ("q", Privacy::Public)] {
        let (here, ann, bob) = (
            room(name),
            as_account(&store, "ann"),
            as_account(&other, "bob"),
        );
        assert!(ann.create_room(&here, privacy).await.expect("created"));
        if privacy == Privacy::Private {
            ann.invite(&here, &user("bob")).await.expect("invited");
        }
        post_verified(&other, name, "bob", "mine").await;
        bob.edit_message(&here, seq(1), text())
            .await
            .expect("edited");
        bob.add_reaction(&here, seq(1), emoji("👍"))
            .await
            .expect("added");
        ann.ban(&here, &user("bob")).await.expect("banned");
        let refused = [
            bob.add_reaction(&here, seq(1), emoji("👍")).await.map(drop),
            bob.edit_message(&here, seq(1), "again".parse().expect("a text"))
                .await
                .map(drop),
            bob.add_reaction(&here, seq(1), emoji("👎")).await.map(drop),
            bob.remove_reaction(&here, seq(1), emoji("👍"))
                .await
                .map(drop),
            bob.delete_message(&here, seq(1)).await,
        ];
        for refused in refused {
            match privacy {
                Privacy::Private => assert_hidden(refused),
                Privacy::Public => assert!(matches!(refused, Err(Error::Banned)), "{refused:?}"),
            }
        }
        assert_eq!(
            ann.last_position(&here).await.expect("read"),
            Position::new(seq(1), change(2))
        );
        ann.delete_message(&here, seq(1))
            .await
            .expect("deleted by the owner");
        assert_eq!(count(&store, "bob").await, 0);
    }
}

pub(crate) async fn the_log_of_changes_lists_each_changed_message_once(database: &Database) {
    let [store, other] = database.open_twice().await;
    let q = room("q");
    for i in 1..=20 {
        post(&store, "q", "ann", &i.to_string()).await;
    }
    assert!(
        store
            .changes(&q, ChangeSeq::ZERO, 9)
            .await
            .expect("read")
            .is_empty()
    );

    for i in 0..60 {
        let store = if i % 2 == 0 { &store } else { &other };
        let text = format!("text {i}").parse().expect("a text");
        store
            .edit_message(&q, seq(1 + i * 7 % 10), text)
            .await
            .expect("edited");
    }

    for store in [&store, &other] {
        // Another process hears of the last one a moment later.
        let heard = async {
            while store
                .changes(&q, ChangeSeq::ZERO, 200)
                .await
                .expect("read")
                .last()
                .and_then(|m| m.change)
                != Some(change(60))
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, heard).await.expect("in time");

        let (mut after, mut told) = (ChangeSeq::ZERO, Vec::new());
        loop {
            let page = store.changes(&q, after, 3).await.expect("read");
            let Some(last) = page.last() else { break };
            after = last.change.expect("it changed");
            told.extend(page);
        }
        let mut numbers: Vec<_> = told.iter().map(|m| m.change.map(ChangeSeq::get)).collect();
        assert!(
            numbers.is_sorted() && numbers.last() == Some(&Some(60)),
            "{numbers:?}"
        );
        numbers.dedup();
        assert_eq!(numbers.len(), 10);
        for message in &told {
            assert_eq!(
                store.message(&q, message.seq).await.expect("read"),
                *message
            );
        }
        assert_eq!(
            store.changes(&q, change(55), 9).await.expect("read"),
            told[5..]
        );
        assert!(
            store
                .changes(&q, change(60), 9)
                .await
                .expect("read")
                .is_empty()
        );
        for (name, after) in [("q", 61), ("nowhere", 1)] {
            let gone = store.changes(&room(name), change(after), 9).await;
            assert!(matches!(gone, Err(Error::ChangesGone)), "{gone:?}");
        }
        assert!(store.changes(&q, change(60), 0).await.is_err());
    }

    let waits = {
        let (other, q) = (other.clone(), q.clone());
        tokio::spawn(async move { other.wait_for_changes(&q, change(60), 9, SOON).await })
    };
    store.delete_message(&q, seq(20)).await.expect("deleted");
    let told = timeout(SOON, waits)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("read");
    assert!(told.len() == 1 && told[0].is_deleted() && told[0].change == Some(change(61)));
}

pub(crate) async fn a_topic_is_set_by_the_owner_and_reaches_followers(database: &Database) {
    let [store, other] = database.open_twice().await;
    register_all(&store, &["ann", "bob"]).await;
    let q = room("q");
    let ann = as_account(&store, "ann");
    assert!(ann.create_room(&q, Privacy::Public).await.expect("created"));

    let mut watcher = other.watch(&q, Position::START);
    let first = timeout(SOON, watcher.next())
        .await
        .expect("in time")
        .expect("watched");
    assert!(matches!(first, Update::Presence(_)), "{first:?}");

    let topic: Topic = "all about q".parse().expect("a topic");
    let set = ann.set_topic(&q, topic.clone()).await.expect("set");
    assert_eq!(set.topic, Some(topic.clone()));
    assert_eq!(
        other.room(&q).await.expect("a room").topic,
        Some(topic.clone())
    );

    let told = timeout(SOON, watcher.next())
        .await
        .expect("in time")
        .expect("watched");
    assert!(
        matches!(&told, Update::Topic(told) if *told == topic),
        "{told:?}"
    );
    assert_forbidden(as_account(&store, "bob").set_topic(&q, topic.clone()).await);
    assert_hidden(ann.set_topic(&room("nowhere"), topic).await);

    let set = ann
        .set_topic(&q, "".parse().expect("no topic"))
        .await
        .expect("set");
    assert_eq!(set.topic, None);
    assert!("x".repeat(201).parse::<Topic>().is_err() && "a\nb".parse::<Topic>().is_err());
}

/// State of a room as a follower knows it.
#[derive(Default)]
struct Known {
    messages: BTreeMap<i64, SharedMessage>,
    at: Position,
}

impl Known {
    /// Takes in what a watcher gives until `done`, or until so many updates came.
    async fn follow(&mut self, watcher: &mut Watcher, most: usize, done: impl Fn(&Self) -> bool) {
        for _ in 0..most {
            if done(self) {
                return;
            }
            match timeout(SOON, watcher.next())
                .await
                .expect("in time")
                .expect("watched")
            {
                Update::Messages(messages) => {
                    for message in messages {
                        let seq = message.seq.get();
                        assert_eq!(seq, self.messages.len() as i64 + 1, "in order, each once");
                        self.messages.insert(seq, message);
                    }
                }
                Update::Changed(changed) => {
                    for message in changed {
                        let known = self.messages.insert(message.seq.get(), message.clone());
                        let before = known.expect("a message comes before its changes").change;
                        assert!(before <= message.change, "{before:?} {message:?}");
                    }
                }
                _ => {}
            }
            self.at = watcher.position();
        }
    }
}

pub(crate) async fn followers_of_changes_end_with_what_the_store_holds(database: &Database) {
    const MESSAGES: i64 = 150;
    let stores = database.open_twice().await;
    let q = room("q");
    post(&stores[0], "q", "ann", "the first").await;
    let finished = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();

    for writer in 0..4_i64 {
        let (store, q) = (stores[writer as usize % 2].clone(), q.clone());
        writers.spawn(async move {
            for i in 0..MESSAGES {
                let posted = post(&store, "q", "ann", &format!("{writer} {i}"))
                    .await
                    .message
                    .seq;
                let old = seq(1 + (posted.get() * (7 + writer)) % posted.get());
                let changed = match i % 4 {
                    0 => store
                        .edit_message(&q, old, format!("edit {i}").parse().expect("a text"))
                        .await
                        .map(drop),
                    1 => store
                        .add_reaction(&q, old, &user(&format!("u{writer}")), emoji("👍"))
                        .await
                        .map(drop),
                    2 => store
                        .remove_reaction(&q, old, &user(&format!("u{writer}")), emoji("👍"))
                        .await
                        .map(drop),
                    _ => store.delete_message(&q, old).await,
                };
                match changed {
                    Ok(()) | Err(Error::MessageDeleted) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    let followers = (0..4_usize).map(|n| {
        let (stores, q, finished) = (stores.clone(), q.clone(), finished.clone());
        tokio::spawn(async move {
            let mut known = Known {
                at: Position::START,
                ..Known::default()
            };
            for round in n.. {
                let store = &stores[round % 2];
                let all_written = finished.load(Ordering::SeqCst);
                let last_change = store.room(&q).await.expect("a room").last_change;
                let is_done = |known: &Known| {
                    known.messages.len() as i64 == 1 + 4 * MESSAGES
                        && known.at.change >= last_change
                };
                if is_done(&known) && all_written {
                    break;
                }
                // Cut off again and again, and resumed at either store.
                let mut watcher = match n % 2 {
                    0 => store.watch(&q, known.at),
                    _ => store.follow(&q, known.at.seq).with_changes(known.at.change),
                };
                known.follow(&mut watcher, 1 + round % 5, is_done).await;
                tokio::task::yield_now().await;
            }
            known
        })
    });
    let followers: Vec<_> = followers.collect();
    writers.join_all().await;
    finished.store(true, Ordering::SeqCst);
    let mut all: Vec<SharedMessage> = Vec::new();

    while let page @ [_, ..] = stores[0]
        .messages(
            &q,
            Range::After(all.last().map_or(Seq::ZERO, |m| m.seq)),
            200,
        )
        .await
        .expect("read")
        .as_slice()
    {
        all.extend_from_slice(page);
    }

    for follower in followers {
        let known = timeout(4 * SOON, follower)
            .await
            .expect("in time")
            .expect("no panic");
        let known: Vec<_> = known.messages.into_values().collect();
        for (known, stored) in known.iter().zip(&all) {
            assert_eq!(known, stored);
        }
        assert_eq!(known.len(), all.len());
    }
}
