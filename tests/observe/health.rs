//! What probes of containers ask.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use catena_tests::{
    broker::binary,
    cluster::{Cluster, Plan, Role, wait_for},
    http::get,
};

use crate::metrics::{PATIENCE, ports::free_port, start};

/// The exit code of `catena health`, and what it said.
fn health(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).arg("health").args(words).output();
    let output = output.expect("the binary is there");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

// A container whose probe cannot say no is never started anew; one that cannot say yes always is.
#[test]
fn a_broker_lives_and_is_ready_and_then_is_not_there() {
    let (broker, metrics) = start();
    let address = metrics.to_string();
    assert_eq!(health(&["--address", &address]).0, Some(0));
    wait_for("readiness", PATIENCE, || {
        match health(&["--ready", "--address", &address]) {
            (Some(0), _) => Ok(()),
            (_, said) => Err(said),
        }
    });
    drop(broker);
    let (code, said) = health(&["--address", &address]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--metrics-address"), "{said}");
}

// A gateway without a control plane would be sent clients, or be killed for what is not its fault.
#[test]
fn who_waits_for_the_control_plane_lives_and_is_not_ready() {
    for role in ["gateway", "backend"] {
        let metrics = free_port();
        let mut process = Command::new(binary())
            .args([role, "--name", "n", "--control-plane", "http://127.0.0.1:1"])
            .args(["--internal-tls", "off", "--listen", "127.0.0.1:0"])
            .args(["--metrics-address", &metrics.to_string()])
            .spawn()
            .expect("the binary is there");
        let deadline = Instant::now() + PATIENCE;
        let mut lives = get(metrics, "/healthz");
        while lives.is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
            lives = get(metrics, "/healthz");
        }
        let ready = get(metrics, "/readyz");
        process.kill().expect("it runs");
        let _ = process.wait();
        assert_eq!(lives, Ok((200, "live\n".to_owned())), "{role}");
        let (status, said) = ready.expect("it answers");
        assert_eq!(status, 503, "{role}");
        assert!(said.contains("registration: "), "{role}: {said}");
    }
}

// Ready means that clients can be sent there: for every role, and again after a loss.
#[test]
fn each_process_of_a_cluster_becomes_ready() {
    let mut cluster = Cluster::start(Plan::redundancy(2));
    let await_ready = |cluster: &Cluster, name: &str| {
        wait_for(&format!("readiness of {name}"), PATIENCE, || {
            match get(cluster.metrics()[name], "/readyz")? {
                (200, _) => Ok(()),
                (_, said) => Err(said),
            }
        });
    };
    let names: Vec<String> = cluster.metrics().keys().cloned().collect();
    for name in &names {
        await_ready(&cluster, name);
    }
    cluster.kill("backend-1");
    assert!(get(cluster.metrics()["backend-1"], "/readyz").is_err());
    cluster.restart("backend-1");
    cluster.wait_until_whole();
    await_ready(&cluster, "backend-1");
    cluster.stop();
}

// An upgrade would end the last replica that has everything, because the one before it has only begun to catch up.
#[test]
fn a_backend_is_needed_while_its_chains_are_short() {
    let mut cluster = Cluster::start(Plan::redundancy(2));
    let stays = cluster.wait_until_whole().shard(0).tail().to_owned();
    let address = cluster.metrics()[&stays].to_string();
    let may_leave =
        |seconds: &str| health(&["--may-leave", "--wait", seconds, "--address", &address]);
    let (code, said) = may_leave("20");
    assert_eq!(code, Some(0), "{said}");
    let backends = cluster.names(Role::Backend);
    let others: Vec<&String> = backends.iter().filter(|name| **name != stays).collect();
    for other in &others {
        cluster.kill(other);
    }
    wait_for("what is missing to be seen", PATIENCE, || {
        match may_leave("0") {
            (Some(1), said) if said.contains("1 of 2 replicas") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    for other in others {
        cluster.restart(other);
    }
    cluster.wait_until_whole();
    let (code, said) = may_leave("20");
    assert_eq!(code, Some(0), "{said}");
    cluster.stop();
}

// Two processes with one port: the second would serve nobody without a word, or not start without need.
#[test]
fn a_port_that_is_taken_is_an_error_where_it_was_asked_for() {
    let (_broker, metrics) = start();
    let output = Command::new(binary())
        .args([
            "standalone",
            "--in-memory",
            "--listen",
            "127.0.0.1:0",
            "--metrics-address",
        ])
        .arg(metrics.to_string())
        .output()
        .expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("choose another --metrics-address, or off"),
        "{said}"
    );
}
