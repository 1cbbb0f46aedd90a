//! German pages, with no English word left and no text missing.

use std::collections::BTreeSet;

use chat_testkit::browser::Page;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::world::{FIELD, LIVE, World, act, say, send, shown, visible};

in_chromium!(
    every_page_is_german_for_who_reads_german,
    panels_menus_and_dialogs_are_german,
    what_scripts_tell_is_german,
);

const ENGLISH: &str = include_str!("../../templates/texts/en.json");
const GERMAN: &str = include_str!("../../templates/texts/de.json");

/// Texts of a file, the parts between their `{values}`.
fn parts(file: &str) -> BTreeSet<String> {
    let file: Value = serde_json::from_str(file).expect("JSON");
    let sections = file.as_object().expect("sections").values();
    let texts = sections.flat_map(|section| section.as_object().expect("texts").values());
    let texts = texts.map(|text| text.as_str().expect("a text"));
    texts
        .flat_map(|text| text.split(['{', '}']).step_by(2))
        .map(|part| part.trim().to_owned())
        .filter(|part| part.contains(char::is_alphabetic))
        .collect()
}

/// All that a page says: texts of elements, shown or not, and of attributes that are read.
const WORDS: &str = r"(() => {
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    const words = [document.title];
    while (walker.nextNode()) {
        const { parentElement, data } = walker.currentNode;
        // Texts that people wrote are in their own language.
        if (!parentElement.closest('script, style, .body, .quote, .room-line, kbd')) words.push(data);
    }
    for (const template of document.querySelectorAll('template')) words.push(...template.content.textContent.split('\n'));
    for (const element of document.querySelectorAll('*')) {
        for (const name of ['title', 'aria-label', 'placeholder', 'alt']) words.push(element.getAttribute(name) ?? '');
    }
    return words.map((word) => word.trim()).filter((word) => /\p{L}/u.test(word));
})()";

/// Returns true if these words are a part of a text, and not only of its words.
fn has_words(text: &str, words: &str) -> bool {
    let is_whole = |(at, _): (usize, &str)| {
        let (before, after) = (&text[..at], &text[at + words.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    };
    text.match_indices(words).any(is_whole)
}

/// Fails if there is an English text on the page, or the name of one.
async fn check(page: &Page, what: &str) {
    assert_eq!(
        page.evaluate("document.documentElement.lang").await,
        json!("de"),
        "{what}"
    );
    let (english, german) = (parts(ENGLISH), parts(GERMAN));
    let foreign: BTreeSet<_> = english.difference(&german).collect();
    let words: Vec<String> = page.get(WORDS).await;
    assert!(words.len() > 3, "{what}: {words:?}");
    for word in words {
        let is_foreign = foreign.iter().any(|text| has_words(&word, text));
        let is_key = word.contains('_') || word.contains(['{', '}']);
        assert!(!is_foreign && !is_key, "{what}: {word}");
    }
}

/// A page of ann's, who reads German, with a room of everything.
async fn german_reader(world: &World) -> Page {
    let ann = world.account("ann").await;
    ann.speak("de-AT,de;q=0.9,en;q=0.5").await;
    let mut client = world.client("ann").await;
    let private = json!({ "private": true });
    send(&mut client, Method::PUT, "/chat/a", &json!({})).await;
    send(&mut client, Method::PUT, "/chat/den", &private).await;
    let post = "/chat/a/messages";
    world.post("a", "cleo", "eins").await;
    for text in ["zwei", "drei", "vier"] {
        send(&mut client, Method::POST, post, &json!({ "text": text })).await;
    }
    let reply = json!({ "text": "fünf", "reply_to": 1 });
    send(&mut client, Method::POST, post, &reply).await;
    let edited = json!({ "text": "zwei!" });
    send(&mut client, Method::PATCH, &format!("{post}/2"), &edited).await;
    send(
        &mut client,
        Method::DELETE,
        &format!("{post}/3"),
        &Value::Null,
    )
    .await;
    let put = Method::PUT;
    send(
        &mut client,
        put.clone(),
        "/chat/a/bans/mallory",
        &Value::Null,
    )
    .await;
    let thumb = format!("{post}/2/reactions/%F0%9F%91%8D");
    send(&mut client, put, &thumb, &Value::Null).await;
    ann
}

async fn every_page_is_german_for_who_reads_german(world: World) {
    let ann = german_reader(&world).await;
    let stranger = world.stranger().await;
    stranger.speak("de").await;
    for page in [&ann, &stranger] {
        page.expect_failed_requests();
    }
    let other = world.stranger().await;
    let account = json!({ "username": "ann", "password": PASSWORD });
    world.log_in(&other, "login", &account).await;

    for (page, path) in [
        (&stranger, "/login"),
        (&stranger, "/login?form=login&username=ann&refused=401"),
        (&stranger, "/login?form=register&username=ann&refused=409"),
        (&stranger, "/"),
        (&stranger, "/rooms/a"),
        (&stranger, "/rooms/nowhere"),
        (&ann, "/"),
        (&ann, "/?find=nothing"),
        (&ann, "/new"),
        (&ann, "/rooms/a"),
        (&ann, "/rooms/den"),
        (&ann, "/rooms/a/people"),
        (&ann, "/rooms/den/people"),
        (&ann, "/rooms/a/messages/2"),
        (&ann, "/account"),
        (&ann, "/account?refused=403"),
        (&ann, "/account?refused=400"),
        (&ann, "/account?changed="),
        (&ann, "/rooms/nowhere"),
        (&ann, "/rooms/a/messages/99"),
        (&ann, "/no/such/page"),
    ] {
        page.open(&world.url(path)).await;
        if path == "/rooms/a" {
            page.wait_for(LIVE).await;
            page.wait_for("document.querySelector('#messages .day')")
                .await;
        }
        check(page, path).await;
    }
}

async fn panels_menus_and_dialogs_are_german(world: World) {
    let ann = german_reader(&world).await;
    ann.expect_failed_requests();
    world.enter(&ann, "a").await;
    act(&ann, 2, "edit").await;
    ann.wait_for(&visible(".editor textarea")).await;
    check(&ann, "the editor").await;
    ann.press("Escape").await;
    ann.hover("#m2 .body").await;
    ann.click("#m2 .row-tools [data-do=menu]").await;
    check(&ann, "the menu of a message").await;
    ann.press("Escape").await;
    // An emoji has German names, and the English ones still find it.
    for (typed, found) in [("konfettib", "konfettibombe"), ("tada", "tada")] {
        act(&ann, 2, "react").await;
        ann.wait_for("document.activeElement.closest('#picker')")
            .await;
        ann.type_text(typed).await;
        ann.wait_for(&format!("[...document.querySelectorAll('#picker .emoji button')].map((one) => `${{one.title}} ${{one.textContent}}`).join() === '{found} 🎉'"))
            .await;
        ann.press("Escape").await;
    }
    ann.click("#notify").await;
    check(&ann, "the notifications").await;
    ann.press("Escape").await;
    ann.click("#show-members").await;
    ann.fill("#members #person-field", "a/b").await;
    ann.click("#members button[value=ban]").await;
    ann.wait_for(&visible("#members .error")).await;
    check(&ann, "the members").await;
    ann.click("#close-members").await;
    ann.press("Control+k").await;
    ann.wait_for(&visible("#finder input")).await;
    ann.type_text("nowhere").await;
    ann.wait_for(&visible("#finder .hint:not(:empty)")).await;
    check(&ann, "the finder").await;
    ann.press("Escape").await;
}

async fn what_scripts_tell_is_german(world: World) {
    let ann = german_reader(&world).await;
    ann.expect_failed_requests();
    world.enter(&ann, "a").await;
    let seq = "[...document.querySelectorAll('#messages .message')].at(-1)";
    say(&ann, "eine Nachricht").await;
    ann.wait_for(&shown("eine Nachricht")).await;
    ann.wait_for(&format!("{seq}.dataset.seq === '6'")).await;
    act(&ann, 6, "reply").await;
    check(&ann, "a reply").await;
    act(&ann, 6, "delete").await;
    ann.wait_for(&visible("#toast")).await;
    check(&ann, "a deletion").await;

    let bob = world.guest("bob").await;
    world.enter(&bob, "a").await;
    bob.click(FIELD).await;
    bob.type_text("ich").await;
    ann.wait_for("document.querySelector('#typing').innerText !== ''")
        .await;
    check(&ann, "who types").await;
    // The row of a frame is in the language of the socket.
    bob.type_text(" bin da\n").await;
    ann.wait_for(&shown("ich bin da")).await;
    ann.wait_for("[...document.querySelectorAll('#messages .message')].at(-1).querySelector('.guest').innerText === 'Gast'")
        .await;
    check(&ann, "a message that came").await;

    ann.set_offline(true).await;
    ann.wait_for("document.querySelector('#status').innerText !== ''")
        .await;
    check(&ann, "no network").await;
    ann.set_offline(false).await;
    ann.wait_for(LIVE).await;
    ann.fill(FIELD, &"x".repeat(40)).await;
    ann.evaluate(&format!("(field => {{ field.value = 'x'.repeat(4001); field.dispatchEvent(new Event('input')); }})(document.querySelector('{FIELD}'))"))
        .await;
    ann.wait_for(&visible("#composer-error")).await;
    check(&ann, "a text that is too long").await;
}
