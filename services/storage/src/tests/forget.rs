//! What is forgotten counts no more, whenever the power goes `[C-66]`.

use std::{path::Path, sync::Arc};

use catena_chain::{Generation, Position, ReplicaId};
use catena_slots::ShardId;

use crate::{
    Found, Identity, Keys, Options, Rule, State, Switches, Sync, Volume, simulated::Simulated,
};

const SHARD: ShardId = ShardId(1);
/// More operations than forgetting takes.
const STEPS: u64 = 40;
const SEEDS: u64 = 20;

fn volume(disk: &Simulated, switches: Switches) -> Volume {
    let options = Options {
        switches,
        ..Options::new(Keys::public())
    };
    Volume::open(Arc::new(disk.clone()), Path::new("/data"), options).expect("the disk works")
}

fn begin(volume: &Volume, replica: u64) -> State {
    let identity = Identity {
        generation: Generation(1),
        replica: ReplicaId(replica),
        feature_level: 1,
    };
    let begun = volume.begin(SHARD, identity, Position::default(), Sync::Always);
    let mut state = begun.expect("the disk works");
    state.complete().expect("the disk works");
    state
}

/// Whose state counts after the power went at that step of forgetting, if any, and whether all of it was done before.
fn after_a_cut(seed: u64, step: u64, switches: Switches) -> (Option<u64>, bool) {
    let disk = Simulated::new(seed);
    let before = volume(&disk, Switches::default());
    for replica in [1, 2, 3] {
        drop(begin(&before, replica));
    }
    drop(before);
    disk.cut_power();
    let forgets = volume(&disk, switches);
    disk.cut_power_in(step);
    let is_done = forgets.forget(SHARD).is_ok();
    disk.cut_power();
    let after = volume(&disk, Switches::default());
    let found = after.find(SHARD);
    let whose = match found.expect("the disk works") {
        Found::Nothing => {
            after.forget(SHARD).expect("the disk works");
            assert_eq!(
                after.shards().expect("the disk works"),
                [],
                "files are left"
            );
            None
        }
        Found::State(state) => Some(state.meta().replica.0),
        Found::Unusable(unusable) => panic!("seed {seed}, step {step}: {unusable}"),
    };
    (whose, is_done)
}

/// Whether anything is there that must not be, in any run.
fn is_found_out(switches: Switches) -> bool {
    let mut outcomes = [false; 2];
    let runs = (0..SEEDS).flat_map(|seed| (0..STEPS).map(move |step| (seed, step)));
    for (seed, step) in runs {
        let (whose, is_done) = after_a_cut(seed, step, switches);
        // One that was kept aside is of a chain of long ago, and lacks what was acknowledged since.
        if matches!(whose, Some(1 | 2)) || (is_done && whose.is_some()) {
            return true;
        }
        outcomes[usize::from(is_done)] = true;
    }
    assert_eq!(outcomes, [true; 2], "the power went before and after");
    false
}

#[test]
fn what_was_forgotten_is_gone_and_nothing_older_takes_its_place() {
    assert!(!is_found_out(Switches::default()));
    assert!(is_found_out(Switches::without(Rule::SyncNames)));
}

/// It may be turned on again at once, and takes no room before.
#[test]
fn a_state_may_begin_after_the_one_before_was_forgotten() {
    let disk = Simulated::new(1);
    let volume = volume(&disk, Switches::default());
    volume.forget(SHARD).expect("there is nothing");
    for replica in [1, 2] {
        drop(begin(&volume, replica));
    }
    volume.forget(SHARD).expect("the disk works");
    assert!(matches!(volume.find(SHARD), Ok(Found::Nothing)));
    assert_eq!(volume.shards().expect("the disk works"), []);
    assert_eq!(volume.figures().bytes_used, 0);
    drop(begin(&volume, 3));
    assert!(matches!(volume.find(SHARD), Ok(Found::State(_))));
}

/// What a crash leaves of a beginning counts for nothing, and must not stay for ever.
#[test]
fn what_is_left_of_a_beginning_goes() {
    let mut was_left = false;
    for seed in 0..SEEDS {
        for step in 0..STEPS {
            let disk = Simulated::new(seed);
            let before = volume(&disk, Switches::default());
            disk.cut_power_in(step);
            let identity = Identity {
                generation: Generation(1),
                replica: ReplicaId(1),
                feature_level: 1,
            };
            let begun = before.begin(SHARD, identity, Position::default(), Sync::Always);
            drop((begun, before));
            disk.cut_power();
            let after = volume(&disk, Switches::default());
            let is_nothing = matches!(after.find(SHARD), Ok(Found::Nothing));
            was_left |= is_nothing && !after.shards().expect("the disk works").is_empty();
            after.forget(SHARD).expect("the disk works");
            assert_eq!(after.shards().expect("the disk works"), []);
        }
    }
    assert!(was_left, "the power never went in between");
}
