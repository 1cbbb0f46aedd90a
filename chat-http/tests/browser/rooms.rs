//! Rooms and people: the sidebar, the way from room to room, the finder.

use chat_testkit::browser::Page;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::{FIELD, LIVE, World, say, says, send, shown, visible};

in_both!(another_room_opens_without_a_new_page_and_back_leads_back,);
in_chromium!(
    the_sidebar_counts_what_is_unread_in_other_rooms,
    a_room_is_found_by_typing,
    invite_and_ban_keep_the_panel_and_the_draft,
    a_room_is_titled_by_its_name,
    what_is_queued_in_a_room_is_sent_after_the_reader_left_it,
    a_public_room_is_created_and_everyone_finds_it,
    a_private_room_is_created_and_nobody_else_finds_it,
    a_room_that_is_left_goes_from_the_list,
    a_muted_room_counts_nothing_but_mentions,
);

/// A page of ann's, who is in rooms a and b.
async fn in_two_rooms(world: &World) -> Page {
    let ann = world.account("ann").await;
    let mut client = world.client("ann").await;
    for room in ["a", "b"] {
        world.seed(room, 60).await;
        send(
            &mut client,
            Method::POST,
            &format!("/chat/{room}/join"),
            &Value::Null,
        )
        .await;
        send(
            &mut client,
            Method::POST,
            &format!("/chat/{room}/read"),
            &json!({ "seq": 60 }),
        )
        .await;
    }
    world.enter(&ann, "a").await;
    ann
}

pub(crate) fn in_room(room: &str) -> String {
    format!(
        "document.querySelector('#messages')?.dataset.room === {} && {LIVE}",
        json!(room)
    )
}

async fn another_room_opens_without_a_new_page_and_back_leads_back(world: World) {
    let ann = in_two_rooms(&world).await;
    ann.evaluate("window.samePage = true").await;
    ann.click("#rooms a.room[data-room=b]").await;
    ann.wait_for(&in_room("b")).await;
    ann.wait_for("location.pathname === '/rooms/b'").await;
    world.post("b", "cleo", "live in b").await;
    ann.wait_for(&shown("live in b")).await;

    ann.evaluate("void setTimeout(() => history.back())").await;
    ann.wait_for(&in_room("a")).await;
    ann.wait_for("location.pathname === '/rooms/a'").await;
    world.post("a", "cleo", "live in a").await;
    ann.wait_for(&shown("live in a")).await;
    assert_eq!(ann.evaluate("window.samePage").await, json!(true));
}

async fn the_sidebar_counts_what_is_unread_in_other_rooms(world: World) {
    let ann = in_two_rooms(&world).await;
    let count = |name: &str, n: usize| {
        format!(
            "Number(document.querySelector('#rooms a.room[data-room=b]').dataset.{name} || 0) === {n}"
        )
    };
    ann.wait_for(&count("unread", 0)).await;
    world.post("b", "cleo", "one").await;
    ann.wait_for(&count("unread", 1)).await;
    world.post("b", "cleo", "two, @ann").await;
    ann.wait_for(&count("unread", 2)).await;
    ann.wait_for(&count("mentions", 1)).await;
    ann.click("#rooms a.room[data-room=b]").await;
    ann.wait_for(&in_room("b")).await;
    ann.wait_for(&count("unread", 0)).await;
    ann.wait_for(&count("mentions", 0)).await;
}

async fn a_room_is_found_by_typing(world: World) {
    let ann = in_two_rooms(&world).await;
    ann.click(FIELD).await;
    ann.press("Control+k").await;
    ann.wait_for(&visible("#finder input")).await;
    ann.type_text("b").await;
    ann.wait_for(&says("#found [role=option]", "b")).await;
    ann.press("Enter").await;
    ann.wait_for(&in_room("b")).await;
    ann.press("Control+k").await;
    ann.wait_for(&visible("#finder input")).await;
    ann.press("Escape").await;
    ann.wait_for("!document.querySelector('#finder').open")
        .await;
}

async fn a_room_is_titled_by_its_name(world: World) {
    let ann = world.account("ann").await;
    world.open_room(&ann, "tea & biscuits").await;
    assert!(
        ann.get::<String>("document.title")
            .await
            .contains("tea & biscuits")
    );
    assert_eq!(
        ann.evaluate("document.querySelectorAll('h1').length").await,
        json!(1)
    );
}

async fn invite_and_ban_keep_the_panel_and_the_draft(world: World) {
    let ann = world.account("ann").await;
    world.server.account("bob").await;
    let mut client = world.client("ann").await;
    send(
        &mut client,
        Method::PUT,
        "/chat/den",
        &json!({ "private": true }),
    )
    .await;
    world.post("other", "mallory", "here").await;
    ann.open(&world.room_url("den")).await;
    ann.wait_for(LIVE).await;
    ann.click(FIELD).await;
    ann.type_text("a draft").await;
    ann.click("#show-members").await;
    for (name, button) in [("bob", "invite"), ("mallory", "ban")] {
        ann.fill("#members #person-field", name).await;
        ann.click(&format!("#members button[value={button}]")).await;
        ann.wait_for(&says("#members", name)).await;
        ann.wait_for("document.querySelector('#members #person-field').value === ''")
            .await;
        assert_eq!(
            ann.evaluate("document.querySelector('#members').hidden")
                .await,
            json!(false)
        );
    }
    assert_eq!(
        ann.evaluate(&format!("document.querySelector('{FIELD}').value"))
            .await,
        json!("a draft")
    );
    ann.wait_for(
        "document.querySelector('#member-list [data-user=ann] .presence').checkVisibility()",
    )
    .await;
    ann.press("Escape").await;
    ann.wait_for("document.querySelector('#members').hidden")
        .await;
}

async fn what_is_queued_in_a_room_is_sent_after_the_reader_left_it(world: World) {
    let ann = in_two_rooms(&world).await;
    ann.expect_failed_requests();
    let posts = format!("{}*", world.url("/chat/a/messages"));
    ann.block(&[&posts]).await;
    for text in ["one", "two"] {
        say(&ann, text).await;
    }
    ann.click("#rooms a.room[data-room=b]").await;
    ann.wait_for(&in_room("b")).await;

    ann.block(&[]).await;
    let is_sent = "!Object.keys(localStorage).some((key) => key.startsWith('chat.pending.'))";
    ann.wait_for(is_sent).await;
    let stored = world.stored("a").await;
    assert!(
        stored.ends_with(&["one".into(), "two".into()]),
        "{stored:?}"
    );
}

/// The row of a room in the list beside the page is shown.
pub(crate) fn listed(room: &str) -> String {
    visible(&format!("#rooms a.room[data-room={}]", json!(room)))
}

/// Opens the form for a new room, by the list beside the page.
async fn open_form(page: &Page) {
    page.click("#add-room").await;
    page.wait_for("location.pathname === '/new'").await;
}

async fn a_public_room_is_created_and_everyone_finds_it(world: World) {
    let ann = world.account("ann").await;
    ann.open(&world.url("/")).await;
    open_form(&ann).await;
    ann.fill("#room-name", "tea & biscuits").await;
    ann.fill("#room-topic", "What to bake").await;
    ann.press("Enter").await;
    ann.wait_for(&in_room("tea & biscuits")).await;
    ann.wait_for(&says("#topic", "What to bake")).await;
    ann.wait_for(
        "document.querySelector('#rooms a.room[aria-current]').dataset.room === 'tea & biscuits'",
    )
    .await;
    ann.reload().await;
    ann.wait_for(&listed("tea & biscuits")).await;

    let bob = world.guest("bob").await;
    bob.open(&world.url("/")).await;
    bob.wait_for(&says(".room-list", "tea & biscuits")).await;

    // A second room of the name is refused at its field, which leads to the first.
    bob.expect_failed_requests();
    open_form(&bob).await;
    bob.fill("#room-name", "tea & biscuits").await;
    bob.press("Enter").await;
    bob.wait_for(&visible("#room-name-error")).await;
    bob.wait_for("document.querySelector('#room-name').value === 'tea & biscuits'")
        .await;
    bob.click("#room-name-error a").await;
    bob.wait_for(&in_room("tea & biscuits")).await;
}

async fn a_private_room_is_created_and_nobody_else_finds_it(world: World) {
    let ann = world.account("ann").await;
    ann.open(&world.url("/")).await;
    open_form(&ann).await;
    ann.fill("#room-name", "den").await;
    ann.click("[name=private]").await;
    ann.click("#new-room .primary").await;
    ann.wait_for(&in_room("den")).await;
    ann.wait_for(&says("h1", "private")).await;
    let mark =
        "document.querySelector('#rooms a.room[data-room=den] .avatar').textContent === '🔒'";
    ann.wait_for(mark).await;

    let bob = world.account("bob").await;
    bob.expect_failed_requests();
    bob.open(&world.url("/")).await;
    bob.wait_for("document.querySelector('main.narrow .empty')")
        .await;
    bob.open(&world.room_url("den")).await;
    bob.wait_for(&says("h1", "Room not found")).await;
    bob.press("Control+k").await;
    bob.wait_for(&visible("#finder input")).await;
    bob.type_text("den").await;
    bob.wait_for(&visible("#finder .hint:not(:empty)")).await;
}

async fn a_room_that_is_left_goes_from_the_list(world: World) {
    let ann = in_two_rooms(&world).await;
    ann.wait_for(&listed("b")).await;
    ann.click("#rooms a.room[data-room=b]").await;
    ann.wait_for(&in_room("b")).await;
    ann.click("#show-members").await;
    ann.click("#members button[value=leave]").await;
    ann.wait_for("location.pathname === '/'").await;
    ann.wait_for(&listed("a")).await;
    assert_ne!(ann.evaluate(&listed("b")).await, json!(true));

    // Whoever left may come back.
    ann.click(".room-list a[href$='/b']").await;
    ann.wait_for(&in_room("b")).await;
    ann.click("#show-members").await;
    ann.evaluate("void (window.beforeJoin = true)").await;
    ann.click("#members button[value=join]").await;
    ann.wait_for(&format!("!window.beforeJoin && {}", in_room("b")))
        .await;
    ann.open(&world.url("/")).await;
    ann.wait_for(&listed("b")).await;
}

async fn a_muted_room_counts_nothing_but_mentions(world: World) {
    let ann = in_two_rooms(&world).await;
    ann.click("#rooms a.room[data-room=b]").await;
    ann.wait_for(&in_room("b")).await;
    ann.click("#notify").await;
    ann.click("#notify-menu [name=mute]").await;
    let link = "#rooms a.room[data-room=b]";
    ann.wait_for(&visible(&format!("{link} .mute-mark"))).await;
    ann.press("Escape").await;
    ann.click("#rooms a.room[data-room=a]").await;
    ann.wait_for(&in_room("a")).await;

    let unread =
        |n: usize| format!("Number(document.querySelector('{link}').dataset.unread) === {n}");
    world.post("b", "cleo", "no matter").await;
    ann.wait_for(&unread(1)).await;
    let badge = format!("Boolean({})", visible(&format!("{link} .badge")));
    assert_eq!(ann.evaluate(&badge).await, json!(false));
    world.post("b", "cleo", "@ann, this one").await;
    ann.wait_for(&visible(&format!("{link} .badge"))).await;

    // It stays muted after a reload, until it is not.
    ann.reload().await;
    ann.wait_for(&visible(&format!("{link} .mute-mark"))).await;
    ann.click(link).await;
    ann.wait_for(&in_room("b")).await;
    ann.click("#notify").await;
    ann.click("#notify-menu [name=mute]").await;
    ann.wait_for(&format!("!({})", visible(&format!("{link} .mute-mark"))))
        .await;
}
