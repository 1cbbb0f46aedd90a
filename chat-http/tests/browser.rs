//! The pages in real headless Chromium.

mod support;

use std::path::Path;

use chat_testkit::browser::{self, Browser};
use hyper::Method;
use serde_json::json;

use support::Running;

/// Logs in by the form and ends up in the room.
async fn enter(server: &Running, browser: &mut Browser, name: &str, room: &str) {
    browser.open(&format!("http://{}/", server.address)).await;
    browser.click("header a.who").await;
    browser
        .wait_for("location.pathname === '/login' && document.querySelector('#username')")
        .await;
    browser.fill("#username", name).await;
    browser.click("main button").await;
    browser
        .wait_for("location.pathname === '/' && document.querySelector('#me')")
        .await;
    browser.fill("input[name=room]", room).await;
    browser.click("main button").await;
    browser
        .wait_for("location.pathname.startsWith('/rooms/') && document.querySelector('#post')")
        .await;
}

async fn say(browser: &mut Browser, text: &str) {
    browser.fill("textarea", text).await;
    browser.click("#post button").await;
    let sent = "document.querySelector('textarea').value === '' && !document.querySelector('#post button').disabled";
    browser.wait_for(sent).await;
}

fn shown(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#messages p')].some((p) => p.textContent === {})",
        json!(text)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_person_writes_another_sees() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium.clone()).await;
    let mut bob = Browser::start(chromium).await;
    enter(&server, &mut ann, "ann", "tea & biscuits").await;
    enter(&server, &mut bob, "bob", "tea & biscuits").await;
    let hostile = "<script>document.title = 'owned'</script> & \"quotes\" {braces}";
    say(&mut ann, "Good morning!").await;
    say(&mut ann, hostile).await;
    bob.wait_for(&shown(hostile)).await;
    say(&mut bob, "Morning, Ann.\nTwo lines from me.").await;
    ann.wait_for(&shown("Morning, Ann.\nTwo lines from me."))
        .await;
    if let Some(file) = std::env::var_os("CHAT_SCREENSHOT") {
        ann.screenshot(Path::new(&file)).await;
    }

    for browser in [&mut ann, &mut bob] {
        assert_eq!(
            browser.evaluate("document.title").await,
            json!("tea & biscuits")
        );
        let seqs = browser
            .evaluate(
                "[...document.querySelectorAll('#messages li')].map((li) => li.dataset.seq).join()",
            )
            .await;
        assert_eq!(seqs, json!("1,2,3"), "each once, in order");
        assert_eq!(
            browser
                .evaluate("document.querySelectorAll('#messages .guest').length")
                .await,
            json!(3)
        );
    }
    // A reload shows the same.
    let url = ann.evaluate("location.href").await;
    ann.open(url.as_str().expect("an address")).await;
    let texts = ann
        .evaluate("[...document.querySelectorAll('#messages p')].map((p) => p.textContent)")
        .await;
    assert_eq!(
        texts,
        json!([
            "Good morning!",
            hostile,
            "Morning, Ann.\nTwo lines from me."
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_stays_in_the_form() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium).await;
    enter(&server, &mut ann, "ann", "a").await;
    // The field itself stops at 4,000; a program might not.
    ann.evaluate("document.querySelector('textarea').removeAttribute('maxlength')")
        .await;
    let long = "x".repeat(4_001);
    ann.fill("textarea", &long).await;
    ann.click("#post button").await;
    ann.wait_for(
        "document.querySelector('#error').textContent === 'text must be at most 4000 characters'",
    )
    .await;
    assert_eq!(
        ann.evaluate("document.querySelector('textarea').value.length")
            .await,
        json!(4_001)
    );
    assert_eq!(
        ann.evaluate("document.querySelectorAll('#messages li').length")
            .await,
        json!(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_scripts_the_forms_do_it() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium).await;
    ann.disable_scripts().await;
    enter(&server, &mut ann, "ann", "plain").await;
    ann.fill("textarea", "by a form").await;
    ann.click("#post button").await;
    ann.wait_for(&shown("by a form")).await;
    assert_eq!(
        ann.evaluate("document.querySelector('#status').textContent")
            .await,
        json!("")
    );
}

async fn until_by(browser: &mut Browser, way: &str) {
    browser
        .wait_for(&format!(
            "document.querySelector('#status').dataset.by === {}",
            json!(way)
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_follows_by_socket_else_by_events_else_by_polling() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    for (way, missing) in [
        ("socket", ""),
        ("events", "WebSocket"),
        ("poll", "WebSocket EventSource"),
    ] {
        let mut ann = Browser::start(chromium.clone()).await;
        for name in missing.split_whitespace() {
            // As behind a proxy that knows nothing of it: there, and never open.
            ann.run_first(&format!("window.{name} = class {{ constructor() {{ setTimeout(() => (this.onclose ?? this.onerror)?.()); }} addEventListener() {{}} close() {{}} }};")).await;
        }
        enter(&server, &mut ann, "ann", way).await;
        until_by(&mut ann, way).await;
        let text = format!("live by {way}");
        let post = json!({ "sender": "bob", "text": text });
        server
            .client()
            .post(&format!("/chat/{way}/messages"), &post)
            .await;
        ann.wait_for(&shown(&text)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_shows_changes_by_socket_by_events_and_by_polling() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut eve = server.account("eve").await;
    for (way, missing) in [
        ("socket", ""),
        ("events", "WebSocket"),
        ("poll", "WebSocket EventSource"),
    ] {
        for text in ["first", "second"] {
            eve.post(&format!("/chat/{way}/messages"), &json!({ "text": text }))
                .await;
        }
        let mut ann = Browser::start(chromium.clone()).await;
        for name in missing.split_whitespace() {
            ann.run_first(&format!("delete window.{name};")).await;
        }
        ann.open(&format!("http://{}/rooms/{way}", server.address))
            .await;
        until_by(&mut ann, way).await;

        let path = format!("/chat/{way}/messages/1");
        let edited = eve
            .send(Method::PATCH, &path, r#"{"text":"edited <b>"}"#)
            .await;
        assert_eq!(edited.status, 200);
        ann.wait_for(&shown("edited <b>")).await;
        eve.post(
            &format!("/chat/{way}/messages"),
            &json!({ "text": "third" }),
        )
        .await;
        ann.wait_for(&shown("third")).await;
        assert_eq!(eve.send(Method::DELETE, &path, "").await.status, 204);
        ann.wait_for(&shown("deleted")).await;
        let texts =
            "[...document.querySelectorAll('#messages p')].map((p) => p.textContent).join()";
        assert_eq!(
            ann.evaluate(texts).await,
            json!("deleted,second,third"),
            "{way}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_shows_who_is_there_and_who_types() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium.clone()).await;
    let mut bob = Browser::start(chromium).await;
    enter(&server, &mut ann, "ann", "a").await;
    enter(&server, &mut bob, "bob", "a").await;
    ann.wait_for("document.querySelector('#present').textContent === 'Here now: ann, bob'")
        .await;
    bob.fill("textarea", "so").await;
    ann.wait_for("document.querySelector('#typing').textContent === 'bob is typing…'")
        .await;
    say(&mut bob, "mething").await;
    ann.wait_for(&shown("something")).await;
    ann.wait_for("document.querySelector('#typing').textContent === ''")
        .await;
    drop(bob);
    ann.wait_for("document.querySelector('#present').textContent === 'Here now: ann'")
        .await;
    let rooms = server
        .store
        .rooms_of(&"bob".parse().expect("a name"), None, 10)
        .await
        .expect("rooms");
    assert_eq!(
        rooms.iter().map(|room| room.unread()).collect::<Vec<_>>(),
        [0],
        "what was shown is read"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_marks_what_was_read_at_most_once_a_second() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium).await;
    ann.run_first(
        "window.marks = []; const send = WebSocket.prototype.send; WebSocket.prototype.send = function (text) {
            const frame = JSON.parse(text);
            if (frame.type === 'read') window.marks.push({ seq: frame.seq, at: performance.now() });
            send.call(this, text);
        };",
    )
    .await;
    enter(&server, &mut ann, "ann", "a").await;
    until_by(&mut ann, "socket").await;
    let mut eve = server.client();
    for i in 1..=100 {
        if i == 2 {
            ann.wait_for("window.marks.length === 1").await;
        }
        eve.post(
            "/chat/a/messages",
            &json!({ "sender": "eve", "text": i.to_string() }),
        )
        .await;
    }
    ann.wait_for(&shown("100")).await;
    ann.wait_for("window.marks.at(-1)?.seq === 100").await;
    let pauses = "window.marks.slice(1).map((mark, i) => mark.at - window.marks[i].at)";
    let pauses = ann.evaluate(pauses).await;
    let pauses: Vec<f64> = pauses
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|p| p.as_f64())
        .collect();
    assert!(
        !pauses.is_empty() && pauses.iter().all(|pause| *pause >= 990.0),
        "{pauses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_says_that_it_reconnects_and_misses_nothing() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let mut ann = Browser::start(chromium).await;
    enter(&server, &mut ann, "ann", "a").await;
    until_by(&mut ann, "socket").await;
    say(&mut ann, "before").await;
    let paused = server.pause().await;
    ann.wait_for("document.querySelector('#status').textContent === 'Reconnecting…'")
        .await;
    let server = paused.go_on().await;
    for text in ["1", "2"] {
        server
            .client()
            .post(
                "/chat/a/messages",
                &json!({ "sender": "bob", "text": text }),
            )
            .await;
    }
    ann.wait_for(&shown("2")).await;
    let seqs = "[...document.querySelectorAll('#messages li')].map((li) => li.dataset.seq).join()";
    assert_eq!(ann.evaluate(seqs).await, json!("1,2,3"));
    assert_eq!(
        ann.evaluate("document.querySelector('#status').textContent")
            .await,
        json!("")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_invites_deletes_and_bans_and_others_see_it_at_once() {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Running::sqlite().await;
    let (mut ann, mut bob) = (
        Browser::start(chromium.clone()).await,
        Browser::start(chromium).await,
    );
    for (browser, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        browser
            .open(&format!("http://{}/login", server.address))
            .await;
        browser.fill("#register input[name=username]", name).await;
        browser
            .fill("#register input[name=password]", support::PASSWORD)
            .await;
        browser.click("#register button").await;
        browser
            .wait_for(&format!(
                "document.querySelector('#me')?.textContent === {}",
                json!(name)
            ))
            .await;
    }
    ann.fill("input[name=room]", "den").await;
    ann.click("input[name=private]").await;
    ann.click("main form button").await;
    ann.wait_for("document.querySelector('h1')?.textContent === 'den private'")
        .await;
    ann.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
        .await;
    ann.fill(".people input[name=username]", "bob").await;
    ann.click("button[value=invite]").await;
    ann.wait_for(
        "[...document.querySelectorAll('.people li span')].some((name) => name.textContent === 'bob')",
    )
    .await;
    until_by(&mut ann, "socket").await;
    bob.open(&format!("http://{}/rooms/den", server.address))
        .await;
    until_by(&mut bob, "socket").await;
    say(&mut bob, "mine").await;
    say(&mut ann, "hers").await;
    bob.wait_for(&shown("hers")).await;
    // One's own alone, and the owner all.
    let buttons = "document.querySelectorAll('#messages .delete').length";
    assert_eq!(
        (bob.evaluate(buttons).await, ann.evaluate(buttons).await),
        (json!(1), json!(2))
    );
    ann.click("#messages li[data-seq='1'] .delete button").await;
    let blank =
        "document.querySelector('#messages li[data-seq=\"1\"] p').textContent === 'deleted'";
    ann.wait_for(blank).await;
    bob.wait_for(blank).await;
    assert_eq!(
        bob.evaluate("document.querySelector('#messages').textContent.includes('mine')")
            .await,
        json!(false)
    );
    ann.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
        .await;
    ann.click(".people button[value=ban]").await;
    bob.wait_for("document.querySelector('#error').textContent === 'Room not found'")
        .await;
    bob.open(&format!("http://{}/rooms/den", server.address))
        .await;
    bob.wait_for("document.querySelector('h1')?.textContent === 'Room not found'")
        .await;
}
