//! Who asks.

use std::sync::Arc;

use bytestring::ByteString;
use catena_resources::Attributes;

/// A client, as authentication has found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal {
    pub client_id: ByteString,
    /// `None`: anonymous.
    pub username: Option<ByteString>,
    pub attributes: Arc<Attributes>,
}
