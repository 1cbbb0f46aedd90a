//! Sizes and counts that a page may have. Times are in `benches/pages.rs`.

use chat_testkit::browser::Page;

use crate::world::{LIVE, World, say, shown};

in_chromium!(
    a_first_load_is_small,
    a_warm_load_is_smaller,
    nothing_shifts_while_a_room_opens,
    rows_come_a_few_at_a_time_while_somebody_scrolls,
);

const FIRST_BYTES: u64 = 40 * 1024;
const FIRST_REQUESTS: usize = 6;
const WARM_BYTES: u64 = 12 * 1024;
const SHIFT: f64 = 0.01;
/// Rows that are put into the page in one task.
const ROWS: usize = 10;

/// A room as it is on an ordinary day: fifty messages on the page.
async fn ordinary(world: &World) -> Page {
    for i in 0..60 {
        let (sender, text) = match i % 5 {
            0 => (
                "cleo",
                "Did anyone look at the build that failed last night?",
            ),
            1 => (
                "dan",
                "Yes. It was the **clock** of the runner; see https://example.org/runs/4711",
            ),
            2 => ("dan", "I restarted it, and it passed."),
            3 => (
                "eve",
                "Thanks! Should we pin the version, so that it does not come back next week?",
            ),
            _ => ("cleo", "@dan please do :-)"),
        };
        world.post("a", sender, text).await;
    }
    world.guest("ann").await
}

async fn a_first_load_is_small(world: World) {
    let ann = ordinary(&world).await;
    ann.forget_traffic();
    world.enter(&ann, "a").await;
    let traffic = ann.wait_for_requests().await;
    assert!(traffic.sent.len() <= FIRST_REQUESTS, "{traffic:#?}");
    assert!(
        traffic.bytes <= FIRST_BYTES,
        "{} bytes: {traffic:#?}",
        traffic.bytes
    );
}

async fn a_warm_load_is_smaller(world: World) {
    let ann = ordinary(&world).await;
    world.enter(&ann, "a").await;
    ann.wait_for_requests().await;
    ann.open("about:blank").await;
    ann.forget_traffic();
    world.enter(&ann, "a").await;
    let traffic = ann.wait_for_requests().await;
    assert!(
        traffic.bytes <= WARM_BYTES,
        "{} bytes: {traffic:#?}",
        traffic.bytes
    );
}

async fn nothing_shifts_while_a_room_opens(world: World) {
    let ann = ordinary(&world).await;
    ann.run_first(
        "window.shifts = []; new PerformanceObserver((list) => list.getEntries().forEach((entry) =>
            entry.hadRecentInput || window.shifts.push({ value: entry.value, of: entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 100)) })))
            .observe({ type: 'layout-shift', buffered: true });",
    )
    .await;
    world.enter(&ann, "a").await;
    world.post("a", "cleo", "one more").await;
    ann.wait_for(&shown("one more")).await;
    say(&ann, "mine").await;
    ann.wait_for(&shown("mine")).await;
    ann.evaluate(
        "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
    )
    .await;
    let total: f64 = ann
        .get("window.shifts.reduce((sum, { value }) => sum + value, 0)")
        .await;
    assert!(
        total < SHIFT,
        "{total}: {}",
        ann.evaluate("window.shifts").await
    );
    assert_eq!(ann.evaluate(LIVE).await, true);
}

/// Notes how many rows come together.
const NOTE_ROWS: &str = "window.together = [];
    new MutationObserver((changes) => {
        const rows = changes.flatMap(({ addedNodes }) => [...addedNodes]).filter((node) => node.matches?.('.message'));
        if (rows.length) window.together.push(rows.length);
    }).observe(document.querySelector('#messages'), { childList: true });";

async fn rows_come_a_few_at_a_time_while_somebody_scrolls(world: World) {
    let count = 1_000;
    world.seed("a", count).await;
    let ann = world.guest("ann").await;
    world.enter(&ann, "a").await;
    ann.wait_for(&format!("document.querySelector('#m{count}')"))
        .await;
    ann.evaluate(NOTE_ROWS).await;
    for (turn, reached) in [(-1_500.0, "#m1"), (1_500.0, "#m900")] {
        let is_reached = format!("Boolean(document.querySelector('{reached}'))");
        while ann.evaluate(&is_reached).await != true {
            ann.wheel("#scroller", turn).await;
        }
    }
    let together: Vec<usize> = ann.get("window.together").await;
    assert!(together.iter().sum::<usize>() > 1_500, "{together:?}");
    assert!(together.iter().all(|rows| *rows <= ROWS), "{together:?}");
}
