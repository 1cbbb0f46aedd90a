//! Sessions and their tokens.

use std::time::Duration;

use chatcore::SessionToken;

use crate::support::{Database, TestClock, user};

const DAY: i64 = 24 * 60 * 60;

pub(crate) async fn a_session_lasts_until_it_is_ended(database: &Database) {
    let store = database.open().await;
    let (token, session) = store
        .log_in_guest(&user("ann"), "Browser/1")
        .await
        .expect("logged in");
    assert_eq!(
        (
            session.username.as_str(),
            session.verified,
            session.device.as_str()
        ),
        ("ann", false, "Browser/1")
    );
    assert_eq!(
        store.session(&token).await.expect("looked up"),
        Some(session)
    );

    let other: SessionToken = "A".repeat(43).parse().expect("a token");
    assert!(store.session(&other).await.expect("looked up").is_none());

    store.log_out(&other).await.expect("nothing to end");
    store.log_out(&token).await.expect("ended");
    assert!(store.session(&token).await.expect("looked up").is_none());

    store.log_out(&token).await.expect("ended already");
}

pub(crate) async fn an_idle_session_expires_and_a_used_one_does_not(database: &Database) {
    let clock = TestClock::at("2100-01-01T00:00:00Z");
    let idle = Duration::from_secs(30 * DAY.unsigned_abs());
    let options = clock.options().session_idle(idle);
    let store = database.open_with(options).await;
    let (idle, _) = store
        .log_in_guest(&user("ann"), "")
        .await
        .expect("logged in");
    let (used, _) = store
        .log_in_guest(&user("ann"), "")
        .await
        .expect("logged in");
    let seen = async || {
        store
            .session(&used)
            .await
            .expect("looked up")
            .expect("in use")
            .last_seen
    };

    for _ in 0..20 {
        clock.advance(2 * DAY);
        let before = seen().await;
        let written = seen().await;
        assert!(written > before);
        // Used again within the hour: not written.
        clock.advance(60);
        seen().await;
        assert_eq!(seen().await, written);
    }

    assert!(store.session(&idle).await.expect("looked up").is_none());
    assert_eq!(
        store.sessions(&user("ann")).await.expect("sessions").len(),
        1
    );
}

pub(crate) async fn a_token_is_due_for_renewal_however_often_its_session_is_used(
    database: &Database,
) {
    let clock = TestClock::at("2100-01-01T00:00:00Z");
    let idle = Duration::from_secs(30 * DAY.unsigned_abs());
    let options = clock.options().session_idle(idle);
    let store = database.open_with(options).await;
    let (token, _) = store
        .log_in_guest(&user("ann"), "")
        .await
        .expect("logged in");
    let is_due = async || {
        let session = store
            .session(&token)
            .await
            .expect("looked up")
            .expect("in use");
        store.is_renewal_due(&session)
    };

    for _ in 0..3 {
        for _ in 0..14 {
            clock.advance(DAY);
            assert!(!is_due().await);
        }
        clock.advance(DAY);
        assert!(is_due().await);
        clock.advance(2 * DAY);
        assert!(is_due().await, "until it is renewed");
        store.renew_session(&token).await.expect("renewed");
        assert!(!is_due().await);
    }
}

pub(crate) async fn sessions_are_listed_and_ended_by_their_owner(database: &Database) {
    let clock = TestClock::at("2100-01-01T00:00:00Z");
    let store = database.open_with(clock.options()).await;
    let mut tokens = Vec::new();

    for device in ["one", "two", "three", "four"] {
        tokens.push(
            store
                .log_in_guest(&user("ann"), device)
                .await
                .expect("logged in"),
        );
        clock.advance(1);
    }

    let (_, bobs) = store
        .log_in_guest(&user("bob"), "")
        .await
        .expect("logged in");
    let listed = store.sessions(&user("ann")).await.expect("sessions");
    assert_eq!(
        listed,
        tokens.iter().map(|(_, s)| s.clone()).collect::<Vec<_>>()
    );

    assert!(
        !store
            .end_session(&user("ann"), bobs.id)
            .await
            .expect("not hers")
    );
    assert!(
        store
            .end_session(&user("ann"), tokens[0].1.id)
            .await
            .expect("ended")
    );
    assert!(
        !store
            .end_session(&user("ann"), tokens[0].1.id)
            .await
            .expect("gone")
    );
    assert!(
        store
            .session(&tokens[0].0)
            .await
            .expect("looked up")
            .is_none()
    );
    assert_eq!(
        store
            .end_sessions(&user("ann"), Some(tokens[1].1.id))
            .await
            .expect("ended"),
        2
    );
    assert!(
        store
            .session(&tokens[1].0)
            .await
            .expect("looked up")
            .is_some()
    );
    assert_eq!(
        store.end_sessions(&user("ann"), None).await.expect("ended"),
        1
    );
    assert!(
        store
            .sessions(&user("ann"))
            .await
            .expect("sessions")
            .is_empty()
    );
    assert_eq!(
        store.sessions(&user("bob")).await.expect("sessions"),
        [bobs]
    );
}
