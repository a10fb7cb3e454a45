//! One replica's part in chain replication: messages in, messages out.
//!
//! Pure: no IO, no clock, no randomness. The rules are numbered `[C-1]` to `[C-64]`. Start reading at [`configuration`].

pub mod configuration;

pub use configuration::{
    Beginning, Configuration, Epoch, Generation, Incarnation, Member, ReplicaId,
};
