//! Links from this shard to others, carried by its tail `[C-42]`.
//!
//! What the outbox to a shard holds, as far as it is committed, are the ops of the link to it. Only `committed` comes
//! back; it rides up the chain, and the head logs it.

use std::{collections::BTreeMap, sync::Arc};

use catena_link::Batch;
use catena_slots::ShardId;

use crate::{
    clock::Now,
    configuration::Configuration,
    machine::Machine,
    message::{ConnectionId, FromOrigin, Lane, PeerProgress, ToOrigin},
    replica::{Output, Replica},
    route::{Adopted, Route},
    switches::Rule,
};

/// Ops that travel in one message.
const OPS_MAX: usize = 256;

/// Ops to another shard that are on their way and not yet known to be committed.
const OPS_AHEAD: u64 = 4_096;

/// The link to one shard.
#[derive(Debug, Default)]
struct Peer {
    route: Route,
    /// On the open connection of ops.
    sent_through: u64,
}

/// The links to all other shards.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<ShardId, Peer>,
    next_connection: u64,
    /// Progress that the predecessor was not told of.
    has_news: bool,
}

impl Peers {
    /// Takes the configuration of another shard.
    pub fn adopt<M: Machine>(
        &mut self,
        configuration: Configuration,
        outputs: &mut Vec<Output<M>>,
    ) {
        let peer = self.peers.entry(configuration.shard).or_default();
        let Some(Adopted { closed, .. }) = peer.route.adopt(configuration) else {
            return;
        };
        outputs.extend(
            closed
                .into_iter()
                .map(|connection| Output::Disconnect { connection }),
        );
    }

    /// Gives up all connections: we are not the tail any more.
    pub fn stop<M: Machine>(&mut self, outputs: &mut Vec<Output<M>>) {
        for peer in self.peers.values_mut() {
            let closed = peer.route.close().into_iter();
            outputs.extend(closed.map(|connection| Output::Disconnect { connection }));
        }
    }

    /// A connection broke.
    pub fn lost(&mut self, connection: ConnectionId, now: Now) {
        for peer in self.peers.values_mut() {
            peer.route.lost(connection, now);
        }
    }

    pub fn has_news(&self) -> bool {
        self.has_news
    }

    pub fn told(&mut self) {
        self.has_news = false;
    }
}

impl<M: Machine> Replica<M> {
    /// As the tail: sends other shards what is committed for them.
    pub(crate) fn serve_peers(&mut self, outputs: &mut Vec<Output<M>>) {
        let (Some(state), Some(configuration)) = (&self.state, &self.configuration) else {
            return;
        };
        let me = M::origin_of(self.shard, configuration.generation);
        for (shard, peer) in &mut self.peers.peers {
            let Some(generation) = peer.route.generation() else {
                continue;
            };
            let origin = M::origin_of(*shard, generation);
            let (Some(outbox), Some(seen)) =
                (state.machine.outbox(&origin), state.cut.seen(&origin))
            else {
                continue;
            };
            if outbox.is_empty() {
                continue;
            }
            for wanted in peer.route.wanted(self.now, &mut self.peers.next_connection) {
                let (connection, to) = (wanted.connection, wanted.to);
                outputs.push(Output::Connect {
                    connection,
                    shard: *shard,
                    to,
                });
                let epoch = peer.route.configuration().map(|c| c.epoch);
                let message = FromOrigin::Open {
                    origin: me,
                    lane: wanted.lane,
                    replica: to.id,
                    epoch: epoch.unwrap_or_default(),
                    generation,
                    first_uncommitted: outbox.first(),
                    effects_through: 0,
                };
                outputs.push(Output::SendToPeer {
                    connection,
                    message,
                });
            }
            let Some(connection) = peer.route.open(Lane::Ops) else {
                continue;
            };
            let through = seen.effects.min(outbox.first() + OPS_AHEAD);
            while peer.sent_through < through {
                let (first, unsent) = outbox.after(peer.sent_through);
                let count = ((through + 1).saturating_sub(first) as usize).min(OPS_MAX);
                let ops: Vec<_> = unsent.take(count).filter_map(M::as_op).collect();
                if ops.is_empty() {
                    break;
                }
                peer.sent_through = first + ops.len() as u64 - 1;
                let message = FromOrigin::Ops {
                    generation,
                    acked_through: 0,
                    batch: Arc::new(Batch { first, ops }),
                };
                outputs.push(Output::SendToPeer {
                    connection,
                    message,
                });
            }
        }
    }

    /// Another shard answers.
    pub(crate) fn peer_says(
        &mut self,
        connection: ConnectionId,
        message: ToOrigin<M>,
        outputs: &mut Vec<Output<M>>,
    ) {
        let found = self.peers.peers.iter_mut().find_map(|(shard, peer)| {
            let lane = peer.route.lane_of(connection)?;
            Some((*shard, peer, lane))
        });
        let (Some((shard, peer, lane)), Some(state)) = (found, &self.state) else {
            return;
        };
        let Some(generation) = peer.route.generation() else {
            return;
        };
        let mut progress = None;
        match message {
            ToOrigin::OpsOpened {
                applied_through, ..
            }
            | ToOrigin::Gap { applied_through } => {
                let seen = state.cut.seen(&M::origin_of(shard, generation));
                if seen.is_none_or(|seen| applied_through > seen.effects) {
                    // A later tail has sent more than we know of: we are stale, and wait.
                    peer.route.lost(connection, self.now);
                    outputs.push(Output::Disconnect { connection });
                    return;
                }
                peer.route.opened(lane);
                peer.sent_through = applied_through;
                if !self.options.switches.keep(Rule::C42) {
                    progress = Some(applied_through);
                }
            }
            ToOrigin::Effects {
                generation: theirs,
                committed,
                ..
            } if theirs == generation => {
                peer.route.opened(lane);
                progress = Some(committed);
            }
            ToOrigin::Effects { .. } => {}
            ToOrigin::NotYet { configuration } => {
                peer.route.lost(connection, self.now);
                outputs.push(Output::Disconnect { connection });
                if let Some(configuration) = configuration {
                    self.learn(configuration, outputs);
                }
            }
            ToOrigin::Newer { configuration } => self.learn(configuration, outputs),
            // A newer generation of ours has begun; the configuration that says so is on its way.
            ToOrigin::Refused => {
                peer.route.lost(connection, self.now);
                outputs.push(Output::Disconnect { connection });
            }
        }
        if let Some(through) = progress {
            self.progressed(PeerProgress {
                shard,
                generation,
                through,
            });
            self.peers.has_news = true;
        }
    }
}
