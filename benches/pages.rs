//! Waits of a person at a page, in headless Chromium: a key, another room, a page, history.
//!
//! `cargo bench -p chat-benches --bench pages`, with `-- keys`, `rooms`, `load` or `scroll` for a
//! part; with `-- --test` each runs once and small.

use chat_benches::process::{Role, play_role, start};
use chat_benches::turns::{Run, median, percentile};
use chat_testkit::browser::{Browser, Engine, Page};
use chat_testkit::http::Client;
use chat_testkit::server::Server;
use hyper::Method;
use serde_json::json;
use tokio::runtime;

/// Most milliseconds from the key to the frame that shows the message.
const KEY_LIMIT: f64 = 50.0;
/// Most milliseconds from the click to the frame that shows the other room.
const ROOM_LIMIT: f64 = 100.0;
/// Somebody scrolls on a processor that is slower by this factor: the limit holds with a margin.
const SLOWER: u32 = 2;
/// Most milliseconds that a task may take while somebody scrolls.
const TASK_LIMIT: f64 = 50.0;

/// Notes the time from an event to the frame after `is_done`, once that frame is painted.
const STOPWATCH: &str = "window.times = []; window.stopwatch = (type, isDone) => addEventListener(type, (event) => {
    if (event.type === 'keydown' && event.key !== 'Enter') return;
    const done = isDone(event);
    if (!done) return;
    const painted = () => { window.times.push(performance.now() - event.timeStamp); };
    const look = () => {
        if (!done()) return requestAnimationFrame(look);
        const after = new MessageChannel();
        after.port1.onmessage = painted;
        after.port2.postMessage(0);
    };
    requestAnimationFrame(look);
}, true);
window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: 'longtask' });";

const LIVE: &str = "document.querySelector('#status')?.dataset.state === 'open'";

fn main() {
    play_role();
    let run = Run::from_arguments();
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(measure(run));
}

async fn measure(run: Run) {
    let Some(browser) = Browser::start(Engine::Chromium).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = folder.path().join("chat.db");
    let server = start(Role::Chat(store.to_str().expect("UTF-8")));
    let messages = run.pick(200, 10_000);
    fill(&server, "a", messages).await;
    fill(&server, "b", run.pick(60, 300)).await;

    let page = browser.tab().await;
    page.run_first(STOPWATCH).await;
    log_in(&server, &page).await;
    println!("| milliseconds | median | 95 of 100 | limit |");
    println!("|---|---|---|---|");
    if run.wants("keys") {
        keys(run, &server, &page).await;
    }
    if run.wants("rooms") {
        rooms(run, &server, &page).await;
    }
    if run.wants("load") {
        load(run, &server, &page).await;
    }
    if run.wants("scroll") {
        scroll(&server, &page, messages).await;
    }
}

/// Posts this many messages of three guests by one connection.
async fn fill(server: &Server, room: &str, count: usize) {
    let mut client = Client::new(server.address);
    client.send(Method::PUT, &format!("/chat/{room}"), "").await;
    let path = format!("/chat/{room}/messages");
    for i in 0..count {
        let text = format!(
            "Message {i}, with **bold** and `code`, as long as most of them are in a chat."
        );
        let sender = ["cleo", "dan", "eve"][i % 3];
        let message = json!({ "sender": sender, "text": text });
        let posted = client.post(&path, &message).await;
        assert_eq!(posted.status, 201, "{}", posted.text());
    }
}

async fn log_in(server: &Server, page: &Page) {
    page.open(&format!("http://{}/healthz", server.address))
        .await;
    let log_in = "fetch('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{\"username\":\"ann\"}' })
        .then(() => Promise.all(['a', 'b'].map((room) => fetch(`/chat/${room}/join`, { method: 'POST' }))))
        .then((answers) => answers.every((answer) => answer.ok))";
    assert_eq!(page.evaluate(log_in).await, json!(true));
}

async fn enter(server: &Server, page: &Page, room: &str) {
    page.open(&format!("http://{}/rooms/{room}", server.address))
        .await;
    page.wait_for(LIVE).await;
}

fn report(what: &str, mut times: Vec<f64>, limit: f64) {
    let middle = median(times.clone());
    let slow = percentile(&mut times, 0.95);
    println!("| {what} | {middle:.1} | {slow:.1} | {limit:.0} |");
}

/// From Enter to the row of the message.
async fn keys(run: Run, server: &Server, page: &Page) {
    enter(server, page, "a").await;
    let rows = "document.querySelectorAll('#messages .message').length";
    let watch = format!(
        "stopwatch('keydown', () => {{
            const last = () => [...document.querySelectorAll('#messages .message')].at(-1);
            const before = last();
            return () => last() !== before && last().textContent.includes('typed');
        }}) || {rows}"
    );
    page.evaluate(&watch).await;
    page.click("#composer textarea").await;
    let count = run.pick(3, 50);
    for i in 1..=count {
        page.type_text(&format!("typed {i}\n")).await;
        page.wait_for(&format!("window.times.length >= {i}")).await;
    }
    report(
        "Enter to the row of the message",
        page.get("window.times").await,
        KEY_LIMIT,
    );
}

/// From the click on a room to its messages.
async fn rooms(run: Run, server: &Server, page: &Page) {
    enter(server, page, "a").await;
    page.evaluate(
        "stopwatch('click', (event) => {
            const room = event.target.closest('a.room')?.dataset.room;
            return room && (() => document.querySelector('#messages')?.dataset.room === room
                && document.querySelector('#messages .message')?.checkVisibility({ visibilityProperty: true }));
        })",
    )
    .await;
    for i in 1..=run.pick(2, 30) {
        let room = if i % 2 == 1 { "b" } else { "a" };
        page.click(&format!("#rooms a.room[data-room={room}]"))
            .await;
        page.wait_for(&format!("window.times.length >= {i}")).await;
        page.wait_for(LIVE).await;
    }
    report(
        "click on a room to its messages",
        page.get("window.times").await,
        ROOM_LIMIT,
    );
}

/// From the request for a page to its first paint.
async fn load(run: Run, server: &Server, page: &Page) {
    let mut times = Vec::new();
    for _ in 0..run.pick(1, 20) {
        enter(server, page, "a").await;
        let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        page.wait_for(paint).await;
        times.push(page.get(paint).await);
    }
    report("a page of a room, its first paint", times, ROOM_LIMIT);
}

/// The longest task while somebody scrolls through all of a room.
async fn scroll(server: &Server, page: &Page, messages: usize) {
    enter(server, page, "a").await;
    let last = format!("document.querySelector('#m{messages}')");
    page.wait_for(&last).await;
    page.slow_down(SLOWER).await;
    page.evaluate("void (window.tasks.length = 0)").await;
    let first = "Number(document.querySelector('#messages .message').dataset.seq)";
    let mut turns = 0_usize;
    while page.get::<usize>(first).await > 1 {
        page.wheel("#scroller", -1_500.0).await;
        turns += 1;
        assert!(turns < messages, "the wheel does not get to the start");
    }
    let tasks: Vec<f64> = page.get("window.tasks").await;
    let longest = tasks.iter().copied().fold(0.0, f64::max);
    page.slow_down(1).await;
    println!(
        "\n{messages} messages by {turns} turns of the wheel, the processor {SLOWER} times slower: {} tasks over {TASK_LIMIT:.0} ms, the longest {longest:.0} ms",
        tasks.len()
    );
}
