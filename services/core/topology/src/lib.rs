//! The chain manager: which replicas each chain has, decided one change at a time.
//!
//! [`next`] is a pure function of what was decided ([`Topology`]), what is seen ([`Observed`]) and what is
//! [`Wanted`]; it answers with at most one [`Step`], which names what must still be true in the store when it is
//! written. The driver writes it and asks again. [`Liveness`] makes `Observed` of heartbeats, reports and probes.
//!
//! No IO, no clock, no randomness: time comes in as milliseconds. Start reading at [`manager`]; the table of all
//! transitions is docs/chain-manager.md, printed by a test.

pub mod alarm;
pub mod chain;
pub mod liveness;
pub mod manager;
pub mod observed;
pub mod placement;
pub mod step;
pub mod topology;
pub mod wanted;

pub use alarm::{Alarm, alarms};
pub use liveness::{Heartbeat, Liveness, Progress, Unreachable};
pub use manager::next;
pub use observed::{Blame, Diverged, Observed, Registrations, Sight, Synced};
pub use step::{Change, Precondition, Rule, Step};
pub use topology::{
    Chain, GatewayIncarnation, GatewayName, Gateways, Layout, Node, NodeName, Partition, Topology,
    Zone,
};
pub use wanted::Wanted;
