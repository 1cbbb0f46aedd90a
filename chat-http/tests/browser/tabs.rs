//! Tabs of one browser, and sessions that end.

use chat_testkit::browser::Page;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::world::{FIELD, LIVE, World, say, says, send, shown};

/// The page says that it cannot be used any more, and takes no text.
const ENDED: &str = "document.querySelector('#status').dataset.state === 'ended'
    && document.querySelector('#status').innerText.length > 10
    && (document.querySelector('#composer textarea')?.disabled ?? true)";

in_both!(
    another_user_in_another_tab_ends_this_page,
    a_log_out_in_another_tab_ends_this_page,
);
in_chromium!(
    who_is_removed_or_banned_is_told,
    an_ended_session_is_told_and_the_text_is_kept,
    what_is_read_in_one_tab_is_read_in_the_other,
    a_sound_is_played_unless_it_is_switched_off,
);

async fn another_user_in_another_tab_ends_this_page(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    say(&ann, "as ann").await;
    ann.wait_for(&shown("as ann")).await;

    let other = ann.browser.tab().await;
    world
        .log_in(&other, "login", &json!({ "username": "bob" }))
        .await;
    world.enter(&other, "a").await;

    ann.wait_for(ENDED).await;
    ann.wait_for(&says("#status", "bob")).await;
    say(&other, "as bob").await;
    other.wait_for(&shown("as bob")).await;
    ann.expect_failed_requests();
    let mut client = world.server.client();
    let messages = send(&mut client, Method::GET, "/chat/a/messages", &Value::Null).await;
    let senders: Vec<_> = messages
        .as_array()
        .expect("an array")
        .iter()
        .map(|message| &message["sender"])
        .collect();
    assert_eq!(senders, ["ann", "bob"]);
}

async fn a_log_out_in_another_tab_ends_this_page(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.expect_failed_requests();
    let other = ann.browser.tab().await;
    other.open(&world.url("/healthz")).await;
    other
        .evaluate("fetch('/auth/logout', { method: 'POST' }).then((answer) => answer.ok)")
        .await;
    ann.wait_for(ENDED).await;
}

/// A private room of ann's with bob in it, and bob's page of it.
async fn den(world: &World) -> (chat_testkit::http::Client, Page) {
    let mut ann = world.server.account("ann").await;
    send(
        &mut ann,
        Method::PUT,
        "/chat/den",
        &json!({ "private": true }),
    )
    .await;
    let bob = world.account("bob").await;
    send(&mut ann, Method::PUT, "/chat/den/members/bob", &Value::Null).await;
    bob.open(&world.room_url("den")).await;
    bob.wait_for(LIVE).await;
    (ann, bob)
}

async fn who_is_removed_or_banned_is_told(world: World) {
    let (mut ann, bob) = den(&world).await;
    say(&bob, "hello").await;
    bob.wait_for(&shown("hello")).await;
    bob.expect_failed_requests();
    send(
        &mut ann,
        Method::DELETE,
        "/chat/den/members/bob",
        &Value::Null,
    )
    .await;
    bob.wait_for(ENDED).await;

    send(&mut ann, Method::PUT, "/chat/open", &Value::Null).await;
    let banned = bob.browser.tab().await;
    banned.expect_failed_requests();
    world.enter(&banned, "open").await;
    send(&mut ann, Method::PUT, "/chat/open/bans/bob", &Value::Null).await;
    // Who is banned from a public room still reads it.
    say(&banned, "refused").await;
    banned.wait_for("document.querySelector('#status').dataset.state === 'ended' || document.querySelector('#messages .failed')").await;
    assert_eq!(world.stored("open").await, Vec::<String>::new());
}

async fn an_ended_session_is_told_and_the_text_is_kept(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    ann.click(FIELD).await;
    ann.type_text("not sent yet").await;
    ann.expect_failed_requests();

    let mut client = world.client("ann").await;
    send(&mut client, Method::DELETE, "/auth/sessions", &Value::Null).await;
    ann.wait_for(ENDED).await;
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value"))
            .await,
        json!("not sent yet")
    );

    ann.forget_errors();
    let account = json!({ "username": "ann", "password": PASSWORD });
    world.log_in(&ann, "login", &account).await;
    world.enter(&ann, "a").await;
    ann.wait_for(&format!(
        "document.querySelector('{FIELD}').value === 'not sent yet'"
    ))
    .await;
}

async fn what_is_read_in_one_tab_is_read_in_the_other(world: World) {
    let ann = world.account("ann").await;
    let mut client = world.client("ann").await;
    for room in ["a", "b"] {
        let join = format!("/chat/{room}/join");
        send(&mut client, Method::POST, &join, &Value::Null).await;
    }
    ann.can_be_hidden().await;
    world.enter(&ann, "a").await;
    let title: String = ann.get("document.title").await;
    ann.set_hidden(true).await;
    let unread = |n: usize| {
        format!(
            "Number(document.querySelector('#rooms a.room[data-room=b]').dataset.unread) === {n}"
        )
    };
    world.post("b", "cleo", "one").await;
    world.post("b", "cleo", "two").await;
    ann.wait_for(&unread(2)).await;
    world.post("a", "cleo", "here").await;
    ann.wait_for("document.title.startsWith('(1) ')").await;

    let other = ann.browser.tab().await;
    world.enter(&other, "b").await;
    ann.wait_for(&unread(0)).await;
    other.click("#rooms a.room[data-room=a]").await;
    other.wait_for(&shown("here")).await;
    ann.wait_for(&format!("document.title === {}", json!(title)))
        .await;
}

async fn a_sound_is_played_unless_it_is_switched_off(world: World) {
    let ann = world.account("ann").await;
    ann.can_be_hidden().await;
    ann.run_first(
        "window.tones = 0; window.notices = 0;
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...when) { window.tones += 1; start.apply(this, when); };
        window.Notification = class { static permission = 'granted'; static requestPermission = async () => 'granted';
            constructor() { window.notices += 1; } };",
    )
    .await;
    world.enter(&ann, "a").await;
    ann.click("#notify").await;
    ann.click("#notify-menu [name=notify]").await;
    ann.wait_for("document.querySelector('#notify-menu [name=notify]').checked")
        .await;
    ann.press("Escape").await;
    ann.set_hidden(true).await;
    world.post("a", "cleo", "@ann, ding").await;
    ann.wait_for("window.notices === 1 && window.tones > 0")
        .await;

    ann.set_hidden(false).await;
    ann.click("#notify").await;
    ann.click("#notify-menu [name=sound]").await;
    ann.wait_for("!document.querySelector('#notify-menu [name=sound]').checked")
        .await;
    ann.press("Escape").await;
    // The setting is that of the browser: it outlives the page.
    ann.reload().await;
    ann.wait_for(LIVE).await;
    ann.set_hidden(true).await;
    world.post("a", "cleo", "@ann, silence").await;
    ann.wait_for("window.notices === 1").await;
    assert_eq!(ann.evaluate("window.tones").await, json!(0));
}
