//! What an operator sees of a process: metrics, health, traces.
//!
//! Rooms count where things happen, in plain atomics of their own; nothing on the data path knows this crate. Whoever
//! assembles a process adds a [`Source`] for each room to a [`Registry`], which asks them all when somebody wants to know:
//! Prometheus, at a port ([`serve`]), or a collector that is sent to ([`otlp`]). All names stand in [`names`].
//! Start reading at [`samples`].

pub mod health;
pub mod limits;
pub mod names;
pub mod otlp;
pub mod passports;
pub mod process;
pub mod prometheus;
pub mod registry;
pub mod samples;
pub mod serve;
pub mod traces;

pub use health::Health;
pub use registry::{Registry, Source};
pub use samples::{Samples, Value};
