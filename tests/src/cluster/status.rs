//! What `catena status -o json` says, as far as tests need it.

use std::process::Command;

use serde::Deserialize;

use super::admin::Admin;
use crate::broker::binary;

/// The cluster at a glance.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Who decides.
    #[serde(alias = "controlPlane")]
    pub control_plane: ControlPlane,
    /// The chains of all shards that were founded.
    #[serde(default)]
    pub shards: Vec<Shard>,
    /// The backends that registered.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// The gateways that registered.
    #[serde(default)]
    pub gateways: Vec<Gateway>,
    /// What an administrator should know.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
}

/// The control plane.
#[derive(Debug, Clone, Deserialize)]
pub struct ControlPlane {
    /// Where its leader is reached; empty while there is none.
    #[serde(default)]
    pub leader: String,
    /// Whether the leader has said all this: only it knows who is alive.
    #[serde(default, alias = "fromLeader")]
    pub from_leader: bool,
}

/// One chain.
#[derive(Debug, Clone, Deserialize)]
pub struct Shard {
    /// Its number.
    #[serde(default)]
    pub shard: u16,
    /// The version of its configuration.
    pub epoch: u64,
    /// How often it started empty.
    pub generation: u32,
    /// Its members, head first, then the learner.
    pub replicas: Vec<Replica>,
}

/// One copy of a shard.
#[derive(Debug, Clone, Deserialize)]
pub struct Replica {
    /// The backend that has it.
    pub node: String,
    /// What it is in the chain: `head`, `learner` ...
    pub role: String,
    /// `live`, or what else the leader thinks of it.
    #[serde(default)]
    pub liveness: Option<String>,
    /// Whether its process is known to be gone for good.
    #[serde(default)]
    pub dead: bool,
}

/// One backend.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// One life of its process.
    pub incarnation: u64,
    /// Where others reach each of its threads.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// One gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// One life of its process.
    pub incarnation: u64,
    /// Whether shards take its ops.
    #[serde(default)]
    pub live: bool,
}

/// What an administrator should know.
#[derive(Debug, Clone, Deserialize)]
pub struct Alarm {
    /// As `chain-waits`.
    pub kind: String,
    /// In a sentence.
    #[serde(default)]
    pub text: String,
}

impl Status {
    /// Asks the admin API.
    ///
    /// # Errors
    /// What the command said, when it failed.
    pub fn ask(admin: &Admin) -> Result<Status, String> {
        let text = run(admin, &["-o", "json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    /// The chain of `shard`.
    ///
    /// # Panics
    /// When it has none.
    pub fn shard(&self, shard: u16) -> &Shard {
        self.find(shard).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same.
    ///
    /// # Errors
    /// When it has none.
    pub fn find(&self, shard: u16) -> Result<&Shard, String> {
        let found = self.shards.iter().find(|chain| chain.shard == shard);
        found.ok_or_else(|| format!("shard {shard} has no chain: {self:?}"))
    }
}

impl Shard {
    /// The backends of the members, head first.
    pub fn chain(&self) -> Vec<&str> {
        let members = self.replicas.iter().filter(|replica| !replica.is_learner());
        members.map(|replica| replica.node.as_str()).collect()
    }

    /// Whether somebody joins behind the tail.
    pub fn has_learner(&self) -> bool {
        self.replicas.iter().any(Replica::is_learner)
    }

    /// The backend that ops go to.
    pub fn head(&self) -> &str {
        self.chain().first().copied().unwrap_or_default()
    }

    /// The backend that effects come from.
    pub fn tail(&self) -> &str {
        self.chain().last().copied().unwrap_or_default()
    }

    /// One between head and tail.
    pub fn middle(&self) -> Option<&str> {
        let chain = self.chain();
        (chain.len() > 2).then(|| chain[1])
    }
}

impl Replica {
    /// Whether its process is heard of.
    pub fn is_live(&self) -> bool {
        self.liveness.as_deref() == Some("live") && !self.dead
    }

    fn is_learner(&self) -> bool {
        self.role.to_lowercase().ends_with("learner")
    }
}

/// What it says to people.
///
/// # Errors
/// What the command said, when it failed.
pub fn text(admin: &Admin) -> Result<String, String> {
    run(admin, &[])
}

fn run(admin: &Admin, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(binary())
        .arg("status")
        .args(arguments)
        .args(admin.client())
        .output()
        .map_err(|error| error.to_string())?;
    // 1 says that something is not as it should be, which is what is asked for.
    if !matches!(output.status.code(), Some(0 | 1)) || output.stdout.is_empty() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
