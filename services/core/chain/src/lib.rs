//! One replica's part in chain replication: messages in, messages out.
//!
//! Pure: no IO, no clock, no randomness; time comes with each input. Generic over the state machine that is replicated
//! ([`Machine`]). The rules of chains and links are numbered `[C-1]` to `[C-66]`, and named where the code keeps them.
//!
//! ```text
//!  origin ──ops──► head ──entries──► ... ──entries──► tail ──effects──► origin
//!                   ▲ ◄──────acks, the commit───────── │ ──entries──► learner
//! ```
//!
//! Start reading at [`Replica::step`], then [`configuration`]; the gateway's side of a link is [`Uplink`].
//!
//! What is on disk, and when an entry counts because of it, is in [`disk`]; how that begins and ends while everything runs, in
//! `wanted.rs`.

mod adopt;
pub mod clock;
mod command;
mod commit;
pub mod configuration;
mod digest;
mod direct;
pub mod disk;
mod emit;
pub mod entry;
mod hello;
mod install;
mod join;
mod link;
mod log;
pub mod machine;
pub mod message;
mod peer;
pub mod replica;
mod role;
pub mod route;
pub mod snapshot;
mod status;
pub mod switches;
mod transfer;
pub mod uplink;
mod wanted;

pub use clock::Now;
pub use command::{CommandId, NotTaken};
pub use configuration::{
    Beginning, Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
};
pub use disk::{Checkpoint, Keep, Kept, NotKept, StoreId};
pub use entry::{Entry, Index, Payload, Stamp};
pub use log::Position;
pub use machine::{Machine, Standing, Unreadable};
pub use replica::{Input, Options, Output, Replica};
pub use role::Role;
pub use route::Wanted;
pub use status::{Status, Transfers};
pub use switches::{Rule, Switches};
pub use uplink::{DirectWindow, Uplink};
