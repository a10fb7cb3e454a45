//! Core types as messages, and back. The server's side uses it too.

use std::{collections::BTreeSet, sync::Arc};

use catena_chain::{
    Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
    configuration::Beginning,
    message::{News, Report},
};
use catena_proto::internal::v1 as proto;
use catena_resources::{Kind, Resource, ResourceId};
use catena_slots::ShardId;
use catena_topology::{GatewayIncarnation, Progress, topology::Kept};

pub use crate::signers::terms;
use crate::{cluster::Cluster, voice::PortStatus};

/// A message that no version of us sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What must be told to someone who knows `before`, so that he knows `after`. Without `before`: everything.
pub fn difference(before: Option<&Cluster>, after: &Cluster) -> proto::WatchResponse {
    let nothing = Cluster::default();
    let known = before.unwrap_or(&nothing);
    let is_new = before.is_none();
    let chains = after.chains.iter().filter(|(shard, configuration)| {
        let last = known.chains.get(shard);
        last != Some(configuration)
    });
    let addresses = after
        .addresses
        .iter()
        .filter(|(incarnation, addresses)| known.addresses.get(incarnation) != Some(addresses));
    let gone = known
        .addresses
        .keys()
        .filter(|incarnation| !after.addresses.contains_key(incarnation));
    let gateways_changed = known.gateways_version != after.gateways_version
        || known.gateways != after.gateways
        || known.draining != after.draining;
    let layout_changed = is_new || known.layout != after.layout;
    let resources = after.resources.iter();
    let resources = resources.filter(|(id, stored)| known.resources.get(id) != Some(stored));
    let resources_gone = known.resources.iter().map(|(id, _)| id);
    let resources_gone = resources_gone.filter(|id| after.resources.get(id).is_none());
    proto::WatchResponse {
        version: after.version,
        snapshot: is_new,
        layout: (after.layout.as_ref()).filter(|_| layout_changed).map(json),
        chains: chains
            .map(|(_, configuration)| configuration_message(configuration))
            .collect(),
        addresses: addresses
            .map(
                |(incarnation, addresses)| proto::watch_response::NodeAddresses {
                    incarnation: incarnation.0,
                    addresses: addresses.to_vec(),
                },
            )
            .collect(),
        addresses_gone: gone.map(|incarnation| incarnation.0).collect(),
        gateways: (is_new || gateways_changed).then(|| proto::watch_response::Gateways {
            version: after.gateways_version,
            live: after.gateways.to_vec(),
            draining: after.draining.iter().map(|gateway| gateway.0).collect(),
        }),
        resources: resources
            .map(|(_, stored)| proto::watch_response::Resource {
                version: stored.version,
                manifest: json(&*stored.resource),
            })
            .collect(),
        settings_version: after.settings_version,
        resources_gone: resources_gone
            .map(|id| proto::watch_response::ResourceId {
                kind: id.kind.to_string(),
                name: id.name.clone(),
            })
            .collect(),
    }
}

/// Takes what was told.
///
/// # Errors
/// [`Malformed`]; `cluster` is then of no use.
pub fn take(cluster: &mut Cluster, told: proto::WatchResponse) -> Result<(), Malformed> {
    if told.snapshot {
        *cluster = Cluster::default();
    }
    cluster.version = told.version;
    cluster.settings_version = told.settings_version;
    if let Some(text) = told.layout {
        let layout = serde_json::from_str(&text);
        cluster.layout = Some(layout.map_err(|_| Malformed("a layout that cannot be read"))?);
    }
    take_resources(cluster, told.resources, told.resources_gone)?;
    for message in told.chains {
        let configuration = configuration(message)?;
        cluster.chains.insert(configuration.shard, configuration);
    }
    for incarnation in told.addresses_gone {
        cluster.addresses.remove(&Incarnation(incarnation));
    }
    for node in told.addresses {
        let addresses: Arc<[String]> = node.addresses.into();
        cluster
            .addresses
            .insert(Incarnation(node.incarnation), addresses);
    }
    if let Some(gateways) = told.gateways {
        cluster.gateways_version = gateways.version;
        cluster.gateways = gateways.live.into();
        let draining = gateways.draining.into_iter().map(GatewayIncarnation);
        cluster.draining = draining.collect();
    }
    Ok(())
}

fn take_resources(
    cluster: &mut Cluster,
    put: Vec<proto::watch_response::Resource>,
    gone: Vec<proto::watch_response::ResourceId>,
) -> Result<(), Malformed> {
    if put.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let resources = Arc::make_mut(&mut cluster.resources);
    for id in gone {
        let kind = Kind::ALL.iter().find(|(word, _)| *word == id.kind);
        let (_, kind) = *kind.ok_or(Malformed("a resource of a kind that is not known"))?;
        resources.remove(&ResourceId {
            kind,
            name: id.name,
        });
    }
    for told in put {
        let resource: Resource = serde_json::from_str(&told.manifest)
            .map_err(|_| Malformed("a resource that cannot be read"))?;
        resources.put(told.version, Arc::new(resource));
    }
    cluster.broker = resources.broker().cloned().unwrap_or_default();
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers, texts and lists of them")
}

/// A chain's configuration as a message.
pub fn configuration_message(configuration: &Configuration) -> proto::Configuration {
    let member = |member: Member| proto::Member {
        replica: member.id.0,
        incarnation: member.incarnation.0,
    };
    proto::Configuration {
        shard: configuration.shard.0.into(),
        epoch: configuration.epoch.0,
        generation: configuration.generation.0,
        chain: configuration.chain.iter().copied().map(member).collect(),
        learner: configuration.learner.map(member),
        joined: configuration.joined.0,
        founder: configuration.founder.0,
        began: Some(match configuration.began {
            Beginning::Empty => {
                proto::configuration::Began::Empty(proto::configuration::Empty::default())
            }
            Beginning::Disk(replica) => proto::configuration::Began::DiskOf(replica.0),
        }),
    }
}

/// A chain's configuration from a message.
///
/// # Errors
/// [`Malformed`] for a chain without members or a shard that cannot be.
pub fn configuration(message: proto::Configuration) -> Result<Configuration, Malformed> {
    let member = |member: proto::Member| Member {
        id: ReplicaId(member.replica),
        incarnation: Incarnation(member.incarnation),
    };
    if message.chain.is_empty() {
        return Err(Malformed("a chain without members"));
    }
    Ok(Configuration {
        shard: shard(message.shard)?,
        epoch: Epoch(message.epoch),
        generation: Generation(message.generation),
        chain: message.chain.into_iter().map(member).collect(),
        learner: message.learner.map(member),
        joined: Epoch(message.joined),
        founder: ReplicaId(message.founder),
        began: match message.began {
            Some(proto::configuration::Began::DiskOf(replica)) => {
                Beginning::Disk(ReplicaId(replica))
            }
            Some(proto::configuration::Began::Empty(_)) => Beginning::Empty,
            None => return Err(Malformed("a chain that began in no known way")),
        },
    })
}

/// A replica's progress as a message.
pub fn progress_message(progress: &Progress) -> proto::Progress {
    proto::Progress {
        shard: progress.shard.0.into(),
        replica: progress.replica.0,
        epoch: progress.epoch.0,
        turns: progress.turns,
        received: progress.received,
        last: progress.last,
        committed: progress.committed,
    }
}

/// A replica's progress from a message.
///
/// # Errors
/// [`Malformed`] for a shard that cannot be.
pub fn progress(message: &proto::Progress) -> Result<Progress, Malformed> {
    Ok(Progress {
        shard: shard(message.shard)?,
        replica: ReplicaId(message.replica),
        epoch: Epoch(message.epoch),
        turns: message.turns,
        received: message.received,
        last: message.last,
        committed: message.committed,
    })
}

/// What a disk has, as a message.
pub fn kept_message(kept: &Kept) -> proto::Kept {
    proto::Kept {
        shard: kept.shard.0.into(),
        generation: kept.generation.0,
        replica: kept.replica.0,
        may_lack: kept.may_lack,
    }
}

/// What a disk has, from a message.
///
/// # Errors
/// [`Malformed`] for a shard that cannot be.
pub fn kept(message: &proto::Kept) -> Result<Kept, Malformed> {
    Ok(Kept {
        shard: shard(message.shard)?,
        generation: Generation(message.generation),
        replica: ReplicaId(message.replica),
        may_lack: message.may_lack,
    })
}

/// A replica's report as a message.
pub fn report_message(report: &Report) -> proto::Report {
    use proto::report::News as Told;
    proto::Report {
        shard: report.shard.0.into(),
        epoch: report.epoch.0,
        generation: report.generation.0,
        from: report.from.0,
        news: Some(match report.news {
            News::LearnerSynced { learner } => Told::LearnerSynced(learner.0),
            News::Suspect { neighbour } => Told::Suspect(neighbour.0),
            News::Stateless => Told::Stateless(proto::report::Stateless::default()),
            News::Diverged { index } => Told::DivergedAt(index),
            News::DiskFailed => Told::DiskFailed(proto::report::DiskFailed::default()),
        }),
    }
}

/// A replica's report from a message.
///
/// # Errors
/// [`Malformed`] for a shard that cannot be, or without news.
pub fn report(message: &proto::Report) -> Result<Report, Malformed> {
    use proto::report::News as Told;
    Ok(Report {
        shard: shard(message.shard)?,
        epoch: Epoch(message.epoch),
        generation: Generation(message.generation),
        from: ReplicaId(message.from),
        news: match &message.news {
            Some(Told::LearnerSynced(learner)) => News::LearnerSynced {
                learner: ReplicaId(*learner),
            },
            Some(Told::Suspect(neighbour)) => News::Suspect {
                neighbour: ReplicaId(*neighbour),
            },
            Some(Told::Stateless(_)) => News::Stateless,
            Some(Told::DivergedAt(index)) => News::Diverged { index: *index },
            Some(Told::DiskFailed(_)) => News::DiskFailed,
            None => return Err(Malformed("a report without news")),
        },
    })
}

/// A port's status as a message.
pub fn port_message(status: &PortStatus) -> proto::PortStatus {
    proto::PortStatus {
        listener: status.listener.clone(),
        port: u32::from(status.port),
        open: status.is_open,
        problem: status.problem.clone(),
    }
}

/// A port's status from a message.
///
/// # Errors
/// [`Malformed`] for a port above 65,535.
pub fn port(message: proto::PortStatus) -> Result<PortStatus, Malformed> {
    let port = u16::try_from(message.port).map_err(|_| Malformed("a port above 65535"))?;
    Ok(PortStatus {
        listener: message.listener,
        port,
        is_open: message.open,
        problem: message.problem,
    })
}

/// A process token from a message.
///
/// # Errors
/// [`Malformed`] unless it has 16 bytes.
pub fn process(bytes: &[u8]) -> Result<u128, Malformed> {
    let bytes = bytes.try_into();
    Ok(u128::from_be_bytes(bytes.map_err(|_| {
        Malformed("a process token of other than 16 bytes")
    })?))
}

/// Incarnations of gateways from a message.
pub fn gateways(incarnations: &[u64]) -> BTreeSet<GatewayIncarnation> {
    incarnations
        .iter()
        .copied()
        .map(GatewayIncarnation)
        .collect()
}

fn shard(number: u32) -> Result<ShardId, Malformed> {
    match u16::try_from(number) {
        Ok(shard) if usize::from(shard) < catena_slots::SHARDS_MAX => Ok(ShardId(shard)),
        _ => Err(Malformed("a shard above 255")),
    }
}

#[cfg(test)]
mod tests {
    use catena_resources::{BROKER_NAME, Broker, BrokerListener, Resources, Spec};
    use catena_slots::SlotTable;
    use catena_topology::Layout;

    use super::*;

    fn chain(shard: u16, epoch: u64) -> Configuration {
        let founder = Member {
            id: ReplicaId(1),
            incarnation: Incarnation(7),
        };
        Configuration::founded(ShardId(shard), Epoch(epoch), Generation(2), founder)
    }

    fn broker(redundancy_factor: u16) -> Resource {
        let mut broker = Broker::default();
        broker.cardinality.backend_chain.redundancy_factor = redundancy_factor;
        Resource::new(BROKER_NAME, Spec::Broker(Box::new(broker)))
    }

    fn listener(name: &str) -> Resource {
        let listener: BrokerListener =
            serde_json::from_str(r#"{"ports":[{"port":1883}]}"#).unwrap();
        Resource::new(name, Spec::BrokerListener(Box::new(listener)))
    }

    fn cluster(version: u64) -> Cluster {
        let mut resources = Resources::default();
        resources.put(2, Arc::new(broker(1)));
        resources.put(3, Arc::new(listener("old")));
        resources.put(4, Arc::new(listener("stays")));
        Cluster {
            version,
            layout: Some(Layout {
                partitions: 1,
                workers: 2,
                slots: SlotTable::even(2, 0).unwrap(),
            }),
            chains: [(ShardId(0), chain(0, 1)), (ShardId(1), chain(1, 4))].into(),
            addresses: [(Incarnation(7), Arc::from(["a:1".to_owned()]))].into(),
            gateways_version: 3,
            gateways: Arc::from([2, 3]),
            draining: [GatewayIncarnation(2)].into(),
            resources: Arc::new(resources),
            broker: Broker::default(),
            settings_version: 9,
        }
    }

    // Whoever missed a change would route to a replica that is not there, without ever noticing.
    #[test]
    fn what_is_told_makes_the_listener_know_the_same() {
        let first = cluster(5);
        let mut known = Cluster::default();
        take(&mut known, difference(None, &first)).unwrap();
        assert_eq!(known, first);

        let mut second = cluster(6);
        second.chains.insert(ShardId(1), chain(1, 5));
        second.addresses = [(Incarnation(8), Arc::from(["b:1".to_owned()]))].into();
        second.gateways = Arc::from([3]);
        second.draining.clear();
        second.broker.cardinality.backend_chain.redundancy_factor = 3;
        let resources = Arc::make_mut(&mut second.resources);
        resources.put(6, Arc::new(broker(3)));
        resources.remove(&listener("old").id());
        let told = difference(Some(&first), &second);
        assert_eq!((told.chains.len(), told.addresses_gone.len()), (1, 1));
        assert_eq!((told.resources.len(), told.resources_gone.len()), (1, 1));
        assert_eq!(told.layout, None);
        let before = known.clone();
        take(&mut known, told).unwrap();
        assert_eq!(known, second);
        // What has not changed is not made anew: whoever compares pointers would close listeners.
        let stays = listener("stays").id();
        let [was, is] = [&before, &known].map(|cluster| cluster.resources.get(&stays).unwrap());
        assert!(Arc::ptr_eq(&was.resource, &is.resource));
        let mut again = Cluster::default();
        take(&mut again, difference(None, &second)).unwrap();
        again.share(&before);
        let is = again.resources.get(&stays).unwrap();
        assert!(Arc::ptr_eq(&was.resource, &is.resource));
        again.share(&known);
        assert!(Arc::ptr_eq(&again.resources, &known.resources));
        // A snapshot takes away what it does not name.
        let told = difference(None, &Cluster::default());
        take(&mut known, told).unwrap();
        assert_eq!(known, Cluster::default());
    }

    #[test]
    fn reports_and_configurations_survive_the_way() {
        let news = [
            News::Stateless,
            News::DiskFailed,
            News::Diverged { index: 9 },
            News::Suspect {
                neighbour: ReplicaId(4),
            },
            News::LearnerSynced {
                learner: ReplicaId(5),
            },
        ];
        for news in news {
            let sent = Report {
                shard: ShardId(3),
                epoch: Epoch(4),
                generation: Generation(5),
                from: ReplicaId(6),
                news,
            };
            assert_eq!(report(&report_message(&sent)), Ok(sent));
        }
        let mut sent = chain(3, 9);
        sent.began = Beginning::Disk(ReplicaId(2));
        sent.learner = sent.head();
        assert_eq!(configuration(configuration_message(&sent)), Ok(sent));
    }

    // An operator would look for the fault of one port at another.
    #[test]
    fn how_it_stands_with_a_port_survives_the_way() {
        let sent = PortStatus {
            listener: "default".to_owned(),
            port: 8883,
            is_open: false,
            problem: Some("no certificate".to_owned()),
        };
        assert_eq!(port(port_message(&sent)), Ok(sent.clone()));
        let mut strange = port_message(&sent);
        strange.port = 65_536;
        assert!(port(strange).is_err());
    }

    // Bytes from the network never break the process.
    #[test]
    fn what_no_version_sends_is_refused() {
        assert!(configuration(proto::Configuration::default()).is_err());
        let mut strange = configuration_message(&chain(0, 1));
        strange.shard = 256;
        assert!(configuration(strange).is_err());
        assert!(report(&proto::Report::default()).is_err());
        assert!(process(&[1, 2, 3]).is_err());
        let mut cluster = Cluster::default();
        let told = proto::WatchResponse {
            layout: Some("{".to_owned()),
            ..proto::WatchResponse::default()
        };
        assert!(take(&mut cluster, told).is_err());
        let told = proto::WatchResponse {
            resources: vec![proto::watch_response::Resource::default()],
            ..proto::WatchResponse::default()
        };
        assert!(take(&mut cluster, told).is_err());
        let told = proto::WatchResponse {
            resources_gone: vec![proto::watch_response::ResourceId::default()],
            ..proto::WatchResponse::default()
        };
        assert!(take(&mut cluster, told).is_err());
    }
}
