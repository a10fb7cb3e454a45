//! What the store holds of nodes and gateways, as JSON.

use std::fmt;

use bytes::Bytes;
use catena_chain::Incarnation;
use catena_topology::{GatewayIncarnation, GatewayName, Node, Partition, Zone, topology::Kept};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Processes of a node that are remembered, so that a late request of one of them is refused `[C-1]`.
const FORMER_MAX: usize = 16;

/// A number that a process makes at its start, and that no other has. Written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process(pub u128);

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// Of the process that registered last.
    pub incarnation: Incarnation,
    pub process: Process,
    /// Those before it, the last of them at the end.
    #[serde(default)]
    pub former: Vec<Process>,
    #[serde(default)]
    pub zone: Option<Zone>,
    /// `host:port` of each thread.
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default)]
    pub partition: Option<Partition>,
    #[serde(default)]
    pub draining: bool,
    #[serde(default)]
    pub gone: bool,
    #[serde(default)]
    pub kept: Vec<Kept>,
}

/// A gateway's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRecord {
    pub name: GatewayName,
    /// What it was called before its lease ran out; else it is the revision that created the entry `[C-43]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<GatewayIncarnation>,
}

/// The name under which it is kept what a gateway's own client found; no BrokerListener can have it.
pub const SELF_CHECK: &str = "--self-check";

/// How it stands with a port of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRecord {
    /// The BrokerListener's name, or `--listen`; [`SELF_CHECK`] for what the gateway's own client found, which is kept beside
    /// the ports: open then means that all went well.
    pub listener: String,
    pub port: u16,
    pub open: bool,
    /// Also of a port that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Who registers as a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    pub process: Process,
    pub zone: Option<Zone>,
    pub addresses: Vec<String>,
    /// What it found on its disk `[C-63]`.
    pub kept: Vec<Kept>,
}

impl NodeRecord {
    /// The record of a node's first process.
    pub fn new(newcomer: Newcomer, incarnation: Incarnation) -> NodeRecord {
        NodeRecord {
            incarnation,
            process: newcomer.process,
            former: Vec::new(),
            zone: newcomer.zone,
            addresses: newcomer.addresses,
            partition: None,
            draining: false,
            gone: false,
            kept: newcomer.kept,
        }
    }

    /// The record once a newer process has registered: it keeps the node's place, and what an administrator said of the
    /// node. That the process before was declared gone says nothing of this one.
    pub fn replaced(&self, newcomer: Newcomer, incarnation: Incarnation) -> NodeRecord {
        let mut former = self.former.clone();
        former.push(self.process);
        former.drain(..former.len().saturating_sub(FORMER_MAX));
        NodeRecord {
            former,
            partition: self.partition,
            draining: self.draining,
            ..NodeRecord::new(newcomer, incarnation)
        }
    }

    /// What the chain manager reads of it.
    pub fn node(&self) -> Node {
        Node {
            incarnation: self.incarnation,
            zone: self.zone.clone(),
            partition: self.partition,
            draining: self.draining,
            gone: self.gone,
            kept: self.kept.clone(),
        }
    }
}

/// A value for the store.
pub fn json(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value);
    text.expect("numbers, texts, lists and maps of them").into()
}

impl Process {
    /// The inverse of its `Display`.
    pub fn parse(text: &str) -> Option<Process> {
        if text.len() != 32 {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Process)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Process, D::Error> {
        let text = String::deserialize(deserializer)?;
        Process::parse(&text).ok_or_else(|| de::Error::custom("not 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use catena_chain::ReplicaId;
    use catena_slots::ShardId;
    use catena_topology::{Chain, Gateways, NodeName};

    use super::*;

    fn newcomer(process: u128) -> Newcomer {
        Newcomer {
            process: Process(process),
            zone: Some(Zone("a".to_owned())),
            addresses: vec!["host:9702".to_owned()],
            kept: Vec::new(),
        }
    }

    // A request that was on its way while a newer process registered must not bring the old one back [C-1].
    #[test]
    fn former_processes_are_remembered_up_to_a_bound() {
        let mut record = NodeRecord::new(newcomer(0), Incarnation(1));
        record.partition = Some(Partition(3));
        record.gone = true;
        for process in 1..40 {
            record = record.replaced(newcomer(process), Incarnation(1 + process as u64));
        }
        assert_eq!(record.former.len(), FORMER_MAX);
        assert_eq!(record.former.last(), Some(&Process(38)));
        assert_eq!((record.partition, record.gone), (Some(Partition(3)), false));
    }

    // What one replica writes all others must read.
    #[test]
    fn what_is_written_is_read_again() {
        let record = NodeRecord::new(newcomer(u128::MAX), Incarnation(1));
        let read: NodeRecord = serde_json::from_slice(&json(&record)).unwrap();
        assert_eq!(read, record);
        let name = NodeName("backend-0".to_owned());
        let chain = Chain::founded(ShardId(3), None, &name, Incarnation(4));
        let read: Chain = serde_json::from_slice(&json(&chain)).unwrap();
        assert_eq!(read, chain);
        assert_eq!(read.homes[&ReplicaId(1)], name);
        let gateways = Gateways {
            version: 7,
            live: [(GatewayIncarnation(5), GatewayName("gateway-0".to_owned()))].into(),
        };
        let read: Gateways = serde_json::from_slice(&json(&gateways)).unwrap();
        assert_eq!(read, gateways);
    }
}
