//! Follows what the control plane tells.

use std::{collections::BTreeMap, sync::Arc};

use catena_chain::{Configuration, Incarnation};
use catena_proto::internal::v1 as proto;
use catena_slots::ShardId;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use crate::{
    cluster::Cluster,
    endpoints::{Endpoints, Turn},
    wire,
};

/// Chains that were told with a higher epoch than the one that is told now `[C-16]`.
pub type Ahead = Arc<Vec<Configuration>>;

/// What the watch makes known.
#[derive(Debug, Clone)]
pub struct News {
    pub cluster: watch::Sender<Arc<Cluster>>,
    pub ahead: watch::Sender<Ahead>,
}

/// Watches for ever, through one replica after another.
pub async fn run(endpoints: Endpoints, news: News) {
    let mut turn = endpoints.turn();
    let mut memory = Memory::default();
    let mut away = false;
    loop {
        match follow(&mut turn, &mut memory, &news, &mut away).await {
            Ok(()) => debug!(address = turn.address(), "the watch ended"),
            Err(error) if away => debug!(address = turn.address(), %error, "still no watch"),
            Err(error) => {
                away = true;
                warn!(
                    address = turn.address(), %error,
                    "the control plane cannot be watched: going on with what is known"
                );
            }
        }
        turn.failed().await;
    }
}

async fn follow(
    turn: &mut Turn,
    memory: &mut Memory,
    news: &News,
    away: &mut bool,
) -> Result<(), String> {
    let said = |status: tonic::Status| status.to_string();
    let asked = turn.client().watch(proto::WatchRequest {}).await;
    let mut stream = asked.map_err(said)?.into_inner();
    let mut told = Cluster::default();
    let mut behind_since: Option<Instant> = None;
    loop {
        let known = news.cluster.borrow().clone();
        let patience = known.broker.failure_timeout();
        let next = match behind_since {
            None => stream.message().await,
            Some(since) => {
                match tokio::time::timeout_at(since + patience, stream.message()).await {
                    Ok(next) => next,
                    // A replica that is only late, or has lost the store, would have come on or ended the stream `[C-15]`: the
                    // store was restored from a backup.
                    Err(_) => {
                        info!(
                            told = told.version,
                            known = known.version,
                            "the control plane tells an older version, and goes on to: taking it"
                        );
                        behind_since = None;
                        memory.take(&told, news);
                        continue;
                    }
                }
            }
        };
        let Some(response) = next.map_err(said)? else {
            return Ok(());
        };
        wire::take(&mut told, response).map_err(|malformed| malformed.to_string())?;
        turn.succeeded();
        if std::mem::take(away) {
            info!(
                address = turn.address(),
                version = told.version,
                "watching the control plane again"
            );
        }
        if told.version < known.version {
            behind_since.get_or_insert_with(Instant::now);
            continue;
        }
        behind_since = None;
        memory.take(&told, news);
    }
}

/// The highest epoch of each chain that was ever told: it stays valid whatever the store says later `[C-11]`. And where its
/// members are reached.
#[derive(Debug, Default)]
struct Memory {
    highest: BTreeMap<ShardId, Configuration>,
    addresses: BTreeMap<Incarnation, Arc<[String]>>,
}

impl Memory {
    fn take(&mut self, told: &Cluster, news: &News) {
        for (shard, configuration) in &told.chains {
            let is_newer = self
                .highest
                .get(shard)
                .is_none_or(|known| known.epoch < configuration.epoch);
            if is_newer {
                self.highest.insert(*shard, configuration.clone());
            }
        }
        let ahead: Vec<Configuration> = self
            .highest
            .iter()
            .filter(|(shard, known)| {
                let stored = told.chains.get(shard).map(|chain| chain.epoch);
                Some(known.epoch) > stored
            })
            .map(|(_, known)| known.clone())
            .collect();
        // Of those whom a store has forgotten that was restored from a backup, and of none that were taken out.
        for configuration in &ahead {
            for member in configuration.members() {
                if let Some(known) = news.cluster.borrow().addresses.get(&member.incarnation) {
                    self.addresses.insert(member.incarnation, known.clone());
                }
            }
        }
        if ahead.is_empty() {
            self.addresses.clear();
        }
        let mut addresses = self.addresses.clone();
        addresses.extend(
            told.addresses
                .iter()
                .map(|(incarnation, addresses)| (*incarnation, addresses.clone())),
        );
        let mut cluster = Cluster {
            addresses,
            chains: self.highest.clone(),
            ..told.clone()
        };
        cluster.share(&news.cluster.borrow());
        news.ahead.send_if_modified(|known| {
            let is_news = **known != ahead;
            if is_news {
                *known = Arc::new(ahead);
            }
            is_news
        });
        news.cluster.send_if_modified(|known| {
            let is_news = **known != cluster;
            if is_news {
                *known = Arc::new(cluster);
            }
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use catena_chain::{Epoch, Generation, Member, ReplicaId};

    use super::*;

    fn told(version: u64, epoch: u64, incarnation: u64) -> Cluster {
        let member = Member {
            id: ReplicaId(epoch),
            incarnation: Incarnation(incarnation),
        };
        let chain = Configuration::founded(ShardId(0), Epoch(epoch), Generation(1), member);
        let address: Arc<[String]> = Arc::from([format!("node-{incarnation}:1")]);
        Cluster {
            version,
            chains: [(ShardId(0), chain)].into(),
            addresses: [(Incarnation(incarnation), address)].into(),
            ..Cluster::default()
        }
    }

    // A store that was restored from a backup would send clients to nodes that have left their chains [C-16].
    #[test]
    fn what_was_told_with_a_higher_epoch_stays() {
        let (cluster, known) = watch::channel(Arc::default());
        let (ahead, above) = watch::channel(Ahead::default());
        let news = News { cluster, ahead };
        let mut memory = Memory::default();
        memory.take(&told(9, 7, 2), &news);
        assert_eq!(*above.borrow().as_ref(), vec![]);

        memory.take(&told(5, 3, 1), &news);
        let now = known.borrow().clone();
        assert_eq!((now.version, now.chains[&ShardId(0)].epoch), (5, Epoch(7)));
        assert_eq!(now.addresses.len(), 2, "both can be reached");
        assert_eq!(above.borrow()[0].epoch, Epoch(7));

        // Adopted: the store knows more than anyone.
        memory.take(&told(6, 8, 2), &news);
        let now = known.borrow().clone();
        assert_eq!(now.chains[&ShardId(0)].epoch, Epoch(8));
        assert_eq!(now.addresses.len(), 1);
        assert_eq!(*above.borrow().as_ref(), vec![]);
    }
}
