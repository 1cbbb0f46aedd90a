//! Rooms that are followed through networks that fail.

mod common;

use std::time::Duration;

use chat_client::{Client, Event, Follower, Options, Position, Subscription, Way};
use chat_testkit::proxy::{Mode, Proxy};
use chat_testkit::view::View;
use tokio::time::timeout;

use self::common::Server;

/// For what must happen.
const SOON: Duration = Duration::from_secs(30);

/// Times that make a test short.
fn hasty() -> Options {
    Options::new()
        .silence(Duration::from_millis(600))
        .longest_pause(Duration::from_millis(200))
        .socket_retry(Duration::from_secs(1))
}

/// A client of a server behind a proxy.
async fn behind(proxy: &Proxy, token: Option<&str>) -> Client {
    let url = format!("http://{}", proxy.address);
    let client = Client::connect_with(&url, hasty()).await.expect("a client");
    match token {
        Some(token) => client.with_token(token).expect("a header"),
        None => client,
    }
}

/// The next event, which must come and must not be an error.
async fn next(follower: &mut Follower) -> Event {
    let event = timeout(SOON, follower.next())
        .await
        .expect("an event in time");
    event.expect("no end").expect("no error")
}

/// Applies events to a view until one is found.
async fn until(follower: &mut Follower, view: &mut View, found: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = next(follower).await;
        view.apply(&event);
        if found(&event) {
            return event;
        }
    }
}

/// Applies events until the view has these ends of a room.
async fn reach(follower: &mut Follower, view: &mut View, room: &str, ends: (i64, i64)) {
    while view.ends(room) != ends {
        let event = next(follower).await;
        view.apply(&event);
    }
}

#[tokio::test]
async fn events_come_in_order_and_a_position_is_where_another_follower_goes_on() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    for number in 1..=300 {
        ann.post("a", format!("text {number}"))
            .await
            .expect("posted");
    }
    ann.edit("a", 7, "edited").await.expect("edited");

    let mut view = View::default();
    let mut first = ann.follow([Subscription::resume("a", Position { seq: 0, change: 0 })]);
    assert_eq!(next(&mut first).await, Event::Connected(Way::Socket));
    reach(&mut first, &mut view, "a", (300, 1)).await;
    ann.post("a", "more").await.expect("posted");
    reach(&mut first, &mut view, "a", (301, 1)).await;
    ann.add_reaction("a", 3, "👍").await.expect("a reaction");
    reach(&mut first, &mut view, "a", (301, 2)).await;
    let position = first.position("a").expect("a position");
    assert_eq!(
        position,
        Position {
            seq: 301,
            change: 2
        }
    );
    drop(first);

    ann.post("a", "while nobody follows").await.expect("posted");
    ann.delete("a", 9).await.expect("deleted");
    let mut second = ann.follow([Subscription::resume("a", position)]);
    reach(&mut second, &mut view, "a", (302, 3)).await;
    view.check(&ann, &["a"]).await;
}

#[tokio::test]
async fn people_marks_and_topics_are_told() {
    let server = Server::start().await;
    let (ann, bob) = (server.account("ann").await, server.account("bob").await);
    ann.create_room("a").await.expect("a room");
    bob.create_room("b").await.expect("a room");
    let (mut anns, mut bobs) = (ann.follow(["a"]), bob.follow(["a"]));
    let is_there = |event: &Event| matches!(event, Event::Following { .. });
    let mut view = View::default();
    until(&mut anns, &mut view, is_there).await;
    until(&mut bobs, &mut view, is_there).await;

    let both = |event: &Event| matches!(event, Event::Presence { users, .. } if users.len() == 2);
    until(&mut anns, &mut view, both).await;
    bobs.type_in("a");
    let typing = until(&mut anns, &mut view, |event| {
        matches!(event, Event::Typing { .. })
    })
    .await;
    assert!(matches!(typing, Event::Typing { username, .. } if username == "bob"));
    ann.set_topic("a", "cats").await.expect("a topic");
    until(
        &mut bobs,
        &mut view,
        |event| matches!(event, Event::Topic { topic, .. } if topic == "cats"),
    )
    .await;
    // In a room that ann does not follow.
    bob.post("b", "@ann hello").await.expect("posted");
    until(&mut anns, &mut view, |event| {
        matches!(event, Event::Mention { .. })
    })
    .await;
    ann.mark_read("b", 1).await.expect("a mark");
    until(&mut anns, &mut view, |event| {
        matches!(event, Event::Read { seq: 1, .. })
    })
    .await;

    anns.add(Subscription::from_start("b"));
    let message = until(&mut anns, &mut view, |event| {
        matches!(event, Event::Message(_))
    })
    .await;
    assert!(matches!(message, Event::Message(message) if message.room == "b"));
    anns.remove("a");
    let alone = |event: &Event| matches!(event, Event::Presence { users, .. } if users.len() == 1);
    until(&mut bobs, &mut view, alone).await;
}

#[tokio::test]
async fn a_room_that_may_not_be_followed_any_more_ends_and_the_others_go_on() {
    let server = Server::start().await;
    let (ann, bob) = (server.account("ann").await, server.account("bob").await);
    ann.create_private_room("a").await.expect("a room");
    ann.create_room("b").await.expect("a room");
    ann.invite("a", "bob").await.expect("invited");

    let mut view = View::default();
    let mut events = bob.follow(["a", "b", "no such room", "not/a/room"]);
    let ended = |event: &Event| matches!(event, Event::Ended { .. });
    for _ in 0..2 {
        until(&mut events, &mut View::default(), ended).await;
    }
    ann.remove("a", "bob").await.expect("removed");
    let end = until(&mut events, &mut View::default(), ended).await;
    assert!(matches!(end, Event::Ended { room, problem } if room == "a" && problem.status == 404));
    ann.post("b", "hello").await.expect("posted");
    until(&mut events, &mut view, |event| {
        matches!(event, Event::Message(_))
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_session_ends_the_stream_with_an_error() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    ann.create_room("a").await.expect("a room");
    let mut events = ann.follow(["a"]);
    let is_there = |event: &Event| matches!(event, Event::Following { .. });
    until(&mut events, &mut View::default(), is_there).await;

    ann.clone().log_out().await.expect("logged out");
    let error = loop {
        match timeout(SOON, events.next())
            .await
            .expect("an event in time")
        {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("an end without a reason"),
        }
    };
    assert_eq!(error.status(), Some(401));
    assert!(events.next().await.is_none());
}

/// Cuts, stalls and blocks the network at each step, while messages are posted and changed.
#[tokio::test]
async fn whatever_the_network_does_the_view_is_what_the_server_stores() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    ann.create_room("a").await.expect("a room");
    ann.create_room("b").await.expect("a room");
    let proxy = Proxy::start(server.address).await;
    let follower = behind(&proxy, ann.token()).await;
    let start = |room| Subscription::resume(room, Position { seq: 0, change: 0 });
    let mut events = follower.follow([start("a"), start("b")]);
    let mut view = View::default();

    let modes = [
        Mode::Open,
        Mode::Cut,
        Mode::Open,
        Mode::Stalled,
        Mode::Open,
        Mode::WithoutSockets,
        Mode::Open,
        Mode::WithoutHandshakes,
        Mode::Open,
    ];
    for (round, mode) in modes.into_iter().cycle().take(27).enumerate() {
        proxy.set(mode);
        for room in ["a", "b"] {
            let post = ann
                .post(room, format!("round {round}"))
                .await
                .expect("posted");
            let seq = post.message.seq;
            ann.edit(room, (seq + 1) / 2, format!("edited {round}"))
                .await
                .expect("edited");
            ann.add_reaction(room, seq, "👍").await.expect("a reaction");
        }
        if !matches!(mode, Mode::Cut | Mode::Stalled) {
            let ends = ann.room("a").await.expect("a room");
            reach(
                &mut events,
                &mut view,
                "a",
                (ends.last_seq, ends.last_change),
            )
            .await;
        }
        if mode == Mode::Open {
            proxy.cut_once();
        }
    }

    for room in ["a", "b"] {
        let ends = ann.room(room).await.expect("a room");
        reach(
            &mut events,
            &mut view,
            room,
            (ends.last_seq, ends.last_change),
        )
        .await;
    }
    view.check(&ann, &["a", "b"]).await;
}

#[tokio::test]
async fn where_sockets_are_blocked_rooms_are_polled_until_they_are_not() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    ann.create_private_room("a").await.expect("a room");
    let proxy = Proxy::start(server.address).await;
    let follower = behind(&proxy, ann.token()).await;
    for mode in [Mode::WithoutSockets, Mode::WithoutHandshakes] {
        proxy.set(mode);
        let mut view = View::default();
        let mut events = follower.follow([
            Subscription::resume("a", Position { seq: 0, change: 0 }),
            Subscription::from_now("no such room"),
        ]);
        until(&mut events, &mut View::default(), |event| {
            *event == Event::Connected(Way::Polling)
        })
        .await;
        until(
            &mut events,
            &mut View::default(),
            |event| matches!(event, Event::Ended { room, .. } if room == "no such room"),
        )
        .await;
        ann.post("a", "hello").await.expect("posted");
        ann.add_reaction("a", 1, "👍").await.expect("a reaction");
        ann.remove_reaction("a", 1, "👍").await.expect("none");
        let ends = ann.room("a").await.expect("a room");
        reach(
            &mut events,
            &mut view,
            "a",
            (ends.last_seq, ends.last_change),
        )
        .await;

        proxy.set(Mode::Open);
        until(&mut events, &mut view, |event| {
            *event == Event::Connected(Way::Socket)
        })
        .await;
        view.check(&ann, &["a"]).await;
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_noticed() {
    let server = Server::start().await;
    let ann = server.account("ann").await;
    ann.create_room("a").await.expect("a room");
    let proxy = Proxy::start(server.address).await;
    let mut events = behind(&proxy, ann.token()).await.follow(["a"]);
    let mut view = View::default();
    until(&mut events, &mut view, |event| {
        matches!(event, Event::Following { .. })
    })
    .await;

    proxy.set(Mode::Stalled);
    let lost = |event: &Event| matches!(event, Event::Disconnected(_));
    until(&mut events, &mut view, lost).await;
    proxy.set(Mode::Open);
    ann.post("a", "hello").await.expect("posted");
    until(&mut events, &mut view, |event| {
        matches!(event, Event::Message(_))
    })
    .await;
}
