//! A command gets lost on a connection that stays open, while the server is well: nobody but the
//! time limit of the command says that there is no answer.

use std::time::{Duration, Instant};

use chat_testkit::mongod::{Deployment, Kind};
use chat_testkit::relay::Relay;
use chatcore::{ChatStore, Error, NewMessage, Options, Range};

const TIMEOUT: Duration = Duration::from_secs(1);

struct Setup {
    relay: Relay,
    store: ChatStore,
    _mongo: Deployment,
}

/// A store with so few connections that reads have one permit.
async fn setup() -> Setup {
    let mongo = Deployment::start(Kind::ReplicaSet, 1);
    let relay = Relay::start(mongo.nodes[0].address()).await;
    let address = format!(
        "mongodb://{}/lost?directConnection=true&maxPoolSize=2&minPoolSize=1",
        relay.address
    );
    let options = Options::default().timeout(TIMEOUT);
    let store = ChatStore::open_with(&address, options)
        .await
        .expect("the store opens");
    Setup {
        relay,
        store,
        _mongo: mongo,
    }
}

fn message(text: &str) -> NewMessage {
    NewMessage::new(
        "a".parse().expect("a name"),
        "ann".parse().expect("a name"),
        text.parse().expect("a text"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_command_gets_lost_is_answered_and_holds_up_no_other() {
    let Setup {
        relay,
        store,
        _mongo,
    } = setup().await;
    store.post(message("first")).await.expect("posted");
    let mut sent = vec!["first".to_owned()];
    let commands = [
        ("update", Some("counters")),
        ("insert", Some("messages")),
        ("commitTransaction", None),
    ];

    for (command, collection) in commands {
        relay.lose_next(command, collection);
        for text in [format!("{command} lost"), format!("after {command}")] {
            let started = Instant::now();
            store
                .post(message(&text))
                .await
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(
                started.elapsed() < 2 * TIMEOUT,
                "{text}: {:?}",
                started.elapsed()
            );
            sent.push(text);
        }
        assert!(relay.has_lost(), "{command}");
    }

    let room = "a".parse().expect("a name");
    let stored = store
        .messages(&room, Range::Newest, 50)
        .await
        .expect("messages");
    let texts: Vec<_> = stored.iter().filter_map(|message| message.text()).collect();
    assert_eq!(texts, sent);

    let count = store
        .message_count(&"ann".parse().expect("a name"))
        .await
        .expect("a count");
    assert_eq!(count, sent.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_whose_command_gets_lost_gives_its_permit_back() {
    let Setup {
        relay,
        store,
        _mongo,
    } = setup().await;
    store.post(message("first")).await.expect("posted");
    relay.lose_next("find", Some("counters"));
    assert!(matches!(
        store.rooms(None, 10).await,
        Err(Error::Unavailable(_))
    ));
    assert!(relay.has_lost());
    assert_eq!(store.rooms(None, 10).await.expect("rooms").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_whose_commands_get_lost_give_their_sessions_back() {
    let Setup {
        relay,
        store,
        _mongo,
    } = setup().await;
    let (room, user) = ("a".parse().expect("a name"), "ann".parse().expect("a name"));
    store.join(&room, &user).await.expect("joined");

    // More than there are sessions for changes.
    for _ in 0..10 {
        relay.lose_next("commitTransaction", None);
        store.leave(&room, &user).await.expect("left");
        assert!(relay.has_lost());
        store.join(&room, &user).await.expect("joined");
    }
}
