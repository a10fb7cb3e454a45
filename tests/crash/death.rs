//! Many processes of a cluster die at once and come back.

use catena_tests::{
    cluster::{Cluster, Role, Status},
    faults::Chance,
};

/// Kills all processes of these roles at once and starts them again, in an order that the seed chooses: whoever is first, founds. While none of
/// them writes any more, `cut` may happen, and `restore` once all are gone.
pub fn kill_all(
    cluster: &mut Cluster,
    chance: &mut Chance,
    roles: &[Role],
    cut: impl Fn(),
    restore: impl Fn(),
) {
    cluster.assert_nobody_ended();
    let mut names: Vec<String> = roles.iter().flat_map(|role| cluster.names(*role)).collect();
    for name in &names {
        cluster.process_mut(name).halt();
    }
    cut();
    for name in &names {
        cluster.kill(name);
    }
    restore();
    let first = chance.below(names.len() as u64) as usize;
    names.rotate_left(first);
    for name in &names {
        // It may need one that comes later, so it is not waited for.
        cluster.process_mut(name).start();
    }
}

/// All shards are of the generation that they were of.
///
/// # Panics
/// One is not.
pub fn assert_none_began_anew(before: &Status, after: &Status) {
    let generations = |status: &Status| -> Vec<_> {
        let shards = status.shards.iter();
        shards.map(|shard| shard.generation).collect()
    };
    assert_eq!(
        generations(before),
        generations(after),
        "a shard began empty"
    );
}
