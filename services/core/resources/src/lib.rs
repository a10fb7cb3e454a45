//! What configures the broker: typed, with defaults, validated.
//!
//! Names, spellings, defaults and ranges are those of the Azure IoT Operations MQTT broker, where it has them. A field
//! that it does not have is marked +. Unknown fields are refused; what is out of its range is named with its path,
//! all of it at once. Start reading at [`Broker`].

mod broker;
mod check;
mod parse;
mod problem;
mod resource;
mod seconds;
mod spelled;

pub mod authentication;
pub mod authorization;
pub mod certificate;
pub mod go_duration;
pub mod listener;

pub use authentication::{Attributes, BrokerAuthentication};
pub use authorization::BrokerAuthorization;
pub use broker::{
    Advanced, BackendChain, Broker, Cardinality, Clients, MemoryProfile, QueueStrategy,
    SubscriberQueueLimit,
};
pub use check::{Place, Reference};
pub use listener::BrokerListener;
pub use parse::parse;
pub use problem::{Invalid, Problem};
pub use resource::{
    API_VERSION, BROKER_NAME, Kind, Metadata, Resource, ResourceId, Resources, Spec, Stored,
};
pub use seconds::Seconds;
