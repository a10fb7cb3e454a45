//! One step of the chain manager as one transaction: it compares the leader key, and the revision of every entry that the
//! step was decided by `[C-15]`.

use std::fmt;

use catena_chain::Configuration;
use catena_topology::{Change, Precondition, Step};

use crate::{
    keys,
    record::{NodeRecord, json},
    registry::put,
    store::{Compare, InvalidKey, Key, Transaction, Write},
    view::View,
};

/// The transaction that writes `step`, which was decided by `view`, as the leader whose key is compared by `leader`.
///
/// # Errors
/// [`InvalidKey`] for a name that was never registered.
pub fn transaction(step: &Step, view: &View, leader: Compare) -> Result<Transaction, InvalidKey> {
    let mut compare = Vec::new();
    for required in &step.requires {
        match required {
            Precondition::Leadership => compare.push(leader.clone()),
            Precondition::ChainEpoch(shard, _) => {
                compare.push(view.unchanged(keys::chain(*shard)));
            }
            Precondition::NodeIncarnation(name, _)
            | Precondition::NodeProof(name, ..)
            | Precondition::NodePartition(name, _) => {
                compare.push(view.unchanged(keys::node(name)?));
            }
            Precondition::GatewaysVersion(_) => {
                compare.push(view.unchanged(keys::gateways()));
                // A registration that was made again in the meantime keeps its gateway `[C-43]`.
                compare.push(view.unchanged(keys::kept()));
            }
            Precondition::NoLayout => {
                compare.push(view.unchanged(keys::layout()));
                // It says how many shards there are to be.
                compare.push(view.unchanged(keys::broker()));
            }
        }
    }
    // Several preconditions may be of one entry.
    compare.sort_by(|a, b| a.key.cmp(&b.key));
    compare.dedup();
    Ok(Transaction {
        compare,
        writes: writes(&step.change, view)?,
    })
}

fn writes(change: &Change, view: &View) -> Result<Vec<Write>, InvalidKey> {
    Ok(match change {
        Change::Layout(layout) => vec![put(&keys::layout(), json(layout))],
        Change::Assign { node, partition } => {
            let Some(record) = view.nodes.get(node) else {
                return Err(InvalidKey(node.0.clone()));
            };
            let record = NodeRecord {
                partition: *partition,
                ..record.clone()
            };
            vec![put(&keys::node(node)?, json(&record))]
        }
        Change::Chain(chain) => {
            let key: Key = keys::chain(chain.configuration.shard);
            vec![put(&key, json(chain))]
        }
        Change::Gateways(gateways) => {
            let over = view
                .draining
                .iter()
                .filter(|gateway| !gateways.live.contains_key(gateway));
            let mut writes: Vec<Write> = over
                .take(crate::store::OPERATIONS_MAX - 1)
                .map(|gateway| Write::Delete(keys::draining(*gateway)))
                .collect();
            writes.push(put(&keys::gateways(), json(gateways)));
            writes
        }
    })
}

/// A change in the words of the log.
pub struct Described<'a>(pub &'a Change);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Change::Layout(layout) => write!(
                f,
                "{} partitions of {} shards",
                layout.partitions, layout.workers
            ),
            Change::Assign {
                node,
                partition: Some(partition),
            } => write!(f, "{} to partition {}", node.0, partition.0),
            Change::Assign {
                node,
                partition: None,
            } => write!(f, "{} is a spare", node.0),
            Change::Chain(chain) => {
                let Configuration {
                    shard,
                    epoch,
                    generation,
                    ..
                } = &chain.configuration;
                write!(f, "shard {shard}, epoch {}", epoch.0)?;
                if generation.0 > 1 {
                    write!(f, ", generation {}", generation.0)?;
                }
                f.write_str(": ")?;
                let name = |id| chain.homes.get(id).map_or("?", |name| name.0.as_str());
                for (index, member) in chain.configuration.chain.iter().enumerate() {
                    let arrow = if index == 0 { "" } else { " > " };
                    write!(f, "{arrow}{}", name(&member.id))?;
                }
                match chain.configuration.learner {
                    Some(learner) => write!(f, ", {} joins", name(&learner.id)),
                    None => Ok(()),
                }
            }
            Change::Gateways(gateways) => {
                write!(f, "version {}:", gateways.version)?;
                for (incarnation, name) in &gateways.live {
                    write!(f, " {} ({})", name.0, incarnation.0)?;
                }
                Ok(())
            }
        }
    }
}
