//! The program `community` as processes of its own: used in real browsers, and two of them on one
//! replica set.

use std::process::{Command, Stdio};
use std::time::Duration;

use chat_client::wire::{Message, NewMessage};
use chat_client::{Client, Event, Follower, Options, Page as Range, Subscription};
use chat_testkit::browser::{Browser, Engine, Page};
use chat_testkit::http;
use chat_testkit::live::Events;
use chat_testkit::mongod::{self, Kind};
use chat_testkit::server::Server;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);
const LOBBY: &str = "/community/rooms/lobby";

/// The page follows its room by a socket.
const LIVE: &str = "document.querySelector('#status')?.dataset.state === 'open'";
/// The page says that it cannot be used any more, and takes no text.
const ENDED: &str = "document.querySelector('#status').dataset.state === 'ended'
    && (document.querySelector('#composer textarea')?.disabled ?? true)";

/// Starts the program on a store.
fn start(store: &str) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_community"));
    command
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Server::spawn(command).expect("the program listens")
}

fn url(program: &Server, path: &str) -> String {
    format!("http://{}{path}", program.address)
}

/// Follows a link to the program's own log-in, and logs in.
async fn log_in(page: &Page, link: &str, name: &str) {
    page.click(link).await;
    page.wait_for("location.pathname === '/login'").await;
    page.fill("input[name=user]", name).await;
    page.press("Enter").await;
    page.wait_for(LIVE).await;
}

async fn say(page: &Page, text: &str) {
    page.fill("#composer textarea", text).await;
    page.press("Enter").await;
}

/// A message with this text is shown.
fn shown(text: &str) -> String {
    let bodies = "[...document.querySelectorAll('#messages .message[data-seq] .body')]";
    format!(
        "{bodies}.some((body) => body.innerText.trim() === {})",
        json!(text)
    )
}

/// Checks that the links of a page stay below the chat, but for those of the program.
async fn check_links(page: &Page) {
    let links =
        "[...document.querySelectorAll('a[href]')].map((link) => new URL(link.href).pathname)";
    let links: Vec<String> = page.get(links).await;
    assert!(!links.is_empty());
    for link in links {
        let is_own = link.starts_with("/community/") || link == "/logout";
        assert!(is_own, "a link leads out of the chat: {link}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_log_in_at_the_program_chat_and_log_out_of_it() {
    let (Some(anns), Some(bobs)) = (
        Browser::start(Engine::Chromium).await,
        Browser::start(Engine::Chromium).await,
    ) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let program = start(folder.path().join("chat.db").to_str().expect("UTF-8"));
    let (ann, bob) = (anns.tab().await, bobs.tab().await);

    // Whoever is not logged in may read, and is led to the program's own page and back.
    ann.open(&url(&program, "/")).await;
    log_in(&ann, "#composer a", "ann").await;
    ann.wait_for(&format!("location.pathname === '{LOBBY}'"))
        .await;
    bob.open(&url(&program, LOBBY)).await;
    log_in(&bob, "#sidebar .who a", "bob").await;

    say(&ann, "hello").await;
    bob.wait_for(&shown("hello")).await;
    say(&bob, "hello, ann").await;
    ann.wait_for(&shown("hello, ann")).await;
    let posted = http::Client::new(program.address)
        .post("/deploys", &json!({}))
        .await;
    assert_eq!(posted.status, 200, "{}", posted.text());
    ann.wait_for(&shown("A new version is out.")).await;

    // From page to page, and into a room of ann's own.
    check_links(&ann).await;
    ann.click(".all-rooms a").await;
    ann.wait_for("document.querySelector('.room-list')").await;
    check_links(&ann).await;
    ann.click("#add-room").await;
    ann.fill("#room-name", "den").await;
    ann.press("Enter").await;
    ann.wait_for(LIVE).await;
    check_links(&ann).await;
    say(&ann, "in the den").await;
    ann.wait_for(&shown("in the den")).await;
    ann.reload().await;
    ann.wait_for(LIVE).await;
    ann.wait_for(&shown("in the den")).await;

    // Logging out in one tab ends what is open in the other, and leads back to where it was.
    let other = anns.tab().await;
    other.open(&url(&program, LOBBY)).await;
    other.wait_for(LIVE).await;
    ann.expect_failed_requests();
    other.expect_failed_requests();
    other.click("#sidebar a[href='/logout']").await;
    other.wait_for("location.pathname === '/login'").await;
    ann.wait_for(ENDED).await;
    log_in(&ann, "#status a", "ann").await;
    ann.wait_for("location.pathname === '/community/rooms/den'")
        .await;

    // Nobody else was touched.
    say(&bob, "still here").await;
    bob.wait_for(&shown("still here")).await;
}

/// A client of somebody who has logged in at the program. Its calls are made once.
async fn client(program: &Server, name: &str) -> Client {
    let form = format!("user={name}&next=/community/");
    let logged_in = http::Client::new(program.address)
        .form("/login", &form)
        .await;
    let cookie = logged_in.cookie().expect("a cookie");
    let options = Options::new().retry_for(Duration::ZERO);
    let client = Client::connect_with(&url(program, "/community"), options).await;
    let client = client.expect("a client").with_cookie(&cookie);
    client.expect("a header")
}

/// Waits for the next event of a follower.
async fn next_event(follower: &mut Follower) -> Event {
    let event = timeout(SOON, follower.next()).await.expect("an event");
    event.expect("no end").expect("no error")
}

/// Waits for the next message of a follower, which comes back by itself if it is disconnected.
async fn next_message(follower: &mut Follower) -> Message {
    loop {
        if let Event::Message(message) = next_event(follower).await {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_on_one_replica_set_deliver_to_each_other() {
    let database = mongod::database(Kind::ReplicaSet);
    let (first, second) = (start(&database), start(&database));
    let (ann, bob) = (client(&first, "ann").await, client(&second, "bob").await);
    let mut anns = ann.follow([Subscription::from_start("lobby")]);
    let mut bobs = bob.follow([Subscription::from_start("lobby")]);
    let events = "/community/chat/lobby/events?after=0";
    let mut events = Events::open(second.address, events, None)
        .await
        .expect("a stream");

    ann.post("lobby", "from the first").await.expect("posted");
    let received = next_message(&mut bobs).await;
    assert_eq!((received.sender.as_str(), received.verified), ("ann", true));
    assert_eq!(
        events.event().await.expect("an event").data["text"],
        "from the first"
    );
    bob.post("lobby", "from the second").await.expect("posted");
    for text in ["from the first", "from the second"] {
        let received = next_message(&mut anns).await;
        assert_eq!(received.text, text);
    }

    let changed = bob.edit("lobby", 2, "edited").await.expect("edited");
    loop {
        if let Event::Changed(message) = next_event(&mut anns).await {
            assert_eq!(message, changed);
            break;
        }
    }
}

/// Posts until it is told to stop, by turns at two programs, and at the second what the first does
/// not take. Returns the texts.
async fn post_at_both(at_first: Client, at_second: Client, stop: CancellationToken) -> Vec<String> {
    let mut texts = Vec::new();
    while !stop.is_cancelled() {
        let text = format!("message {}", texts.len());
        let message = NewMessage::new(&text).with_nonce(&text);
        let is_taken =
            texts.len() % 2 == 0 && at_first.post("lobby", message.clone()).await.is_ok();
        if !is_taken {
            at_second.post("lobby", message).await.expect("posted");
        }
        texts.push(text);
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_a_killed_program_goes_on_at_the_other() {
    let database = mongod::database(Kind::ReplicaSet);
    let (mut first, second) = (start(&database), start(&database));
    let ann = (client(&first, "ann").await, client(&second, "ann").await);
    let stop = CancellationToken::new();
    let posting = tokio::spawn(post_at_both(ann.0, ann.1, stop.clone()));

    let bob = client(&first, "bob").await;
    let mut follower = bob.follow([Subscription::from_start("lobby")]);
    let mut seen = Vec::new();
    loop {
        match next_event(&mut follower).await {
            Event::Message(message) => seen.push(message),
            Event::Disconnected(_) if seen.len() >= 50 => break,
            _ => {}
        }
        if seen.len() == 50 {
            first.kill();
        }
    }
    let position = follower.position("lobby").expect("a position");
    assert_eq!(position.seq, seen.len() as i64);

    let bob = client(&second, "bob").await;
    let mut follower = bob.follow([Subscription::resume("lobby", position)]);
    while seen.len() < 150 {
        seen.push(next_message(&mut follower).await);
    }
    stop.cancel();
    let posted = posting.await.expect("all posted");
    while seen.len() < posted.len() {
        seen.push(next_message(&mut follower).await);
    }

    let seqs: Vec<_> = seen.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=posted.len() as i64).collect::<Vec<_>>());
    let texts: Vec<_> = seen.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, posted, "each once, in the order of the posts");
    let last = bob.messages("lobby", Range::Newest, 1).await;
    assert_eq!(last.expect("a page").first(), seen.last());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_ends_the_program_while_sockets_are_open() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut program = start(folder.path().join("chat.db").to_str().expect("UTF-8"));
    let ann = client(&program, "ann").await;
    let mut follower = ann.follow([Subscription::from_start("lobby")]);
    ann.post("lobby", "hello").await.expect("posted");
    next_message(&mut follower).await;

    program.signal("INT");
    let ended = tokio::task::spawn_blocking(move || program.wait());
    let ended = timeout(SOON, ended).await.expect("an end").expect("joined");
    assert!(ended.success(), "{ended}");
    while !matches!(next_event(&mut follower).await, Event::Disconnected(_)) {}
}
