//! What an administrator does: a backend is drained, and etcd is restored from a backup.

use std::process::Command;

use catena_tests::{
    broker::binary,
    cluster::{Cluster, END, HEAL, Plan, Role, wait_for},
    faults::Scene,
};

fn catena(cluster: &Cluster, words: &[&str]) {
    let output = Command::new(binary())
        .args(words)
        .args(cluster.admin().client())
        .output()
        .expect("there is a catena");
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn a_drained_backend_is_not_missed() {
    let mut scene = Scene::begin(Plan::default(), "");
    let head = scene.cluster.wait_until_whole().shard(0).head().to_owned();
    catena(&scene.cluster, &["node", "drain", &head, "--wait"]);
    scene.go_on();
    scene.cluster.kill(&head);
    scene.go_on();
    scene.cluster.restart(&head);
    catena(&scene.cluster, &["node", "undrain", &head]);
    scene.recover();
    scene.end_unnoticed();
}

fn copy(from: &str, to: &str) {
    let copied = Command::new("cp").args(["-r", from, to]).status();
    assert!(copied.expect("there is cp").success(), "{from} to {to}");
}

fn end_etcd(cluster: &mut Cluster) {
    let etcd = cluster.process_mut("etcd");
    etcd.ask_to_end();
    etcd.wait_for_end(END);
}

// A store that has forgotten decisions would make them again otherwise, and two chains of one shard would serve [C-16].
#[test]
fn a_store_that_is_restored_from_a_backup_is_told_what_it_forgot() {
    let mut scene = Scene::begin(Plan::default(), "");
    let data = scene.cluster.directory().join("etcd").display().to_string();
    let backup = format!("{data}-backup");
    end_etcd(&mut scene.cluster);
    copy(&data, &backup);
    scene.cluster.restart("etcd");
    let before = scene.cluster.wait_until_whole();

    // What the backup does not know: another chain.
    let head = before.shard(0).head().to_owned();
    scene.cluster.kill(&head);
    scene.recover();

    for name in scene.cluster.names(Role::ControlPlane) {
        scene.cluster.kill(&name);
    }
    end_etcd(&mut scene.cluster);
    std::fs::remove_dir_all(&data).expect("etcd has written it");
    copy(&backup, &data);
    scene.cluster.restart("etcd");
    for name in scene.cluster.names(Role::ControlPlane) {
        scene.cluster.restart(&name);
    }
    wait_for("an alarm", HEAL, || {
        let status = scene.cluster.status()?;
        let mut alarms = status.alarms.iter();
        let told = alarms.any(|alarm| alarm.kind == "epoch-ahead");
        told.then_some(()).ok_or_else(|| format!("{status:?}"))
    });
    scene.go_on();
    catena(&scene.cluster, &["adopt"]);
    scene.recover();
    scene.cluster.restart(&head);
    scene.recover();
    scene.end_unnoticed();
}
