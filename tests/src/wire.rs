//! MQTT bytes written and read by hand: for packets that no codec would make, and so that the tests
//! do not believe of the broker's codec what it believes of itself.

/// A packet: its first byte, the remaining length, `body`.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

/// A variable byte integer.
///
/// # Panics
/// Above 268,435,455.
pub fn variable(mut value: usize) -> Vec<u8> {
    assert!(value < 1 << 28, "no variable byte integer holds {value}");
    let mut bytes = Vec::new();
    loop {
        let more = value >= 128;
        bytes.push((value % 128) as u8 | if more { 0x80 } else { 0 });
        value /= 128;
        if !more {
            return bytes;
        }
    }
}

/// Binary data: two bytes of length before it.
///
/// # Panics
/// Above 65,535 bytes.
pub fn binary(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("at most 65,535 bytes");
    [&length.to_be_bytes(), data].concat()
}

/// A string.
pub fn string(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A property of MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(Vec<u8>),
    ResponseTopic(Vec<u8>),
    CorrelationData(Vec<u8>),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    User(Vec<u8>, Vec<u8>),
    MaximumPacketSize(u32),
}

impl Property {
    /// A user property.
    pub fn user(name: &str, value: &str) -> Property {
        Property::User(name.into(), value.into())
    }

    /// Its bytes: the identifier, then the value.
    pub fn bytes(&self) -> Vec<u8> {
        let (id, value) = match self {
            Property::PayloadFormat(value) => (0x01, vec![*value]),
            Property::MessageExpiry(seconds) => (0x02, seconds.to_be_bytes().into()),
            Property::ContentType(text) => (0x03, binary(text)),
            Property::ResponseTopic(text) => (0x08, binary(text)),
            Property::CorrelationData(data) => (0x09, binary(data)),
            Property::SubscriptionId(id) => (0x0B, variable(*id as usize)),
            Property::SessionExpiry(seconds) => (0x11, seconds.to_be_bytes().into()),
            Property::AuthenticationMethod(name) => (0x15, string(name)),
            Property::AuthenticationData(data) => (0x16, binary(data)),
            Property::RequestProblemInformation(value) => (0x17, vec![*value]),
            Property::WillDelay(seconds) => (0x18, seconds.to_be_bytes().into()),
            Property::RequestResponseInformation(value) => (0x19, vec![*value]),
            Property::ReasonString(text) => (0x1F, string(text)),
            Property::ReceiveMaximum(value) => (0x21, value.to_be_bytes().into()),
            Property::TopicAliasMaximum(value) => (0x22, value.to_be_bytes().into()),
            Property::TopicAlias(value) => (0x23, value.to_be_bytes().into()),
            Property::User(name, value) => (0x26, [binary(name), binary(value)].concat()),
            Property::MaximumPacketSize(bytes) => (0x27, bytes.to_be_bytes().into()),
        };
        [vec![id], value].concat()
    }

    /// Reads the properties of a message, without the length before them.
    ///
    /// # Panics
    /// When they are malformed or none of a message's.
    pub fn of_message(mut bytes: &[u8]) -> Vec<Property> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let id = take(&mut bytes, 1)[0];
            found.push(match id {
                0x01 => Property::PayloadFormat(take(&mut bytes, 1)[0]),
                0x03 => Property::ContentType(take_binary(&mut bytes)),
                0x08 => Property::ResponseTopic(take_binary(&mut bytes)),
                0x09 => Property::CorrelationData(take_binary(&mut bytes)),
                0x26 => Property::User(take_binary(&mut bytes), take_binary(&mut bytes)),
                _ => panic!("property {id:#04x} is none of a message's own"),
            });
        }
        found
    }
}

/// A property section: the length of all properties, then each.
pub fn properties(list: &[Property]) -> Vec<u8> {
    let bytes: Vec<u8> = list.iter().flat_map(Property::bytes).collect();
    [variable(bytes.len()), bytes].concat()
}

/// A CONNECT.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The protocol name.
    pub name: Vec<u8>,
    /// The protocol level.
    pub level: u8,
    /// The connect flags.
    pub flags: u8,
    /// Seconds.
    pub keep_alive: u16,
    /// The property section with its length; left out below level 5.
    pub properties: Vec<u8>,
    /// The fields of the payload, each as it is to be sent.
    pub payload: Vec<Vec<u8>>,
}

impl Connect {
    /// A good CONNECT with a clean start and the client id alone.
    pub fn new(level: u8, client_id: &str) -> Connect {
        Connect {
            name: b"MQTT".to_vec(),
            level,
            flags: 0x02,
            keep_alive: 60,
            properties: vec![0],
            payload: vec![string(client_id)],
        }
    }

    /// The whole packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = binary(&self.name);
        body.extend([self.level, self.flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == 5 {
            body.extend(&self.properties);
        }
        body.extend(self.payload.concat());
        packet(0x10, &body)
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .expect("the field is cut short");
    *bytes = rest;
    taken
}

fn take_binary(bytes: &mut &[u8]) -> Vec<u8> {
    let length = take(bytes, 2);
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    take(bytes, length).to_vec()
}
