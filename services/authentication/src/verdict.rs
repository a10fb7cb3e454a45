//! What is decided about a client.

use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use catena_resources::{Attributes, authentication::Method};

/// What is decided about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client is who it says.
    Accepted {
        /// Who it is; `None` where it named nobody and the method gives no name.
        username: Option<ByteString>,
        attributes: Attributes,
        /// When what it brought is no longer good; the connection ends then. `None`: never.
        expires: Option<SystemTime>,
        /// Authentication data for CONNACK or AUTH.
        data: Option<Bytes>,
        /// Which method decided.
        method: Method,
    },
    /// The client is refused.
    Refused {
        /// 0x86 bad user name or password, 0x87 not authorized, 0x88 nobody to ask, 0x89 busy; or what a server said. All of
        /// them are valid in CONNACK; in DISCONNECT 0x87 stands for those that are not.
        reason: ReasonCode,
        /// For the log, and for nobody else. Without secrets.
        why: String,
    },
    /// Only of a re-authentication: it could not be decided just now. AUTH 0x18, and the client may try again until what it
    /// proved before expires.
    TryAgain,
}

impl Verdict {
    pub(crate) fn refused(reason: ReasonCode, why: impl Into<String>) -> Verdict {
        let why = why.into();
        Verdict::Refused { reason, why }
    }
}

/// What one method says.
#[derive(Debug)]
pub(crate) enum Opinion {
    /// It does not concern this method; the next one decides.
    NotRelevant,
    /// Who would decide does not answer; the next method decides.
    Unreachable(String),
    /// It is decided.
    Accepted(Accepted),
    /// It is decided.
    Denied { reason: ReasonCode, why: String },
    /// It would be for this method to decide, and it cannot just now: nobody to ask, or too many at once.
    Failed { reason: ReasonCode, why: String },
}

/// What a method knows of a client that it accepts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub username: Option<ByteString>,
    pub attributes: Attributes,
    pub expires: Option<SystemTime>,
}

impl Opinion {
    /// The client may not: 0x87.
    pub fn denied(why: impl Into<String>) -> Opinion {
        Opinion::denied_with(ReasonCode::NotAuthorized, why)
    }

    pub fn denied_with(reason: ReasonCode, why: impl Into<String>) -> Opinion {
        let why = why.into();
        Opinion::Denied { reason, why }
    }

    /// There are too many at once: 0x89.
    pub fn busy(why: impl Into<String>) -> Opinion {
        Opinion::Failed {
            reason: ReasonCode::ServerBusy,
            why: why.into(),
        }
    }

    /// There is nobody to ask: 0x88.
    pub fn unavailable(why: impl Into<String>) -> Opinion {
        Opinion::Failed {
            reason: ReasonCode::ServerUnavailable,
            why: why.into(),
        }
    }
}
