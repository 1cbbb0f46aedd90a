//! Calls of a client to a server in the same process.

mod common;

use std::time::{Duration, Instant};

use chat_client::wire::NewMessage;
use chat_client::{Client, Error, Options, Page};
use chat_testkit::proxy::{Mode, Proxy};

use self::common::Server;

const PASSWORD: &str = "correct horse";

/// The texts of messages.
fn texts(messages: &[chat_client::wire::Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.text.as_str())
        .collect()
}

#[tokio::test]
async fn a_guest_and_an_account_log_in_and_out() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(
        client.me().await.expect_err("no session").status(),
        Some(401)
    );

    let me = client.log_in_guest("guest").await.expect("a guest");
    assert_eq!((me.username.as_str(), me.verified), ("guest", false));

    let me = client.register("ann", PASSWORD).await.expect("an account");
    assert_eq!((me.username.as_str(), me.verified), ("ann", true));
    let taken = client.clone().register("ann", PASSWORD).await;
    assert_eq!(taken.expect_err("taken").status(), Some(409));

    let mut other = server.client().await;
    let wrong = other.log_in("ann", "wrong horse").await;
    assert_eq!(wrong.expect_err("a wrong password").status(), Some(401));
    other.log_in("ann", PASSWORD).await.expect("a session");
    assert_eq!(other.sessions().await.expect("sessions").len(), 2);

    let token = other.token().expect("a token").to_owned();
    let cookie = format!("session={token}");
    for client in [
        server.client().await.with_token(&token).expect("a header"),
        server
            .client()
            .await
            .with_cookie(&cookie)
            .expect("a header"),
    ] {
        assert_eq!(client.me().await.expect("a session").username, "ann");
        assert!(client.my_rooms(None, 10).await.expect("rooms").is_empty());
    }

    client
        .change_password(PASSWORD, "another horse")
        .await
        .expect("changed");
    assert_eq!(other.me().await.expect_err("ended").status(), Some(401));
    client.log_out().await.expect("logged out");
    assert_eq!(
        client.me().await.expect_err("no session").status(),
        Some(401)
    );
}

#[tokio::test]
async fn messages_are_posted_read_and_changed() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    let bob = server.account("bob").await;
    let room = "a room/of ü";
    assert!(matches!(ann.room(room).await, Err(error) if error.status() == Some(400)));

    let room = "a room of ü";
    for number in 1..=5 {
        let text = format!("text {number}");
        let post = ann.post(room, text).await.expect("posted");
        assert_eq!((post.message.seq, post.is_repeat), (number, false));
    }
    let reply = NewMessage::new("@ann yes?").in_reply_to(2);
    let reply = bob.post(room, reply).await.expect("posted").message;
    assert_eq!(
        (reply.reply_to, reply.mentions.as_slice()),
        (Some(2), &["ann".to_owned()][..])
    );

    let newest = bob.messages(room, Page::Newest, 2).await.expect("a page");
    assert_eq!(texts(&newest), ["text 5", "@ann yes?"]);
    let after = bob.messages(room, Page::After(1), 2).await.expect("a page");
    assert_eq!(texts(&after), ["text 2", "text 3"]);
    let before = bob
        .messages(room, Page::Before(3), 2)
        .await
        .expect("a page");
    assert_eq!(texts(&before), ["text 1", "text 2"]);
    let since = Page::Since(after[1].timestamp.clone());
    let since = bob.messages(room, since, 1).await.expect("a page");
    assert_eq!(texts(&since), ["text 4"]);

    let edited = ann.edit(room, 1, "text one").await.expect("edited");
    assert_eq!((edited.text.as_str(), edited.change), ("text one", Some(1)));
    let refused = bob
        .edit(room, 1, "mine")
        .await
        .expect_err("another's message");
    assert_eq!(refused.status(), Some(403));
    ann.delete(room, 2).await.expect("deleted");
    assert!(bob.message(room, 2).await.expect("the message").deleted);
    let reactions = bob.add_reaction(room, 3, "👍").await.expect("a reaction");
    assert_eq!((reactions[0].emoji.as_str(), reactions[0].count), ("👍", 1));
    let changes = bob.changes(room, 1, 10).await.expect("changes");
    assert_eq!(
        changes
            .iter()
            .map(|message| message.seq)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(
        bob.remove_reaction(room, 3, "👍")
            .await
            .expect("none")
            .is_empty()
    );

    assert_eq!(ann.message_count("ann").await.expect("a count"), 4);
    let mentions = ann.mentions(None, 10).await.expect("mentions");
    assert_eq!(texts(&mentions), ["@ann yes?"]);
    let rooms = ann.my_rooms(None, 10).await.expect("rooms");
    assert_eq!((rooms[0].room.as_str(), rooms[0].mentions), (room, 1));
    assert_eq!(ann.mark_read(room, 6).await.expect("a mark"), 6);
    assert_eq!(ann.my_rooms(None, 10).await.expect("rooms")[0].unread, 0);
}

#[tokio::test]
async fn rooms_are_created_and_looked_after() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    let bob = server.account("bob").await;

    assert!(ann.create_room("public").await.expect("a room"));
    assert!(!ann.create_room("public").await.expect("a room"));
    assert!(ann.create_private_room("private").await.expect("a room"));
    assert_eq!(
        ann.rooms(None, 10).await.expect("rooms"),
        ["private", "public"]
    );
    assert_eq!(bob.rooms(None, 10).await.expect("rooms"), ["public"]);
    assert_eq!(
        ann.rooms(Some("private"), 10).await.expect("rooms"),
        ["public"]
    );

    assert_eq!(
        bob.room("private").await.expect_err("a stranger").status(),
        Some(404)
    );
    ann.invite("private", "bob").await.expect("invited");
    let room = bob.room("private").await.expect("a member");
    assert_eq!((room.private, room.owner.as_deref()), (true, Some("ann")));
    assert_eq!(
        bob.members("private", None, 10).await.expect("members"),
        ["ann", "bob"]
    );
    ann.remove("private", "bob").await.expect("removed");
    assert_eq!(
        bob.room("private").await.expect_err("a stranger").status(),
        Some(404)
    );

    let room = ann.set_topic("public", "cats").await.expect("a topic");
    assert_eq!(room.topic.as_deref(), Some("cats"));
    bob.join("public").await.expect("joined");
    bob.leave("public").await.expect("left");
    ann.ban("public", "bob").await.expect("banned");
    assert_eq!(ann.bans("public", None, 10).await.expect("bans"), ["bob"]);
    assert_eq!(
        bob.post("public", "hello")
            .await
            .expect_err("banned")
            .status(),
        Some(403)
    );
    assert!(ann.unban("public", "bob").await.expect("lifted"));
    assert!(!ann.unban("public", "bob").await.expect("no ban"));
}

#[tokio::test]
async fn a_post_is_stored_once_however_often_it_is_sent() {
    let server = Server::start().await;
    let ann = server.account("ann").await;

    let message = NewMessage::new("hello").with_nonce("a1");
    let first = ann.post("a", message.clone()).await.expect("posted");
    let second = ann.post("a", message).await.expect("posted");
    assert_eq!((first.is_repeat, second.is_repeat), (false, true));
    assert_eq!(first.message, second.message);

    let other = NewMessage::new("another text").with_nonce("a1");
    let refused = ann.post("a", other).await.expect_err("another text");
    assert_eq!(refused.status(), Some(409));
    assert_eq!(ann.message_count("ann").await.expect("a count"), 1);
}

#[tokio::test]
async fn a_call_is_made_again_until_the_network_is_back() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await;
    let mut ann = Client::connect(&format!("http://{}", proxy.address))
        .await
        .expect("a client");
    ann.log_in_guest("ann").await.expect("a guest");

    proxy.set(Mode::Cut);
    let (post, ()) = tokio::join!(ann.post("a", "hello"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.set(Mode::Open);
    });
    assert_eq!(post.expect("posted").message.seq, 1);
}

#[tokio::test]
async fn a_call_is_given_up_when_its_time_is_over() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await;
    let options = Options::new()
        .retry_for(Duration::from_secs(2))
        .timeout(Duration::from_millis(300));
    let url = format!("http://{}", proxy.address);
    let client = Client::connect_with(&url, options).await.expect("a client");

    for mode in [Mode::Cut, Mode::Stalled] {
        proxy.set(mode);
        let began = Instant::now();
        let error = client.rooms(None, 10).await.expect_err("no answer");
        assert!(matches!(error, Error::Unreachable(_)), "{mode:?}: {error}");
        assert!(error.is_temporary() && began.elapsed() < Duration::from_secs(4));
    }
    assert!(matches!(
        Client::connect("localhost").await,
        Err(Error::Address(_))
    ));
}

/// The server takes a burst of four posts, then one a second, and says in `Retry-After` when.
#[tokio::test]
async fn a_client_that_is_too_fast_waits_as_long_as_the_server_says() {
    let server = Server::start_with(|settings| settings.post_rate = 1).await;
    let ann = server.account("ann").await;
    let began = Instant::now();
    for number in 1..=7 {
        ann.post("a", format!("text {number}"))
            .await
            .expect("posted");
    }
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );

    let hasty = Options::new().retry_for(Duration::ZERO);
    let url = format!("http://{}", server.address);
    let hasty = Client::connect_with(&url, hasty).await.expect("a client");
    let hasty = hasty
        .with_token(ann.token().expect("a token"))
        .expect("a header");
    let refused = loop {
        if let Err(error) = hasty.post("a", "more").await {
            break error;
        }
    };
    assert!(matches!(
        refused,
        Error::Refused { ref problem, retry_after: Some(_) } if problem.status == 429
    ));
}
