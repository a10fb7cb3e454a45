//! The shard: a deterministic state machine of sessions, subscriptions, queues and retained messages.
//!
//! Pure: [`Entry`] in, [`Effect`]s out. No IO, no clock, no randomness; the same entries give the same effects and the
//! same state on every replica. Start reading at [`op`] (what goes in) and [`effect`] (what comes out).

pub mod effect;
pub mod entry;
pub mod id;
pub mod message;
pub mod op;
pub mod wire;

pub use effect::Effect;
pub use entry::{Entry, Input, Settings, SharedStrategy};
pub use id::{ClientKey, ConnId, Origin, SessionId, Time, Who};
pub use message::{Message, Will};
pub use op::Op;
