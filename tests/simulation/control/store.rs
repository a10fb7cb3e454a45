//! The store: linearizable, and what it has taken it keeps `[C-60]`.

use std::{collections::BTreeMap, sync::Arc};

use catena_chain::Incarnation;
use catena_topology::{
    GatewayIncarnation, GatewayName, Node, Precondition, Step, Zone, topology::Kept,
};

use crate::{
    control::{Content, node_name},
    plan::Loosened,
};

/// See above.
#[derive(Debug, Default)]
pub struct Store {
    content: Arc<Content>,
    /// The latest process of each node that registered, and its incarnation.
    nodes: BTreeMap<usize, (u64, Incarnation)>,
    gateways: BTreeMap<usize, (u64, u64)>,
    /// When the registration of each gateway expires.
    leases: BTreeMap<GatewayIncarnation, u64>,
    leader_until: u64,
    /// Nobody reaches it until then.
    pub away_until: u64,
    /// One process does not reach it until then.
    pub unreachable: BTreeMap<usize, u64>,
    /// Where each process of a node runs or ran.
    pub place_of: BTreeMap<Incarnation, usize>,
}

impl Store {
    pub fn content(&self) -> &Arc<Content> {
        &self.content
    }

    /// Whether process `by` reaches it now.
    pub fn is_reached(&self, by: usize, now: u64) -> bool {
        let cut_until = self.unreachable.get(&by).copied().unwrap_or(0);
        now >= self.away_until && now >= cut_until
    }

    fn change(&mut self) -> &mut Content {
        let content = Arc::make_mut(&mut self.content);
        content.revision += 1;
        content.topology.version = content.revision;
        content
    }

    /// The incarnation of a process: the revision that registered it `[C-1]`.
    pub fn register_node(
        &mut self,
        node: usize,
        process: u64,
        zone: Option<Zone>,
        kept: Vec<Kept>,
    ) -> Incarnation {
        if let Some((known, incarnation)) = self.nodes.get(&node)
            && *known == process
        {
            return *incarnation;
        }
        let content = self.change();
        let incarnation = Incarnation(content.revision);
        let nodes = &mut content.topology.nodes;
        let fresh = Node {
            kept: kept.clone(),
            ..Node::new(incarnation, zone.clone())
        };
        let record = nodes.entry(node_name(node)).or_insert(fresh);
        record.register(incarnation, zone, kept);
        self.nodes.insert(node, (process, incarnation));
        self.place_of.insert(incarnation, node);
        incarnation
    }

    /// The incarnation of a gateway: the revision that this makes `[C-43]`.
    pub fn register_gateway(&mut self, gateway: usize, process: u64, until: u64) -> u64 {
        if let Some((known, incarnation)) = self.gateways.get(&gateway)
            && *known == process
        {
            return *incarnation;
        }
        let content = self.change();
        let incarnation = GatewayIncarnation(content.revision);
        let name = GatewayName(format!("gateway-{gateway}"));
        content.registrations.insert(incarnation, name);
        self.leases.insert(incarnation, until);
        self.gateways.insert(gateway, (process, incarnation.0));
        incarnation.0
    }

    /// A gateway's heartbeat came.
    pub fn keep_gateway(&mut self, incarnation: u64, until: u64) {
        if let Some(lease) = self.leases.get_mut(&GatewayIncarnation(incarnation)) {
            *lease = until.max(*lease);
        }
    }

    /// Takes the leader's key, if nobody has it.
    pub fn campaign(&mut self, by: usize, until: u64) -> Option<u64> {
        if self.content.leader.is_some() {
            return None;
        }
        let content = self.change();
        let term = content.revision;
        content.leader = Some((by, term));
        self.leader_until = until;
        Some(term)
    }

    /// Whether the key is still that of `term`.
    pub fn renew(&mut self, term: u64, until: u64) -> bool {
        let holds = self.content.leader.is_some_and(|(_, held)| held == term);
        if holds {
            self.leader_until = until;
        }
        holds
    }

    /// The leader's key is taken away.
    pub fn depose(&mut self) {
        if self.content.leader.is_some() {
            self.change().leader = None;
        }
    }

    /// What has expired goes. Returns whether anything did.
    pub fn expire(&mut self, now: u64) -> bool {
        if now < self.away_until {
            // Leases stand still while nobody can renew them.
            return false;
        }
        let before = self.content.revision;
        if now > self.leader_until {
            self.depose();
        }
        let gone: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, until)| now > **until)
            .map(|(incarnation, _)| *incarnation)
            .collect();
        for incarnation in gone {
            self.leases.remove(&incarnation);
            self.change().registrations.remove(&incarnation);
        }
        self.content.revision > before
    }

    /// It is away until `until`; leases are given that time.
    pub fn go_away(&mut self, now: u64, until: u64) {
        self.away_until = until;
        let longer = until - now;
        self.leader_until += longer;
        self.leases.values_mut().for_each(|lease| *lease += longer);
    }

    /// Writes a step if all that it requires is true `[C-15]`.
    pub fn write(&mut self, term: u64, step: &Step, off: Option<Loosened>) -> bool {
        let mut step = step.clone();
        if off == Some(Loosened::C15) {
            step.requires.clear();
        }
        let needs_key = step.requires.contains(&Precondition::Leadership);
        let leads = self.content.leader.is_some_and(|(_, held)| held == term);
        if needs_key && !leads {
            return false;
        }
        let mut topology = self.content.topology.clone();
        if step.apply(&mut topology).is_err() {
            return false;
        }
        self.change();
        let content = Arc::make_mut(&mut self.content);
        topology.version = content.revision;
        content.topology = topology;
        true
    }

    /// An administrator changes a node's record.
    pub fn administrate(&mut self, node: usize, change: impl FnOnce(&mut Node)) {
        if let Some(record) = self.change().topology.nodes.get_mut(&node_name(node)) {
            change(record);
        }
    }

    /// Persistence is turned on, or off.
    pub fn turn_disks(&mut self) -> bool {
        let content = self.change();
        content.is_kept = !content.is_kept;
        content.is_kept
    }

    /// What is written counts when it is written from now on, or when it is synced.
    pub fn set_interval(&mut self, is_interval: bool) {
        self.change().is_interval = is_interval;
    }

    /// Undoes all that administrators want.
    pub fn undrain(&mut self) {
        for node in self.change().topology.nodes.values_mut() {
            node.draining = false;
        }
    }
}
