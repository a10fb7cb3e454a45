//! The command line of each process of a cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Plan, process::Recipe};
use crate::broker::{binary, binary_before};

/// What a process does in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The store of the control plane.
    Etcd,
    /// Decides who is a chain.
    ControlPlane,
    /// Holds replicas of shards.
    Backend,
    /// Serves clients.
    Gateway,
}

impl Role {
    /// What the names of such processes begin with.
    pub fn word(self) -> &'static str {
        match self {
            Role::Etcd => "etcd",
            Role::ControlPlane => "control",
            Role::Backend => "backend",
            Role::Gateway => "gateway",
        }
    }

    /// The role of the process with that name.
    pub fn of(name: &str) -> Option<Role> {
        let all = [Role::Etcd, Role::ControlPlane, Role::Backend, Role::Gateway];
        all.into_iter().find(|role| name.starts_with(role.word()))
    }
}

/// etcd, alone, with its data in `data`.
pub fn etcd(data: &Path, clients: SocketAddr, peers: SocketAddr) -> Vec<String> {
    [
        "etcd --name=etcd --logger=zap --log-level=warn".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls=http://{clients} --advertise-client-urls=http://{clients}"),
        format!("--listen-peer-urls=http://{peers} --initial-advertise-peer-urls=http://{peers}"),
        format!("--initial-cluster=etcd=http://{peers}"),
    ]
    .iter()
    .flat_map(|words| words.split(' '))
    .map(str::to_owned)
    .collect()
}

/// A replica of the control plane.
pub fn control_plane(
    plan: &Plan,
    directory: &Path,
    listen: SocketAddr,
    admin: &str,
    etcd: SocketAddr,
) -> Vec<String> {
    let mut words = catena(&format!(
        "control-plane --listen {listen} --advertise {listen} {admin} --store etcd --etcd http://{etcd} \
         --cluster test --partitions {} --workers {} --redundancy {} --failure-timeout-ms {}",
        plan.partitions, plan.workers, plan.redundancy, plan.failure_timeout_ms
    ));
    if plan.keeps || !plan.spec.is_empty() {
        let resources = broker(plan, directory, plan.keeps);
        words.extend(["--resources".to_owned(), text(&resources)]);
    }
    words.extend(if plan.internal_tls {
        ["--secrets-dir".to_owned(), text(&secrets(directory))]
    } else {
        ["--internal-tls", "off"].map(str::to_owned)
    });
    words
}

/// Where the CA of a cluster lies.
pub fn secrets(directory: &Path) -> PathBuf {
    directory.join("secrets")
}

/// Makes the CA of a cluster.
pub fn make_ca(directory: &Path) {
    ca(directory, "create");
}

/// What `catena ca` says to these words.
///
/// # Panics
/// When it fails.
pub fn ca(directory: &Path, words: &str) -> String {
    let mut command = std::process::Command::new(binary());
    command.args(["ca"]).args(words.split_whitespace());
    command.arg("--secrets-dir").arg(secrets(directory));
    let output = command.args(["--cluster", "test"]).output();
    let output = output.expect("the broker can be run");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "catena ca {words}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How a gateway or a backend gets its certificate: by a token that is made for it.
fn joins(plan: &Plan, directory: &Path, role: &str, name: &str) -> Vec<String> {
    if !plan.internal_tls {
        return ["--internal-tls", "off"].map(str::to_owned).to_vec();
    }
    let token = ca(directory, &format!("token --role {role} --name {name}"));
    let file = directory.join(format!("{name}.token"));
    std::fs::write(&file, token).expect("the directory can be written");
    let data = plan.data(directory, name);
    vec![
        "--join-token-file".to_owned(),
        text(&file),
        "--data-dir".to_owned(),
        text(&data),
    ]
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A directory with the manifest of a Broker, with or without persistence.
pub fn broker(plan: &Plan, directory: &Path, keeps: bool) -> PathBuf {
    let resources = directory.join("resources");
    let persistence = if keeps {
        "  persistence: {maxSize: 1Gi}\n"
    } else {
        ""
    };
    let traffic = if plan.internal_tls {
        "Enabled"
    } else {
        "Disabled"
    };
    let manifest = format!(
        "apiVersion: catena.dev/v1\nkind: Broker\nmetadata: {{name: default}}\nspec:\n  \
         cardinality: {{backendChain: {{partitions: {}, workers: {}, redundancyFactor: {}}}}}\n  \
         advanced: {{encryptInternalTraffic: {traffic}}}\n{persistence}{}",
        plan.partitions, plan.workers, plan.redundancy, plan.spec
    );
    std::fs::create_dir_all(&resources).expect("the directory can be written");
    std::fs::write(resources.join("broker.yaml"), manifest).expect("the directory can be written");
    resources
}

/// A backend. It listens on ports that the system chooses.
pub fn backend(
    plan: &Plan,
    directory: &Path,
    name: &str,
    listen: SocketAddr,
    control: &str,
) -> Vec<String> {
    let mut words = catena(&format!(
        "backend --name {name} --listen {listen} --control-plane {control}"
    ));
    words.extend(joins(plan, directory, "backend", name));
    if !plan.internal_tls {
        let data = plan.data(directory, name);
        words.extend(["--data-dir".to_owned(), text(&data)]);
    }
    if let Some(threads) = plan.threads {
        words.extend(["--threads".to_owned(), threads.to_string()]);
    }
    words
}

/// A gateway.
pub fn gateway(
    plan: &Plan,
    directory: &Path,
    name: &str,
    listen: SocketAddr,
    control: &str,
) -> Vec<String> {
    let mut words = catena(&format!(
        "gateway --name {name} --listen {listen} --control-plane {control}"
    ));
    words.extend(joins(plan, directory, "gateway", name));
    if let Some(workers) = plan.gateway_workers {
        words.extend(["--workers".to_owned(), workers.to_string()]);
    }
    words
}

/// A command of ours; `words` have spaces between them.
fn catena(words: &str) -> Vec<String> {
    let words = words.split_whitespace().map(str::to_owned);
    let program = binary_before().unwrap_or_else(|| binary().to_owned());
    [program.display().to_string()]
        .into_iter()
        .chain(words)
        .collect()
}

/// A recipe for `command` on the processors of the plan.
pub fn recipe(plan: &Plan, command: Vec<String>) -> Recipe {
    let mut words = Vec::new();
    if let Some(cores) = &plan.cores {
        words.extend(["taskset", "-c", cores].map(str::to_owned));
    }
    words.extend(command);
    let log = std::env::var("CATENA_CLUSTER_LOG").unwrap_or_else(|_| "info".to_owned());
    Recipe {
        command: words,
        environment: vec![("CATENA_LOG".to_owned(), log)],
    }
}
