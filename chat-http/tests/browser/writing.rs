//! The composer, and the way of a message until it is stored.

use std::time::Duration;

use chat_testkit::browser::Size;
use serde_json::json;

use crate::world::{FIELD, LIVE, World, say, says, seqs, shown, texts, visible};

in_both!(
    lines_typed_quickly_over_a_slow_network_are_posted_in_order,
    the_field_clears_at_once_and_the_message_is_pending_until_it_is_stored,
);
in_chromium!(
    a_message_that_fails_offers_retry_and_discard_also_after_a_reload,
    a_pending_message_is_sent_after_a_reload,
    a_text_that_is_too_long_is_reported_before_it_is_sent,
    the_composer_grows_to_eight_lines,
    each_room_keeps_a_draft,
    names_and_emoji_are_completed,
    arrow_up_edits_the_last_message,
    on_a_phone_a_button_sends,
    sending_from_an_older_page_shows_the_message,
    the_composer_is_in_sight_at_every_size,
);

async fn lines_typed_quickly_over_a_slow_network_are_posted_in_order(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    world.link.delay(Duration::from_millis(125));

    ann.click(FIELD).await;
    ann.type_text("one\ntwo\nthree\n").await;

    ann.wait_for(&shown("three")).await;
    ann.wait_for("document.querySelectorAll('#messages .pending').length === 0")
        .await;
    assert_eq!(texts(&ann).await, ["one", "two", "three"]);
    assert_eq!(world.stored("a").await, ["one", "two", "three"]);
}

async fn the_field_clears_at_once_and_the_message_is_pending_until_it_is_stored(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    world.link.silence();

    say(&ann, "into the void").await;
    ann.wait_for(&says("#messages .pending .body", "into the void"))
        .await;
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value"))
            .await,
        json!("")
    );

    world.link.heal();
    ann.wait_for(&shown("into the void")).await;
    ann.wait_for("document.querySelectorAll('#messages .pending').length === 0")
        .await;
    assert_eq!(
        world.stored("a").await,
        ["into the void"],
        "once, however often it was sent"
    );
}

async fn a_message_that_fails_offers_retry_and_discard_also_after_a_reload(world: World) {
    let ann = world.guest("ann").await;
    ann.expect_failed_requests();
    world.enter(&ann, "a").await;
    let posts = format!("{}*", world.url("/chat/a/messages"));
    ann.block(&[&posts]).await;

    for text in ["keep this", "drop this"] {
        say(&ann, text).await;
    }
    ann.wait_for(&visible("#messages .failed .retry")).await;
    ann.reload().await;
    ann.wait_for(LIVE).await;
    let pending = "[...document.querySelectorAll('#messages .pending .body')].map((body) => body.innerText.trim())";
    ann.wait_for(&format!("{pending}.join() === 'keep this,drop this'"))
        .await;

    ann.wait_for(&visible("#messages .failed .retry")).await;
    ann.block(&[]).await;
    ann.click("#messages .failed .retry").await;
    ann.wait_for(&shown("keep this")).await;
    ann.wait_for(&shown("drop this")).await;
    assert_eq!(world.stored("a").await, ["keep this", "drop this"]);

    ann.block(&[&posts]).await;
    say(&ann, "regretted").await;
    ann.click("#messages .failed .discard").await;
    ann.wait_for("!document.querySelector('#messages .pending')")
        .await;
    ann.block(&[]).await;
    ann.reload().await;
    say(&ann, "last").await;
    ann.wait_for(&shown("last")).await;
    assert_eq!(world.stored("a").await, ["keep this", "drop this", "last"]);
}

async fn a_pending_message_is_sent_after_a_reload(world: World) {
    let ann = world.guest("ann").await;
    ann.expect_failed_requests();
    world.enter(&ann, "a").await;
    let posts = format!("{}*", world.url("/chat/a/messages"));
    ann.block(&[&posts]).await;
    say(&ann, "survives").await;
    ann.wait_for(&says("#messages .pending .body", "survives"))
        .await;

    ann.block(&[]).await;
    ann.reload().await;
    ann.wait_for(&shown("survives")).await;
    assert_eq!(world.stored("a").await, ["survives"]);
}

async fn a_text_that_is_too_long_is_reported_before_it_is_sent(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.click(FIELD).await;
    let paste = format!(
        "document.execCommand('insertText', false, {})",
        json!("ä".repeat(4_003))
    );
    ann.evaluate(&paste).await;
    ann.wait_for(&says("#composer-error", "4,000")).await;
    assert!(
        ann.get::<String>("document.querySelector('#composer-error').innerText")
            .await
            .contains('3')
    );

    ann.press("Enter").await;
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value.length"))
            .await,
        json!(4_003)
    );
    for _ in 0..3 {
        ann.press("Backspace").await;
    }
    ann.wait_for("document.querySelector('#composer-error').hidden")
        .await;
    ann.press("Enter").await;
    ann.wait_for(&shown(&"ä".repeat(4_000))).await;
}

async fn the_composer_grows_to_eight_lines(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    let height = format!("document.querySelector('{FIELD}').clientHeight");
    let line =
        format!("parseFloat(getComputedStyle(document.querySelector('{FIELD}')).lineHeight)");
    ann.click(FIELD).await;
    ann.type_text("1").await;
    let (one, line): (f64, f64) = (ann.get(&height).await, ann.get(&line).await);
    let mut heights = vec![one];
    for i in 2..=12 {
        ann.press("Shift+Enter").await;
        ann.type_text(&i.to_string()).await;
        heights.push(ann.get(&height).await);
    }
    for (i, now) in heights.iter().enumerate() {
        let lines = i.min(7) as f64;
        assert!(
            (now - one - lines * line).abs() <= line / 2.0,
            "{heights:?} with lines of {line}"
        );
    }
    ann.press("Enter").await;
    ann.wait_for(&format!("{height} === {one}")).await;
}

async fn each_room_keeps_a_draft(world: World) {
    let ann = world.guest("ann").await;
    let value = format!("document.querySelector('{FIELD}').value");
    for (room, draft) in [("a", "for a"), ("b", "for b")] {
        world.enter(&ann, room).await;
        assert_eq!(ann.evaluate(&value).await, json!(""), "{room}");
        ann.click(FIELD).await;
        ann.type_text(draft).await;
    }
    world.enter(&ann, "a").await;
    ann.wait_for(&format!("{value} === 'for a'")).await;
    ann.click(FIELD).await;
    ann.press("Enter").await;
    ann.wait_for(&shown("for a")).await;
    ann.reload().await;
    ann.wait_for(LIVE).await;
    assert_eq!(
        ann.evaluate(&value).await,
        json!(""),
        "what was sent is no draft"
    );
}

async fn names_and_emoji_are_completed(world: World) {
    world.post("a", "bobby", "hello").await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    let value = format!("document.querySelector('{FIELD}').value");
    ann.click(FIELD).await;

    ann.type_text("hey @bo").await;
    ann.wait_for(&says("#completions [aria-selected=true]", "bobby"))
        .await;
    ann.press("Tab").await;
    assert_eq!(ann.evaluate(&value).await, json!("hey @bobby "));

    ann.type_text(":tada").await;
    ann.wait_for(&says("#completions [aria-selected=true]", "🎉"))
        .await;
    ann.press("Enter").await;
    assert_eq!(ann.evaluate(&value).await, json!("hey @bobby 🎉 "));

    ann.type_text("@nobody-of-that-name").await;
    ann.wait_for("document.querySelector('#completions').hidden")
        .await;
    ann.press("Enter").await;
    ann.wait_for(&shown("hey @bobby 🎉 @nobody-of-that-name"))
        .await;
}

async fn arrow_up_edits_the_last_message(world: World) {
    let ann = world.account("ann").await;
    world.enter(&ann, "a").await;
    say(&ann, "helo").await;
    ann.wait_for(&shown("helo")).await;

    ann.press("ArrowUp").await;
    ann.wait_for("document.activeElement.closest('#m1 .editor')")
        .await;
    ann.press("Control+a").await;
    ann.type_text("hello\n").await;
    ann.wait_for(&shown("hello")).await;
    ann.wait_for(&says("#m1", "edited")).await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
    assert_eq!(world.stored("a").await, ["hello"]);
}

async fn on_a_phone_a_button_sends(world: World) {
    let ann = world.guest("ann").await;
    ann.resize(Size::PHONE).await;
    world.enter(&ann, "a").await;
    ann.tap(FIELD).await;
    ann.wait_for(&format!(
        "document.activeElement === document.querySelector('{FIELD}')"
    ))
    .await;
    ann.type_text("first\nsecond").await;
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value"))
            .await,
        json!("first\nsecond"),
        "Enter breaks the line"
    );
    ann.tap("#composer .send").await;
    ann.wait_for(&shown("first\nsecond")).await;
}

async fn sending_from_an_older_page_shows_the_message(world: World) {
    world.seed("a", 300).await;
    let ann = world.guest("ann").await;
    ann.open(&world.url("/rooms/a?around=40")).await;
    ann.wait_for(LIVE).await;
    ann.wait_for("document.querySelector('#m40')").await;
    say(&ann, "from the past").await;
    ann.wait_for(&shown("from the past")).await;
    ann.wait_for("document.querySelector('#m301').getBoundingClientRect().bottom <= innerHeight")
        .await;
    let numbers = seqs(&ann).await;
    let last: Vec<_> = (numbers[0]..=301).collect();
    assert_eq!(numbers, last, "without a hole");
}

async fn the_composer_is_in_sight_at_every_size(world: World) {
    world.seed("a", 120).await;
    for name in ["ann", "bob"] {
        world.post("a", name, "here").await;
    }
    let ann = world.guest("ann").await;
    let sizes = [
        Size::WIDE,
        Size::NARROW,
        Size::PHONE,
        Size::ZOOMED,
        Size::desktop(3840, 2160),
    ];
    for size in sizes {
        ann.resize(size).await;
        world.enter(&ann, "a").await;
        let inside = "((box) => box.width > 100 && box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight && box.top >= 0)(document.querySelector('#composer textarea').getBoundingClientRect())";
        ann.wait_for(inside).await;
        let fits = "document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight";
        assert_eq!(
            ann.evaluate(fits).await,
            json!(true),
            "{size:?}: the page itself does not scroll"
        );
        ann.wait_for("((last) => last.getBoundingClientRect().bottom > 0 && last.getBoundingClientRect().top < innerHeight)([...document.querySelectorAll('#messages .message')].at(-1))").await;
    }
}
