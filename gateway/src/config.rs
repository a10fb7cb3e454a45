//! What a gateway is told at its start.

use std::sync::Arc;

use catena_connection::Settings;
use catena_slots::SlotTable;

/// A gateway's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names this life of the gateway; its workers are origins of it.
    pub incarnation: u64,
    /// Threads that serve clients; at least 1.
    pub workers: u16,
    /// Where sessions, topics and filters live.
    pub slots: SlotTable,
    /// What Broker and listener say of connections.
    pub clients: Arc<Settings>,
    /// Open sockets; more are closed at once and counted.
    pub connections_max: usize,
}
