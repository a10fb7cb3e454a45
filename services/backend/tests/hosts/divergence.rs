//! A replica whose state is not its head's `[C-52]`.

use std::sync::Arc;

use catena_chain::{Incarnation, Member, Payload, ReplicaId, message::News};
use catena_replicated::{Entry, Envelope, Message};
use catena_transport::Accept;
use tokio::sync::mpsc;

use crate::{
    gateway::Gateway,
    world::{Party, SHARD, World, run},
};

/// The head, played by the test.
const HEAD: Member = Member {
    id: ReplicaId(5),
    incarnation: Incarnation(5),
};

/// The next Hello.
async fn hello(sent: &mut mpsc::Receiver<Envelope>) -> Envelope {
    loop {
        let envelope = sent.recv().await.expect("the host lives");
        if matches!(envelope.message, Message::Hello { .. }) {
            return envelope;
        }
    }
}

// It would deliver what nobody else would have delivered, and its snapshots would spread it.
#[test]
fn a_replica_that_diverged_is_reported_and_begins_anew() {
    run(|| async {
        let mut world = World::new(1);
        let backend = world.start(1);
        world.decide(SHARD, &[(1, 1)], None);
        let mut gateway = Gateway::new(&world, SHARD, 1);
        gateway.subscriber("c", "t").await;

        // It becomes the tail behind a head with other effects.
        let (envelopes, mut sent) = mpsc::channel(64);
        world.local.add(HEAD.incarnation, Party::Played(envelopes));
        world.decide(SHARD, &[(5, 5), (1, 1)], None);
        let said = hello(&mut sent).await;
        let Message::Hello {
            nonce,
            end: Some(end),
            configuration,
            ..
        } = said.message
        else {
            panic!("{said:?}");
        };
        let checkpoint = Entry {
            index: end.index + 1,
            epoch: configuration.epoch,
            at: Default::default(),
            payload: Payload::Checkpoint {
                digest: !end.digest,
            },
        };
        let envelope = Envelope {
            shard: SHARD,
            epoch: configuration.epoch,
            generation: configuration.generation,
            from: HEAD,
            to: ReplicaId(1),
            message: Message::Append {
                nonce,
                last: checkpoint.index,
                durable: None,
                entries: vec![Arc::new(checkpoint)],
            },
        };
        let stream = backend.chain(SHARD).unwrap();
        stream.send(envelope).await.unwrap();
        let is_it = |news: &News| matches!(news, News::Diverged { .. });
        let report = world.reported(SHARD, is_it).await;
        assert_eq!(report.from, ReplicaId(1));
        assert!(world.pulse(1).counts().alarms > 0);

        // Evicted, it comes again as another, and has kept nothing.
        world.decide(SHARD, &[(5, 5)], None);
        world.decide(SHARD, &[(5, 5)], Some((7, 1)));
        let again = loop {
            let said = hello(&mut sent).await;
            if said.from.id == ReplicaId(7) {
                break said;
            }
        };
        assert!(
            matches!(again.message, Message::Hello { end: None, .. }),
            "{again:?}"
        );
    });
}
