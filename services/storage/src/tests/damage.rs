//! Damage to what was durable is found, wherever it is, and is never taken for a torn end `[C-64]`.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use catena_chain::{Epoch, Generation, Position, ReplicaId};
use catena_slots::ShardId;

use crate::{
    FailureKind, Found, Identity, Key, Keys, Options, Reason, Record, Rule, State, Switches, Sync,
    Volume, simulated::Simulated,
};

const SHARD: ShardId = ShardId(1);

fn keys(current: u8, older: &[u8]) -> Keys {
    let key = |byte: u8| Key::read(&[byte; 32]).expect("32 bytes");
    Keys {
        current: key(current),
        older: older.iter().copied().map(key).collect(),
    }
}

fn volume(disk: &Simulated, options: Options) -> Volume {
    Volume::open(Arc::new(disk.clone()), Path::new("/data"), options).expect("the disk works")
}

fn small(switches: Switches) -> Options {
    Options {
        segment_bytes: 20 * 1024,
        switches,
        ..Options::new(keys(1, &[]))
    }
}

fn begin(volume: &Volume) -> State {
    let identity = Identity {
        generation: Generation(1),
        replica: ReplicaId(1),
        feature_level: 1,
    };
    let begun = volume.begin(SHARD, identity, Position::default(), Sync::Always);
    let mut state = begun.expect("the disk works");
    state.complete().expect("the disk works");
    state
}

fn record(index: u64) -> Record {
    let position = Position {
        index,
        epoch: Epoch(1),
        digest: index * 7,
    };
    Record {
        position,
        bytes: Bytes::from(vec![0; 700]),
    }
}

/// A disk with a snapshot at 10 and a log behind it, everything synced and nothing after it, as a power cut leaves it.
fn disk_with_a_state(switches: Switches) -> (Simulated, u64) {
    let disk = Simulated::new(1);
    let mut state = begin(&volume(&disk, small(switches)));
    for index in 1..=30 {
        state.append(&[record(index)]).expect("the disk works");
        state.sync().expect("the disk works");
        if index == 10 {
            let mut snapshot = state.write_snapshot(state.end()).expect("the disk works");
            snapshot.write(&[9; 2_000]).expect("the disk works");
            let finished = snapshot.finish().expect("the disk works");
            state.install(finished).expect("the disk works");
        }
    }
    disk.cut_power();
    (disk, 30)
}

/// Flips bits all over the disk; what is accepted although entries are missing.
fn flips_that_lose(switches: Switches) -> usize {
    let (disk, durable) = disk_with_a_state(switches);
    let mut losing = 0;
    for path in disk.files() {
        let bits = disk.length(&path).expect("it is listed") * 8;
        for bit in (0..bits).step_by(61) {
            let copy = disk.copy(2);
            copy.flip(&path, bit).expect("it is listed");
            let found = volume(&copy, small(switches))
                .find(SHARD)
                .expect("the disk works");
            match found {
                Found::State(state) => losing += usize::from(state.end().index != durable),
                Found::Unusable(unusable) => assert!(
                    matches!(
                        unusable.reason,
                        Reason::Damaged { .. } | Reason::Newer(_) | Reason::UnknownKey(_)
                    ),
                    "{unusable}"
                ),
                Found::Nothing => panic!("a flipped bit hides the state"),
            }
        }
    }
    losing
}

/// A bit that flips at the very end must not let acknowledged entries vanish as a torn end would.
#[test]
fn a_flipped_bit_is_found_or_harmless() {
    assert_eq!(flips_that_lose(Switches::default()), 0);
}

/// Otherwise the test above shows nothing.
#[test]
fn a_flipped_bit_is_found_because_damage_is_told_from_a_torn_end() {
    assert_ne!(flips_that_lose(Switches::without(Rule::TellDamage)), 0);
}

/// Sectors of zeros look as if they had not been written; what follows, or the mark, knows better.
#[test]
fn sectors_that_vanish_below_the_last_frame_are_damage() {
    let (disk, _) = disk_with_a_state(Switches::default());
    let mut state = match volume(&disk, small(Switches::default())).find(SHARD) {
        Ok(Found::State(state)) => *state,
        other => panic!("{other:?}"),
    };
    state.append(&[record(31)]).expect("the disk works");
    state.sync().expect("the disk works");
    state.mark().expect("the disk works");
    drop(state);
    let newest = disk.files().into_iter().rfind(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("log-"))
    });
    let newest = newest.expect("there is a log");
    disk.zero(&newest, 4096, 4096).expect("it is listed");
    disk.kill();
    let found = volume(&disk, small(Switches::default()))
        .find(SHARD)
        .expect("the disk works");
    let Found::Unusable(unusable) = found else {
        panic!("entry 31 was durable: {found:?}");
    };
    assert!(
        matches!(unusable.reason, Reason::Damaged { .. }),
        "{unusable}"
    );
}

/// After a clean stop nothing is torn, so that even a file that was cut at a frame's end is found.
#[test]
fn a_cut_file_is_found_after_a_clean_stop() {
    let disk = Simulated::new(1);
    let mut state = begin(&volume(&disk, small(Switches::default())));
    state.append(&[record(1)]).expect("the disk works");
    state.sync().expect("the disk works");
    state.append(&[record(2)]).expect("the disk works");
    state.close_in_order().expect("the disk works");
    disk.kill();
    let log = Path::new("/data/1/1/log-0000000000000001");
    disk.shorten(log, 2 * 4096).expect("it is there");
    let found = volume(&disk, small(Switches::default()))
        .find(SHARD)
        .expect("the disk works");
    assert!(matches!(found, Found::Unusable(_)), "{found:?}");
}

/// Neither is it after a quiet while: whoever then dies without a word must not come back with less.
#[test]
fn a_cut_file_is_found_after_a_quiet_while() {
    let disk = Simulated::new(2);
    let mut state = begin(&volume(&disk, small(Switches::default())));
    for index in 1..=3 {
        state.append(&[record(index)]).expect("the disk works");
        state.sync().expect("the disk works");
    }
    state.mark().expect("the disk works");
    drop(state);
    disk.kill();
    let path = Path::new("/data/1/1/log-0000000000000001");
    let length = disk.length(path).expect("it is there");
    for frames in 1..=3 {
        let disk = disk.copy(frames);
        // The mark is a frame of its own.
        let left = length - (frames + 1) * 4_096;
        disk.shorten(path, left).expect("it is there");
        let found = volume(&disk, small(Switches::default())).find(SHARD);
        let found = found.expect("the disk works");
        assert!(matches!(found, Found::Unusable(_)), "{frames}: {found:?}");
    }
}

/// A failed sync may be followed by one that succeeds and keeps nothing: so it is never asked for again, not even by the next
/// process, which would read what only looks written.
#[test]
fn a_failed_sync_ends_the_state_for_good() {
    let disk = Simulated::new(1);
    let mut state = begin(&volume(&disk, small(Switches::default())));
    state.append(&[record(1)]).expect("the disk works");
    state.sync().expect("the disk works");
    state.append(&[record(2)]).expect("the disk works");
    disk.fail_sync_in(1);
    let failure = state.sync().expect_err("the sync fails");
    assert_eq!(failure.kind, FailureKind::Sync);
    let before = disk.syncs();
    state.sync().expect_err("it has failed");
    state.append(&[record(3)]).expect_err("it has failed");
    assert_eq!(disk.syncs(), before);
    disk.kill();
    let found = volume(&disk, small(Switches::default()))
        .find(SHARD)
        .expect("the disk works");
    let Found::Unusable(unusable) = found else {
        panic!("what was not kept is believed: {found:?}");
    };
    assert!(matches!(unusable.reason, Reason::Failed), "{unusable}");
}

/// Otherwise the test above shows nothing: a second sync succeeds, and what it calls durable is gone.
#[test]
fn a_sync_that_is_tried_again_keeps_nothing() {
    let loses = |seed| {
        let disk = Simulated::new(seed);
        let options = || small(Switches::without(Rule::FailedSyncIsFinal));
        let mut state = begin(&volume(&disk, options()));
        state.append(&[record(1)]).expect("the disk works");
        disk.fail_sync_in(1);
        state.sync().expect_err("the sync fails");
        let durable = state.sync().expect("the second succeeds");
        disk.cut_power();
        match volume(&disk, options())
            .find(SHARD)
            .expect("the disk works")
        {
            Found::State(state) => state.end().index < durable,
            _ => false,
        }
    };
    assert!((0..100).any(loses));
}

/// A full disk ends the role of the replica, and takes nothing with it that was durable.
#[test]
fn what_was_durable_survives_a_full_disk() {
    for by_limit in [false, true] {
        let disk = Simulated::new(1);
        let mut options = small(Switches::default());
        if by_limit {
            options.bytes_max = Some(60_000);
        } else {
            disk.set_capacity(60_000);
        }
        let mut state = begin(&volume(&disk, options));
        let mut durable = 0;
        let failure = loop {
            let next = state
                .append(&[record(durable + 1)])
                .and_then(|()| state.sync());
            match next {
                Ok(through) => durable = through,
                Err(failure) => break failure,
            }
        };
        let expected = if by_limit {
            FailureKind::Limit
        } else {
            FailureKind::NoSpace
        };
        assert_eq!(failure.kind, expected);
        disk.cut_power();
        disk.set_capacity(u64::MAX);
        let found = volume(&disk, small(Switches::default()))
            .find(SHARD)
            .expect("the disk works");
        let Found::State(state) = found else {
            panic!("{found:?}");
        };
        assert!(state.end().index >= durable && durable > 5);
    }
}

/// What lies behind a snapshot would fill a small disk, being a part of a segment that is not whole yet.
#[test]
fn a_log_behind_snapshots_never_fills_what_little_room_there_is() {
    let mut options = Options::new(keys(1, &[]));
    options.bytes_max = Some(100_000);
    let mut state = begin(&volume(&Simulated::new(1), options));
    for index in 1..=200 {
        state.append(&[record(index)]).expect("there is room");
        state.sync().expect("the disk works");
        if index % 5 == 0 {
            let finished = state
                .write_snapshot(state.end())
                .and_then(|snapshot| snapshot.finish());
            state
                .install(finished.expect("there is room"))
                .expect("the disk works");
        }
    }
}

/// What was written with an older key is read while that is given, and told of until nothing is left of it.
#[test]
fn keys_rotate_while_a_state_is_used() {
    let disk = Simulated::new(1);
    let opened = volume(&disk, small(Switches::default()));
    let mut state = begin(&opened);
    state.append(&[record(1)]).expect("the disk works");
    opened.rotate(Key::read(&[2; 32]).expect("32 bytes"));
    assert!(opened.needs_older_key(&state));
    state.append(&[record(2)]).expect("the disk works");
    assert!(opened.needs_older_key(&state));
    let finished = state
        .write_snapshot(state.end())
        .and_then(|snapshot| snapshot.finish());
    state
        .install(finished.expect("the disk works"))
        .expect("the disk works");
    assert!(!opened.needs_older_key(&state));
    state.append(&[record(3)]).expect("the disk works");
    state.sync().expect("the disk works");
    drop((state, opened));
    let without = Options {
        keys: keys(3, &[]),
        ..small(Switches::default())
    };
    let found = volume(&disk, without).find(SHARD).expect("the disk works");
    assert!(
        matches!(&found, Found::Unusable(unusable) if unusable.reason.may_pass()),
        "{found:?}"
    );
    let with = Options {
        keys: keys(3, &[2]),
        ..small(Switches::default())
    };
    let found = volume(&disk, with).find(SHARD).expect("the disk works");
    assert!(
        matches!(&found, Found::State(state) if state.end().index == 3),
        "{found:?}"
    );
}

/// Whoever steals the disk must not read a payload; with encryption off it is no secret, and the format is the same.
#[test]
fn nothing_readable_is_on_the_disk() {
    let disk = Simulated::new(1);
    let mut state = begin(&volume(&disk, small(Switches::default())));
    let secret = b"nobody may read this, wherever it is written";
    let entry = Record {
        bytes: Bytes::from_static(secret),
        ..record(1)
    };
    state.append(&[entry]).expect("the disk works");
    state.sync().expect("the disk works");
    for path in disk.files() {
        let file = crate::disk::Disk::open(&disk, &path).expect("it is listed");
        let mut bytes = vec![0; disk.length(&path).expect("it is listed") as usize];
        file.read_at(&mut bytes, 0).expect("the disk works");
        assert!(
            !bytes.windows(16).any(|part| part == &secret[..16]),
            "{path:?}"
        );
    }
}

/// Without traffic no entry begins a new segment: a snapshot alone must free the older key, or it is needed for ever.
#[test]
fn a_snapshot_alone_frees_the_older_key() {
    let disk = Simulated::new(1);
    let opened = volume(&disk, small(Switches::default()));
    let mut state = begin(&opened);
    state.append(&[record(1)]).expect("the disk works");
    state.sync().expect("the disk works");
    let key = || Key::read(&[2; 32]).expect("32 bytes");
    let in_use = || crate::keys_in_use(&disk, Path::new("/data")).expect("the disk works");
    assert!(!in_use().contains_key(&key().id()));
    assert!(opened.rotate(key()) && !opened.rotate(key()));
    let snapshots = state.snapshots();
    assert!(snapshots.needs_older_key());
    let at = state.end();
    let mut snapshot = state.write_snapshot(at).expect("the disk works");
    snapshot.write(b"all of it").expect("the disk works");
    let finished = snapshot.finish().expect("the disk works");
    state.install(finished).expect("the disk works");
    assert!(!snapshots.needs_older_key());
    assert_eq!(in_use().into_iter().collect::<Vec<_>>(), [(key().id(), 1)]);
    drop((state, opened));
    let mut options = small(Switches::default());
    options.keys = Keys {
        current: key(),
        older: Vec::new(),
    };
    let Found::State(mut state) = volume(&disk, options).find(SHARD).expect("the disk works")
    else {
        panic!("it needs the older key");
    };
    assert_eq!(state.end(), at);
    state.append(&[record(2)]).expect("the disk works");
}

/// In Interval mode a power cut may have taken entries that were acknowledged; the end of a process alone takes none.
#[test]
fn what_may_lack_entries_says_so() {
    for (cut, expected) in [(true, true), (false, false)] {
        let disk = Simulated::new(1);
        let mut state = begin(&volume(&disk, small(Switches::default())));
        state.set_sync(Sync::Interval).expect("the disk works");
        state.append(&[record(1)]).expect("the disk works");
        drop(state);
        if cut {
            disk.cut_power()
        } else {
            disk.kill()
        }
        let found = volume(&disk, small(Switches::default()))
            .find(SHARD)
            .expect("the disk works");
        let Found::State(state) = found else {
            panic!("{found:?}");
        };
        assert_eq!(state.meta().may_lack, expected);
    }
}

/// After a reboot in order, the end of a process alone must not look like a power cut for ever after.
#[test]
fn the_end_of_a_process_takes_nothing_in_a_later_boot_either() {
    let disk = Simulated::new(1);
    let mut state = begin(&volume(&disk, small(Switches::default())));
    state.set_sync(Sync::Interval).expect("the disk works");
    state.append(&[record(1)]).expect("the disk works");
    state.close_in_order().expect("the disk works");
    disk.cut_power();
    for index in [2, 3] {
        let volume = volume(&disk, small(Switches::default()));
        let Found::State(mut state) = volume.find(SHARD).expect("the disk works") else {
            panic!("the state is gone");
        };
        assert!(!state.meta().may_lack, "before entry {index}");
        state.append(&[record(index)]).expect("the disk works");
        drop(state);
        disk.kill();
    }
}

/// A founder that goes on under a new generation begins a new state: when it dies on the way, the one before is all there is.
#[test]
fn a_state_that_was_never_complete_replaces_nothing() {
    let disk = Simulated::new(1);
    let before = volume(&disk, small(Switches::default()));
    let mut state = begin(&before);
    state.append(&[record(1)]).expect("the disk works");
    state.close_in_order().expect("the disk works");
    let identity = Identity {
        generation: Generation(2),
        replica: ReplicaId(9),
        feature_level: 1,
    };
    let begun = before.begin(SHARD, identity, Position::default(), Sync::Always);
    drop((begun.expect("the disk works"), before));
    let after = volume(&disk, small(Switches::default()));
    let Found::State(state) = after.find(SHARD).expect("the disk works") else {
        panic!("the state is gone");
    };
    assert_eq!(state.end().index, 1);
    // What is removed as kept aside is not what counts.
    after.remove_asides(SHARD).expect("the disk works");
    assert_eq!(after.shards().expect("the disk works"), [SHARD]);
    assert!(matches!(after.find(SHARD), Ok(Found::State(_))));
}
