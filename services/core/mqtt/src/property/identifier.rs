//! The identifiers of properties.

/// What a property says. v5 table 2-4
///
/// On the wire an identifier is a variable byte integer; all of them have one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Identifier {
    PayloadFormat = 1,
    MessageExpiry = 2,
    ContentType = 3,
    ResponseTopic = 8,
    CorrelationData = 9,
    SubscriptionId = 11,
    SessionExpiry = 17,
    AssignedClientId = 18,
    ServerKeepAlive = 19,
    AuthenticationMethod = 21,
    AuthenticationData = 22,
    RequestProblemInformation = 23,
    WillDelay = 24,
    RequestResponseInformation = 25,
    ResponseInformation = 26,
    ServerReference = 28,
    ReasonString = 31,
    ReceiveMaximum = 33,
    TopicAliasMaximum = 34,
    TopicAlias = 35,
    MaximumQos = 36,
    RetainAvailable = 37,
    UserProperty = 38,
    MaximumPacketSize = 39,
    WildcardSubscriptionAvailable = 40,
    SubscriptionIdsAvailable = 41,
    SharedSubscriptionAvailable = 42,
}

impl Identifier {
    #[inline]
    pub(crate) const fn from_u32(identifier: u32) -> Option<Identifier> {
        Some(match identifier {
            1 => Identifier::PayloadFormat,
            2 => Identifier::MessageExpiry,
            3 => Identifier::ContentType,
            8 => Identifier::ResponseTopic,
            9 => Identifier::CorrelationData,
            11 => Identifier::SubscriptionId,
            17 => Identifier::SessionExpiry,
            18 => Identifier::AssignedClientId,
            19 => Identifier::ServerKeepAlive,
            21 => Identifier::AuthenticationMethod,
            22 => Identifier::AuthenticationData,
            23 => Identifier::RequestProblemInformation,
            24 => Identifier::WillDelay,
            25 => Identifier::RequestResponseInformation,
            26 => Identifier::ResponseInformation,
            28 => Identifier::ServerReference,
            31 => Identifier::ReasonString,
            33 => Identifier::ReceiveMaximum,
            34 => Identifier::TopicAliasMaximum,
            35 => Identifier::TopicAlias,
            36 => Identifier::MaximumQos,
            37 => Identifier::RetainAvailable,
            38 => Identifier::UserProperty,
            39 => Identifier::MaximumPacketSize,
            40 => Identifier::WildcardSubscriptionAvailable,
            41 => Identifier::SubscriptionIdsAvailable,
            42 => Identifier::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The name in the specification, for errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Identifier::PayloadFormat => "payload format indicator",
            Identifier::MessageExpiry => "message expiry interval",
            Identifier::ContentType => "content type",
            Identifier::ResponseTopic => "response topic",
            Identifier::CorrelationData => "correlation data",
            Identifier::SubscriptionId => "subscription identifier",
            Identifier::SessionExpiry => "session expiry interval",
            Identifier::AssignedClientId => "assigned client identifier",
            Identifier::ServerKeepAlive => "server keep alive",
            Identifier::AuthenticationMethod => "authentication method",
            Identifier::AuthenticationData => "authentication data",
            Identifier::RequestProblemInformation => "request problem information",
            Identifier::WillDelay => "will delay interval",
            Identifier::RequestResponseInformation => "request response information",
            Identifier::ResponseInformation => "response information",
            Identifier::ServerReference => "server reference",
            Identifier::ReasonString => "reason string",
            Identifier::ReceiveMaximum => "receive maximum",
            Identifier::TopicAliasMaximum => "topic alias maximum",
            Identifier::TopicAlias => "topic alias",
            Identifier::MaximumQos => "maximum QoS",
            Identifier::RetainAvailable => "retain available",
            Identifier::UserProperty => "user property",
            Identifier::MaximumPacketSize => "maximum packet size",
            Identifier::WildcardSubscriptionAvailable => "wildcard subscription available",
            Identifier::SubscriptionIdsAvailable => "subscription identifiers available",
            Identifier::SharedSubscriptionAvailable => "shared subscription available",
        }
    }
}
