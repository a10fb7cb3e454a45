//! What `catena status -o json` says, as far as tests need it.

use std::process::Command;

use serde::Deserialize;

use crate::broker::binary;

/// The cluster at a glance.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Where the control plane's leader is reached; empty while there is none.
    #[serde(default)]
    pub leader: String,
    /// The chains of all shards that were founded.
    pub shards: Vec<Shard>,
    /// The backends that registered.
    pub nodes: Vec<Node>,
    /// The gateways that shards take ops from.
    pub gateways: Vec<Gateway>,
    /// What an administrator should know, in words.
    #[serde(default)]
    pub alarms: Vec<serde_json::Value>,
}

/// One chain.
#[derive(Debug, Clone, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: u16,
    /// The version of its configuration.
    pub epoch: u64,
    /// How often it started empty.
    pub generation: u32,
    /// The backends of its members by name, head first.
    pub chain: Vec<String>,
    /// The backend that joins behind the tail.
    #[serde(default)]
    pub learner: Option<String>,
}

/// One backend.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// One life of its process.
    pub incarnation: u64,
}

/// One gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// One life of its process.
    pub incarnation: u64,
}

impl Status {
    /// Asks the control plane at `endpoints`.
    ///
    /// # Errors
    /// What the command said, when it failed.
    pub fn ask(endpoints: &str) -> Result<Status, String> {
        let output = Command::new(binary())
            .args(["status", "-o", "json", "--control-plane", endpoints])
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let text = String::from_utf8_lossy(&output.stdout);
            format!("{error} in {text}")
        })
    }

    /// The chain of `shard`.
    ///
    /// # Panics
    /// When it has none.
    pub fn shard(&self, shard: u16) -> &Shard {
        let found = self.shards.iter().find(|chain| chain.shard == shard);
        found.unwrap_or_else(|| panic!("shard {shard} has no chain: {self:?}"))
    }
}

impl Shard {
    /// The backend that ops go to.
    pub fn head(&self) -> &str {
        self.chain.first().map_or("", String::as_str)
    }

    /// The backend that effects come from.
    pub fn tail(&self) -> &str {
        self.chain.last().map_or("", String::as_str)
    }

    /// One between head and tail.
    pub fn middle(&self) -> Option<&str> {
        (self.chain.len() > 2).then(|| self.chain[1].as_str())
    }
}
