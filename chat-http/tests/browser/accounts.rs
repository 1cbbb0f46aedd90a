//! Accounts: log-in and sign-up, errors at the field, sessions, the password, and error pages.

use chat_testkit::browser::Page;
use serde_json::json;

use crate::support::PASSWORD;
use crate::world::{LIVE, World, say, says, shown, visible};

in_both!(a_guest_comes_in_by_a_name_alone,);
in_chromium!(
    an_account_is_made_and_errors_are_told_at_their_field,
    other_sessions_are_named_and_ended,
    an_error_page_offers_no_log_in_to_who_is_logged_in,
    a_password_is_changed_and_other_sessions_end,
    a_password_that_is_refused_is_told_at_its_field,
);

async fn a_guest_comes_in_by_a_name_alone(world: World) {
    let ann = world.stranger().await;
    ann.open(&world.url("/login?next=%2Frooms%2Fa")).await;
    chat_testkit::live::make_room(world.server.address, "a").await;
    ann.fill("#guest-name", "ann").await;
    ann.press("Enter").await;
    ann.wait_for(LIVE).await;
    say(&ann, "hello").await;
    ann.wait_for(&shown("hello")).await;
    assert_eq!(
        ann.evaluate("Boolean(document.querySelector('#m1 .guest'))")
            .await,
        json!(true)
    );
}

async fn an_account_is_made_and_errors_are_told_at_their_field(world: World) {
    world.server.account("bob").await;
    let ann = world.stranger().await;
    ann.expect_failed_requests();
    ann.open(&world.url("/login")).await;
    ann.click("details:has(#register) summary").await;
    ann.fill("#new-username", "bob").await;
    ann.fill("#new-password", PASSWORD).await;
    ann.press("Enter").await;
    ann.wait_for(&visible("#new-username-error")).await;
    let told = "((field) => field.ariaInvalid === 'true' && field.getAttribute('aria-describedby') === 'new-username-error' && field.value)(document.querySelector('#new-username'))";
    assert_eq!(
        ann.evaluate(told).await,
        json!("bob"),
        "what was typed is kept"
    );

    ann.fill("#new-username", "ann").await;
    ann.fill("#new-password", PASSWORD).await;
    ann.press("Enter").await;
    ann.wait_for("location.pathname === '/'").await;

    let other = world.stranger().await;
    other.expect_failed_requests();
    other.open(&world.url("/login")).await;
    other.click("details:has(#log-in) summary").await;
    other.fill("#username", "ann").await;
    other.fill("#password", "wrong horse").await;
    other.press("Enter").await;
    other.wait_for(&visible("#log-in .error")).await;
    other.fill("#password", PASSWORD).await;
    other.press("Enter").await;
    other.wait_for("location.pathname === '/'").await;
}

async fn other_sessions_are_named_and_ended(world: World) {
    let ann = world.account("ann").await;
    let other = world.stranger().await;
    let account = json!({ "username": "ann", "password": PASSWORD });
    world.log_in(&other, "login", &account).await;
    ann.open(&world.url("/account")).await;
    ann.wait_for("document.querySelectorAll('.sessions li').length === 2")
        .await;
    assert_eq!(
        ann.evaluate(&says(".sessions .device", "Chrome on Linux"))
            .await,
        json!(true)
    );
    ann.click(".sessions li form button").await;
    ann.wait_for("document.querySelectorAll('.sessions li').length === 1")
        .await;
    other.expect_failed_requests();
    other.open(&world.url("/healthz")).await;
    assert_eq!(
        other
            .evaluate("fetch('/auth/me').then((answer) => answer.status)")
            .await,
        json!(401)
    );
}

async fn an_error_page_offers_no_log_in_to_who_is_logged_in(world: World) {
    let ann = world.account("ann").await;
    ann.expect_failed_requests();
    for path in ["/rooms/nowhere", "/no/such/page"] {
        ann.open(&world.url(path)).await;
        let links: Vec<String> = ann
            .get("[...document.querySelectorAll('a')].map((link) => new URL(link.href).pathname)")
            .await;
        assert!(
            !links.iter().any(|link| link == "/login"),
            "{path}: {links:?}"
        );
        assert!(links.iter().any(|link| link == "/"), "{path}: {links:?}");
    }
}

const NEW_PASSWORD: &str = "battery staple";

/// Fills in the form for another password.
async fn change_password(page: &Page, current: &str, new: &str) {
    page.fill("#current", current).await;
    page.fill("#new", new).await;
    page.press("Enter").await;
}

async fn a_password_is_changed_and_other_sessions_end(world: World) {
    let ann = world.account("ann").await;
    let other = world.stranger().await;
    let account = |password: &str| json!({ "username": "ann", "password": password });
    world.log_in(&other, "login", &account(PASSWORD)).await;
    world.enter(&other, "a").await;
    other.expect_failed_requests();

    ann.open(&world.url("/account")).await;
    change_password(&ann, PASSWORD, NEW_PASSWORD).await;
    ann.wait_for(&visible(".done")).await;
    ann.wait_for("document.querySelectorAll('.sessions li').length === 1")
        .await;
    other
        .wait_for("document.querySelector('#status').dataset.state === 'ended'")
        .await;

    let later = world.stranger().await;
    world.log_in(&later, "login", &account(NEW_PASSWORD)).await;
}

async fn a_password_that_is_refused_is_told_at_its_field(world: World) {
    let ann = world.account("ann").await;
    ann.expect_failed_requests();
    ann.open(&world.url("/account")).await;
    change_password(&ann, "wrong horse", NEW_PASSWORD).await;
    ann.wait_for(&visible("#current-error")).await;
    let at_field = "((field) => field.ariaInvalid === 'true' && field.getAttribute('aria-describedby') === 'current-error' && field === document.activeElement)(document.querySelector('#current'))";
    assert_eq!(ann.evaluate(at_field).await, json!(true));

    // The browser refuses a short one itself, and the server if it does not.
    change_password(&ann, PASSWORD, "short").await;
    ann.wait_for("document.querySelector('#new').validity.tooShort")
        .await;
    ann.evaluate("void (document.querySelector('#change-password').noValidate = true)")
        .await;
    ann.press("Enter").await;
    ann.wait_for(&visible("#new-error")).await;
    ann.wait_for("document.querySelector('#new').ariaInvalid === 'true'")
        .await;

    // The old one is still the password.
    let other = world.stranger().await;
    let account = json!({ "username": "ann", "password": PASSWORD });
    world.log_in(&other, "login", &account).await;
}
