//! Persistence is turned on and off while everything runs `[C-65]` `[C-66]`.

use catena_chain::{Epoch, Incarnation, Input, ReplicaId, message::News};

use crate::{Chain, HEAD, TAIL, from_disk, kept, member};

impl Chain {
    fn keeps(&mut self, number: usize, is_wanted: bool) {
        self.step(number, Input::Keeps { is_wanted });
    }

    /// What the disk was told last.
    fn told(&self, number: usize) -> &str {
        let last = self.disks[number].began.last();
        last.map_or("nothing", String::as_str)
    }

    /// The disk has done what it was told: nothing of the shard is on it any more.
    fn forgotten(&mut self, number: usize) {
        assert_eq!(self.told(number), "forget");
        let store = self.disks[number].store;
        self.step(number, Input::Forgotten { store });
    }

    fn fails(&mut self, number: usize) {
        let store = self.disks[number].store;
        self.step(number, Input::DiskFailed { store });
    }

    /// So many commands come while no disk gets on.
    fn commands(&mut self, ids: std::ops::RangeInclusive<u64>) {
        ids.for_each(|id| self.command(id));
    }
}

fn ids(through: u64) -> Vec<u64> {
    (1..=through).collect()
}

// A state that is large is written for minutes: were anybody to wait for that, all clients would stand still.
#[test]
fn what_is_turned_on_goes_on_while_its_snapshot_is_written() {
    let mut chain = Chain::whole(&[false, false]);
    chain.commands(1..=2);
    chain.keeps(HEAD, true);
    chain.keeps(TAIL, true);
    assert_eq!(chain.told(HEAD), "begin beside");
    chain.commands(3..=9);
    chain.tick(9_000_000);
    assert_eq!(chain.done(), ids(9));
}

// Entries go on being committed without the disk until all have heard that they have to wait. Did it count before it has those, it would
// be gone on from without what was acknowledged [C-65].
#[test]
fn a_disk_counts_once_it_has_what_was_committed_without_it() {
    for redundancy in [1, 2] {
        for number in 0..redundancy {
            let mut chain = Chain::whole(&[false, false][..redundancy]);
            chain.commands(1..=2);
            chain.keeps(number, true);
            // The snapshot is durable, and what came after it is not.
            chain.sync(number);
            assert_eq!(chain.told(number), "complete", "nothing is missing");
            let mut chain = Chain::whole(&[false, false][..redundancy]);
            chain.commands(1..=2);
            chain.keeps(number, true);
            chain.commands(3..=3);
            let snapshot = chain.disks[number].checkpoint.as_ref().unwrap().0.index;
            let store = chain.disks[number].store;
            let through = snapshot;
            chain.step(number, Input::Durable { store, through });
            assert_eq!(chain.done(), ids(3));
            assert_eq!(chain.told(number), "begin beside", "3 is not there");
            chain.command(4);
            assert_eq!(chain.done(), ids(3), "from here on it is waited for");
            let through = snapshot + 1;
            chain.step(number, Input::Durable { store, through });
            assert_eq!(chain.told(number), "complete");
            assert_eq!(chain.done(), ids(3));
            chain.sync(number);
            assert_eq!(chain.done(), ids(4));
            let found = kept(&chain.disks[number], member(number).id).unwrap();
            assert_eq!(found.machine().applied, ids(4));
        }
    }
}

// A disk that is slower than the clients would never come near: then the clients are as slow as the disk.
#[test]
fn a_disk_that_never_comes_near_is_waited_for_after_a_while() {
    let mut chain = Chain::whole(&[false]);
    chain.command(1);
    chain.keeps(HEAD, true);
    let snapshot = chain.disks[HEAD].checkpoint.as_ref().unwrap().0.index;
    chain.commands(2..=200);
    let store = chain.disks[HEAD].store;
    let through = snapshot;
    chain.step(HEAD, Input::Durable { store, through });
    chain.command(201);
    assert_eq!(chain.done(), ids(201), "200 entries are missing");
    chain.tick(4_000_000);
    chain.command(202);
    assert_eq!(chain.done(), ids(201));
    chain.sync(HEAD);
    assert_eq!((chain.done(), chain.told(HEAD)), (ids(202), "complete"));
}

// Committed while the disk still counts, and not on it, an entry would be lost by a start from that disk [C-66].
#[test]
fn nothing_is_committed_without_a_disk_before_it_has_forgotten() {
    for redundancy in [1, 2] {
        for number in 0..redundancy {
            let mut chain = Chain::whole(&[true, true][..redundancy]);
            chain.keeps(number, false);
            assert_eq!(chain.told(number), "forget");
            let other = 1 - number;
            chain.command(1);
            if redundancy == 2 {
                chain.sync(other);
            }
            assert_eq!(chain.done(), []);
            // Without another message, and without any tick.
            chain.forgotten(number);
            assert_eq!(chain.done(), ids(1), "{number} of {redundancy}");
            chain.command(2);
            assert_eq!(chain.done().len(), 3 - redundancy, "the other is on");
        }
    }
}

// Between on and off there is no moment in which an entry is neither on a disk that counts nor bound to none.
#[test]
fn it_may_be_turned_on_and_off_at_any_moment() {
    let mut chain = Chain::whole(&[false]);
    chain.command(1);
    // It never counted: nothing to wait for.
    chain.keeps(HEAD, true);
    chain.keeps(HEAD, false);
    assert_eq!(chain.told(HEAD), "forget");
    chain.command(2);
    assert_eq!(chain.done(), ids(2));
    let before = chain.disks[HEAD].store;
    chain.keeps(HEAD, true);
    assert_eq!(chain.told(HEAD), "begin beside");
    // News of the attempt before say nothing of this one.
    chain.step(HEAD, Input::Forgotten { store: before });
    chain.step(
        HEAD,
        Input::Durable {
            store: before,
            through: 99,
        },
    );
    assert_eq!(chain.told(HEAD), "begin beside");
    chain.sync(HEAD);
    assert_eq!(chain.told(HEAD), "complete");
    // Off, and on again before the disk has forgotten: it begins anew when it has.
    chain.keeps(HEAD, false);
    chain.keeps(HEAD, true);
    assert_eq!(chain.told(HEAD), "forget");
    chain.command(3);
    assert_eq!(chain.done(), ids(2));
    chain.forgotten(HEAD);
    assert_eq!((chain.done(), chain.told(HEAD)), (ids(3), "begin beside"));
    chain.sync(HEAD);
    chain.command(4);
    assert_eq!(chain.done(), ids(3));
    chain.sync(HEAD);
    assert_eq!(chain.done(), ids(4));
}

// A replica that left its chain because of a disk that nobody counts on, might be the last that has the state.
#[test]
fn a_disk_that_fails_before_it_counts_costs_nothing_and_is_tried_again() {
    let mut chain = Chain::whole(&[false]);
    chain.command(1);
    chain.keeps(HEAD, true);
    chain.fails(HEAD);
    assert_eq!(chain.told(HEAD), "end");
    chain.command(2);
    assert_eq!(chain.done(), ids(2));
    chain.tick(2_000_000);
    assert!(!chain.reports.contains(&(HEAD, News::DiskFailed)));
    assert_eq!(chain.told(HEAD), "end", "not again and again");
    chain.tick(60_000_000);
    assert_eq!(chain.told(HEAD), "begin beside");
    // While it is waited for it does not count either.
    chain.command(3);
    let through = chain.disks[HEAD].checkpoint.as_ref().unwrap().0.index;
    let store = chain.disks[HEAD].store;
    chain.step(HEAD, Input::Durable { store, through });
    chain.command(4);
    assert_eq!(chain.done(), ids(3));
    chain.fails(HEAD);
    assert_eq!(chain.done(), ids(4));
}

// A disk that does not forget counts, so nothing may be committed without it; but it is no reason to stand still for ever.
#[test]
fn a_disk_that_does_not_forget_is_asked_again() {
    let mut chain = Chain::whole(&[true]);
    chain.keeps(HEAD, false);
    chain.command(1);
    chain.fails(HEAD);
    chain.tick(2_000_000);
    assert!(chain.reports.contains(&(HEAD, News::DiskFailed)));
    assert_eq!(chain.disks[HEAD].began, ["begin", "forget"]);
    chain.tick(60_000_000);
    assert_eq!(chain.disks[HEAD].began, ["begin", "forget", "forget"]);
    assert_eq!(chain.done(), []);
    chain.forgotten(HEAD);
    assert_eq!(chain.done(), ids(1));
}

// Whoever has a full disk and nobody to take over has this way out.
#[test]
fn turned_off_a_replica_whose_disk_failed_goes_on() {
    let mut chain = Chain::whole(&[true]);
    chain.command(1);
    chain.fails(HEAD);
    chain.sync(HEAD);
    assert_eq!(chain.done(), []);
    chain.keeps(HEAD, false);
    chain.forgotten(HEAD);
    assert_eq!(chain.done(), ids(1));
}

// It was turned off while everything was down: what was acknowledged before must be there all the same, and the disk must not stay
// behind what is committed from then on.
#[test]
fn a_founder_from_disk_goes_on_without_it_once_it_has_forgotten() {
    let mut before = Chain::whole(&[true]);
    before.command(1);
    before.sync(HEAD);
    let source = member(0).id;
    let mut chain = Chain::new(&[false]);
    chain.replicas[HEAD].keep(kept(&before.disks[HEAD], source).unwrap());
    chain.tell(&from_disk(source));
    assert_eq!(chain.replicas[HEAD].machine().unwrap().applied, [1]);
    assert_eq!(chain.told(HEAD), "forget");
    chain.command(2);
    assert_eq!(chain.done(), []);
    chain.forgotten(HEAD);
    assert_eq!(chain.done(), [2]);
}

// What is of no use any more would be taken for something later, and fills the disk.
#[test]
fn whoever_begins_in_another_way_forgets_what_its_disk_held() {
    let before = Chain::whole(&[true]);
    let mut chain = Chain::new(&[false]);
    chain.replicas[HEAD].keep(kept(&before.disks[HEAD], member(0).id).unwrap());
    let mut configuration = from_disk(ReplicaId(9));
    configuration.began = catena_chain::Beginning::Empty;
    chain.tell(&configuration);
    assert_eq!(chain.told(HEAD), "forget");
    chain.command(1);
    assert_eq!(chain.done(), [1], "nobody waits for that");
}

// Of a node that has no part in the chain any more, files would stay for ever; and of one whose turn may still come they must not go.
#[test]
fn what_is_left_out_of_the_chain_is_forgotten_where_nothing_is_kept() {
    let before = Chain::whole(&[true]);
    let mut chain = Chain::new(&[false]);
    chain.replicas[HEAD].keep(kept(&before.disks[HEAD], member(0).id).unwrap());
    // Others live, and we are dead in that chain; or somebody is to go on from it.
    let mut configuration = chain.founded();
    configuration.chain[0].incarnation = Incarnation(7);
    chain.tell(&configuration);
    let mut founded = from_disk(member(0).id);
    founded.epoch = Epoch(2);
    founded.chain[0].incarnation = Incarnation(8);
    chain.tell(&founded);
    assert_eq!(chain.told(HEAD), "nothing");
    let mut configuration = from_disk(ReplicaId(9));
    configuration.chain[0].incarnation = Incarnation(9);
    chain.keeps(HEAD, true);
    chain.tell(&configuration);
    assert_eq!(
        chain.told(HEAD),
        "nothing",
        "it is moved aside when another begins"
    );
    chain.keeps(HEAD, false);
    assert_eq!(chain.told(HEAD), "forget");
}

// The same of one that was of the chain until a moment ago, and left its files behind.
#[test]
fn whoever_was_evicted_forgets_when_it_is_turned_off() {
    let mut chain = Chain::whole(&[true, true]);
    let mut configuration = chain.replicas[HEAD].configuration().unwrap().clone();
    configuration.epoch = configuration.epoch.next();
    configuration.chain.truncate(1);
    chain.tell(&configuration);
    assert_eq!(chain.told(TAIL), "end");
    chain.keeps(TAIL, false);
    assert_eq!(chain.told(TAIL), "forget");
}

// A snapshot may hold what the tail has not on its disk yet. A learner that keeps nothing, promoted before it heard of that, would
// commit it; and the tail's disk counts.
#[test]
fn a_learner_commits_nothing_before_it_was_told_whether_anybody_waits() {
    let mut chain = Chain::new(&[true, false]);
    let configuration = chain.founded();
    chain.tell(&configuration);
    chain.sync(HEAD);
    chain.command(1);
    let configuration = chain.joined(configuration);
    // The tail's answer to the Hello that says that the state is there is lost.
    chain.lose_appends = true;
    chain.tell(&configuration);
    assert!(chain.replicas[TAIL].machine().is_some());
    let configuration = chain.promoted(configuration);
    chain.tell(&configuration);
    assert_eq!(chain.commit(TAIL), 0);
    chain.lose_appends = false;
    chain.tick(2_000_000);
    assert_eq!(chain.commit(TAIL), 0);
    chain.sync(HEAD);
    assert!(chain.commit(TAIL) > 0);
    assert_eq!(chain.done(), [1]);
}
