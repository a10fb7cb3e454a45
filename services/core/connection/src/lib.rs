//! One client's MQTT protocol in the gateway, from CONNECT to the last answered op.
//!
//! Pure: [`Connection::handle`] takes an [`Input`] and the time, and acts on an [`Outside`]: ops to shards, bytes to the
//! client. No IO, no clock, no tasks. Start reading at [`input`] and [`outside`].

pub mod input;
pub mod outside;
pub mod output;

pub use input::Input;
pub use outside::Outside;
pub use output::Output;
