//! Ranges of messages against a model.

use chatcore::{Message, Range, Seq, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Database, TestClock, post, post_many, room};

/// Meaning of a range, in the plainest way.
fn model(all: &[Message], range: Range, limit: usize) -> Vec<Message> {
    let (covered, oldest): (Vec<_>, bool) = match range {
        Range::Newest => (all.iter().collect(), false),
        Range::Before(seq) => (all.iter().filter(|m| m.seq < seq).collect(), false),
        Range::After(seq) => (all.iter().filter(|m| m.seq > seq).collect(), true),
        Range::Since(time) => (all.iter().filter(|m| m.timestamp > time).collect(), true),
    };
    let skipped = if oldest {
        0
    } else {
        covered.len().saturating_sub(limit)
    };
    covered
        .into_iter()
        .skip(skipped)
        .take(limit)
        .cloned()
        .collect()
}

pub(crate) async fn every_range_is_what_a_simple_model_says(database: &Database) {
    let clock = TestClock::at("2026-11-22T20:00:00Z");
    let store = database.open_with(clock.options()).await;
    let mut all = Vec::new();

    // Alone and in bursts, which may be stored together.
    for (i, size) in (0_i64..30).zip([1, 1, 1, 5, 1, 40].into_iter().cycle()) {
        all.extend(post_many(&store, "a", "ann", size).await);
        post(&store, "A", "ann", "another room").await;
        // Runs of equal, later and earlier clock readings.
        clock.advance([0, 0, 7, -3][usize::try_from(i % 4).expect("small")]);
    }

    let first = all[0].timestamp.as_micros();
    let last = all[all.len() - 1].timestamp.as_micros();
    assert_eq!(all.len(), 245);

    let seq =
        prop_oneof![0_i64..=247, Just(i64::MAX)].prop_map(|n| Seq::new(n).expect("not negative"));
    let near = proptest::sample::select(
        all.iter()
            .map(|m| m.timestamp.as_micros())
            .collect::<Vec<_>>(),
    );
    let [begin, end] = [Timestamp::MIN, Timestamp::MAX].map(|time| Just(time.as_micros()));
    let time = prop_oneof![first - 5..=last + 5, near, begin, end]
        .prop_map(|micros| Timestamp::from_micros(micros).expect("a time"));
    let range = prop_oneof![
        Just(Range::Newest),
        seq.clone().prop_map(Range::After),
        seq.prop_map(Range::Before),
        time.prop_map(Range::Since),
    ];

    let strategy = (range, 1_u32..=200);
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let runtime = tokio::runtime::Handle::current();
    let name = room("a");
    tokio::task::block_in_place(|| {
        runner.run(&strategy, |(range, limit)| {
            let read = runtime
                .block_on(store.messages(&name, range, limit))
                .expect("read");
            prop_assert_eq!(read, model(&all, range, limit as usize));
            Ok(())
        })
    })
    .expect("the store agrees with the model");
}
