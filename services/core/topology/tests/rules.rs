//! What the chain manager does in each situation that it has a rule for.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use catena_chain::{Beginning, Epoch, ReplicaId};
use catena_topology::{
    Alarm, Blame, Change, Diverged, GatewayIncarnation, GatewayName, Partition, Precondition,
    Registrations, Rule, Sight, Zone, alarms, topology::Kept,
};
use world::{SHARD, World, changed, generation, name};

fn rule(world: &World) -> Option<Rule> {
    world.next().map(|step| step.rule)
}

// Without an epoch in the comparison a report of an old learner would promote a new one [C-33].
#[test]
fn a_learner_is_promoted_by_a_report_of_exactly_this_epoch() {
    let mut world = World::with_chain(2, 2, 1);
    let learner = world.learner(2);
    assert_eq!(rule(&world), None);
    world.report_synced();
    let report = world.observed.synced[&SHARD];
    for stale in [
        catena_topology::Synced {
            epoch: Epoch(1),
            ..report
        },
        catena_topology::Synced {
            generation: generation(2),
            ..report
        },
        catena_topology::Synced {
            learner: ReplicaId(77),
            ..report
        },
    ] {
        world.observed.synced.insert(SHARD, stale);
        assert_eq!(rule(&world), None);
    }
    world.observed.synced.insert(SHARD, report);
    let step = world.step().unwrap();
    assert_eq!(step.rule, Rule::Promote);
    let epoch = Precondition::ChainEpoch(SHARD, Some(report.epoch));
    assert_eq!(step.requires, [Precondition::Leadership, epoch.clone()]);
    assert_eq!(world.shape(), (vec![1, 2], None));
    assert_eq!(world.chain().configuration.tail().unwrap().id, learner);
    // The same step again finds the chain changed.
    assert_eq!(step.apply(&mut world.topology), Err(epoch));
}

// The synced learner may be the last live holder of what was acknowledged [C-13].
#[test]
fn a_synced_learner_is_promoted_before_anyone_is_evicted() {
    let mut world = World::with_chain(3, 3, 2);
    world.learner(3);
    world.report_synced();
    world.see(1, Sight::Lost);
    world.see(2, Sight::Lost);
    assert_eq!(world.step().unwrap().rule, Rule::Promote);
    assert_eq!(world.step().unwrap().rule, Rule::EvictLost);
    assert_eq!(world.shape(), (vec![3], None));
}

// A learner of which no report is in hand lacks entries: as the only replica it would lose them [C-12].
#[test]
fn a_learner_without_a_report_is_never_promoted() {
    let mut world = World::with_chain(3, 3, 2);
    world.learner(3);
    world.see(1, Sight::Lost);
    world.see(2, Sight::Lost);
    assert_eq!(rule(&world), None);
    assert_eq!(
        alarms(&world.topology, &world.observed, &world.wanted)[0],
        Alarm::ChainWaits { shard: SHARD }
    );
}

// After the report the tail waits for the learner: while it is not dropped nothing is committed [C-32] [C-34].
#[test]
fn a_synced_learner_that_is_lost_is_dropped_first_of_all() {
    let mut world = World::with_chain(3, 3, 2);
    world.learner(3);
    world.report_synced();
    world.see(3, Sight::Lost);
    assert_eq!(world.step().unwrap().rule, Rule::DropSyncedLearner);
    assert_eq!(world.shape(), (vec![1, 2], None));
    let mut world = World::with_chain(3, 3, 2);
    world.learner(3);
    world.see(3, Sight::Lost);
    assert_eq!(world.step().unwrap().rule, Rule::DropLearner);
}

// A member that restarted has lost its memory at once, not after a time-out [C-1].
#[test]
fn a_new_process_of_a_node_evicts_its_old_replicas() {
    for (dead, left) in [(1, vec![2, 3]), (2, vec![1, 3]), (3, vec![1, 2])] {
        let mut world = World::with_chain(3, 3, 3);
        world.restart(dead);
        assert_eq!(world.step().unwrap().rule, Rule::EvictLost);
        assert_eq!(world.shape().0, left);
        // Rejoining is joining, under a new id [C-35].
        assert_eq!(world.step().unwrap().rule, Rule::Join);
        assert_eq!(world.shape(), (left, Some(dead)));
        assert_eq!(
            world.chain().configuration.learner.unwrap().id,
            ReplicaId(world.chain().epoch().0)
        );
    }
}

// An empty start while a member is only silent throws away what that member has [C-13] [C-14].
#[test]
fn a_chain_starts_empty_when_all_are_proved_dead_and_not_before() {
    let mut world = World::with_chain(2, 3, 2);
    world.see(1, Sight::Lost);
    world.see(2, Sight::Lost);
    assert_ne!(rule(&world), Some(Rule::StartEmpty));
    world.restart(1);
    while world.step().is_some() {}
    assert_eq!(world.shape().0, [1, 2], "node 2 may still return");
    world.node(2).gone = true;
    assert_eq!(rule(&world), Some(Rule::StartEmpty));
    let before = world.chain().epoch();
    let step = world.step().unwrap();
    assert_eq!(world.chain().epoch(), before.next());
    assert_eq!(world.chain().configuration.generation, generation(2));
    assert_eq!(world.chain().configuration.chain.len(), 1);
    assert!(matches!(
        step.requires[2],
        Precondition::NodeIncarnation(..)
    ));
}

// A node that was given up comes back with its disk while the empty start is on its way to the store: written all the same, that
// would throw away what is there [C-14] [C-63].
#[test]
fn an_empty_start_is_void_when_a_disk_comes_back_at_the_last_moment() {
    let mut world = World::with_chain(1, 2, 1);
    world.see(1, Sight::Lost);
    world.node(1).gone = true;
    assert_eq!(world.step().unwrap().rule, Rule::Assign);
    let late = world.next().unwrap();
    assert_eq!(late.rule, Rule::StartEmpty);
    world.restart_from_disk(1);
    world.node(1).gone = false;
    assert!(late.apply(&mut world.topology).is_err());
    assert_eq!(rule(&world), Some(Rule::FoundFromDisk));
}

// The first to return has all that was acknowledged, because every member had [C-13].
#[test]
fn the_first_to_return_goes_on_with_the_chain() {
    let mut world = World::with_chain(3, 3, 3);
    for number in 1..=3 {
        world.see(number, Sight::Lost);
    }
    assert_eq!(rule(&world), None);
    world.see(2, Sight::Live);
    assert_eq!(world.step().unwrap().rule, Rule::EvictLost);
    assert_eq!(world.shape().0, [2]);
    assert_eq!(world.chain().configuration.generation, generation(1));
}

// A process that died left its state on the disk: that is no proof that the state is gone [C-14].
#[test]
fn what_is_on_a_disk_keeps_a_chain_from_starting_empty() {
    let mut world = World::with_chain(1, 1, 1);
    let kept = Kept {
        shard: SHARD,
        generation: generation(1),
        replica: world.chain().configuration.chain[0].id,
        may_lack: false,
    };
    world.restart(1);
    world.node(1).kept = vec![kept];
    world.see(1, Sight::Silent);
    assert_eq!(rule(&world), None);
    world.restart(1);
    assert_eq!(rule(&world), Some(Rule::StartEmpty));
}

// A synced learner holds all that was committed, although it is not of the chain yet [C-13] [C-14].
#[test]
fn a_silent_synced_learner_keeps_a_chain_from_starting_empty() {
    let mut world = World::with_chain(2, 3, 1);
    world.learner(2);
    world.report_synced();
    world.see(2, Sight::Silent);
    world.restart(1);
    assert_eq!(rule(&world), None);
    world.see(2, Sight::Live);
    assert_eq!(rule(&world), Some(Rule::Promote));
    world.restart(2);
    assert_eq!(rule(&world), Some(Rule::StartEmpty));
}

// A broken cable between two that heartbeat stops their chain until one goes [C-24].
#[test]
fn the_blamed_of_a_broken_pair_is_evicted_in_its_epoch_alone() {
    let mut world = World::with_chain(3, 3, 3);
    let blame = Blame {
        epoch: world.chain().epoch(),
        replica: world.chain().configuration.chain[1].id,
    };
    world.observed.blamed.insert(
        SHARD,
        Blame {
            epoch: Epoch(1),
            ..blame
        },
    );
    assert_eq!(rule(&world), None);
    world.observed.blamed.insert(SHARD, blame);
    assert_eq!(world.step().unwrap().rule, Rule::EvictUnreachable);
    assert_eq!(world.shape().0, [1, 3]);
    assert_ne!(rule(&world), Some(Rule::EvictUnreachable));
}

// A thread that hangs in a node that heartbeats is as good as gone, for its own chain alone [C-24].
#[test]
fn a_stuck_replica_is_evicted() {
    let mut world = World::with_chain(2, 2, 2);
    let tail = world.chain().configuration.chain[1].id;
    world.observed.stuck.insert((SHARD, tail));
    assert_eq!(world.step().unwrap().rule, Rule::EvictLost);
    assert_eq!(world.shape().0, [1]);
}

// A node that is shut down would otherwise take its clients' acks with it for a time-out.
#[test]
fn a_leaving_node_is_evicted_while_another_stays() {
    let mut world = World::with_chain(2, 2, 2);
    world.see(1, Sight::Leaving);
    assert_eq!(world.step().unwrap().rule, Rule::EvictLeaving);
    assert_eq!(world.shape().0, [2]);
    world.see(2, Sight::Leaving);
    assert_eq!(rule(&world), None);
}

// Evicting the majority, or the tail whose effects clients saw, would make the wrong state the truth [C-52].
#[test]
fn the_odd_one_goes_and_of_two_the_tail_stays() {
    let hour = catena_topology::chain::DIVERGENCE_INTERVAL_MS;
    let mut world = World::with_chain(3, 3, 3);
    world.observed.wall_ms = 5 * hour;
    let diverge = |world: &mut World, digests: &[u64]| {
        let chain = world.chain().configuration.clone();
        let ids = chain.chain.iter().map(|member| member.id);
        let report = Diverged {
            epoch: chain.epoch,
            digests: ids.zip(digests.iter().copied()).collect(),
        };
        world.observed.diverged.insert(SHARD, report);
    };
    diverge(&mut world, &[7, 7, 9]);
    assert_eq!(world.step().unwrap().rule, Rule::EvictDiverged);
    assert_eq!(world.shape().0, [1, 2], "the tail was the odd one");

    diverge(&mut world, &[7, 9]);
    assert_ne!(rule(&world), Some(Rule::EvictDiverged), "once in an hour");
    let all = alarms(&world.topology, &world.observed, &world.wanted);
    assert_eq!(all, [Alarm::DivergedAgain { shard: SHARD }]);
    world.observed.wall_ms += hour;
    assert_eq!(world.step().unwrap().rule, Rule::EvictDiverged);
    assert_eq!(world.shape().0, [2]);
    // The last live holder is never evicted.
    let mut world = World::with_chain(3, 3, 2);
    world.see(2, Sight::Silent);
    diverge(&mut world, &[7, 9]);
    assert_eq!(rule(&world), None);
}

// A learner that does not come on keeps another node from joining [C-34].
#[test]
fn a_stalled_learner_is_dropped() {
    let mut world = World::with_chain(2, 2, 1);
    let learner = world.learner(2);
    world.observed.stalled.insert((SHARD, learner));
    assert_eq!(world.step().unwrap().rule, Rule::DropLearner);
    assert_eq!(world.shape(), (vec![1], None));
}

// By a store from a backup, chains that exist would be founded again beside themselves [C-16].
#[test]
fn nothing_is_changed_while_a_node_knows_a_higher_epoch() {
    let mut world = World::with_chain(2, 2, 2);
    world.see(2, Sight::Lost);
    assert_eq!(rule(&world), Some(Rule::EvictLost));
    world.observed.ahead.insert(SHARD, Epoch(9));
    assert_eq!(rule(&world), None);
    let epoch_ahead = Alarm::EpochAhead {
        shard: SHARD,
        stored: Some(world.chain().epoch()),
        reported: Epoch(9),
    };
    assert!(alarms(&world.topology, &world.observed, &world.wanted).contains(&epoch_ahead));
}

// A gateway taken out while a head hears it loses its clients' acknowledged subscriptions [C-43].
#[test]
fn a_gateway_goes_when_its_registration_expired_and_no_head_has_a_link() {
    let mut world = World::with_chain(1, 1, 1);
    let gateway = |number| {
        (
            GatewayIncarnation(number),
            GatewayName("gateway".to_owned()),
        )
    };
    let register = |world: &mut World, revision, present: &[u64]| {
        let present = present.iter().copied().map(gateway).collect();
        world.observed.registrations = Registrations { revision, present };
    };
    let live = |world: &World| -> Vec<u64> {
        world
            .topology
            .gateways
            .live
            .keys()
            .map(|incarnation| incarnation.0)
            .collect()
    };
    register(&mut world, 20, &[12, 15]);
    let step = world.step().unwrap();
    assert_eq!(step.rule, Rule::TellGateways);
    assert!(step.requires.contains(&Precondition::GatewaysVersion(0)));
    assert_eq!(
        (world.topology.gateways.version, live(&world)),
        (20, vec![12, 15])
    );
    // The list is written when it differs, not with each revision.
    register(&mut world, 25, &[12, 15]);
    assert_eq!(rule(&world), None);

    register(&mut world, 30, &[15]);
    world.observed.linked = BTreeSet::from([GatewayIncarnation(12)]);
    assert_eq!(rule(&world), None);
    world.observed.linked.clear();
    world.observed.half_silent = true;
    assert_eq!(rule(&world), None);
    world.observed.half_silent = false;
    world.observed.settled = false;
    assert_eq!(rule(&world), None);
    world.observed.settled = true;
    assert_eq!(world.step().unwrap().rule, Rule::TellGateways);
    assert_eq!(
        (world.topology.gateways.version, live(&world)),
        (30, vec![15])
    );
    // What was read before the last list says nothing.
    register(&mut world, 25, &[12, 15]);
    assert_eq!(rule(&world), None);
}

// All heads on one node make it the bottleneck; two replicas on one node die together.
#[test]
fn a_new_cluster_spreads_replicas_over_nodes_zones_and_heads() {
    let mut world = World::new(2, 4, 2, 0);
    for number in 1..=5 {
        world.add(number, Some(if number <= 3 { "east" } else { "west" }));
    }
    world.settle();
    let topology = &world.topology;
    assert_eq!(topology.chains.len(), 8);
    for partition in [Partition(0), Partition(1)] {
        let nodes: Vec<_> = topology.assigned(partition).collect();
        assert_eq!(nodes.len(), 2);
        assert_ne!(nodes[0].1.zone, nodes[1].1.zone);
        for (node, _) in nodes {
            assert_eq!(
                (topology.replica_count(node), topology.head_count(node)),
                (4, 2)
            );
        }
    }
    let spares = topology
        .nodes
        .values()
        .filter(|node| node.partition.is_none());
    assert_eq!(spares.count(), 1);
}

// The first node of a starting cluster must not get every head because it was first.
#[test]
fn a_shard_waits_for_its_nodes_until_the_first_time_out_is_over() {
    let mut world = World::new(1, 1, 2, 1);
    world.observed.settled = false;
    while world.step().is_some() {}
    assert!(world.topology.chains.is_empty());
    world.observed.settled = true;
    assert_eq!(rule(&world), Some(Rule::Found));
}

// A node that is lost for long leaves its chains one death from their end while a spare idles.
#[test]
fn a_spare_takes_the_place_of_a_lost_node() {
    let mut world = World::with_chain(2, 3, 2);
    world.see(2, Sight::Lost);
    let rules: Vec<Rule> = std::iter::from_fn(|| world.step().map(|step| step.rule)).collect();
    assert_eq!(
        rules,
        [Rule::EvictLost, Rule::Assign, Rule::Join, Rule::Release]
    );
    assert_eq!(world.shape(), (vec![1], Some(3)));
    assert_eq!(world.node(2).partition, None);
    // When it comes back it is a spare.
    world.restart(2);
    world.settle();
    assert_eq!(world.shape(), (vec![1, 3], None));
}

// Draining by eviction alone would leave a chain with one replica less while it lasts [C-12].
#[test]
fn a_drained_node_is_replaced_before_it_goes_and_the_head_moves() {
    let mut world = World::with_chain(2, 3, 2);
    world.node(1).draining = true;
    let rules: Vec<Rule> = std::iter::from_fn(|| world.step().map(|step| step.rule)).collect();
    assert_eq!(rules, [Rule::Assign, Rule::Join]);
    assert_eq!(world.shape(), (vec![1, 2], Some(3)));
    world.report_synced();
    let rules: Vec<Rule> = std::iter::from_fn(|| world.step().map(|step| step.rule)).collect();
    assert_eq!(rules, [Rule::Promote, Rule::EvictMisplaced, Rule::Release]);
    assert_eq!(world.shape(), (vec![2, 3], None));
    // With no spare it stays as it is, and says so.
    world.node(2).draining = true;
    assert_eq!(rule(&world), None);
    let all = alarms(&world.topology, &world.observed, &world.wanted);
    let missing = Alarm::NodesMissing {
        partition: Partition(0),
        usable: 1,
        wanted: 2,
    };
    assert_eq!(all, [missing]);
}

// A zone that fails takes both replicas, although a node of another zone stood by.
#[test]
fn a_node_of_a_new_zone_replaces_one_of_two_in_the_same() {
    let mut world = World::with_chain(2, 3, 2);
    for (number, zone) in [(1, "east"), (2, "east"), (3, "east")] {
        world.node(number).zone = Some(Zone(zone.to_owned()));
    }
    assert_eq!(rule(&world), None);
    world.add(4, Some("west"));
    world.settle();
    let mut nodes = world.shape().0;
    nodes.sort();
    assert!(nodes == [1, 4] || nodes == [2, 4], "{nodes:?}");
}

// The Broker's redundancy factor changes while the cluster runs.
#[test]
fn chains_follow_the_redundancy_that_is_wanted() {
    let mut world = World::new(2, 2, 1, 6);
    for redundancy in [1, 3, 2] {
        world.wanted = catena_topology::Wanted::new(2, 2, redundancy, 0).unwrap();
        world.settle();
        for chain in world.topology.chains.values() {
            assert_eq!(chain.configuration.chain.len(), redundancy);
        }
    }
    let three = catena_topology::Wanted::new(3, 2, 2, 0).unwrap();
    assert_eq!(
        alarms(&world.topology, &world.observed, &three),
        [Alarm::LayoutIsFixed]
    );
}

// A write by one who is leader no more, or about a node that is another by now, must come to nothing [C-15].
#[test]
fn every_step_names_what_it_compares() {
    let mut world = World::new(1, 2, 2, 2);
    let mut seen = BTreeMap::new();
    while let Some(step) = world.step() {
        assert_eq!(step.requires[0], Precondition::Leadership);
        let compared = step
            .requires
            .iter()
            .any(|required| match (&step.change, required) {
                (Change::Layout(_), Precondition::NoLayout) => true,
                (Change::Assign { node, .. }, Precondition::NodePartition(of, None)) => node == of,
                (Change::Chain(_), Precondition::ChainEpoch(_, epoch)) => {
                    epoch.map(Epoch::next).unwrap_or(Epoch(1)) == changed(&step).unwrap().epoch()
                }
                _ => false,
            });
        assert!(compared, "{step:?}");
        assert!(step.apply(&mut world.topology).is_err(), "twice: {step:?}");
        *seen.entry(step.rule).or_insert(0) += 1;
    }
    let expected = [
        (Rule::LayOut, 1),
        (Rule::Assign, 2),
        (Rule::Found, 2),
        (Rule::Join, 2),
    ];
    assert_eq!(seen, BTreeMap::from(expected));
    assert!(world.topology.nodes.contains_key(&name(1)));
}

// [C-63] Without it a power cut of all nodes would end in an empty shard, or in one that waits for ever.
#[test]
fn a_chain_goes_on_from_the_disk_of_any_member_when_none_is_live() {
    let mut world = World::with_chain(2, 2, 2);
    let members = world.chain().configuration.chain.clone();
    world.see(1, Sight::Lost);
    world.restart_from_disk(2);
    let step = world.step().unwrap();
    assert_eq!(step.rule, Rule::FoundFromDisk);
    let configuration = &world.chain().configuration;
    assert_eq!(configuration.generation, generation(1));
    assert_eq!(configuration.began, Beginning::Disk(members[1].id));
    assert_eq!(configuration.chain.len(), 1);
    assert_eq!(world.shape(), (vec![2], None));
    let incarnation = world.node(2).incarnation;
    let node = Precondition::NodeIncarnation(name(2), incarnation);
    assert!(step.requires.contains(&node), "it may have restarted again");
    // The other one comes back, and joins.
    world.restart_from_disk(1);
    assert_eq!(world.step().unwrap().rule, Rule::Join);
}

// Who has the state in memory needs no disk: the acknowledgements that it gave since are in none other's order [C-13].
#[test]
fn a_member_that_lives_or_is_only_late_comes_before_any_disk() {
    let mut world = World::with_chain(2, 2, 2);
    world.restart_from_disk(1);
    assert_eq!(rule(&world), Some(Rule::EvictLost));
    world.observed.settled = false;
    world.see(2, Sight::Silent);
    assert_eq!(rule(&world), None);
    world.observed.settled = true;
    assert_eq!(rule(&world), Some(Rule::FoundFromDisk));
}

// [C-63] A learner has not all that was committed, and what a disk kept of an earlier chain or generation lacks what came since.
#[test]
fn only_what_a_member_of_the_last_chain_kept_is_gone_on_from() {
    let mut world = World::with_chain(2, 2, 1);
    let learner = world.learner(2);
    let member = world.chain().configuration.chain[0].id;
    world.see(1, Sight::Lost);
    let kept = |replica, generation| Kept {
        shard: SHARD,
        generation,
        replica,
        may_lack: false,
    };
    world.restart_with(
        2,
        vec![kept(learner, generation(1)), kept(member, generation(1))],
    );
    assert_eq!(rule(&world), None, "of a learner, or of another's node");
    world.restart_with(
        1,
        vec![
            kept(member, generation(2)),
            kept(ReplicaId(99), generation(1)),
        ],
    );
    assert_eq!(
        rule(&world),
        Some(Rule::StartEmpty),
        "of another generation or replica"
    );
    let mut world = World::with_chain(1, 1, 1);
    world.restart_from_disk(1);
    world.node(1).gone = true;
    assert_ne!(
        rule(&world),
        Some(Rule::FoundFromDisk),
        "it was declared gone"
    );
}

// [C-63] The power goes again before the founder's disk has its new name: the state is still under the old one.
#[test]
fn a_founder_that_had_not_renamed_its_state_is_founded_again() {
    let mut world = World::with_chain(1, 1, 1);
    let source = world.chain().configuration.chain[0].id;
    world.restart_from_disk(1);
    assert_eq!(world.step().unwrap().rule, Rule::FoundFromDisk);
    let kept = Kept {
        shard: SHARD,
        generation: generation(1),
        replica: source,
        may_lack: false,
    };
    world.restart_with(1, vec![kept]);
    world.see(1, Sight::Silent);
    assert_eq!(
        rule(&world),
        None,
        "not empty, though it has no state under its last name"
    );
    world.see(1, Sight::Live);
    assert_eq!(world.step().unwrap().rule, Rule::FoundFromDisk);
    let configuration = &world.chain().configuration;
    assert_eq!(configuration.began, Beginning::Disk(source));
    // Once it is not of the chain any more, others have committed what it lacks.
    let mut world = World::with_chain(2, 2, 1);
    world.restart_from_disk(1);
    world.step();
    world.learner(2);
    world.report_synced();
    world.step();
    world.see(1, Sight::Lost);
    assert_eq!(world.step().unwrap().rule, Rule::EvictLost);
    world.restart_with(1, vec![kept]);
    world.see(2, Sight::Lost);
    assert_ne!(rule(&world), Some(Rule::FoundFromDisk));
}

// [C-64] Nobody may go on with what may lack something as if it did not: the next generation says so. And a disk that lacks
// nothing is better, even if its node comes later in the chain.
#[test]
fn a_disk_that_may_lack_something_is_gone_on_from_as_the_next_generation() {
    let lacking = |world: &mut World, number: u64| {
        world.restart_from_disk(number);
        let kept = &mut world.node(number).kept[0];
        kept.may_lack = true;
        *kept
    };
    let mut world = World::with_chain(1, 1, 1);
    let kept = lacking(&mut world, 1);
    assert_eq!(world.step().unwrap().rule, Rule::FoundFromDisk);
    let configuration = &world.chain().configuration;
    assert_eq!(configuration.generation, generation(2));
    assert_eq!(configuration.began, Beginning::Disk(kept.replica));
    // The process dies before it has begun: the state is still of the generation before, and there is no other.
    world.restart_with(1, vec![kept]);
    assert_eq!(world.step().unwrap().rule, Rule::FoundFromDisk);
    let configuration = &world.chain().configuration;
    assert_eq!(configuration.generation, generation(3));
    assert_eq!(configuration.began, Beginning::Disk(kept.replica));

    let mut world = World::with_chain(2, 2, 2);
    world.see(1, Sight::Lost);
    world.see(2, Sight::Lost);
    lacking(&mut world, 1);
    world.restart_from_disk(2);
    assert_eq!(world.step().unwrap().rule, Rule::FoundFromDisk);
    assert_eq!(world.shape().0, [2]);
    assert_eq!(world.chain().configuration.generation, generation(1));
}

// [C-64] A replica whose disk is full can acknowledge nothing more: another takes its place, but it is not taken for dead.
#[test]
fn a_replica_whose_disk_failed_leaves_when_another_stays() {
    let mut world = World::with_chain(2, 2, 2);
    let head = world.chain().configuration.chain[0].id;
    world.observed.disk_failed.insert((SHARD, head));
    assert_eq!(world.step().unwrap().rule, Rule::EvictLeaving);
    assert_eq!(world.shape(), (vec![2], None));
    // Nor is it asked to join again at once, and again and again.
    world.observed.full.insert(name(1));
    assert_eq!(rule(&world), None);
    world.add(3, None);
    assert_eq!(world.step().unwrap().rule, Rule::Assign);
    assert_eq!(world.step().unwrap().rule, Rule::Join);
    assert_eq!(world.shape(), (vec![2], Some(3)));
    let mut world = World::with_chain(1, 1, 1);
    let only = world.chain().configuration.chain[0].id;
    world.observed.disk_failed.insert((SHARD, only));
    assert_eq!(rule(&world), None);
}
