//! Numbered, exactly-once, two-way links between an origin and a shard.
//!
//! An origin numbers its ops 1, 2, 3 ... ([`Sender`]); the shard applies each number once ([`Inbound`]) and
//! numbers its effects to that origin in an [`Outbox`]. After any break both sides say how far they have come
//! and resend the rest; [`Receiver`] takes each effect once. Pure: transports carry the batches.

mod inbound;
mod outbox;
mod receiver;
mod sender;

pub use inbound::{Admission, Inbound};
pub use outbox::Outbox;
pub use receiver::{Gap, Receiver};
pub use sender::{Batch, Class, Full, Sender, Window};
