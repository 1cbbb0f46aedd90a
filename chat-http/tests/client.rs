//! `chat-client` against a server that is killed and comes back.

use std::time::Duration;

use chat_client::{Client, Event, Options, Position, Subscription};
use chat_testkit::mongod::free_port;
use chat_testkit::server::Start;
use chat_testkit::view::View;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SERVER: &str = env!("CARGO_BIN_EXE_chat-http");
const ROOMS: [&str; 2] = ["a", "b"];
const KILLS: usize = 6;
/// Posts between two kills.
const BETWEEN: usize = 60;
/// For what must happen.
const SOON: Duration = Duration::from_secs(60);

/// Posts, edits and reacts until the receiver of its progress is gone. Returns the number of its
/// posts in each room.
async fn write(client: Client, progress: mpsc::UnboundedSender<()>) -> i64 {
    let mut posts = 0;
    loop {
        posts += 1;
        for room in ROOMS {
            let post = client.post(room, format!("text {posts}")).await;
            let seq = post.expect("posted").message.seq;
            let earlier = (seq + 1) / 2;
            let edited = client.edit(room, earlier, format!("edited {posts}")).await;
            edited.expect("edited");
            client
                .add_reaction(room, earlier, "👍")
                .await
                .expect("a reaction");
        }
        if progress.send(()).is_err() {
            return posts;
        }
    }
}

/// Applies events until the view has all that the server stores.
async fn catch_up(events: &mut chat_client::Follower, view: &mut View, client: &Client) {
    for room in ROOMS {
        let ends = client.room(room).await.expect("a room");
        while view.ends(room) != (ends.last_seq, ends.last_change) {
            let event = timeout(SOON, events.next())
                .await
                .expect("an event in time");
            view.apply(&event.expect("no end").expect("no error"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_costs_no_message_and_no_change() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = folder.path().join("chat.db");
    let start = Start::new(SERVER, store.to_str().expect("UTF-8"))
        .with("--listen", &format!("127.0.0.1:{}", free_port()));
    let mut server = start.run().expect("it starts");

    let options = Options::new().longest_pause(Duration::from_millis(500));
    let url = format!("http://{}", server.address);
    let mut client = Client::connect_with(&url, options).await.expect("a client");
    client
        .register("ann", "correct horse")
        .await
        .expect("an account");
    for room in ROOMS {
        client.create_room(room).await.expect("a room");
    }
    let start_of = |room| Subscription::resume(room, Position { seq: 0, change: 0 });
    let mut events = client.follow(ROOMS.map(start_of));
    let (progress, mut posted) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write(client.clone(), progress));

    let mut view = View::default();
    let mut losses = 0;
    for _ in 0..KILLS {
        for _ in 0..BETWEEN {
            tokio::select! {
                event = events.next() => {
                    let event = event.expect("no end").expect("no error");
                    losses += usize::from(matches!(event, Event::Disconnected(_)));
                    view.apply(&event);
                }
                done = posted.recv() => done.expect("the writer goes on"),
            }
        }
        server.kill();
        server = start.run().expect("it starts again");
    }
    drop(posted);
    let posts = timeout(SOON, writer)
        .await
        .expect("an end")
        .expect("no panic");

    catch_up(&mut events, &mut view, &client).await;
    assert!(losses > 0, "the kills were noticed");
    for room in ROOMS {
        // Once each, whatever the kills made of their answers.
        let ends = client.room(room).await.expect("a room");
        assert_eq!(ends.last_seq, posts);
    }
    let count = client.message_count("ann").await.expect("a count");
    assert_eq!(count, 2 * u64::try_from(posts).expect("a number"));
    view.check(&client, &ROOMS).await;
}
