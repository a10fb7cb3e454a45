//! A new version is rolled out: every process is asked to end and started again, one after the other.

use catena_tests::{
    cluster::{Plan, Role},
    faults::Scene,
    verify::Load,
};

// A process that is asked to end leaves its chains before it goes, so that nobody needs to miss it: an upgrade loses nothing, and clients
// of a gateway keep their connections until it is its own turn.
#[test]
fn everything_is_restarted_in_turn() {
    let mut scene = Scene::begin(Plan::default(), "");
    let last = scene.cluster.names(Role::Gateway).swap_remove(0);
    let beside = scene.cluster.brokers()[0].to_string();
    let beside = Load::start(&beside, "--settle 90 --prefix beside --rate 200");
    for role in [Role::Etcd, Role::ControlPlane, Role::Backend, Role::Gateway] {
        for name in scene.cluster.names(role) {
            if name != last {
                eprintln!("{name} is restarted");
                scene.cluster.roll(&name);
                scene.recover();
            }
        }
    }
    let report = beside.end();
    assert!(report.passed, "{report:#?}");
    assert_eq!(report.connections.broken, 0, "{report:#?}");
    eprintln!("{last} is restarted");
    scene.cluster.roll(&last);
    scene.recover();
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
