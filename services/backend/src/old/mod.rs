//! The host before chains, until nothing uses it.

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
