//! Pages without JavaScript.

use chat_testkit::browser::Page;
use serde_json::json;

use crate::support::PASSWORD;
use crate::world::{FIELD, World, says, shown, texts, visible};

in_chromium!(
    a_room_opens_at_the_newest_message_and_takes_posts,
    history_is_paged_both_ways,
    messages_are_edited_and_deleted,
    messages_are_answered_and_reacted_to,
    one_signs_up_and_makes_a_room,
);

fn in_sight(seq: i64) -> String {
    format!(
        "((row) => row && row.getBoundingClientRect().bottom <= innerHeight && row.getBoundingClientRect().top >= 0)(document.querySelector('#m{seq}'))"
    )
}

async fn a_room_opens_at_the_newest_message_and_takes_posts(world: World) {
    world.seed("plain", 120).await;
    let ann = world.guest("ann").await;
    ann.disable_scripts().await;
    world.open_room(&ann, "plain").await;
    ann.wait_for(&in_sight(120)).await;

    write(&ann, "by a form").await;
    ann.wait_for(&in_sight(121)).await;
    ann.wait_for(&shown("by a form")).await;
}

async fn history_is_paged_both_ways(world: World) {
    world.seed("plain", 120).await;
    let ann = world.guest("ann").await;
    ann.disable_scripts().await;
    world.open_room(&ann, "plain").await;
    for (older, gone) in [(70, 71), (20, 21)] {
        ann.click("#older").await;
        ann.wait_for(&format!(
            "document.querySelector('#m{older}') && !document.querySelector('#m{gone}')"
        ))
        .await;
    }
    ann.wait_for("document.querySelector('#m1') && !document.querySelector('#older')")
        .await;
    // Forwards each page begins with its first message in sight.
    for newer in [21, 71] {
        ann.click("#newer").await;
        ann.wait_for(&format!(
            "{} && !document.querySelector('#m{}')",
            in_sight(newer),
            newer - 1
        ))
        .await;
    }
    assert_eq!(
        ann.evaluate("document.querySelector('#newer')").await,
        json!(null)
    );

    ann.open(&world.url("/rooms/plain?before=21")).await;
    ann.click("#newest").await;
    ann.wait_for(&in_sight(120)).await;
}

/// Sends a message by the form.
async fn write(page: &Page, text: &str) {
    page.fill(FIELD, text).await;
    page.click("#composer .send").await;
    page.wait_for(&shown(text)).await;
}

/// A page of an account's without scripts, in a room with messages of its own.
async fn writer(world: &World, messages: &[&str]) -> Page {
    let ann = world.account("ann").await;
    ann.disable_scripts().await;
    world.open_room(&ann, "a").await;
    for text in messages {
        write(&ann, text).await;
    }
    ann
}

/// Opens the page of a message.
async fn open_message(page: &Page, seq: i64) {
    page.click(&format!("#m{seq} .menu")).await;
    page.wait_for(&format!("location.pathname === '/rooms/a/messages/{seq}'"))
        .await;
}

async fn messages_are_edited_and_deleted(world: World) {
    let ann = writer(&world, &["first try", "kept", "gone"]).await;
    open_message(&ann, 1).await;
    ann.fill("#edit textarea", "second try").await;
    ann.click("#edit .primary").await;
    ann.wait_for("location.pathname === '/rooms/a'").await;
    ann.wait_for(&shown("second try")).await;
    ann.wait_for(&says("#m1", "edited")).await;

    open_message(&ann, 3).await;
    ann.click("#delete button").await;
    ann.wait_for("'deleted' in document.querySelector('#m3').dataset")
        .await;
    assert_eq!(world.stored("a").await, ["second try", "kept", ""]);

    // A refusal says so, and keeps what was typed.
    ann.expect_failed_requests();
    open_message(&ann, 2).await;
    ann.evaluate("void document.querySelector('#edit textarea').removeAttribute('required')")
        .await;
    ann.fill("#edit textarea", "").await;
    ann.click("#edit .primary").await;
    ann.wait_for(&visible("main .error")).await;
    assert_eq!(world.stored("a").await, ["second try", "kept", ""]);
}

async fn messages_are_answered_and_reacted_to(world: World) {
    world.post("a", "cleo", "a question").await;
    let ann = writer(&world, &[]).await;
    open_message(&ann, 1).await;
    ann.fill("#reply textarea", "the answer").await;
    ann.click("#reply .primary").await;
    ann.wait_for(&shown("the answer")).await;
    ann.wait_for(&says("#m2 .quote", "a question")).await;
    assert_eq!(texts(&ann).await, ["a question", "the answer"]);

    let count = "document.querySelector('#m1 .reaction[data-emoji=\"👍\"] .count')?.textContent";
    open_message(&ann, 1).await;
    ann.click(".choices button[name=add][value='👍']").await;
    ann.wait_for(&format!(
        "location.pathname === '/rooms/a' && {count} === '1'"
    ))
    .await;
    // A reaction leads to the page of the message, where it is taken back.
    ann.click("#m1 .reaction").await;
    ann.click(".choices button[name=remove][value='👍']").await;
    ann.wait_for(&format!(
        "location.pathname === '/rooms/a' && {count} === undefined"
    ))
    .await;
}

async fn one_signs_up_and_makes_a_room(world: World) {
    let ann = world.stranger().await;
    ann.disable_scripts().await;
    ann.open(&world.url("/login")).await;
    ann.click("details:has(#register) summary").await;
    ann.fill("#new-username", "ann").await;
    ann.fill("#new-password", PASSWORD).await;
    ann.press("Enter").await;
    ann.wait_for("location.pathname === '/'").await;
    ann.click("#add-room").await;
    ann.wait_for("location.pathname === '/new'").await;
    ann.fill("#room-name", "a").await;
    ann.press("Enter").await;
    ann.wait_for("location.pathname === '/rooms/a'").await;
    write(&ann, "the first").await;
    ann.click("#show-members").await;
    ann.wait_for(&says("#member-list", "ann")).await;
    ann.click("button[value=leave]").await;
    ann.wait_for("location.pathname === '/'").await;
    ann.wait_for(&says("#sidebar .hint", "You are in no room yet"))
        .await;
    ann.click(".who button").await;
    ann.wait_for("location.pathname === '/login'").await;
}
