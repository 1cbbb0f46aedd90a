//! Live updates: the network that fails, the server that ends, who is there and who types.

use crate::world::{LIVE, World, say, seqs, shown};

in_chromium!(a_page_says_that_it_reconnects_and_misses_nothing,);

async fn a_page_says_that_it_reconnects_and_misses_nothing(world: World) {
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    say(&ann, "before").await;
    ann.wait_for(&shown("before")).await;
    ann.expect_failed_requests();

    let World { server, engine } = world;
    let paused = server.pause().await;
    ann.wait_for("document.querySelector('#status').textContent === 'Reconnecting…'")
        .await;
    let world = World {
        server: paused.go_on().await,
        engine,
    };
    for text in ["1", "2"] {
        world.post("a", "bob", text).await;
    }
    ann.wait_for(&shown("2")).await;
    assert_eq!(seqs(&ann).await, [1, 2, 3]);
    ann.wait_for(LIVE).await;
}
