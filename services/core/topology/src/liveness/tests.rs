//! Each rule by which silence is told from death.

use super::*;
use crate::{observed::Standing, topology::Node};

const TIMEOUT_MS: u64 = 3_000;

fn name(number: u64) -> NodeName {
    NodeName(format!("node-{number}"))
}

/// `count` nodes, and one shard whose chain is on the first `chain`.
fn topology(count: u64, chain: u64) -> Topology {
    let mut topology = Topology::default();
    for number in 1..=count {
        let node = Node::new(Incarnation(number), None);
        topology.nodes.insert(name(number), node);
    }
    let mut first = Chain::founded(ShardId(0), None, &name(1), Incarnation(1));
    for number in 2..=chain {
        first = first.joined(&name(number), Incarnation(number)).promoted();
    }
    topology.chains.insert(ShardId(0), first);
    topology
}

fn member(topology: &Topology, position: usize) -> ReplicaId {
    topology.chains[&ShardId(0)].configuration.chain[position].id
}

fn beat(liveness: &mut Liveness, now_ms: u64, number: u64) {
    let heartbeat = Heartbeat {
        node: name(number),
        incarnation: Incarnation(number),
        leaving: false,
        replicas: vec![],
        linked: BTreeSet::new(),
    };
    liveness.heartbeat(now_ms, heartbeat);
}

/// Looks in steps that give no new grace, while `nodes` heartbeat and `each` does what else happens.
fn pass(
    liveness: &mut Liveness,
    topology: &Topology,
    span: std::ops::RangeInclusive<u64>,
    nodes: &[u64],
    mut each: impl FnMut(&mut Liveness, u64),
) -> Observed {
    let mut observed = Observed::default();
    for now_ms in span.step_by(500) {
        for number in nodes {
            beat(liveness, now_ms, *number);
        }
        each(liveness, now_ms);
        observed = liveness.observe(now_ms, 0, topology);
    }
    observed
}

fn nothing(_: &mut Liveness, _: u64) {}

fn sight(observed: &Observed, number: u64) -> Sight {
    observed.nodes[&name(number)].sight
}

// A node that crashed and is never evicted stops its chain for ever.
#[test]
fn a_silent_node_is_lost_after_the_time_out() {
    let topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    pass(&mut liveness, &topology, 0..=5_000, &[1, 2, 3], nothing);
    let observed = pass(&mut liveness, &topology, 5_500..=7_500, &[1, 3], nothing);
    assert_eq!(sight(&observed, 2), Sight::Live);
    let observed = pass(&mut liveness, &topology, 8_000..=8_500, &[1, 3], nothing);
    assert_eq!(sight(&observed, 2), Sight::Lost);
    assert_eq!(sight(&observed, 1), Sight::Live);
}

// A new leader has heard nobody: were that taken for silence, it would evict the living [C-15].
#[test]
fn a_new_leader_and_one_that_stalled_give_grace() {
    let topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 10_000);
    let observed = pass(&mut liveness, &topology, 10_000..=12_500, &[1, 3], nothing);
    assert_eq!(sight(&observed, 2), Sight::Silent);
    assert!(!observed.settled);
    let observed = pass(&mut liveness, &topology, 13_000..=13_000, &[1, 3], nothing);
    assert_eq!(sight(&observed, 2), Sight::Lost);
    assert!(observed.settled);

    // The loop stalls for more than a third of the time-out.
    beat(&mut liveness, 14_100, 1);
    let observed = liveness.observe(14_100, 0, &topology);
    assert_eq!(sight(&observed, 2), Sight::Silent);
}

// A refused connection is what makes a failover fast: waiting for the time-out would cost seconds.
#[test]
fn a_refused_probe_counts_at_once_and_a_heartbeat_undoes_it() {
    let topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    pass(&mut liveness, &topology, 0..=500, &[1, 2, 3], nothing);
    liveness.refused(600, &name(2), Incarnation(2));
    let observed = liveness.observe(700, 0, &topology);
    assert_eq!(sight(&observed, 2), Sight::Lost);
    beat(&mut liveness, 800, 2);
    assert_eq!(sight(&liveness.observe(800, 0, &topology), 2), Sight::Live);
    // A probe that was answered for the process before says nothing of this one.
    liveness.refused(900, &name(2), Incarnation(1));
    assert_eq!(sight(&liveness.observe(900, 0, &topology), 2), Sight::Live);
}

// When it is the leader who is cut off, all others look dead: evicting them would take chains down [C-15].
#[test]
fn when_half_are_silent_only_those_that_others_miss_are_lost() {
    let topology = topology(4, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    pass(&mut liveness, &topology, 0..=5_000, &[1, 2, 3, 4], nothing);
    let observed = pass(&mut liveness, &topology, 5_500..=9_500, &[1, 3], nothing);
    assert!(observed.half_silent);
    assert_eq!(sight(&observed, 2), Sight::Silent);
    assert_eq!(sight(&observed, 4), Sight::Silent);

    let report = Unreachable {
        shard: ShardId(0),
        epoch: topology.chains[&ShardId(0)].epoch(),
        by: member(&topology, 0),
        about: member(&topology, 1),
    };
    liveness.unreachable(9_600, report, &topology);
    assert_eq!(liveness.suspects(), BTreeSet::from([name(2)]));
    let observed = liveness.observe(9_700, 0, &topology);
    assert_eq!(sight(&observed, 2), Sight::Lost);
    assert_eq!(sight(&observed, 4), Sight::Silent);
    liveness.refused(9_800, &name(4), Incarnation(4));
    assert_eq!(
        sight(&liveness.observe(9_800, 0, &topology), 4),
        Sight::Lost
    );
}

// A cable that breaks between two neighbours would stop their chain, although both heartbeat [C-24].
#[test]
fn a_pair_that_cannot_reach_each_other_for_a_time_out_loses_the_successor() {
    let topology = topology(3, 2);
    let epoch = topology.chains[&ShardId(0)].epoch();
    let (head, tail) = (member(&topology, 0), member(&topology, 1));
    let report = |epoch, by, about| Unreachable {
        shard: ShardId(0),
        epoch,
        by,
        about,
    };
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let all = [1, 2, 3];
    pass(&mut liveness, &topology, 0..=5_000, &all, nothing);
    // An interruption that ends is none, and a report of another epoch is of another pair.
    let observed = pass(
        &mut liveness,
        &topology,
        5_500..=8_000,
        &all,
        |liveness, now_ms| {
            liveness.unreachable(now_ms, report(epoch, head, tail), &topology);
        },
    );
    assert_eq!(observed.blamed, BTreeMap::new());
    let observed = pass(
        &mut liveness,
        &topology,
        8_500..=20_000,
        &all,
        |liveness, now_ms| {
            liveness.unreachable(now_ms, report(Epoch(1), head, tail), &topology);
        },
    );
    assert_eq!(observed.blamed, BTreeMap::new());
    // Also when the tail alone notices.
    let observed = pass(
        &mut liveness,
        &topology,
        20_500..=24_000,
        &all,
        |liveness, now_ms| {
            liveness.unreachable(now_ms, report(epoch, tail, head), &topology);
        },
    );
    let blame = Blame {
        epoch,
        replica: tail,
    };
    assert_eq!(observed.blamed, BTreeMap::from([(ShardId(0), blame)]));
}

/// Heartbeats of the chain's members, each with (turns, last, committed).
fn progress(liveness: &mut Liveness, topology: &Topology, now_ms: u64, of: &[(u64, u64, u64)]) {
    let chain = &topology.chains[&ShardId(0)];
    for (member, (turns, last, committed)) in chain.configuration.members().zip(of) {
        let progress = Progress {
            shard: ShardId(0),
            replica: member.id,
            epoch: chain.epoch(),
            turns: *turns,
            received: *last,
            last: *last,
            committed: *committed,
        };
        let heartbeat = Heartbeat {
            node: chain.homes[&member.id].clone(),
            incarnation: member.incarnation,
            leaving: false,
            replicas: vec![progress],
            linked: BTreeSet::new(),
        };
        liveness.heartbeat(now_ms, heartbeat);
    }
}

// A shard's thread that hangs in a process that heartbeats would stop its chain for ever [C-24].
#[test]
fn a_thread_that_stands_still_is_stuck_and_one_that_is_idle_is_not() {
    let topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let observed = pass(
        &mut liveness,
        &topology,
        0..=9_000,
        &[3],
        |liveness, now_ms| {
            progress(liveness, &topology, now_ms, &[(now_ms, 7, 7), (1, 7, 7)]);
        },
    );
    let stuck = BTreeSet::from([(ShardId(0), member(&topology, 1))]);
    assert_eq!(observed.stuck, stuck);
    assert_eq!(sight(&observed, 2), Sight::Live);
    assert_eq!(observed.blamed, BTreeMap::new());
}

// Entries that are not forwarded, or acks that get lost, hold up every client of the shard [C-24].
#[test]
fn acks_that_stand_still_blame_the_pair_nearest_the_end() {
    let topology = topology(4, 3);
    let blamed = |of: fn(u64) -> [(u64, u64, u64); 3]| {
        let mut liveness = Liveness::new(TIMEOUT_MS, 0);
        let observed = pass(
            &mut liveness,
            &topology,
            0..=9_000,
            &[4],
            |liveness, now_ms| {
                progress(liveness, &topology, now_ms, &of(now_ms));
            },
        );
        observed.blamed.get(&ShardId(0)).map(|blame| blame.replica)
    };
    // All moves.
    assert_eq!(blamed(|t| [(t, t + 2, t), (t, t + 1, t), (t, t, t)]), None);
    // The middle does not forward.
    let tail = Some(member(&topology, 2));
    assert_eq!(blamed(|t| [(t, t, 5), (t, t, 5), (t, 5, 5)]), tail);
    // The middle gets nothing.
    let middle = Some(member(&topology, 1));
    assert_eq!(blamed(|t| [(t, t + 9, 5), (t, 5, 5), (t, 5, 5)]), middle);
    // Acks do not come up to the head.
    assert_eq!(blamed(|t| [(t, t, 5), (t, t, t), (t, t, t)]), middle);
}

// A head that waits since before the learner came would have it dropped as often as it joins [C-24].
#[test]
fn a_learner_that_has_just_come_is_not_blamed() {
    let mut topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let waiting = |liveness: &mut Liveness, topology: &Topology, t: u64| {
        progress(liveness, topology, t, &[(t, t, 5), (t, t, 5)]);
    };
    let before = topology.clone();
    pass(&mut liveness, &before, 0..=9_000, &[3], |liveness, t| {
        waiting(liveness, &before, t);
    });
    let chain = topology.chains[&ShardId(0)].joined(&name(3), Incarnation(3));
    topology.chains.insert(ShardId(0), chain);
    let observed = pass(
        &mut liveness,
        &topology,
        9_100..=9_600,
        &[3],
        |liveness, t| {
            waiting(liveness, &topology, t);
        },
    );
    assert_eq!(observed.blamed, BTreeMap::new());
}

// A learner that hangs in sync holds up its tail's commits; one that hangs before keeps another from joining [C-34].
#[test]
fn a_learner_is_blamed_when_acks_wait_for_it_and_stalled_at_the_deadline() {
    let mut topology = topology(3, 2);
    let chain = topology.chains[&ShardId(0)].joined(&name(3), Incarnation(3));
    let learner = chain.configuration.learner.unwrap().id;
    topology.chains.insert(ShardId(0), chain);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let observed = pass(&mut liveness, &topology, 0..=9_000, &[], |liveness, t| {
        progress(liveness, &topology, t, &[(t, t, 5), (t, t, 5), (t, 5, 5)]);
    });
    assert_eq!(observed.blamed[&ShardId(0)].replica, learner);
    assert_eq!(observed.stalled, BTreeSet::new());
    let observed = pass(
        &mut liveness,
        &topology,
        9_500..=40_000,
        &[],
        |liveness, t| {
            progress(liveness, &topology, t, &[(t, t, t), (t, t, t), (t, 5, 5)]);
        },
    );
    assert_eq!(observed.stalled, BTreeSet::from([(ShardId(0), learner)]));
}

// A store restored from a backup knows less than the nodes: changing chains by it would fork them [C-16].
#[test]
fn an_epoch_above_the_stores_is_reported() {
    let mut topology = topology(2, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    progress(&mut liveness, &topology, 0, &[(0, 0, 0), (0, 0, 0)]);
    assert_eq!(liveness.observe(0, 0, &topology).ahead, BTreeMap::new());
    let reported = topology.chains[&ShardId(0)].epoch();
    let backup = Chain::founded(ShardId(0), None, &name(1), Incarnation(1));
    topology.chains.insert(ShardId(0), backup);
    let ahead = BTreeMap::from([(ShardId(0), reported)]);
    assert_eq!(liveness.observe(100, 0, &topology).ahead, ahead);
}

// A replica that has lost its state can never come back: waiting for it would stop the chain for ever [C-1].
#[test]
fn a_replica_that_says_it_has_no_state_is_dead_in_that_epoch() {
    let mut topology = topology(3, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let chain = topology.chains[&ShardId(0)].clone();
    let (epoch, second) = (chain.epoch(), member(&topology, 1));
    liveness.stateless(ShardId(0), Epoch(epoch.0 - 1), member(&topology, 0));
    liveness.stateless(ShardId(0), epoch, second);
    let observed = pass(&mut liveness, &topology, 0..=500, &[1, 2, 3], nothing);
    let standing = |id| observed.standing(&topology, &chain, id);
    assert_eq!(standing(second), Standing::Dead);
    assert_eq!(standing(member(&topology, 0)), Standing::Live);
    topology.chains.insert(ShardId(0), chain.without(&[second]));
    let observed = pass(&mut liveness, &topology, 1_000..=1_000, &[1, 2, 3], nothing);
    assert!(observed.stateless.is_empty());
}

// A node without room would be given replicas again and again, each time with all that they hold, and no other node in its place.
#[test]
fn a_node_whose_disk_is_full_is_not_tried_again_for_a_while() {
    let mut topology = topology(2, 2);
    let mut liveness = Liveness::new(TIMEOUT_MS, 0);
    let (shard, tail) = (ShardId(0), member(&topology, 1));
    let epoch = topology.chains[&shard].epoch();
    liveness.disk_failed(1_000, shard, epoch, tail, &topology);
    let full = |liveness: &mut Liveness, now_ms, topology: &Topology| {
        liveness.observe(now_ms, 0, topology).full
    };
    let second = BTreeSet::from([name(2)]);
    assert_eq!(full(&mut liveness, 1_000, &topology), second);
    assert_eq!(
        full(&mut liveness, 1_000 + DISK_RETRY_MS - 1, &topology),
        second
    );
    assert!(full(&mut liveness, 1_000 + DISK_RETRY_MS, &topology).is_empty());
    liveness.disk_failed(70_000, shard, epoch, tail, &topology);
    assert_eq!(full(&mut liveness, 70_000, &topology), second);
    // Whoever starts the process again has done something about it.
    topology
        .nodes
        .insert(name(2), Node::new(Incarnation(12), None));
    let heartbeat = Heartbeat {
        node: name(2),
        incarnation: Incarnation(12),
        leaving: false,
        replicas: vec![],
        linked: BTreeSet::new(),
    };
    liveness.heartbeat(70_001, heartbeat);
    assert!(full(&mut liveness, 70_002, &topology).is_empty());
}
