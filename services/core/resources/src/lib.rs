//! What configures the broker: typed, with defaults, validated.
//!
//! Names, spellings, defaults and ranges are those of the Azure IoT Operations MQTT broker, where it has them. A field
//! that it does not have is marked +. Unknown fields are refused; what is out of its range is named with its path,
//! all of it at once. Start reading at [`Broker`].

mod broker;
mod problem;
mod seconds;

pub use broker::{
    Advanced, BackendChain, Broker, Cardinality, Clients, MemoryProfile, QueueStrategy,
    SubscriberQueueLimit,
};
pub use problem::{Invalid, Problem};
pub use seconds::Seconds;
