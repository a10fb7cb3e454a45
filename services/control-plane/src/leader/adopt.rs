//! Takes over what the nodes have, after the store was restored from a backup `[C-16]`.

use std::collections::BTreeMap;

use catena_chain::{Configuration, Epoch, Incarnation};
use catena_slots::ShardId;
use catena_topology::{Chain, NodeName};
use tracing::warn;

use super::Leader;
use crate::{
    keys,
    record::{NodeRecord, json},
    registry::put,
    store::{Outcome, Transaction, Write},
    view::View,
    write::Described,
};

impl Leader {
    /// Writes each chain that a node knows at a higher epoch than the store, at an epoch above both, with the members that the
    /// nodes were told last. Nodes that registered after the backup get the records that
    /// they had.
    pub(super) async fn adopt(&mut self, view: &View) -> Result<Vec<ShardId>, String> {
        self.look(view);
        let strangers = self.strangers(view);
        let chains = self.chains(view)?;
        if strangers.is_empty() && chains.is_empty() {
            return Err("no node knows more than the store: there is nothing to adopt".to_owned());
        }
        for (name, record) in &strangers {
            let key = keys::node(name).map_err(|invalid| invalid.to_string())?;
            let compare = view.unchanged(key.clone());
            self.write(compare, put(&key, json(record))).await?;
            warn!(
                node = name.0,
                incarnation = record.incarnation.0,
                "adopted a node"
            );
        }
        let mut adopted = Vec::new();
        for chain in chains {
            let shard = chain.configuration.shard;
            let key = keys::chain(shard);
            let compare = view.unchanged(key.clone());
            self.write(compare, put(&key, json(&chain))).await?;
            let change = catena_topology::Change::Chain(chain);
            warn!(change = %Described(&change), "adopted a chain");
            adopted.push(shard);
        }
        Ok(adopted)
    }

    async fn write(&self, compare: crate::store::Compare, write: Write) -> Result<(), String> {
        let transaction = Transaction {
            compare: vec![self.compare.clone(), compare],
            writes: vec![write],
        };
        match self.store.commit(transaction).await {
            Ok(Outcome::Committed(_)) => Ok(()),
            Ok(Outcome::Conflict) => {
                Err("the store was changed in the meantime: adopt again".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Nodes whose process registered in what the store has forgotten.
    fn strangers(&self, view: &View) -> Vec<(NodeName, NodeRecord)> {
        let heard = self.heard.values().filter(|heard| {
            let record = view.nodes.get(&heard.heartbeat.node);
            record.is_none_or(|record| record.incarnation < heard.heartbeat.incarnation)
        });
        heard
            .map(|heard| {
                let name = heard.heartbeat.node.clone();
                let incarnation = heard.heartbeat.incarnation;
                let newcomer = heard.newcomer.clone();
                let record = match view.nodes.get(&name) {
                    Some(record) => record.replaced(newcomer, incarnation),
                    None => NodeRecord::new(newcomer, incarnation),
                };
                (name, record)
            })
            .collect()
    }

    fn chains(&self, view: &View) -> Result<Vec<Chain>, String> {
        let homes: BTreeMap<Incarnation, &NodeName> = self
            .heard
            .values()
            .map(|heard| (heard.heartbeat.incarnation, &heard.heartbeat.node))
            .chain(
                view.nodes
                    .iter()
                    .map(|(name, record)| (record.incarnation, name)),
            )
            .collect();
        let known = |shard: ShardId| -> Option<&Configuration> {
            let told = self.heard.values().flat_map(|heard| &heard.ahead);
            told.filter(|configuration| configuration.shard == shard)
                .max_by_key(|configuration| configuration.epoch)
        };
        let reported: BTreeMap<ShardId, Epoch> = self.observed.ahead.clone();
        let chains = reported.into_iter().map(|(shard, highest)| {
            let stored = view.topology.chains.get(&shard);
            // The store's own chain may name none of those who hold the state now: it is never written over theirs.
            let kept = known(shard).ok_or_else(|| {
                format!(
                    "no node has told yet which chain shard {shard} had: adopt again in a moment"
                )
            })?;
            let configuration = Configuration {
                epoch: highest.next(),
                ..kept.clone()
            };
            let homes = configuration.members().filter_map(|member| {
                let of_stored = stored.and_then(|chain| chain.homes.get(&member.id));
                let home = homes.get(&member.incarnation).copied().or(of_stored)?;
                Some((member.id, home.clone()))
            });
            Ok(Chain {
                homes: homes.collect(),
                configuration,
                divergence_at_ms: None,
            })
        });
        chains.collect()
    }
}
