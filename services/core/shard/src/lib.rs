//! The shard: a deterministic state machine of sessions, subscriptions, queues and retained messages.
//!
//! Pure: [`Entry`] in, [`Effect`]s out. No IO, no clock, no randomness; the same entries give the same effects and the
//! same state on every replica. Start reading at [`op`] (what goes in) and [`effect`] (what comes out).

pub mod account;
pub mod census;
mod cluster;
pub mod command;
mod cursor;
mod deliver;
pub mod direct;
pub mod effect;
pub mod entry;
mod fan_out;
mod group;
mod hidden;
pub mod home;
pub mod id;
mod index;
mod inflight;
mod job;
pub mod links;
pub mod membership;
pub mod message;
pub mod op;
mod pieces;
pub mod query;
mod queue;
mod reader;
mod reborn;
mod restore;
mod retained;
mod save;
pub mod saved;
pub mod segment;
mod serve;
mod shard;
mod shared;
mod slab;
mod snapshot;
pub mod spill;
mod stats;
mod store;
mod switches;
mod timer;
pub mod trace;
pub mod unkept;
pub mod watch;

pub use command::Command;
pub use effect::Effect;
pub use entry::{Entry, Input, Settings, SharedStrategy};
pub use id::{ClientKey, ConnId, Origin, SessionId, Time, Who};
pub use message::{Message, Will};
pub use op::Op;
pub use query::{Answer, Query};
pub use saved::{Restore, Saved};
pub use shard::{Effects, Shard, WORK_PER_APPLY_MAX};
pub use snapshot::{Frozen, LEVEL, Parts, Unreadable};
pub use stats::Stats;
pub use switches::Rule;
