//! What shards send each other, while both of their chains lose members `[C-42]`.

use catena_mqtt::QoS;
use catena_shard::{ClientKey, Will};
use catena_slots::{ShardId, SlotTable};

use crate::{
    gateway::{Gateway, message},
    world::{World, run},
};

const HOME: ShardId = ShardId(0);
const TOPICS: ShardId = ShardId(1);

/// Wills in all; a third of them before each loss.
const WILLS: u32 = 300;

fn name(of: impl Fn(&str) -> ShardId, shard: ShardId, skip: usize) -> String {
    let names = (0..).map(|number| format!("n{number}"));
    let mut fitting = names.filter(|name| of(name) == shard);
    fitting.nth(skip).unwrap()
}

// A will that got lost between two shards would tell nobody that its client is gone; one that came twice, too many.
#[test]
fn what_shards_send_each_other_arrives_once_and_in_order() {
    run(|| async {
        let mut world = World::new(2);
        for node in 1..=4 {
            world.start(node);
        }
        for (shard, chain) in [(HOME, [1, 2]), (TOPICS, [3, 4])] {
            world.decide(shard, &[(1, chain[0])], None);
            world.join(shard, &[(1, chain[0])], (20, chain[1])).await;
        }
        let slots = SlotTable::even(2, 0).unwrap();
        let topic = name(|name| slots.topic(name), TOPICS, 0);
        let mut homes = Gateway::new(&world, HOME, 1);
        let mut topics = Gateway::new(&world, TOPICS, 1);
        let reader = name(|name| slots.home(name), TOPICS, 0);
        topics.subscriber(&reader, &topic).await;

        for number in 0..WILLS {
            let client = name(|name| slots.home(name), HOME, number as usize % 7);
            let message = message(ClientKey::of(&client), &topic, number, QoS::AtLeastOnce);
            let will = Will { message, delay: 0 };
            let who = homes.connect(&client, Some(will)).await;
            let last = homes.disconnect(who);
            homes.committed(last).await;
            if number == WILLS / 3 {
                // The one that sends them.
                world.kill(2);
                world.decide(HOME, &[(1, 1)], None);
            }
            if number == 2 * WILLS / 3 {
                // The one that takes them.
                world.kill(3);
                world.decide(TOPICS, &[(20, 4)], None);
            }
        }
        topics
            .until(|topics| topics.delivered_count() >= WILLS as usize)
            .await;
        assert!(topics.delivered().into_iter().eq(0..WILLS));
    });
}
