//! Runs shards: stamps and applies what their links bring, and sends what they owe.
//!
//! A [`Host`] is one shard with its links, a future for any single-threaded runtime; a [`Port`] is the way in, for
//! gateways and for other hosts. The shard decides, the host only carries. Start reading at [`host`].

pub mod clock;
pub mod host;
pub mod limits;
pub mod port;

mod link;
mod peer;
#[cfg(test)]
mod tests;

pub use host::Host;
pub use port::Port;
