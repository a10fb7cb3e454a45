//! Random sessions against a naive broker, and against copies of the same shards.

mod driver;
mod reference;
mod script;
#[path = "../support/mod.rs"]
mod support;

use proptest::prelude::*;

use driver::{Driver, Twins};
use script::{Step, long_steps, steps};

fn run(shards: usize, steps: &[Step], twins: Twins, part_bytes: Option<u64>) {
    let mut driver = Driver::new(shards, twins, part_bytes);
    for step in steps {
        driver.take(step);
    }
    driver.drain();
    driver.end();
}

/// Parts of one message to three: of readers' queues, and of the lanes of groups.
const PARTS: std::ops::Range<u64> = 100..350;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(1_500) })]

    /// Some client would get a message twice, in another order, with other flags, or not at all [F-36] [F-58]; and
    /// memory would leak away, reference by reference [F-63].
    #[test]
    fn one_shard_does_what_a_naive_broker_does(steps in steps(80)) {
        run(1, &steps, Twins::None, None);
    }

    /// The same, where sessions, topics and wills live on different shards [F-22] [F-30].
    #[test]
    fn three_shards_do_what_a_naive_broker_does(steps in steps(80)) {
        run(3, &steps, Twins::None, None);
    }

    /// What left memory would come back in another order, twice, or not at all; to another group, or after its end [F-65] [F-72].
    #[test]
    fn a_shard_whose_queues_leave_memory_does_what_a_naive_broker_does(
        steps in long_steps(80), shards in 1usize..3, part_bytes in PARTS,
    ) {
        run(shards, &steps, Twins::None, Some(part_bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(300) })]

    /// A replica that was restored would go other ways than the one whose snapshot it took.
    #[test]
    fn a_restored_shard_goes_on_alike(
        steps in steps(60), shards in 1usize..3, part_bytes in prop::option::of(PARTS),
    ) {
        run(shards, &steps, Twins::Restored, part_bytes);
    }

    /// A replica with a cold cache would emit other effects than one with a warm cache [F-67].
    #[test]
    fn a_cold_cache_never_shows(steps in steps(60), shards in 1usize..3) {
        run(shards, &steps, Twins::Chilled, None);
    }
}
