//! Who a client is, as authentication has found it.

use std::sync::Arc;

use bytestring::ByteString;
use catena_policy::Attributes;

use crate::input::Now;

/// Who a client is. The default is an anonymous one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The authenticated username, which owns the session; `None`: anonymous `[F-4]`.
    pub username: Option<ByteString>,
    /// What is known of it beside its name.
    pub attributes: Arc<Attributes>,
    /// When this is no longer so: the connection is closed then. `None`: never.
    pub expires: Option<Now>,
}

impl Identity {
    /// Whether it is no longer so at `now`.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}
