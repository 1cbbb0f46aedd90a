//! The pages in real browsers: Chromium, and the most important behaviours in Firefox too.

#[path = "../support/mod.rs"]
mod support;

/// Makes every case a test in Chromium.
macro_rules! in_chromium {
    ($($case:ident),* $(,)?) => {
        mod chromium { in_chromium!(@engine Chromium $($case)*); }
    };
    (@engine $engine:ident $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let engine = chat_testkit::browser::Engine::$engine;
                if let Some(world) = crate::world::World::start(engine).await {
                    super::$case(world).await;
                }
            }
        )*
    };
}

/// Makes every case a test in Chromium and one in Firefox.
macro_rules! in_both {
    ($($case:ident),* $(,)?) => {
        mod both_chromium { in_chromium!(@engine Chromium $($case)*); }
        mod firefox { in_chromium!(@engine Firefox $($case)*); }
    };
}

mod accessibility;
mod accounts;
mod budget;
mod languages;
mod live;
mod messages;
mod people;
mod pictures;
mod plain;
mod rooms;
mod tabs;
mod world;
mod writing;
