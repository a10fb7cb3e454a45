//! What configures the broker: typed, with defaults, validated.
//!
//! Names, spellings, defaults and ranges are those of the Azure IoT Operations MQTT broker, where it has them. A field
//! that it does not have is marked +. Unknown fields are refused; what is out of its range is named with its path,
//! all of it at once. Start reading at [`Broker`].

mod check;
mod compare;
mod distinguished_name;
mod document;
mod form;
mod hidden;
mod noticed;
mod parse;
mod pattern;
mod problem;
mod ratio;
mod resource;
mod rules;
mod schema;
mod seconds;
mod shape;
mod size;
mod spelled;
mod switch;

pub mod authentication;
pub mod authorization;
pub mod broker;
pub mod certificate;
pub mod go_duration;
pub mod listener;
pub mod write;

pub use authentication::{Attributes, BrokerAuthentication};
pub use authorization::BrokerAuthorization;
pub use broker::{
    Advanced, BackendChain, Broker, Cardinality, Clients, MemoryProfile, QueueStrategy,
    SharedStrategy, SubscriberQueueLimit,
};
pub use check::{Place, Reference};
pub use hidden::HIDDEN;
pub use listener::BrokerListener;
pub use parse::{API_VERSION_SYNONYMS, Manifests, parse, read};
pub use problem::{Invalid, PROBLEMS_MAX, Problem};
pub use ratio::Ratio;
pub use resource::{
    API_VERSION, BROKER_NAME, Kind, Metadata, Resource, ResourceId, Resources, Spec, Stored,
};
pub use schema::{Field, explain, schema};
pub use seconds::Seconds;
pub use size::Size;
pub use switch::Switch;
