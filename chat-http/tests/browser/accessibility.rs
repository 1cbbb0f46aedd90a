//! Pages for everyone: axe on each page in each look, the keyboard alone, zoom, print and the
//! directions of scripts.

use chat_testkit::browser::{Page, Size};
use serde_json::json;

use crate::world::{FIELD, LIVE, World, say, send, shown, visible};

in_both!(the_keyboard_alone_reaches_everything_in_a_room,);
in_chromium!(
    axe_finds_nothing_on_any_page_in_any_look,
    axe_finds_nothing_in_dialogs,
    a_screen_reader_gets_a_log_and_landmarks,
    nothing_moves_where_less_motion_is_wanted,
    a_printed_room_shows_messages_alone,
    a_question_mark_lists_the_shortcuts,
);

/// Looks of a page: its size, and features of the medium.
const LOOKS: [(Size, &[(&str, &str)]); 6] = [
    (Size::WIDE, &[("prefers-color-scheme", "light")]),
    (Size::WIDE, &[("prefers-color-scheme", "dark")]),
    (Size::NARROW, &[("prefers-color-scheme", "light")]),
    (Size::NARROW, &[("prefers-color-scheme", "dark")]),
    (
        Size::WIDE,
        &[
            ("forced-colors", "active"),
            ("prefers-color-scheme", "dark"),
        ],
    ),
    (
        Size::NARROW,
        &[
            ("forced-colors", "active"),
            ("prefers-color-scheme", "light"),
        ],
    ),
];

/// A room with everything that a message may have, and an owner who looks at it.
async fn furnished(world: &World) -> Page {
    let ann = world.account("ann").await;
    let mut client = world.client("ann").await;
    let put = hyper::Method::PUT;
    send(&mut client, put.clone(), "/chat/a", &json!({})).await;
    let topic = json!({ "topic": "Everything about a" });
    send(&mut client, hyper::Method::PATCH, "/chat/a", &topic).await;
    let long: Vec<_> = (1..60).map(|i| format!("line {i}")).collect();
    for text in [
        "Hello, **everyone**",
        "`code` and https://example.org/",
        "> quoted\n\nand said",
        "```\nlet x = 1;\n```",
        "@ann, look",
        &long.join("\n"),
    ] {
        world.post("a", "cleo", text).await;
    }
    let reply = json!({ "text": "an answer", "reply_to": 1 });
    send(&mut client, hyper::Method::POST, "/chat/a/messages", &reply).await;
    send(
        &mut client,
        hyper::Method::POST,
        "/chat/a/messages",
        &json!({ "text": "to be deleted" }),
    )
    .await;
    send(
        &mut client,
        hyper::Method::PATCH,
        "/chat/a/messages/7",
        &json!({ "text": "an answer, edited" }),
    )
    .await;
    send(
        &mut client,
        hyper::Method::DELETE,
        "/chat/a/messages/8",
        &json!(null),
    )
    .await;
    send(
        &mut client,
        put.clone(),
        "/chat/a/messages/1/reactions/%F0%9F%91%8D",
        &json!(null),
    )
    .await;
    send(
        &mut client,
        put.clone(),
        "/chat/den",
        &json!({ "private": true }),
    )
    .await;
    world.post("b", "cleo", "over here, @ann").await;
    send(
        &mut client,
        hyper::Method::POST,
        "/chat/b/join",
        &json!(null),
    )
    .await;
    send(&mut client, put, "/chat/a/bans/mallory", &json!(null)).await;
    ann
}

async fn judge(page: &Page, what: &str, found: &mut Vec<String>) {
    let violations = page.violations().await;
    found.extend(
        violations
            .into_iter()
            .map(|violation| format!("{what}: {violation}")),
    );
}

fn assert_none(mut found: Vec<String>) {
    found.dedup();
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

async fn axe_finds_nothing_on_any_page_in_any_look(world: World) {
    let ann = furnished(&world).await;
    let stranger = world.stranger().await;
    for page in [&ann, &stranger] {
        page.expect_failed_requests();
    }
    let mut found = Vec::new();
    for (size, features) in LOOKS {
        for page in [&ann, &stranger] {
            page.resize(size).await;
            page.prefer(features).await;
        }
        for (page, path) in [
            (&stranger, "/login"),
            (&stranger, "/"),
            (&stranger, "/rooms/a"),
            (&ann, "/"),
            (&ann, "/rooms/a"),
            (&ann, "/rooms/den"),
            (&ann, "/rooms/a/messages/1"),
            (&ann, "/account"),
            (&ann, "/rooms/nowhere"),
            (&ann, "/no/such/page"),
        ] {
            page.open(&world.url(path)).await;
            if path == "/rooms/a" {
                page.wait_for(LIVE).await;
            }
            let who = if std::ptr::eq(page, &stranger) {
                "stranger"
            } else {
                "ann"
            };
            judge(
                page,
                &format!("{who} {path} {size:?} {features:?}"),
                &mut found,
            )
            .await;
        }
    }
    assert_none(found);
}

async fn axe_finds_nothing_in_dialogs(world: World) {
    let ann = furnished(&world).await;
    let mut found = Vec::new();
    for scheme in ["light", "dark"] {
        ann.prefer(&[("prefers-color-scheme", scheme)]).await;
        world.enter(&ann, "a").await;

        ann.hover("#m7 .body").await;
        judge(&ann, "row tools", &mut found).await;
        ann.click("#m7 .row-tools [data-do=menu]").await;
        judge(&ann, "row menu", &mut found).await;
        ann.click("#row-menu [data-do=react]").await;
        ann.wait_for(&visible("#picker .emoji button")).await;
        judge(&ann, "picker", &mut found).await;
        ann.press("Escape").await;
        ann.hover("#m7 .body").await;
        ann.click("#m7 .row-tools [data-do=menu]").await;
        ann.click("#row-menu [data-do=edit]").await;
        ann.wait_for(&visible(".editor textarea")).await;
        judge(&ann, "editor", &mut found).await;
        ann.press("Escape").await;
        ann.click("#notify").await;
        judge(&ann, "notifications", &mut found).await;
        ann.press("Escape").await;
        ann.fill(FIELD, "@cl").await;
        ann.wait_for(&visible("#completions [role=option]")).await;
        judge(&ann, "completions", &mut found).await;
        ann.press("Escape").await;
    }
    assert_none(found);
}

async fn the_keyboard_alone_reaches_everything_in_a_room(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
    ann.type_text("one\ntwo\n").await;
    ann.wait_for(&shown("two")).await;

    // The keys go to the last message, its menu, and a reaction.
    for _ in 0..20 {
        if ann
            .evaluate("document.activeElement.matches('.message')")
            .await
            == json!(true)
        {
            break;
        }
        ann.press("Shift+Tab").await;
    }
    ann.wait_for("document.activeElement.id === 'm2'").await;
    ann.press("ArrowUp").await;
    ann.wait_for("document.activeElement.id === 'm1'").await;
    ann.press("Enter").await;
    ann.wait_for("document.activeElement.closest('#row-menu')")
        .await;
    ann.press("Escape").await;
    ann.wait_for("document.activeElement.closest('#m1')").await;
    ann.press("+").await;
    ann.wait_for("document.activeElement.closest('#picker')")
        .await;
    ann.type_text("tada\n").await;
    ann.wait_for("document.querySelector('#m1 .reaction')")
        .await;

    // Back to the composer, from where Arrow-Up edits.
    ann.wait_for("document.activeElement.closest('#m1')").await;
    ann.press("Escape").await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
    ann.press("ArrowUp").await;
    ann.wait_for("document.activeElement.closest('#m2 .editor')")
        .await;
    ann.press("Escape").await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
}

async fn a_screen_reader_gets_a_log_and_landmarks(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    for selector in [
        "main",
        "nav[aria-label], nav[aria-labelledby]",
        "[role=log][aria-label]",
        "[role=status]",
        "h1",
    ] {
        let there = format!("document.querySelectorAll({}).length > 0", json!(selector));
        assert_eq!(ann.evaluate(&there).await, json!(true), "{selector}");
    }
    say(&ann, "said").await;
    ann.wait_for(&shown("said")).await;
    assert_eq!(
        ann.evaluate(
            "document.querySelector('[role=log]').contains(document.querySelector('#m1'))"
        )
        .await,
        json!(true)
    );
    assert_eq!(
        ann.evaluate("document.documentElement.lang").await,
        json!("en")
    );
}

async fn nothing_moves_where_less_motion_is_wanted(world: World) {
    let ann = furnished(&world).await;
    ann.prefer(&[("prefers-reduced-motion", "reduce")]).await;
    world.enter(&ann, "a").await;
    ann.hover("#m1 .body").await;
    let moving = "document.getAnimations().filter((animation) => animation.effect.getComputedTiming().duration > 20).length";
    assert_eq!(ann.evaluate(moving).await, json!(0));
    let slow = "[...document.querySelectorAll('*')].filter((element) => parseFloat(getComputedStyle(element).transitionDuration) > 0.02).map((element) => element.outerHTML.slice(0, 80))";
    assert_eq!(ann.evaluate(slow).await, json!([]));
    assert_eq!(
        ann.evaluate("getComputedStyle(document.querySelector('#scroller')).scrollBehavior")
            .await,
        json!("auto")
    );
}

async fn a_printed_room_shows_messages_alone(world: World) {
    world.seed("a", 40).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.print().await;
    let shows = |selector: &str| visible(selector);
    ann.wait_for(&format!("!({})", shows("#composer"))).await;
    ann.wait_for(&shows("#m40")).await;
    // Every message is on the paper, not only those that the screen has room for.
    ann.wait_for("document.querySelector('#scroller').scrollHeight <= document.querySelector('#scroller').clientHeight + 1").await;
    for part in ["nav", "#jump", "#emoji"] {
        assert_ne!(
            ann.evaluate(&format!("Boolean({})", shows(part))).await,
            json!(true),
            "{part}"
        );
    }
}

async fn a_question_mark_lists_the_shortcuts(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    let is_open = "document.querySelector('#shortcuts').open";
    // In a field it is a character like any other.
    ann.click(FIELD).await;
    ann.type_text("?").await;
    ann.wait_for(&format!("document.querySelector('{FIELD}').value === '?'"))
        .await;
    assert_eq!(ann.evaluate(is_open).await, json!(false));

    let focus = "document.activeElement.id";
    for opener in ["show-members", "scroller"] {
        ann.evaluate(&format!("document.getElementById('{opener}').focus()"))
            .await;
        ann.press("?").await;
        ann.wait_for(is_open).await;
        ann.wait_for("document.querySelector('#shortcuts').contains(document.activeElement)")
            .await;
        for key in ["Tab", "Tab", "Shift+Tab", "?"] {
            ann.press(key).await;
            // Behind the last control is the browser itself; the page stays out of reach.
            ann.wait_for("document.activeElement === document.body || document.querySelector('#shortcuts').contains(document.activeElement)").await;
        }
        assert_eq!(ann.evaluate(is_open).await, json!(true));
        ann.press("Escape").await;
        ann.wait_for(&format!("!{is_open}")).await;
        assert_eq!(ann.evaluate(focus).await, json!(opener));
    }
    ann.press("?").await;
    ann.click("#shortcuts form button").await;
    ann.wait_for(&format!("!{is_open}")).await;
}
