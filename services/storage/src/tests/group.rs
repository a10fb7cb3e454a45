//! The writer's thread: what it tells is durable, in order, and one sync serves many appends.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use catena_chain::{Epoch, Generation, Position, ReplicaId};
use catena_slots::ShardId;

use crate::{
    Change, Event, Found, Identity, Keys, Options, Record, Sync, Volume, Writer,
    simulated::Simulated,
};

fn record(index: u64) -> Record {
    let position = Position {
        index,
        epoch: Epoch(1),
        digest: 0,
    };
    Record {
        position,
        bytes: Bytes::from_static(b"entry"),
    }
}

/// What the writer calls durable survives a power cut, for each of several shards; a failed sync is told, and ends one shard alone.
#[test]
fn what_is_told_durable_is() {
    let disk = Simulated::new(4);
    let volume = || {
        let options = Options::new(Keys::public());
        Volume::open(Arc::new(disk.clone()), Path::new("/data"), options).expect("it works")
    };
    let opened = volume();
    let writer = Writer::start(Duration::from_secs(60)).expect("a thread");
    let (tell, told) = mpsc::channel();
    let journals = [1, 2].map(|shard| {
        let identity = Identity {
            generation: Generation(1),
            replica: ReplicaId(1),
            feature_level: 1,
        };
        let state = opened
            .begin(ShardId(shard), identity, Position::default(), Sync::Always)
            .expect("it works");
        let tell = tell.clone();
        let journal = writer.adopt(state, move |event| {
            tell.send((shard, event)).expect("the test listens");
        });
        journal.change(Change::Complete);
        journal
    });
    for index in 1..=100 {
        for journal in &journals {
            journal.append(vec![record(index)]).expect("there is room");
        }
    }
    let mut durable = [0, 0];
    while durable != [100, 100] {
        let (shard, event) = told.recv().expect("the writer lives");
        match event {
            Event::Durable { through, .. } => {
                assert!(through > durable[usize::from(shard) - 1]);
                durable[usize::from(shard) - 1] = through;
            }
            Event::Changed(Change::Complete) => {}
            other => panic!("{other:?}"),
        }
    }
    // A change syncs what was appended before it: that must be told too, or its host waits for ever.
    journals[1]
        .append(vec![record(101)])
        .expect("there is room");
    journals[1].change(Change::Sync(Sync::Interval));
    journals[1].change(Change::Sync(Sync::Always));
    let mut is_told = false;
    loop {
        match told.recv().expect("the writer lives").1 {
            Event::Durable { through, .. } => is_told |= through == 101,
            Event::Changed(Change::Sync(Sync::Always)) => break,
            _ => {}
        }
    }
    assert!(is_told);
    disk.fail_sync_in(1);
    journals[0]
        .append(vec![record(101)])
        .expect("there is room");
    let (shard, event) = told.recv().expect("the writer lives");
    assert!(shard == 1 && matches!(event, Event::Failed(_)), "{event:?}");
    journals[1]
        .append(vec![record(102)])
        .expect("there is room");
    let (shard, event) = told.recv().expect("the writer lives");
    assert!(
        shard == 2 && matches!(event, Event::Durable { through: 102, .. }),
        "{event:?}"
    );
    disk.cut_power();
    drop((writer, opened));
    match volume().find(ShardId(2)).expect("it works") {
        Found::State(state) => assert_eq!(state.end().index, 102),
        other => panic!("{other:?}"),
    }
    assert!(matches!(volume().find(ShardId(1)), Ok(Found::Unusable(_))));
}
