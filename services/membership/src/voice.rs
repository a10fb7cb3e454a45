//! What a registered process says, for as long as it lives.

use std::collections::BTreeSet;

use catena_chain::{Incarnation, message::Report};
use catena_topology::{GatewayIncarnation, Progress};
use tokio::sync::{mpsc, watch};

/// What a node says of itself in each heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// It is about to end.
    pub leaving: bool,
    /// Of each replica, made by its own thread `[C-24]`.
    pub replicas: Vec<Progress>,
    /// Gateways from which the heads among these replicas have a link `[C-43]`.
    pub linked: BTreeSet<GatewayIncarnation>,
}

/// Heartbeats of a registered node. Dropped, they end.
#[derive(Debug)]
pub struct NodeVoice {
    pub(crate) urgent: mpsc::Sender<Urgent>,
    pub(crate) heard: watch::Receiver<bool>,
    pub(crate) replaced: watch::Receiver<bool>,
}

/// Keeps a gateway's registration alive. Dropped, it ends.
#[derive(Debug)]
pub struct GatewayVoice {
    pub(crate) accusations: mpsc::Sender<Incarnation>,
    pub(crate) heard: watch::Receiver<bool>,
    pub(crate) live: watch::Receiver<bool>,
    pub(crate) ports: watch::Sender<Vec<PortStatus>>,
    pub(crate) self_check: watch::Sender<Option<SelfChecked>>,
}

/// How it stands with a port of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// The BrokerListener's name, or `--listen`.
    pub listener: String,
    pub port: u16,
    pub is_open: bool,
    /// What is wrong, for people; also with an open port.
    pub problem: Option<String>,
}

/// What a gateway's own client found last: all well, or what is wrong, for people.
pub type SelfChecked = Result<(), String>;

/// What does not wait for the next heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgent {
    Report(Report),
    Accuse(Incarnation),
}

impl NodeVoice {
    /// Goes out at once. Whoever reports repeats it until it is answered by an epoch, so that one that finds the queue
    /// full, or the control plane away, may be dropped.
    pub fn report(&self, report: Report) {
        let _ = self.urgent.try_send(Urgent::Report(report));
    }

    /// "Its port refuses me": the leader probes it at once.
    pub fn accuse(&self, incarnation: Incarnation) {
        let _ = self.urgent.try_send(Urgent::Accuse(incarnation));
    }

    /// Whether the leader answered within the failure time-out.
    pub fn is_heard(&self) -> watch::Receiver<bool> {
        self.heard.clone()
    }

    /// Becomes true when this process can never be of use again: a newer one of its name registered, it was declared
    /// gone, or its record was removed. It is to end `[C-1]`.
    pub fn is_replaced(&self) -> watch::Receiver<bool> {
        self.replaced.clone()
    }
}

impl GatewayVoice {
    /// "Its port refuses me": the leader probes it at once.
    pub fn accuse(&self, incarnation: Incarnation) {
        let _ = self.accusations.try_send(incarnation);
    }

    /// Whether the control plane answered within the failure time-out.
    pub fn is_heard(&self) -> watch::Receiver<bool> {
        self.heard.clone()
    }

    /// Becomes false when the incarnation is no longer live: the gateway closes its clients, and registers anew with
    /// another token `[C-43]`.
    pub fn is_live(&self) -> watch::Receiver<bool> {
        self.live.clone()
    }

    /// What the gateway's own client found is told with each heartbeat from then on.
    pub fn self_check(&self) -> watch::Sender<Option<SelfChecked>> {
        self.self_check.clone()
    }

    /// How it stands with all ports: told with each heartbeat from now on.
    pub fn tell_ports(&self, ports: Vec<PortStatus>) {
        self.ports.send_replace(ports);
    }
}
