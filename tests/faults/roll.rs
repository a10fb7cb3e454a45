//! A new version is rolled out: every process is asked to end and started again, one after the other.

use catena_tests::{
    cluster::{Plan, Role},
    faults::Scene,
};

// A process that is asked to end leaves its chains before it goes, so that nobody needs to miss it.
#[test]
fn everything_is_restarted_in_turn() {
    let mut scene = Scene::begin(Plan::default(), "");
    for role in [Role::Etcd, Role::ControlPlane, Role::Backend, Role::Gateway] {
        for name in scene.cluster.names(role) {
            eprintln!("{name} is restarted");
            scene.cluster.roll(&name);
            scene.recover();
        }
    }
    scene.end();
}

// Only the clients of a gateway that is restarted may notice anything.
#[test]
fn restarted_backends_are_not_noticed() {
    let mut scene = Scene::begin(Plan::default(), "");
    for name in scene.cluster.names(Role::Backend) {
        scene.cluster.roll(&name);
        scene.recover();
    }
    scene.end_unnoticed();
}
