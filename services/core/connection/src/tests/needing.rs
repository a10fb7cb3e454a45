use catena_mqtt::{QoS, Version};
use catena_slots::ShardId;

use super::fake::{Bench, connect, topic_of};
use crate::Settings;

/// A live connection, and a shard that is not its home.
fn live() -> (Bench, ShardId) {
    let bench = Bench::live_with(2, connect(Version::V5, 100), Settings::default());
    let other = ShardId(1 - bench.home().0);
    (bench, other)
}

// Closed for a shard that it never met, it would be sent away for nothing; left with its home gone, it would wait for
// ever. [C-45] [F-25]
#[test]
fn a_connection_needs_its_home_and_those_it_has_something_at() {
    let (mut bench, other) = live();
    let home = bench.home();
    assert!(bench.connection.rests_on(home) && bench.connection.needs(home, 0));
    assert!(!bench.connection.rests_on(other) && !bench.connection.needs(other, 0));
    let topic = topic_of(&bench.fake.slots, other);
    bench.subscribe(1, &[topic]);
    assert!(bench.connection.rests_on(other) && bench.connection.needs(other, 0));
}

#[test]
fn an_unanswered_publish_needs_its_shard_until_it_is_committed() {
    let (mut bench, other) = live();
    let topic = topic_of(&bench.fake.slots, other);
    bench.publish(topic, QoS::AtLeastOnce, 1);
    let number = bench.fake.numbers[other.index()];
    assert!(bench.connection.needs(other, number - 1));
    assert!(!bench.connection.rests_on(other) && !bench.connection.needs(other, number));
    bench.fake.room = 0;
    bench.publish(topic, QoS::AtLeastOnce, 2);
    assert!(bench.connection.needs(other, number));
}
