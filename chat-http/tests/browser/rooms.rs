//! Rooms and people.

use serde_json::json;

use crate::world::World;

in_chromium!(a_room_is_titled_by_its_name,);

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
