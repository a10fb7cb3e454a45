//! What a cluster consists of.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// How many of what, and how it is set up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Replicas of the control plane.
    pub control_planes: usize,
    /// Backends; those beyond `partitions * redundancy` are spares.
    pub backends: usize,
    /// Gateways.
    pub gateways: usize,
    /// Groups of shards that live on the same backends.
    pub partitions: u16,
    /// Shards of each partition.
    pub workers: u16,
    /// Replicas of each shard.
    pub redundancy: usize,
    /// The time-out after which a silent process counts as lost.
    pub failure_timeout_ms: u64,
    /// Threads of each backend; `None`: its default.
    pub threads: Option<u16>,
    /// Threads of each gateway; `None`: its default.
    pub gateway_workers: Option<u16>,
    /// Processors to run on, as `taskset` writes them; `None`: all.
    pub cores: Option<String>,
    /// Where gateways listen; those beyond the list, and ports that are 0: the system chooses.
    pub ports: Vec<u16>,
    /// Whether backends keep what they hold on disk.
    pub keeps: bool,
    /// More of the Broker's `spec`, as lines of YAML with two spaces before them.
    pub spec: String,
    /// Where a backend or etcd keeps what it keeps, by name; the others do in the cluster's directory.
    pub disks: BTreeMap<String, PathBuf>,
    /// Whether each process gets a host of its own that can be cut off.
    pub hosts: bool,
    /// Whether to be on 127.0.0.1, which is easy to type, rather than on an address of one's own.
    pub on_localhost: bool,
    /// Whether processes show each other certificates, of a CA that is made for this cluster.
    pub internal_tls: bool,
}

impl Default for Plan {
    /// The cluster of `make cluster`: two replicas of two shards, and a spare that steps in for a lost backend.
    fn default() -> Plan {
        Plan {
            control_planes: 2,
            backends: 3,
            gateways: 2,
            partitions: 1,
            workers: 2,
            redundancy: 2,
            failure_timeout_ms: 3_000,
            threads: None,
            gateway_workers: None,
            cores: None,
            ports: Vec::new(),
            keeps: false,
            spec: String::new(),
            disks: BTreeMap::new(),
            hosts: false,
            on_localhost: false,
            internal_tls: false,
        }
    }
}

impl Plan {
    /// That many replicas of each shard, and a backend more.
    pub fn redundancy(redundancy: usize) -> Plan {
        Plan {
            redundancy,
            backends: redundancy + 1,
            ..Plan::default()
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        usize::from(self.partitions) * usize::from(self.workers)
    }

    /// Where process `name` of the cluster in `directory` keeps what it keeps.
    pub fn data(&self, directory: &Path, name: &str) -> PathBuf {
        let own = self.disks.get(name).cloned();
        own.unwrap_or_else(|| directory.join(format!("{name}-data")))
    }
}
