//! One client's MQTT protocol in the gateway, from CONNECT to the last answered op.
//!
//! Pure: [`Connection::handle`] takes an [`Input`] and the time, and acts on an [`Outside`]: ops to shards, bytes to the
//! client. No IO, no clock, no tasks. Start reading at [`input`] and [`outside`], then [`connection`].

#![forbid(unsafe_code)]

pub mod bounds;
pub mod connection;
pub mod identity;
pub mod input;
pub mod output;
pub mod outside;
pub mod settings;

mod acknowledge;
mod alias;
mod answers;
mod authenticate;
mod close;
mod connect;
mod deliver;
mod guard;
mod keep_alive;
mod lanes;
mod needs;
mod packet_ids;
mod parking;
mod peers;
mod publish_in;
mod rate;
mod release;
mod requests;
mod subscribe;
mod subscriptions;
mod switches;
mod takeover;
mod timers;
mod will;
mod write;

#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use identity::Identity;
pub use input::Input;
pub use output::Output;
pub use outside::Outside;
pub use settings::Settings;
pub use switches::Rule;
