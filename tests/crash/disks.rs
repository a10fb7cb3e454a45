//! Disks of single backends: one comes back with its disk, without it, or with one that was damaged meanwhile; and disks
//! without room.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use catena_tests::{
    cluster::{HEAL, Plan, Role, wait_for},
    disk::{Disk, skipped},
    faults::{Chance, Scene},
};

use crate::{crashes, death::assert_none_began_anew, seed};

/// What is written to a log begins with a block of its own.
const BLOCK_BYTES: u64 = 4_096;
/// What a small disk has.
const DISK_MIB: u32 = 192;
/// Clients move often.
const CHURN: &str = "--churn 2";

/// Two replicas, and nobody else who could step in.
fn pair() -> Plan {
    Plan {
        keeps: true,
        backends: 2,
        ..Plan::default()
    }
}

fn data(scene: &Scene, name: &str) -> PathBuf {
    let cluster = &scene.cluster;
    cluster.plan.data(cluster.directory(), name).join("shards")
}

/// The files that begin so in the data directory of a backend; of all its shards.
fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, prefix));
        } else if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Kills both backends, lets something happen to the disk of one, and starts both: the one without its disk first, which must not
/// begin anew while the other one is away.
fn damage_one(scene: &mut Scene, is_told: &str, damage: impl FnOnce(&Path)) {
    let before = scene.cluster.wait_until_whole();
    let (damaged, other) = (
        before.shard(0).head().to_owned(),
        before.shard(0).tail().to_owned(),
    );
    scene.go_on();
    // Were the other one left out first, the damaged one would have been the whole chain, and its loss the loss of all.
    let evicted = words_of_leaders(scene, EVICTED);
    scene.cluster.kill(&damaged);
    wait_for("the chains without it", HEAL, || {
        let now = words_of_leaders(scene, EVICTED);
        let shards = scene.cluster.plan.shards();
        (now >= evicted + shards)
            .then_some(())
            .ok_or_else(|| format!("{} of {shards}", now - evicted))
    });
    scene.cluster.kill(&other);
    damage(&data(scene, &damaged));
    scene.cluster.process_mut(&damaged).start();
    let announced = scene.cluster.process_mut(&damaged).announced(HEAL);
    assert!(announced.is_ok(), "{announced:?}");
    scene.cluster.restart(&other);
    scene.recover();
    let after = scene.cluster.wait_until_whole();
    assert_none_began_anew(&before, &after);
    let log = scene.cluster.process(&damaged).log_of_this_life();
    assert!(log.contains(is_told), "no {is_told:?}: {log}");
    // What was kept aside goes when the chain is whole.
    wait_for("one state of each shard", HEAL, || {
        let metas = files(&data(scene, &damaged), "meta");
        let shards = scene.cluster.plan.shards();
        (metas.len() == shards)
            .then_some(())
            .ok_or_else(|| format!("{metas:?}"))
    });
}

/// How often replicas of the control plane have said so.
fn words_of_leaders(scene: &Scene, words: &str) -> usize {
    let names = scene.cluster.names(Role::ControlPlane);
    let logs = names.iter().map(|name| scene.cluster.process(name).log());
    logs.map(|log| log.matches(words).count()).sum()
}

const EVICTED: &str = "rule=EvictLost";
const DAMAGED: &str = "what is kept of a shard is damaged, and not used";

#[test]
fn a_backend_whose_disk_is_gone_or_damaged_takes_everything_from_the_other() {
    let mut chance = Chance::new(seed());
    let mut scene = Scene::begin(pair(), CHURN);
    damage_one(&mut scene, DAMAGED, |directory| {
        let logs = files(directory, "log-");
        assert!(!logs.is_empty());
        for log in logs {
            // Of a block in the middle: what stands at the end may be torn, and is cut without a word.
            let blocks = fs::metadata(&log).expect("it is there").len() / BLOCK_BYTES;
            let middle = blocks / 2 * BLOCK_BYTES;
            flip(&log, middle + chance.below(64));
        }
    });
    damage_one(&mut scene, DAMAGED, |directory| {
        for log in files(directory, "log-") {
            let file = fs::OpenOptions::new().write(true).open(&log);
            let file = file.expect("it is there");
            file.set_len(BLOCK_BYTES / 2).expect("it can be cut");
        }
    });
    damage_one(&mut scene, DAMAGED, |directory| {
        for meta in files(directory, "meta") {
            flip(&meta, 20);
        }
    });
    damage_one(&mut scene, "", |directory| {
        fs::remove_dir_all(directory).expect("it is there");
    });
    scene.end();
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path);
    let mut file = file.expect("it is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.read_exact(&mut byte).expect("it is long enough");
    file.seek(SeekFrom::Start(at)).expect("it is long enough");
    file.write_all(&[byte[0] ^ 4]).expect("it can be written");
}

#[test]
fn a_backend_that_comes_back_with_its_disk_is_not_missed() {
    let mut scene = Scene::begin(pair(), CHURN);
    for which in [0, 1] {
        let status = scene.cluster.wait_until_whole();
        let name = status.shard(0).chain()[which].to_owned();
        scene.cluster.kill(&name);
        scene.go_on();
        scene.cluster.restart(&name);
        scene.recover();
    }
    scene.end_unnoticed();
}

/// Each backend on a small disk of its own.
fn small_disks(plan: Plan) -> Result<(Plan, BTreeMap<String, Disk>), String> {
    let mut disks = BTreeMap::new();
    for number in 1..=plan.backends {
        disks.insert(format!("backend-{number}"), Disk::small(DISK_MIB)?);
    }
    let paths = disks
        .iter()
        .map(|(name, disk)| (name.clone(), disk.path().join("data")));
    let plan = Plan {
        disks: paths.collect(),
        ..plan
    };
    Ok((plan, disks))
}

const KEEPS_NOTHING: &str = "the disk keeps nothing more";
const HAS_ROOM: &str = "the disk has room again";

/// Waits until every replica is there, on a disk that keeps it, and does nothing but what systemd would: it starts backends again that
/// have ended. Comes back with how many did, each of which has said why.
fn wait_until_kept(scene: &mut Scene) -> usize {
    let (names, mut ended) = (scene.cluster.names(Role::Backend), 0);
    // A node whose disk was full gets no replica for a minute.
    wait_for("all replicas on disks", 2 * HEAL, || {
        for name in &names {
            let process = scene.cluster.process_mut(name);
            let Some(status) = process.ended_by_itself() else {
                continue;
            };
            let log = process.log_of_this_life();
            assert!(
                status.code() == Some(1) && log.contains(HAS_ROOM),
                "{status}: {log}"
            );
            ended += 1;
            process.start();
        }
        scene.cluster.all_are_kept()
    });
    ended
}

/// Fills the disk of the member at `place` of the chain: it leaves loudly, clients lose nothing, and with room it comes back by itself.
fn fill_one(scene: &mut Scene, disks: &BTreeMap<String, Disk>, place: usize) {
    let before = scene.cluster.wait_until_whole();
    let name = before.shard(0).chain()[place].to_owned();
    disks[&name].fill();
    wait_for("a replica that leaves", HEAL, || {
        let status = scene.cluster.status()?;
        let is_left = status
            .shards
            .iter()
            .all(|shard| !shard.chain().contains(&name.as_str()));
        is_left.then_some(()).ok_or_else(|| format!("{status:?}"))
    });
    let log = scene.cluster.process(&name).log_of_this_life();
    assert!(log.contains(KEEPS_NOTHING), "it said nothing: {log}");
    scene.go_on();
    disks[&name].make_room();
    wait_until_kept(scene);
    scene.recover();
}

#[test]
fn a_replica_whose_disk_is_full_leaves_and_comes_back_with_room() {
    let (plan, disks) = match small_disks(pair()) {
        Ok(small) => small,
        Err(reason) => return skipped(&reason),
    };
    let mut scene = Scene::begin(plan, CHURN);
    // Each takes more than a minute: the head's, and with `make crash` the tail's as well.
    for place in 0..crashes(1, 1) {
        fill_one(&mut scene, &disks, place as usize % 2);
    }
    scene.end();
}

// Chains would be short for as long as nobody looks after the disk, although a node is there that has room.
#[test]
fn a_spare_takes_the_place_of_a_node_whose_disk_is_full() {
    let spared = Plan {
        backends: 3,
        ..pair()
    };
    let (plan, disks) = match small_disks(spared) {
        Ok(small) => small,
        Err(reason) => return skipped(&reason),
    };
    let mut scene = Scene::begin(plan, CHURN);
    let before = scene.cluster.wait_until_whole();
    let name = before.shard(0).head().to_owned();
    disks[&name].fill();
    wait_for("a spare in its place", HEAL, || {
        let status = scene.cluster.status()?;
        let is_replaced = status
            .shards
            .iter()
            .all(|shard| shard.chain().len() == 2 && !shard.chain().contains(&name.as_str()));
        is_replaced
            .then_some(())
            .ok_or_else(|| format!("{status:?}"))
    });
    scene.go_on();
    scene.end();
}

// Nobody may take over who has not everything: the chain waits, acknowledges nothing, and goes on with room, for which nobody has to do
// anything but to make it.
#[test]
fn a_chain_of_which_all_disks_are_full_waits_and_loses_nothing() {
    let (plan, disks) = match small_disks(pair()) {
        Ok(small) => small,
        Err(reason) => return skipped(&reason),
    };
    let mut scene = Scene::begin(plan, CHURN);
    let before = scene.cluster.wait_until_whole();
    for disk in disks.values() {
        disk.fill();
    }
    wait_for("disks that keep nothing more", HEAL, || {
        let backends = scene.cluster.names(Role::Backend);
        let logs = backends
            .iter()
            .map(|name| scene.cluster.process(name).log());
        let count = logs.filter(|log| log.contains(KEEPS_NOTHING)).count();
        (count == 2)
            .then_some(())
            .ok_or_else(|| format!("{count} of them"))
    });
    disks.values().for_each(Disk::make_room);
    assert!(wait_until_kept(&mut scene) > 0, "nobody was held up");
    scene.recover();
    let after = scene.cluster.wait_until_whole();
    assert_none_began_anew(&before, &after);
    scene.end();
}
