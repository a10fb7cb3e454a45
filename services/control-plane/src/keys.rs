//! Where everything is in the store, below `/catena/v1/CLUSTER/`.
//!
//! | key | value |
//! | --- | --- |
//! | `resources/KIND/NAME` | a resource; the kind in lower case, as `brokerlistener` |
//! | `resources/changed` | written with each change of a resource, and compared: references hold among all of them |
//! | `topology/layout` | the slot table and its partitions |
//! | `topology/chains/SHARD` | a chain |
//! | `topology/gateways` | the gateways that shards take ops from |
//! | `topology/incarnations` | the highest incarnation of a node that was ever allotted |
//! | `topology/removed` | incarnations of the nodes that an administrator removed last |
//! | `topology/leader/holder` | who leads; under a lease |
//! | `topology/replicas/ADDRESS` | a replica of the control plane; under a lease |
//! | `nodes/NAME` | a node |
//! | `gateways/registrations/PROCESS` | a gateway's process; under a lease |
//! | `gateways/ports/PROCESS` | how it stands with a gateway's ports; under the lease of its registration |
//! | `gateways/draining/INCARNATION` | a gateway that is to drain |
//! | `join-tokens/ID` | a join token that was used; under a lease that lasts as long as the token |
//! | `gateways/kept` | written when a registration is made again: what was decided without it is void `[C-43]` |

use catena_resources::{BROKER_NAME, Kind, ResourceId};
use catena_slots::ShardId;
use catena_topology::{GatewayIncarnation, NodeName};

use crate::{
    record::Process,
    store::{InvalidKey, Key},
};

const RESOURCES: &str = "resources/";
const CHAINS: &str = "topology/chains/";
const REPLICAS: &str = "topology/replicas/";
const NODES: &str = "nodes/";
const REGISTRATIONS: &str = "gateways/registrations/";
const PORTS: &str = "gateways/ports/";
const DRAINING: &str = "gateways/draining/";

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Resource(ResourceId),
    Layout,
    Chain(ShardId),
    Gateways,
    Incarnations,
    Removed,
    Replica(String),
    Node(NodeName),
    Registration(Process),
    Ports(Process),
    Draining(GatewayIncarnation),
    Other,
}

/// What `key` is about.
pub fn about(key: &Key) -> About {
    let key = key.as_str();
    match key {
        "topology/layout" => return About::Layout,
        "topology/gateways" => return About::Gateways,
        "topology/incarnations" => return About::Incarnations,
        "topology/removed" => return About::Removed,
        _ => {}
    }
    let found = if let Some(path) = key.strip_prefix(RESOURCES) {
        resource_id(path).map(About::Resource)
    } else if let Some(shard) = key.strip_prefix(CHAINS) {
        shard.parse().ok().map(|shard| About::Chain(ShardId(shard)))
    } else if let Some(address) = key.strip_prefix(REPLICAS) {
        Some(About::Replica(address.to_owned()))
    } else if let Some(name) = key.strip_prefix(NODES) {
        Some(About::Node(NodeName(name.to_owned())))
    } else if let Some(process) = key.strip_prefix(REGISTRATIONS) {
        Process::parse(process).map(About::Registration)
    } else if let Some(process) = key.strip_prefix(PORTS) {
        Process::parse(process).map(About::Ports)
    } else if let Some(incarnation) = key.strip_prefix(DRAINING) {
        let incarnation = incarnation.parse().ok();
        incarnation.map(|incarnation| About::Draining(GatewayIncarnation(incarnation)))
    } else {
        None
    };
    found.unwrap_or(About::Other)
}

fn fixed(text: &str) -> Key {
    Key::new(text).expect("visible ASCII")
}

/// # Errors
/// When the name is none: visible ASCII without slashes.
pub fn resource(id: &ResourceId) -> Result<Key, InvalidKey> {
    let kind = id.kind.to_string().to_ascii_lowercase();
    level(&format!("{RESOURCES}{kind}/"), &id.name)
}

/// Of which all resources are below.
pub fn resources() -> Key {
    fixed("resources")
}

pub fn resources_changed() -> Key {
    fixed("resources/changed")
}

pub fn broker() -> Key {
    let id = ResourceId {
        kind: Kind::Broker,
        name: BROKER_NAME.to_owned(),
    };
    resource(&id).expect("visible ASCII")
}

pub fn layout() -> Key {
    fixed("topology/layout")
}

pub fn chain(shard: ShardId) -> Key {
    fixed(&format!("{CHAINS}{}", shard.0))
}

pub fn gateways() -> Key {
    fixed("topology/gateways")
}

pub fn incarnations() -> Key {
    fixed("topology/incarnations")
}

pub fn removed() -> Key {
    fixed("topology/removed")
}

/// Where the election is held.
pub fn leader() -> Key {
    fixed("topology/leader")
}

/// # Errors
/// When the address cannot be part of a key.
pub fn replica(address: &str) -> Result<Key, InvalidKey> {
    level(REPLICAS, address)
}

/// # Errors
/// When the name is none: visible ASCII without slashes.
pub fn node(name: &NodeName) -> Result<Key, InvalidKey> {
    level(NODES, &name.0)
}

pub fn registration(process: Process) -> Key {
    fixed(&format!("{REGISTRATIONS}{process}"))
}

pub fn ports(process: Process) -> Key {
    fixed(&format!("{PORTS}{process}"))
}

pub fn draining(gateway: GatewayIncarnation) -> Key {
    fixed(&format!("{DRAINING}{}", gateway.0))
}

/// # Errors
/// When the id is none.
pub fn join_token(id: &str) -> Result<Key, InvalidKey> {
    level("join-tokens/", id)
}

pub fn kept() -> Key {
    fixed("gateways/kept")
}

fn resource_id(path: &str) -> Option<ResourceId> {
    let (kind, name) = path.split_once('/')?;
    let (_, kind) = Kind::ALL
        .iter()
        .find(|(word, _)| word.to_ascii_lowercase() == kind)?;
    Some(ResourceId {
        kind: *kind,
        name: name.to_owned(),
    })
}

/// One level below `prefix`.
fn level(prefix: &str, name: &str) -> Result<Key, InvalidKey> {
    if name.contains('/') {
        return Err(InvalidKey(name.to_owned()));
    }
    Key::new(format!("{prefix}{name}")).map_err(|_| InvalidKey(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A key that is written and not recognized is decided on as if it were not there.
    #[test]
    fn every_key_is_recognized() {
        let name = NodeName("backend-0".to_owned());
        let process = Process(7);
        for (_, kind) in Kind::ALL {
            let id = ResourceId {
                kind: *kind,
                name: BROKER_NAME.to_owned(),
            };
            let key = resource(&id).unwrap();
            assert_eq!(key == broker(), *kind == Kind::Broker);
            assert_eq!(about(&key), About::Resource(id));
        }
        assert_eq!(about(&resources_changed()), About::Other);
        assert_eq!(about(&layout()), About::Layout);
        assert_eq!(about(&chain(ShardId(12))), About::Chain(ShardId(12)));
        assert_eq!(about(&gateways()), About::Gateways);
        assert_eq!(about(&incarnations()), About::Incarnations);
        assert_eq!(about(&removed()), About::Removed);
        let address = "control-plane-0:9701";
        let replica = replica(address).unwrap();
        assert_eq!(about(&replica), About::Replica(address.to_owned()));
        assert_eq!(about(&node(&name).unwrap()), About::Node(name));
        assert_eq!(about(&registration(process)), About::Registration(process));
        assert_eq!(about(&ports(process)), About::Ports(process));
        let gateway = GatewayIncarnation(9);
        assert_eq!(about(&draining(gateway)), About::Draining(gateway));
        assert_eq!(about(&kept()), About::Other);
        assert!(node(&NodeName("a/b".to_owned())).is_err());
        assert!(node(&NodeName(String::new())).is_err());
    }
}
