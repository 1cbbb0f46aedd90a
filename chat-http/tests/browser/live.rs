//! Live updates: a network that fails, a server that ends, who is there and who types.

use std::time::Duration;

use chat_testkit::server::Start;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::{FIELD, LIVE, World, say, says, send, seqs, shown};

/// The page says that its connection is lost.
const LOST: &str = "document.querySelector('#status').dataset.state === 'lost'
    && document.querySelector('#status').innerText !== ''";

in_both!(
    after_a_restart_the_page_is_live_again_soon_and_misses_nothing,
    who_is_here_and_who_types_is_shown,
);
in_chromium!(
    a_silent_network_is_noticed_within_seconds,
    a_network_that_is_cut_is_noticed_at_once,
    a_slow_network_delivers_everything_in_order,
    an_offline_page_says_so_and_sends_later,
    a_server_killed_while_somebody_types_loses_nothing,
    without_sockets_a_page_follows_by_polling,
    reading_is_marked_at_most_once_a_second,
    the_title_counts_what_came_while_nobody_looked,
    a_notification_tells_of_a_mention,
);

async fn after_a_restart_the_page_is_live_again_soon_and_misses_nothing(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    say(&ann, "before").await;
    ann.wait_for(&shown("before")).await;
    ann.expect_failed_requests();

    let World {
        server,
        link,
        engine,
    } = world;
    let paused = server.pause().await;
    ann.wait_for(LOST).await;
    say(&ann, "meanwhile").await;
    let world = World {
        server: paused.go_on().await,
        link,
        engine,
    };
    world.post("a", "bob", "1").await;

    ann.wait_within(Duration::from_secs(10), LIVE).await;
    ann.wait_for(&shown("1")).await;
    ann.wait_for(&shown("meanwhile")).await;
    assert_eq!(seqs(&ann).await, [1, 2, 3]);
    world.post("a", "bob", "live").await;
    ann.wait_for(&shown("live")).await;
    assert_eq!(
        ann.evaluate("document.querySelector('#status').innerText")
            .await,
        json!("")
    );
}

async fn who_is_here_and_who_types_is_shown(world: World) {
    let (ann, bob) = tokio::join!(world.guest("ann"), world.guest("bob"));
    tokio::join!(world.enter(&ann, "a"), world.enter(&bob, "a"));
    bob.click(FIELD).await;
    bob.type_text("so").await;
    ann.wait_for(&says("#typing", "bob")).await;
    bob.type_text("mething\n").await;
    ann.wait_for(&shown("something")).await;
    ann.wait_for("document.querySelector('#typing').innerText === ''")
        .await;
}

async fn a_silent_network_is_noticed_within_seconds(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.expect_failed_requests();

    world.link.silence();
    world.post("a", "bob", "unheard").await;
    ann.wait_within(Duration::from_secs(20), LOST).await;
    world.link.heal();
    ann.wait_within(Duration::from_secs(15), LIVE).await;
    ann.wait_for(&shown("unheard")).await;
    assert_eq!(seqs(&ann).await, [1]);
}

async fn a_network_that_is_cut_is_noticed_at_once(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    say(&ann, "one").await;
    ann.wait_for(&shown("one")).await;
    ann.expect_failed_requests();

    world.link.cut();
    ann.wait_within(Duration::from_secs(10), LOST).await;
    let mut client = world.client("ann").await;
    send(
        &mut client,
        Method::PATCH,
        "/chat/a/messages/1",
        &json!({ "text": "one, edited" }),
    )
    .await;
    world.post("a", "bob", "two").await;
    world.link.heal();

    ann.wait_within(Duration::from_secs(15), LIVE).await;
    ann.wait_for(&shown("two")).await;
    ann.wait_for(&shown("one, edited")).await;
    assert_eq!(seqs(&ann).await, [1, 2]);
}

async fn a_slow_network_delivers_everything_in_order(world: World) {
    let (ann, bob) = tokio::join!(world.guest("ann"), world.guest("bob"));
    world.link.delay(Duration::from_millis(400));
    tokio::join!(world.enter(&ann, "a"), world.enter(&bob, "a"));
    for page in [&ann, &bob] {
        page.click(FIELD).await;
    }
    tokio::join!(ann.type_text("a1\na2\na3\n"), bob.type_text("b1\nb2\nb3\n"));
    for page in [&ann, &bob] {
        page.wait_for("document.querySelectorAll('#messages .message[data-seq]').length === 6")
            .await;
        page.wait_for("document.querySelectorAll('#messages .pending').length === 0")
            .await;
        assert_eq!(seqs(page).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            page.evaluate("document.querySelector('#status').innerText")
                .await,
            json!("")
        );
    }
    let stored = world.stored("a").await;
    let of = |sender: &str| {
        stored
            .iter()
            .filter(|text| text.starts_with(sender))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("a"), of("b")),
        (
            ["a1", "a2", "a3"].map(str::to_owned).into(),
            ["b1", "b2", "b3"].map(str::to_owned).into()
        )
    );
}

async fn an_offline_page_says_so_and_sends_later(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.expect_failed_requests();
    ann.set_offline(true).await;
    ann.wait_for(&says("#status", "offline")).await;
    say(&ann, "written offline").await;
    ann.wait_for(&says("#messages .pending .body", "written offline"))
        .await;
    ann.set_offline(false).await;
    ann.wait_for(&shown("written offline")).await;
    ann.wait_for(LIVE).await;
    assert_eq!(world.stored("a").await, ["written offline"]);
}

async fn a_server_killed_while_somebody_types_loses_nothing(world: World) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("chat.db");
    let start = Start::new(
        env!("CARGO_BIN_EXE_chat-http"),
        store.to_str().expect("UTF-8"),
    );
    let mut process = start.run().expect("the server starts");
    let address = process.address;
    let base = format!("http://{address}");

    let ann = world.stranger().await;
    ann.expect_failed_requests();
    ann.open(&format!("{base}/healthz")).await;
    let prepare = "fetch('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{\"username\":\"ann\"}' })
        .then(() => fetch('/chat/a', { method: 'PUT' })).then((answer) => answer.ok)";
    assert_eq!(ann.evaluate(prepare).await, json!(true));
    ann.open(&format!("{base}/rooms/a")).await;
    ann.wait_for(LIVE).await;
    say(&ann, "one").await;
    ann.wait_for(&shown("one")).await;

    ann.type_text("two\nhalf a sen").await;
    process.kill();
    ann.type_text("tence").await;
    ann.wait_for(LOST).await;
    ann.press("Enter").await;
    ann.type_text("a draft").await;
    let mut process = start
        .with("--listen", &address.to_string())
        .run()
        .expect("the server starts again");

    for text in ["two", "half a sentence"] {
        ann.wait_for(&shown(text)).await;
    }
    ann.wait_for(LIVE).await;
    assert_eq!(seqs(&ann).await, [1, 2, 3], "each once");
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value"))
            .await,
        json!("a draft")
    );
    drop(ann);
    process.kill();
}

async fn without_sockets_a_page_follows_by_polling(world: World) {
    let mut eve = world.server.account("eve").await;
    send(
        &mut eve,
        Method::POST,
        "/chat/a/messages",
        &json!({ "text": "first" }),
    )
    .await;
    let ann = world.guest("ann").await;
    // As behind a proxy that knows nothing of sockets.
    ann.run_first(
        "window.WebSocket = class extends EventTarget {
        static OPEN = 1; readyState = 3; close() {}
        constructor() { super(); setTimeout(() => this.onclose?.(new Event('close'))); }
    };",
    )
    .await;
    world.open_room(&ann, "a").await;
    ann.wait_for("document.querySelector('#status').dataset.state === 'polling'")
        .await;

    send(
        &mut eve,
        Method::POST,
        "/chat/a/messages",
        &json!({ "text": "second" }),
    )
    .await;
    ann.wait_for(&shown("second")).await;
    send(
        &mut eve,
        Method::PATCH,
        "/chat/a/messages/1",
        &json!({ "text": "edited <b>" }),
    )
    .await;
    ann.wait_for(&shown("edited <b>")).await;
    send(&mut eve, Method::DELETE, "/chat/a/messages/2", &Value::Null).await;
    ann.wait_for("'deleted' in document.querySelector('#m2').dataset")
        .await;
    say(&ann, "mine").await;
    ann.wait_for(&shown("mine")).await;
    assert_eq!(seqs(&ann).await, [1, 2, 3]);
}

async fn reading_is_marked_at_most_once_a_second(world: World) {
    let ann = world.guest("ann").await;
    ann.run_first(
        "window.marks = []; const send = WebSocket.prototype.send; WebSocket.prototype.send = function (text) {
            const frame = JSON.parse(text);
            if (frame.type === 'read') window.marks.push({ seq: frame.seq, at: performance.now() });
            send.call(this, text);
        };",
    )
    .await;
    world.enter(&ann, "a").await;
    for i in 1..=60 {
        if i == 2 {
            ann.wait_for("window.marks.length === 1").await;
        }
        world.post("a", "eve", &i.to_string()).await;
    }
    ann.wait_for(&shown("60")).await;
    ann.wait_for("window.marks.at(-1)?.seq === 60").await;
    let pauses: Vec<f64> = ann
        .get("window.marks.slice(1).map((mark, i) => mark.at - window.marks[i].at)")
        .await;
    assert!(
        !pauses.is_empty() && pauses.iter().all(|pause| *pause >= 990.0),
        "{pauses:?}"
    );
    let unread = || async {
        let ann = "ann".parse().expect("a name");
        let rooms = world
            .server
            .store
            .rooms_of(&ann, None, 10)
            .await
            .expect("rooms");
        rooms.iter().map(|room| room.unread()).sum::<u64>()
    };
    let read = async {
        while unread().await != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .expect("what was shown is read");
}

async fn the_title_counts_what_came_while_nobody_looked(world: World) {
    let ann = world.guest("ann").await;
    ann.can_be_hidden().await;
    world.enter(&ann, "a").await;
    let title: String = ann.get("document.title").await;
    ann.set_hidden(true).await;
    for text in ["1", "2"] {
        world.post("a", "bob", text).await;
    }
    ann.wait_for("document.title.startsWith('(2) ')").await;
    let icon = "document.querySelector('link[rel=icon]').href";
    let badge: String = ann.get(icon).await;
    ann.set_hidden(false).await;
    ann.wait_for(&format!("document.title === {}", json!(title)))
        .await;
    assert_ne!(ann.get::<String>(icon).await, badge, "the icon had a badge");
}

async fn a_notification_tells_of_a_mention(world: World) {
    let ann = world.account("ann").await;
    ann.browser.allow_notifications().await;
    ann.can_be_hidden().await;
    ann.run_first(
        "window.notices = [];
        window.Notification = class { static permission = 'granted'; static requestPermission = async () => 'granted';
            constructor(title, { body }) { window.notices.push(`${title}: ${body}`); } };",
    )
    .await;
    world.enter(&ann, "a").await;
    ann.click("#notify").await;
    let wants = "document.querySelector('#notify-menu [name=notify]')";
    if ann.evaluate(&format!("{wants}.checked")).await == json!(false) {
        ann.click("#notify-menu [name=notify]").await;
    }
    ann.wait_for(&format!("{wants}.checked")).await;
    ann.press("Escape").await;
    ann.set_hidden(true).await;
    world.post("a", "bob", "nothing special").await;
    world.post("a", "bob", "look, @ann").await;
    ann.wait_for("window.notices.length > 0").await;
    let notices: Vec<String> = ann.get("window.notices").await;
    assert!(
        notices.len() == 1 && notices[0].contains("bob") && notices[0].contains("look, @ann"),
        "{notices:?}"
    );
}
