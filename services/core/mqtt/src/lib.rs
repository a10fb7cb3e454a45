//! MQTT 3.1, 3.1.1 and 5 as bytes and types: packets, properties, reason codes, topics and filters.
//!
//! Pure: bytes in, packets out, and back. No IO, no clock, no state between packets.
//! Start reading at [`packet`], then [`decode`] and [`encode`].

pub mod decode;
pub mod encode;
pub mod error;
pub mod filter;
pub mod packet;
pub mod property;
pub mod qos;
pub mod reason;
pub mod topic;
pub mod version;

pub use bytestring::ByteString;
pub use error::DecodeError;
pub use filter::Filter;
pub use packet::Packet;
pub use qos::QoS;
pub use reason::ReasonCode;
pub use version::Version;
