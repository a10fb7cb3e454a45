//! How fast entries become durable on this machine's disk: `cargo bench -p catena-storage --bench disk`.
//!
//! `CATENA_BENCH_DIR` says where; the system's temporary directory may be in memory.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use catena_chain::{Epoch, Generation, Position, ReplicaId};
use catena_slots::ShardId;
use catena_storage::{
    Change, Event, Identity, Journal, Key, Keys, Options, Record, Sync, Volume, Writer, disk::Real,
};

const TIME: Duration = Duration::from_secs(2);

fn main() {
    let parent =
        std::env::var_os("CATENA_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    for shards in [1, 4] {
        for (count, bytes) in [(1, 256), (256, 256), (1024, 256), (1, 1024 * 1024)] {
            let root = parent.join(format!("catena-bench-{}", std::process::id()));
            measure(&root, shards, count, bytes);
            std::fs::remove_dir_all(&root).expect("it was made here");
        }
    }
}

/// Each of `shards` appends batches of `count` entries, the next when the last is durable.
fn measure(root: &Path, shards: u16, count: u64, bytes: usize) {
    let keys = Keys {
        current: Key::read(&[1; 32]).expect("32 bytes"),
        older: Vec::new(),
    };
    let volume =
        Volume::open(Arc::new(Real), root, Options::new(keys)).expect("the directory is writable");
    let writer = Writer::start(Duration::from_secs(1)).expect("a thread");
    let (tell, told) = mpsc::channel();
    let identity = Identity {
        generation: Generation(1),
        replica: ReplicaId(1),
        feature_level: 1,
    };
    let journals: Vec<Journal> = (0..shards)
        .map(|shard| {
            let begun = volume.begin(ShardId(shard), identity, Position::default(), Sync::Always);
            let tell = tell.clone();
            let state = begun.expect("the directory is writable");
            let journal = writer.adopt(state, move |event| drop(tell.send((shard, event))));
            journal.change(Change::Complete);
            journal
        })
        .collect();
    let content = Bytes::from(vec![7; bytes]);
    let batch = |after: u64| -> Vec<Record> {
        let made = (after + 1..).take(count as usize).map(|index| {
            let position = Position {
                index,
                epoch: Epoch(1),
                digest: index,
            };
            let bytes = content.clone();
            Record { position, bytes }
        });
        made.collect()
    };
    let before = volume.figures();
    let begun = Instant::now();
    let mut entries = 0;
    while let Ok((shard, event)) = told.recv() {
        let through = match event {
            Event::Changed(_) => 0,
            Event::Durable { through, .. } => {
                entries += count;
                through
            }
            other => panic!("{other:?}"),
        };
        if begun.elapsed() > TIME {
            break;
        }
        journals[usize::from(shard)]
            .append(batch(through))
            .expect("there is room");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = volume.figures();
    println!(
        "{shards} shards, {count} x {bytes} B: {:.0} entries/s, {:.1} MB/s of entries, {:.1} MB/s written, {:.0} syncs/s",
        entries as f64 / seconds,
        entries as f64 * bytes as f64 / seconds / 1e6,
        (after.bytes_written - before.bytes_written) as f64 / seconds / 1e6,
        (after.syncs - before.syncs) as f64 / seconds,
    );
}
