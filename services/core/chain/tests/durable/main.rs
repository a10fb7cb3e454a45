//! When an entry counts because it is on disk, and how a chain goes on from there `[C-61]` to `[C-64]`.

mod pieces;
mod snapshots;
mod tally;
mod wanted;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use catena_chain::{
    Beginning, Checkpoint, CommandId, Configuration, Entry, Epoch, Generation, Incarnation, Input,
    Keep, Kept, Member, NotKept, Now, Options, Output, Replica, ReplicaId, StoreId,
    message::{Alarm, ConnectionId, FromOrigin, Lane, Message, News, ToOrigin},
};
use catena_link::Batch;
use catena_slots::ShardId;
use snapshots::Snapshots;
use tally::Tally;

const SHARD: ShardId = ShardId(0);
const HEAD: usize = 0;
const TAIL: usize = 1;

fn member(number: usize) -> Member {
    Member {
        id: ReplicaId(number as u64 + 1),
        incarnation: Incarnation(number as u64 + 101),
    }
}

type Entries = Vec<(Arc<Entry<Tally>>, u64)>;

/// What one replica's disk was given.
#[derive(Default)]
struct Disk {
    store: StoreId,
    began: Vec<String>,
    entries: Entries,
    checkpoint: Option<(catena_chain::Position, Vec<u8>)>,
}

/// Replicas whose messages arrive at once, and whose disks do what a test says.
struct Chain {
    replicas: Vec<Replica<Tally>>,
    disks: Vec<Disk>,
    now: Now,
    commanded: Vec<(u64, bool)>,
    answers: BTreeMap<ConnectionId, Vec<u64>>,
    reports: Vec<(usize, News)>,
    alarms: Vec<(usize, Alarm)>,
    snapshots: Vec<Snapshots>,
    /// Messages to this one are lost.
    cut: Option<usize>,
    /// What predecessors say of entries is lost.
    lose_appends: bool,
}

impl Chain {
    fn new(keeps: &[bool]) -> Chain {
        Chain::with(Options::default(), keeps)
    }

    fn with(options: Options, keeps: &[bool]) -> Chain {
        let replica = |(number, keeps): (usize, &bool)| {
            let options = Options {
                keeps: *keeps,
                ..options
            };
            Replica::new(SHARD, member(number).incarnation, options)
        };
        Chain {
            replicas: keeps.iter().enumerate().map(replica).collect(),
            disks: keeps.iter().map(|_| Disk::default()).collect(),
            now: Now {
                monotonic: 1,
                wall: 1_000_000,
            },
            commanded: Vec::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            alarms: Vec::new(),
            snapshots: keeps.iter().map(|_| Snapshots::default()).collect(),
            cut: None,
            lose_appends: false,
        }
    }

    /// A chain of all of them, each of which joined behind the one before, with everything durable.
    fn whole(keeps: &[bool]) -> Chain {
        let mut chain = Chain::new(keeps);
        let mut configuration = chain.founded();
        chain.tell(&configuration);
        chain.sync(HEAD);
        for number in 1..keeps.len() {
            configuration.epoch = configuration.epoch.next();
            configuration.learner = Some(member(number));
            configuration.joined = configuration.epoch;
            chain.tell(&configuration);
            chain.sync(number);
            configuration.epoch = configuration.epoch.next();
            configuration.chain.extend(configuration.learner.take());
            chain.tell(&configuration);
        }
        chain
    }

    fn founded(&self) -> Configuration {
        Configuration::founded(SHARD, Epoch(1), Generation(1), member(0))
    }

    /// With the second replica as its learner.
    fn joined(&self, mut configuration: Configuration) -> Configuration {
        configuration.epoch = configuration.epoch.next();
        configuration.learner = Some(member(TAIL));
        configuration.joined = configuration.epoch;
        configuration
    }

    /// With its learner as the tail.
    fn promoted(&self, mut configuration: Configuration) -> Configuration {
        configuration.epoch = configuration.epoch.next();
        configuration.chain.extend(configuration.learner.take());
        configuration
    }

    fn tell(&mut self, configuration: &Configuration) {
        for number in 0..self.replicas.len() {
            self.step(number, Input::Configuration(configuration.clone()));
        }
    }

    fn step(&mut self, number: usize, input: Input<Tally>) {
        let mut queue = VecDeque::from([(number, input)]);
        while let Some((number, input)) = queue.pop_front().or_else(|| self.made()) {
            self.now.monotonic += 1;
            let mut outputs = Vec::new();
            self.replicas[number].step(self.now, input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Send { to, envelope } => {
                        let to = (to.incarnation.0 - 101) as usize;
                        let is_append = matches!(envelope.message, Message::Append { .. });
                        if self.cut != Some(to) && !(self.lose_appends && is_append) {
                            queue.push_back((to, Input::Message(envelope)));
                        }
                    }
                    Output::Keep(keep) => self.keep(number, keep),
                    Output::Commanded { id, outcome } => {
                        self.commanded.push((id.0, outcome == Ok(true)));
                    }
                    Output::Owed { connection } => {
                        while let Some(message) = self.replicas[number].owed(connection) {
                            if let ToOrigin::Effects { effects, .. } = message {
                                self.answers.entry(connection).or_default().extend(effects);
                            }
                        }
                    }
                    Output::Encode(encoding) => self.snapshots[number].encode(encoding),
                    Output::Decode(decoding) => self.snapshots[number].decode(decoding),
                    Output::Arrived { nonce, piece } => {
                        let input = self.snapshots[number].arrived(nonce, piece);
                        queue.extend(input.map(|input| (number, input)));
                    }
                    Output::Alarm(alarm) => self.alarms.push((number, alarm)),
                    Output::Report(report) => self.reports.push((number, report.news)),
                    _ => {}
                }
            }
        }
    }

    /// When all else is done, the next piece of a snapshot.
    fn made(&mut self) -> Option<(usize, Input<Tally>)> {
        let both = self.replicas.iter().zip(&mut self.snapshots);
        let made = both.map(|(replica, snapshots)| snapshots.made(replica));
        made.enumerate()
            .find_map(|(number, input)| Some((number, input?)))
    }

    fn keep(&mut self, number: usize, keep: Keep<Tally>) {
        let disk = &mut self.disks[number];
        match keep {
            Keep::Begin {
                store,
                checkpoint,
                is_beside,
                ..
            } => {
                disk.store = store;
                let how = if is_beside { "begin beside" } else { "begin" };
                disk.began.push(how.to_owned());
                disk.entries.clear();
                disk.checkpoint = checkpoint.map(|kept| (kept.end(), bytes_of(kept)));
            }
            Keep::Rename { store, replica, .. } => {
                disk.store = store;
                disk.began.push(format!("rename to {}", replica.0));
            }
            Keep::Append { store, entries } => {
                assert_eq!(store, disk.store);
                disk.entries.extend(entries);
            }
            Keep::Complete { store } => {
                assert_eq!(store, disk.store);
                disk.began.push("complete".to_owned());
            }
            Keep::Forget { store } => {
                disk.store = store;
                disk.began.push("forget".to_owned());
            }
            Keep::End { store } => {
                assert_eq!(store, disk.store);
                disk.began.push("end".to_owned());
            }
        }
    }

    /// Everything that a disk was given is durable.
    fn sync(&mut self, number: usize) {
        let disk = &self.disks[number];
        let base = disk.checkpoint.as_ref().map_or(0, |(end, _)| end.index);
        let through = disk.entries.last().map_or(base, |(entry, _)| entry.index);
        let store = disk.store;
        self.step(number, Input::Durable { store, through });
    }

    fn command(&mut self, id: u64) {
        let input = Input::Command {
            id: CommandId(id),
            command: id,
        };
        self.step(HEAD, input);
    }

    /// The commands that were committed.
    fn done(&self) -> Vec<u64> {
        self.commanded
            .iter()
            .filter(|(_, done)| *done)
            .map(|(id, _)| *id)
            .collect()
    }

    fn commit(&self, number: usize) -> u64 {
        self.replicas[number]
            .status()
            .map_or(0, |status| status.commit)
    }

    fn tick(&mut self, micros: u64) {
        self.now.monotonic += micros;
        for number in 0..self.replicas.len() {
            self.step(number, Input::Tick);
        }
    }
}

// Acknowledged before it is on disk, an op is lost with the power [C-62].
#[test]
fn one_replica_alone_commits_what_its_disk_has() {
    let mut chain = Chain::whole(&[true]);
    chain.command(1);
    assert_eq!(chain.done(), []);
    chain.sync(HEAD);
    assert_eq!(chain.done(), [1]);
}

// The head's disk may be the only one that is left after a power cut [C-62].
#[test]
fn a_tail_commits_what_every_disk_above_has_too() {
    let mut chain = Chain::whole(&[true, true, true]);
    chain.command(1);
    chain.sync(2);
    chain.sync(1);
    assert_eq!(chain.done(), [], "the head's disk does not have it");
    chain.sync(0);
    assert_eq!(chain.done(), [1]);
    chain.command(2);
    chain.sync(0);
    chain.sync(1);
    assert_eq!(chain.done(), [1], "the tail's own does not");
    chain.sync(2);
    assert_eq!(chain.done(), [1, 2]);
}

// Said while the stream was broken, it would be missed for ever, and the chain would stand still [C-62].
#[test]
fn how_far_all_above_have_it_is_told_again_after_a_break() {
    let mut chain = Chain::whole(&[true, true]);
    chain.command(1);
    chain.sync(TAIL);
    chain.cut = Some(TAIL);
    chain.sync(HEAD);
    assert_eq!(chain.done(), []);
    chain.cut = None;
    chain.step(TAIL, Input::Reconnected(member(0)));
    assert_eq!(chain.done(), [1]);
}

// Whoever keeps nothing, among others who do: what it commits must be on their disks all the same.
#[test]
fn a_tail_without_a_disk_waits_for_the_disks_above() {
    let mut chain = Chain::whole(&[true, false]);
    chain.command(1);
    assert_eq!(chain.done(), []);
    chain.sync(HEAD);
    assert_eq!(chain.done(), [1]);
}

#[test]
fn where_nothing_is_kept_nothing_is_waited_for() {
    let mut chain = Chain::whole(&[false, false]);
    chain.command(1);
    assert_eq!(chain.done(), [1]);
    assert!(chain.disks.iter().all(|disk| disk.began.is_empty()));
}

// Promoted with less on disk than the others have acknowledged, it would be one of the chain that lacks something [C-61] [C-62].
#[test]
fn a_learner_is_reported_when_its_disk_has_what_was_committed() {
    let mut chain = Chain::new(&[true, true]);
    let mut configuration = Configuration::founded(SHARD, Epoch(1), Generation(1), member(0));
    chain.tell(&configuration);
    chain.sync(HEAD);
    chain.command(1);
    chain.sync(HEAD);
    configuration.epoch = Epoch(2);
    configuration.learner = Some(member(1));
    configuration.joined = Epoch(2);
    chain.tell(&configuration);
    assert_eq!(chain.disks[TAIL].began, ["begin"]);
    assert!(chain.replicas[TAIL].machine().is_some());
    let is_synced = |chain: &Chain| {
        let learner = member(1).id;
        chain
            .reports
            .contains(&(HEAD, News::LearnerSynced { learner }))
    };
    chain.tick(2_000_000);
    assert!(!is_synced(&chain), "only its memory has it");
    chain.sync(TAIL);
    chain.tick(2_000_000);
    assert!(is_synced(&chain));
    // From here on nothing is committed without its disk.
    chain.command(2);
    chain.sync(HEAD);
    assert_eq!(chain.done(), [1]);
    chain.sync(TAIL);
    assert_eq!(chain.done(), [1, 2]);
}

// A snapshot is of what the tail had applied. Taken for committed, it would be answered before any disk above has it.
#[test]
fn what_a_snapshot_holds_is_committed_when_it_is_durable_above() {
    let mut chain = Chain::new(&[true, true]);
    let mut configuration = Configuration::founded(SHARD, Epoch(1), Generation(1), member(0));
    chain.tell(&configuration);
    chain.sync(HEAD);
    chain.command(1);
    configuration.epoch = Epoch(2);
    configuration.learner = Some(member(1));
    configuration.joined = Epoch(2);
    chain.tell(&configuration);
    chain.sync(TAIL);
    configuration.epoch = Epoch(3);
    configuration.chain.extend(configuration.learner.take());
    chain.tell(&configuration);
    assert_eq!((chain.done(), chain.commit(TAIL)), (vec![], 0));
    chain.sync(HEAD);
    assert_eq!((chain.done(), chain.commit(TAIL)), (vec![1], 1));
}

fn open(chain: &mut Chain, number: usize, connection: u64, lane: Lane) {
    let configuration = chain.replicas[number].configuration().unwrap().clone();
    let message = FromOrigin::Open {
        origin: 7,
        lane,
        replica: member(number).id,
        epoch: configuration.epoch,
        generation: configuration.generation,
        first_uncommitted: 1,
        effects_through: 0,
    };
    let connection = ConnectionId(connection);
    chain.step(
        number,
        Input::FromOrigin {
            connection,
            message,
        },
    );
}

fn ops(chain: &mut Chain, connection: u64, first: u64, ops: Vec<u64>) {
    let message = FromOrigin::Ops {
        generation: Generation(1),
        acked_through: 0,
        batch: Arc::new(Batch { first, ops }),
    };
    let connection = ConnectionId(connection);
    chain.step(
        HEAD,
        Input::FromOrigin {
            connection,
            message,
        },
    );
}

// A new tail has applied what is not durable yet: answers to that must wait, and none may be missing after [C-23] [C-62].
#[test]
fn a_new_tail_answers_nothing_before_it_is_durable_and_everything_after() {
    let mut chain = Chain::whole(&[true, true]);
    open(&mut chain, HEAD, 1, Lane::Ops);
    ops(&mut chain, 1, 1, vec![11]);
    let mut configuration = chain.replicas[HEAD].configuration().unwrap().clone();
    configuration.epoch = configuration.epoch.next();
    configuration.chain.truncate(1);
    chain.tell(&configuration);
    open(&mut chain, HEAD, 2, Lane::Effects);
    ops(&mut chain, 1, 2, vec![12]);
    assert_eq!(chain.answers.get(&ConnectionId(2)), None);
    chain.sync(HEAD);
    assert_eq!(chain.answers[&ConnectionId(2)], [11, 12]);
}

// What is told of a store that was left counts for nothing: its replica is dead [C-3].
#[test]
fn news_of_an_earlier_store_are_not_taken() {
    let mut chain = Chain::whole(&[true]);
    let before = chain.disks[HEAD].store;
    let mut configuration = chain.replicas[HEAD].configuration().unwrap().clone();
    configuration.epoch = Epoch(5);
    configuration.generation = Generation(2);
    configuration.chain[0].id = ReplicaId(5);
    configuration.founder = ReplicaId(5);
    chain.tell(&configuration);
    assert_eq!(chain.disks[HEAD].began, ["begin", "end", "begin"]);
    chain.command(1);
    chain.step(
        HEAD,
        Input::Durable {
            store: before,
            through: 99,
        },
    );
    assert_eq!(chain.done(), []);
    chain.sync(HEAD);
    assert_eq!(chain.done(), [1]);
}

fn bytes_of(checkpoint: Checkpoint<Tally>) -> Vec<u8> {
    let mut bytes = Vec::new();
    checkpoint.write(&mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    bytes
}

/// What a replica finds on the disk of one that was `replica`.
fn kept(disk: &Disk, replica: ReplicaId) -> Result<Kept<Tally>, NotKept> {
    let mut kept = match &disk.checkpoint {
        Some((end, bytes)) => {
            // In two pieces, which are not those that were written.
            let (first, second) = bytes.split_at(bytes.len() / 2 + 4);
            let mut pieces = [first.to_vec(), second.to_vec()].into_iter();
            let is = (Generation(1), replica);
            Kept::read(is, *end, &mut || pieces.next(), &mut |_| ())?
        }
        None => Kept::empty(SHARD, Generation(1), replica),
    };
    for (entry, digest) in &disk.entries {
        kept.replay(entry, *digest)?;
    }
    Ok(kept)
}

fn from_disk(source: ReplicaId) -> Configuration {
    let founder = Member {
        id: ReplicaId(50),
        incarnation: Incarnation(101),
    };
    Configuration {
        began: Beginning::Disk(source),
        ..Configuration::founded(SHARD, Epoch(50), Generation(1), founder)
    }
}

// After a power cut of everything: what was committed is there, and nothing counts before the disk has the new name [C-63].
#[test]
fn a_founder_goes_on_from_its_disk() {
    let mut before = Chain::whole(&[true, true]);
    before.command(1);
    before.command(2);
    before.sync(HEAD);
    before.sync(TAIL);
    assert_eq!(before.done(), [1, 2]);
    // The head's disk has it from the first entry on, the tail's from a snapshot.
    for number in [HEAD, TAIL] {
        let disk = &before.disks[number];
        let source = member(number).id;
        let mut chain = Chain::new(&[true]);
        chain.replicas[HEAD].keep(kept(disk, source).unwrap());
        chain.tell(&from_disk(source));
        assert_eq!(chain.disks[HEAD].began, ["rename to 50"]);
        let machine = chain.replicas[HEAD].machine().unwrap();
        assert_eq!(machine.applied, [1, 2]);
        let end = chain.replicas[HEAD].status().unwrap().end;
        assert_eq!(end, before.replicas[number].status().unwrap().end);
        assert_eq!(chain.commit(HEAD), end.index);
        chain.command(3);
        assert_eq!(chain.done(), []);
        chain.sync(HEAD);
        assert_eq!(chain.done(), [3]);
    }
}

// Whoever was acknowledged what the disk lacks must hear of it, and what the disk holds must not be lost on the way: it is a new
// state, whose log begins here [C-64].
#[test]
fn a_founder_whose_disk_may_lack_something_begins_a_state_of_the_next_generation() {
    let mut before = Chain::whole(&[true]);
    before.command(1);
    before.command(2);
    before.sync(HEAD);
    let source = member(0).id;
    let mut chain = Chain::new(&[true]);
    chain.replicas[HEAD].keep(kept(&before.disks[HEAD], source).unwrap());
    let configuration = Configuration {
        generation: Generation(2),
        ..from_disk(source)
    };
    chain.tell(&configuration);
    let end = before.replicas[HEAD].status().unwrap().end;
    assert_eq!(chain.disks[HEAD].checkpoint.as_ref().unwrap().0, end);
    let machine = chain.replicas[HEAD].machine().unwrap();
    assert_eq!((&*machine.applied, machine.lives), (&[1, 2][..], 2));
    chain.command(3);
    assert_eq!(chain.done(), []);
    chain.sync(HEAD);
    assert_eq!(chain.done(), [3]);
    // A generation that is lower than that of the disk is none to go on as.
    let mut chain = Chain::new(&[true]);
    chain.replicas[HEAD].keep(kept(&before.disks[HEAD], source).unwrap());
    let configuration = Configuration {
        generation: Generation(0),
        ..from_disk(source)
    };
    chain.tell(&configuration);
    assert!(chain.replicas[HEAD].machine().is_none());
}

// The disk of an earlier chain lacks what was committed since: whoever has only that may not found anything [C-63].
#[test]
fn another_replicas_state_is_not_gone_on_from() {
    let before = Chain::whole(&[true]);
    let mut chain = Chain::new(&[true]);
    let found = kept(&before.disks[HEAD], member(0).id).unwrap();
    chain.replicas[HEAD].keep(found);
    chain.tell(&from_disk(ReplicaId(9)));
    assert!(chain.replicas[HEAD].machine().is_none());
    chain.tick(2_000_000);
    assert!(chain.reports.contains(&(HEAD, News::Stateless)));
}

// Shard time that went back would expire nothing for as long as the power was away, and fire timers twice [C-53].
#[test]
fn time_goes_on_at_the_later_of_the_last_stamp_and_the_wall_clock() {
    let mut before = Chain::whole(&[true]);
    before.command(1);
    let last = before.disks[HEAD].entries.last().unwrap().0.at;
    for (wall, is_later) in [(5_000_000_000, true), (0, false)] {
        let mut chain = Chain::new(&[true]);
        chain.now.wall = wall;
        chain.replicas[HEAD].keep(kept(&before.disks[HEAD], member(0).id).unwrap());
        chain.tell(&from_disk(member(0).id));
        chain.command(2);
        let at = chain.disks[HEAD].entries[0].0.at;
        assert!(at >= last);
        assert_eq!(at.0 >= wall / 1_000 && wall > 0, is_later);
    }
}

// A log that does not come to what it came to when it was written is damaged, or of another version: it must not be served.
#[test]
fn a_log_with_a_gap_or_another_outcome_is_refused() {
    let mut before = Chain::whole(&[true]);
    before.command(1);
    before.command(2);
    let disk = &mut before.disks[HEAD];
    let removed = disk.entries.remove(0);
    assert_eq!(kept(disk, member(0).id).unwrap_err(), NotKept::Gap(2));
    disk.entries.insert(0, (removed.0, removed.1 ^ 1));
    assert_eq!(kept(disk, member(0).id).unwrap_err(), NotKept::Differs(1));
}

// Acknowledging what a failed disk was given would lose it; going away silently would stop the chain [C-64].
#[test]
fn a_replica_whose_disk_failed_commits_nothing_more_and_says_so() {
    let mut chain = Chain::whole(&[true, true]);
    chain.command(1);
    let store = chain.disks[HEAD].store;
    chain.step(HEAD, Input::DiskFailed { store });
    chain.sync(HEAD);
    chain.sync(TAIL);
    assert_eq!(chain.done(), []);
    chain.tick(2_000_000);
    assert!(chain.reports.contains(&(HEAD, News::DiskFailed)));
    // Without it the other goes on: nothing is lost.
    let mut configuration = chain.replicas[TAIL].configuration().unwrap().clone();
    configuration.epoch = configuration.epoch.next();
    configuration.chain.remove(0);
    chain.step(TAIL, Input::Configuration(configuration));
    assert_eq!(chain.commit(TAIL), 1);
}
