//! Who registers.

use catena_topology::topology::Kept;

/// A backend process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRegistration {
    /// Outlives processes; visible ASCII without slashes.
    pub name: String,
    /// Nodes of one zone may fail together.
    pub zone: Option<String>,
    /// `host:port` of each thread.
    pub addresses: Vec<String>,
    /// Made once at the process's start: see [`process_token`].
    pub process: u128,
    /// What it found on its disk, complete, when it started `[C-63]`.
    pub kept: Vec<Kept>,
}

/// A gateway process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRegistration {
    /// Outlives processes; visible ASCII without slashes.
    pub name: String,
    /// Made once at the process's start: see [`process_token`]. One that is no longer live registers anew with another
    /// token `[C-43]`.
    pub process: u128,
}

/// A number that no other process has, by chance.
pub fn process_token() -> u128 {
    fastrand::u128(..)
}
