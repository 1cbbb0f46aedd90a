//! People: direct conversations, invitations, and what an owner sets.

use chat_testkit::browser::Page;
use hyper::Method;
use serde_json::{Value, json};

use crate::rooms::{in_room, listed};
use crate::world::{LIVE, World, say, says, send, shown, visible};

in_chromium!(
    a_topic_shows_on_every_page_of_the_room,
    a_direct_message_reaches_its_recipient,
    an_invitation_shows_at_once,
);

async fn a_topic_shows_on_every_page_of_the_room(world: World) {
    let ann = world.account("ann").await;
    let mut client = world.client("ann").await;
    send(&mut client, Method::PUT, "/chat/a", &Value::Null).await;
    let bob = world.guest("bob").await;
    tokio::join!(world.enter(&ann, "a"), world.enter(&bob, "a"));

    ann.click("#show-members").await;
    ann.fill("#members #topic-field", "Tea, <b>and</b> biscuits")
        .await;
    ann.press("Enter").await;
    for page in [&ann, &bob] {
        page.wait_for(&says("#topic", "Tea, <b>and</b> biscuits"))
            .await;
    }
    bob.reload().await;
    bob.wait_for(&says("#topic", "Tea, <b>and</b> biscuits"))
        .await;

    // Only the owner has the tools.
    bob.wait_for(LIVE).await;
    bob.click("#show-members").await;
    bob.wait_for(&visible("#members #member-list")).await;
    assert_eq!(
        bob.evaluate("document.querySelector('#members #topic-field')")
            .await,
        Value::Null
    );
}

/// A page of an account in a public room.
async fn in_the_hall(world: &World, name: &str) -> Page {
    let page = world.account(name).await;
    let mut client = world.client(name).await;
    send(&mut client, Method::POST, "/chat/hall/join", &Value::Null).await;
    world.enter(&page, "hall").await;
    page
}

async fn a_direct_message_reaches_its_recipient(world: World) {
    let (ann, bob) = tokio::join!(in_the_hall(&world, "ann"), in_the_hall(&world, "bob"));
    let direct = "@ann & bob";
    ann.click("#show-members").await;
    ann.click("#member-list [data-user=bob] .person-tools form[action$='/direct'] button")
        .await;
    ann.wait_for(&in_room(direct)).await;
    ann.wait_for(&says("h1", "bob")).await;
    say(&ann, "just between *us*").await;
    ann.wait_for(&shown("just between us")).await;

    // It stands in the other's list at once, as a conversation with the sender.
    bob.wait_for(&listed(direct)).await;
    let link = format!("#rooms a.room[data-room={}]", json!(direct));
    bob.wait_for(&says(&format!("{link} .room-name"), "ann"))
        .await;
    bob.wait_for(&says(&format!("{link} .number"), "1")).await;
    bob.wait_for(&says(&format!("{link} .room-line"), "just between us"))
        .await;
    bob.click(&link).await;
    bob.wait_for(&in_room(direct)).await;
    bob.wait_for(&shown("just between us")).await;
    say(&bob, "and you").await;
    ann.wait_for(&shown("and you")).await;

    let cleo = in_the_hall(&world, "cleo").await;
    cleo.expect_failed_requests();
    cleo.open(&world.room_url(direct)).await;
    cleo.wait_for(&says("h1", "Room not found")).await;
}

async fn an_invitation_shows_at_once(world: World) {
    let bob = in_the_hall(&world, "bob").await;
    let mut ann = world.server.account("ann").await;
    let private = json!({ "private": true });
    send(&mut ann, Method::PUT, "/chat/den", &private).await;
    assert_eq!(
        bob.evaluate("Boolean(document.querySelector('a.room[data-room=den]'))")
            .await,
        json!(false)
    );
    send(&mut ann, Method::PUT, "/chat/den/members/bob", &Value::Null).await;
    bob.wait_for("document.querySelector('a.room[data-room=den]')")
        .await;

    send(
        &mut ann,
        Method::DELETE,
        "/chat/den/members/bob",
        &Value::Null,
    )
    .await;
    bob.wait_for("!document.querySelector('a.room[data-room=den]')")
        .await;
}
