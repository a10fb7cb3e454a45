//! What a gateway is told at its start.

use std::sync::Arc;

use catena_authentication::Means;
use catena_chain::Incarnation;
use catena_membership::{Cluster, GatewayIncarnation};
use catena_secrets::Secrets;
use catena_slots::SlotTable;
use catena_telemetry::traces::sampler::Tracing;
use tokio::sync::{mpsc, watch};

use crate::ports::{Issues, PortStatus};

/// A gateway's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names this life of the gateway; its workers are origins of it `[C-43]`.
    pub incarnation: GatewayIncarnation,
    /// Threads that serve clients; at least 1.
    pub workers: u16,
    /// Where sessions, topics and filters live. It stays as it is for the life of a cluster.
    pub slots: SlotTable,
    /// Who is a chain, and what clients may ask for. Changes of the latter are for new connections.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// Whether the control plane hears us `[C-45]`.
    pub heard: watch::Receiver<bool>,
    /// Takes the backends that refuse connections or break them: see [`crate::limits::ACCUSATIONS`].
    pub accusations: mpsc::Sender<Incarnation>,
    /// Certificates of ports.
    pub secrets: Secrets,
    /// Has certificates of ports issued, if anybody does.
    pub issues: Option<Arc<dyn Issues>>,
    /// What authenticators share; made once in a process.
    pub means: Arc<Means>,
    /// Takes how all ports are, each time that something changes; `None` until they were first opened.
    pub ports: watch::Sender<Option<Arc<[PortStatus]>>>,
    /// Which messages are traced, and where their spans go.
    pub tracing: Tracing,
    /// Open sockets; more are closed at once and counted.
    pub connections_max: usize,
}
