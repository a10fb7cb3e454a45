//! Properties (5): those that packets carry as fields, and those of a message that travel as bytes.
//!
//! Most of a message's properties mean nothing to a broker. They are checked once and then handed on
//! as the bytes they came as; this module also reads single ones out of such bytes, and makes them.

mod builder;
mod encoded;
mod identifier;
mod kept;
mod section;
mod user;

pub use builder::{Builder, Error};
pub use encoded::{
    UserPropertiesIter, content_type, correlation_data, find_user_property, payload_format_is_utf8,
    response_topic, user_properties, validate,
};
pub use user::UserProperties;

pub(crate) use identifier::Identifier;
pub(crate) use kept::Kept;
pub(crate) use section::Section;
