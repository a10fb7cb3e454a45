//! Random work on one shard's state, with the power cut or the process killed at any step, from one seed.
//!
//! The model knows what was written, and what was told durable. After each crash: all that was told durable is there, and
//! nothing that was not written.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use catena_chain::{Epoch, Generation, Position, ReplicaId};
use catena_slots::ShardId;

use crate::{
    Failure, Finished, Found, Identity, Key, Keys, Options, Record, Rule, State, Status, Switches,
    Sync, Volume, simulated::Simulated,
};

const SHARD: ShardId = ShardId(7);
const SEEDS: u64 = 400;
const CRASHES: u64 = 6;

struct World {
    disk: Simulated,
    random: fastrand::Rng,
    switches: Switches,
    /// What was written, by index, of the state that counts.
    written: BTreeMap<u64, Record>,
    /// What the log began after.
    base: Position,
    durable: u64,
    /// The index of the snapshot that was told to count, and of one that may.
    snapshot: Option<u64>,
    tried: Option<u64>,
    replica: u64,
    /// A state was begun, and nobody heard whether.
    is_beginning: bool,
    failed_sync: bool,
}

impl World {
    fn new(seed: u64, switches: Switches) -> World {
        World {
            disk: Simulated::new(seed),
            random: fastrand::Rng::with_seed(seed ^ 0x5eed),
            switches,
            written: BTreeMap::new(),
            base: Position::default(),
            durable: 0,
            snapshot: None,
            tried: None,
            replica: 0,
            is_beginning: true,
            failed_sync: false,
        }
    }

    fn volume(&self) -> Option<Volume> {
        let keys = Keys {
            current: Key::read(&[7; 32]).expect("32 bytes"),
            older: Vec::new(),
        };
        let options = Options {
            segment_bytes: 24 * 1024,
            switches: self.switches,
            ..Options::new(keys)
        };
        Volume::open(Arc::new(self.disk.clone()), Path::new("/data"), options).ok()
    }

    fn begin(&mut self, volume: &Volume) -> Result<State, Failure> {
        self.replica += 1;
        self.is_beginning = true;
        let identity = Identity {
            generation: Generation(1),
            replica: ReplicaId(self.replica),
            feature_level: 1,
        };
        let mut state = volume.begin(SHARD, identity, Position::default(), Sync::Always)?;
        state.complete()?;
        self.written.clear();
        (self.base, self.durable) = (Position::default(), 0);
        (self.snapshot, self.tried) = (None, None);
        self.is_beginning = false;
        Ok(state)
    }

    fn records(&mut self, after: Position) -> Vec<Record> {
        let count = self.random.u64(1..6);
        let made = (after.index + 1..).take(count as usize).map(|index| {
            let length = match self.random.u32(..10) {
                0 => self.random.usize(..20_000),
                _ => self.random.usize(..600),
            };
            // Zeros are what is most easily taken for what was never written.
            let fill = if self.random.bool() {
                0
            } else {
                self.random.u8(..)
            };
            Record {
                position: Position {
                    index,
                    epoch: Epoch(self.replica),
                    digest: self.random.u64(..),
                },
                bytes: Bytes::from(vec![fill; length]),
            }
        });
        made.collect()
    }

    /// Works until something fails.
    fn work(&mut self, volume: &Volume, mut state: State) -> Result<(), Failure> {
        for _ in 0..self.random.u32(1..60) {
            match self.random.u32(..20) {
                0..=8 => {
                    let records = self.records(state.end());
                    let kept = records
                        .iter()
                        .map(|record| (record.position.index, record.clone()));
                    self.written.extend(kept);
                    state.append(&records)?;
                }
                9..=14 => self.durable = self.durable.max(self.sync(&mut state)?),
                15 => state.mark()?,
                16 | 17 => {
                    let at = state.end();
                    let mut snapshot = state.write_snapshot(at)?;
                    snapshot.write(&content(at.index))?;
                    let finished: Finished = snapshot.finish()?;
                    self.tried = Some(at.index);
                    state.install(finished)?;
                    (self.snapshot, self.durable) = (Some(at.index), at.index);
                }
                18 => {
                    drop(state);
                    state = self.begin(volume)?;
                }
                _ => volume
                    .remove_asides(SHARD)
                    .map_err(|error| Failure::io("remove", "/data", &error))?,
            }
        }
        if self.random.bool() {
            let end = state.end().index;
            state.close_in_order()?;
            self.durable = end;
        }
        Ok(())
    }

    fn sync(&mut self, state: &mut State) -> Result<u64, Failure> {
        match state.sync() {
            Err(failure) if self.failed_sync && !self.switches.keep(Rule::FailedSyncIsFinal) => {
                drop(failure);
                state.sync()
            }
            other => other,
        }
    }

    /// What is wrong after a start, if anything is.
    fn check(&mut self, volume: &Volume) -> Result<Option<State>, String> {
        let state = match volume.find(SHARD).map_err(|error| error.to_string())? {
            Found::Nothing if self.is_beginning => return Ok(None),
            Found::Nothing => return Err("the state is gone".into()),
            // A disk that failed has taken the state with it, and that was told.
            Found::Unusable(_) if self.failed_sync => return Ok(None),
            Found::Unusable(why) => return Err(why.to_string()),
            Found::State(state) => *state,
        };
        if self.is_beginning {
            return Ok(None);
        }
        if state.meta().replica.0 != self.replica {
            return Err("another replica's state counts".into());
        }
        if state.meta().status == Status::Joining {
            return Err("it is not complete any more".into());
        }
        if state.end().index < self.durable {
            let end = state.end().index;
            return Err(format!("{end} of {} durable entries", self.durable));
        }
        let at = state.snapshot().map(|at| at.index);
        if at != self.snapshot && at != self.tried {
            return Err(format!("snapshot {at:?}, not {:?}", self.snapshot));
        }
        if let Some(mut reader) = state.read_snapshot().map_err(|why| why.to_string())? {
            let mut read = Vec::new();
            while let Some(piece) = reader.read().map_err(|why| why.to_string())? {
                read.extend(piece);
            }
            if read != content(reader.position().index) {
                return Err("another snapshot".into());
            }
        }
        let mut next = None;
        let mut entries = state.entries();
        while let Some(records) = entries.read().map_err(|why| why.to_string())? {
            for record in records {
                let index = record.position.index;
                if next.is_some_and(|next| next != index)
                    || self.written.get(&index) != Some(&record)
                {
                    return Err(format!("entry {index} is not what was written"));
                }
                next = Some(index + 1);
            }
        }
        let last = next.map_or(at.unwrap_or(0), |next| next - 1);
        if last != state.end().index {
            return Err(format!("entries up to {last} of {}", state.end().index));
        }
        // What was found is durable from here on.
        self.durable = state.end().index;
        self.written.split_off(&(self.durable + 1));
        self.snapshot = at;
        Ok(Some(state))
    }

    /// One life after the other; what was lost, if anything was.
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..CRASHES {
            let Some(volume) = self.volume() else {
                return Err("the data directory does not open".into());
            };
            let found = self.check(&volume)?;
            if self.failed_sync {
                // What it kept is anybody's guess from here on.
                return Ok(());
            }
            match self.random.u32(..8) {
                0 => self.disk.fail_sync_in(self.random.u64(1..30)),
                1..=5 => self.disk.cut_power_in(self.random.u64(..120)),
                _ => {}
            }
            let begun = match found {
                Some(state) => Ok(state),
                None => self.begin(&volume),
            };
            let ended = begun.and_then(|state| self.work(&volume, state));
            self.failed_sync =
                matches!(&ended, Err(failure) if failure.reason.contains("did not take"));
            drop(volume);
            if self.random.u32(..4) == 0 && !self.disk.is_off() {
                self.disk.kill();
            } else {
                self.disk.cut_power();
            }
        }
        Ok(())
    }
}

fn content(index: u64) -> Vec<u8> {
    vec![index as u8; 3_000 + (index as usize * 37) % 5_000]
}

/// The first seed of which something is lost.
fn first_loss(switches: Switches, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let lost = World::new(seed, switches).run().err()?;
        Some((seed, lost))
    })
}

/// Whatever a crash leaves, nothing that was told durable may be missing, and nothing else may appear `[C-61]` `[C-64]`.
#[test]
fn nothing_durable_is_lost_in_a_crash() {
    let wanted = std::env::var("CATENA_DISK_SEEDS").ok();
    let seeds = wanted.and_then(|seeds| seeds.parse().ok());
    assert_eq!(
        first_loss(Switches::default(), seeds.unwrap_or(SEEDS)),
        None
    );
}

/// Each precaution is there because something is lost without it: otherwise the test above shows nothing.
#[test]
fn each_precaution_is_needed() {
    let rules = [
        Rule::SyncEntries,
        Rule::SyncNames,
        Rule::SyncMeta,
        Rule::SyncSnapshot,
        Rule::SyncFound,
        Rule::SyncSegment,
        Rule::CutBelowSnapshot,
    ];
    let needless: Vec<Rule> = rules
        .into_iter()
        .filter(|rule| first_loss(Switches::without(*rule), 2_000).is_none())
        .collect();
    assert_eq!(needless, []);
}
