//! CONNECT. v5 and v3.1.1 3.1

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::Kind;
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Kept, Section, UserProperties},
    qos::QoS,
    topic,
    version::Version,
};

const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// The first packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version in which the client speaks, and this packet is written.
    pub version: Version,
    /// Clean Session (3.1.1) or Clean Start (5).
    pub clean_start: bool,
    /// Seconds; 0 turns keep alive off.
    pub keep_alive: u16,
    /// May be empty: whether that is accepted is not for the codec to say.
    pub client_id: ByteString,
    /// What the server shall publish when the client is lost.
    pub will: Option<Will>,
    /// Who the client says it is.
    pub username: Option<ByteString>,
    /// Below 5 only with a user name. v3.1.1 `[MQTT-3.1.2-22]`
    pub password: Option<Bytes>,
    /// Seconds (5). `None`: absent. `u32::MAX`: never expires.
    pub session_expiry: Option<u32>,
    /// Unacknowledged publishes that the client takes (5). `None`: absent, which means 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of a whole packet; never 0 (5). `None`: absent, no limit.
    pub maximum_packet_size: Option<u32>,
    /// The highest topic alias that the client takes (5). 0: none.
    pub topic_alias_maximum: u16,
    /// Whether the client asks for response information in CONNACK (5). False when absent.
    pub request_response_information: bool,
    /// Whether the client wants reason strings and user properties with failures (5). True when absent.
    pub request_problem_information: bool,
    /// Asks for extended authentication (5).
    pub authentication_method: Option<ByteString>,
    /// Only with a method (5).
    pub authentication_data: Option<Bytes>,
    /// v5 3.1.2.11.8
    pub user_properties: UserProperties,
}

/// The message to be published when the client is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will {
    /// A valid topic name.
    pub topic: ByteString,
    /// The message.
    pub payload: Bytes,
    /// The quality of service at which to publish it.
    pub qos: QoS,
    /// Whether to keep it for later subscribers.
    pub retain: bool,
    /// Seconds (5).
    pub delay: u32,
    /// Seconds (5).
    pub message_expiry: Option<u32>,
    /// The other properties of a publish as encoded bytes, without the length: validated, in the form of `Publish::properties`.
    pub properties: Bytes,
}

impl Connect {
    /// A CONNECT with a clean start, no keep alive, and nothing that is optional.
    pub fn new(version: Version, client_id: impl Into<ByteString>) -> Connect {
        Connect {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
            session_expiry: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::new(),
        }
    }

    /// Appends the packet, in its own version.
    ///
    /// # Panics
    ///
    /// As [`encode::encode`].
    pub fn encode(&self, out: &mut BytesMut) {
        self.write(out);
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Connect, DecodeError> {
        let version = decode_version(&mut reader)?;
        reader.set_version(version);
        let flags = reader.u8("connect flags")?;
        check_flags(flags, &reader)?;
        let mut connect = Connect::new(version, ByteString::new());
        connect.clean_start = flags & CLEAN_START != 0;
        connect.keep_alive = reader.u16("keep alive")?;
        connect.decode_properties(&mut reader)?;
        connect.client_id = reader.string("client identifier")?;
        if flags & WILL != 0 {
            connect.will = Some(Will::decode(flags, &mut reader)?);
        }
        // The flags of 3.1 may announce what does not come: the length takes precedence. v3.1 3.1
        let may_lack = version == Version::V3;
        if flags & USERNAME != 0 && !(may_lack && reader.is_empty()) {
            connect.username = Some(reader.string("user name")?);
        }
        if flags & PASSWORD != 0 && !(may_lack && reader.is_empty()) {
            connect.password = Some(reader.binary("password")?);
        }
        reader.end()?;
        Ok(connect)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut section = Section::of(reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::SessionExpiry => self.session_expiry = Some(section.u32()?),
                Identifier::ReceiveMaximum => self.receive_maximum = Some(section.non_zero_u16()?),
                Identifier::MaximumPacketSize => {
                    self.maximum_packet_size = Some(section.non_zero_u32()?);
                }
                Identifier::TopicAliasMaximum => self.topic_alias_maximum = section.u16()?,
                Identifier::RequestResponseInformation => {
                    self.request_response_information = section.boolean()?;
                }
                Identifier::RequestProblemInformation => {
                    self.request_problem_information = section.boolean()?;
                }
                Identifier::AuthenticationMethod => {
                    self.authentication_method = Some(section.string()?);
                }
                Identifier::AuthenticationData => {
                    self.authentication_data = Some(section.binary()?)
                }
                Identifier::UserProperty => self.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        // v5 3.1.2.11.10
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(reader.protocol("authentication data", "without a method"));
        }
        Ok(())
    }

    pub(crate) fn write(&self, out: &mut dyn Sink) {
        encode::frame(Kind::Connect, out, &|out| {
            let (name, level): (&[u8], u8) = match self.version {
                Version::V3 => (b"MQIsdp", 3),
                Version::V4 => (b"MQTT", 4),
                Version::V5 => (b"MQTT", 5),
            };
            out.prefixed(name);
            out.u8(level);
            out.u8(self.flags());
            out.u16(self.keep_alive);
            if self.version.is_v5() {
                encode::section(out, &|out| self.write_properties(out));
            }
            out.prefixed(self.client_id.as_bytes());
            if let Some(will) = &self.will {
                will.write(self.version, out);
            }
            if let Some(username) = &self.username {
                out.prefixed(username.as_bytes());
            }
            if let Some(password) = &self.password {
                out.prefixed(password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 }
        });
        let flag = |set, flag| if set { flag } else { 0 };
        will | flag(self.clean_start, CLEAN_START)
            | flag(self.username.is_some(), USERNAME)
            | flag(self.password.is_some(), PASSWORD)
    }

    fn write_properties(&self, out: &mut dyn Sink) {
        use Identifier as Id;
        encode::optional_u32(Id::SessionExpiry, self.session_expiry, out);
        encode::optional_u16(
            Id::ReceiveMaximum,
            self.receive_maximum.map(NonZeroU16::get),
            out,
        );
        encode::optional_u32(Id::MaximumPacketSize, self.maximum_packet_size, out);
        let alias_maximum = Some(self.topic_alias_maximum).filter(|&maximum| maximum > 0);
        encode::optional_u16(Id::TopicAliasMaximum, alias_maximum, out);
        let response = self.request_response_information;
        encode::boolean_unless(false, Id::RequestResponseInformation, response, out);
        let problem = self.request_problem_information;
        encode::boolean_unless(true, Id::RequestProblemInformation, problem, out);
        let method = self.authentication_method.as_ref();
        encode::optional_prefixed(Id::AuthenticationMethod, method, out);
        let data = self.authentication_data.as_ref();
        encode::optional_prefixed(Id::AuthenticationData, data, out);
        self.user_properties.write(out);
    }
}

/// Protocol name and level.
fn decode_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    // v5 and v3.1.1 [MQTT-3.1.2-1]
    let name = reader.prefixed("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    match (name, reader.u8("protocol level")?) {
        (b"MQIsdp", 3) => Ok(Version::V3),
        (b"MQTT", 4) => Ok(Version::V4),
        (b"MQTT", 5) => Ok(Version::V5),
        // v5 and v3.1.1 [MQTT-3.1.2-2]
        (_, level) => Err(DecodeError::UnsupportedProtocolVersion { level }),
    }
}

fn check_flags(flags: u8, reader: &Reader<'_>) -> Result<(), DecodeError> {
    let problem = if flags & RESERVED != 0 {
        // v5 and v3.1.1 [MQTT-3.1.2-3]
        "the reserved flag is set"
    } else if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        // v5 [MQTT-3.1.2-11], [MQTT-3.1.2-13], v3.1.1 [MQTT-3.1.2-13], [MQTT-3.1.2-15]
        "QoS or retain of a will without a will"
    } else if flags & WILL_QOS == WILL_QOS {
        // v5 [MQTT-3.1.2-12], v3.1.1 [MQTT-3.1.2-14]
        "will with QoS 3"
    } else if !reader.version().is_v5() && flags & (USERNAME | PASSWORD) == PASSWORD {
        // v3.1.1 [MQTT-3.1.2-22]
        "password without a user name"
    } else {
        return Ok(());
    };
    Err(reader.malformed("connect flags", problem))
}

impl Will {
    fn decode(flags: u8, reader: &mut Reader<'_>) -> Result<Will, DecodeError> {
        let qos = QoS::from_bits((flags & WILL_QOS) >> 3)
            .ok_or_else(|| reader.malformed("connect flags", "will with QoS 3"))?;
        let mut will = Will {
            qos,
            retain: flags & WILL_RETAIN != 0,
            ..Will::default()
        };
        will.decode_properties(reader)?;
        will.topic = reader.string("will topic")?;
        if topic::validate(&will.topic).is_err() {
            // v5 and v3.1.1 [MQTT-4.7.1-1], [MQTT-4.7.3-1]
            let problem = "the topic of the will is empty or contains a wildcard";
            return Err(DecodeError::TopicName {
                packet: Kind::Connect,
                problem,
            });
        }
        will.payload = reader.binary("will payload")?;
        Ok(will)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let properties = reader.section()?;
        let mut kept = Kept::new(properties.rest());
        let mut section = Section::over(properties);
        loop {
            let before = section.rest();
            let Some(identifier) = section.next()? else {
                break;
            };
            match identifier {
                Identifier::WillDelay => self.delay = section.u32()?,
                Identifier::MessageExpiry => self.message_expiry = Some(section.u32()?),
                _ => {
                    section.check_message_property()?;
                    kept.keep(before, section.rest());
                }
            }
        }
        self.properties = kept.finish(reader);
        Ok(())
    }

    fn write(&self, version: Version, out: &mut dyn Sink) {
        if version.is_v5() {
            encode::section(out, &|out| {
                let delay = Some(self.delay).filter(|&seconds| seconds > 0);
                encode::optional_u32(Identifier::WillDelay, delay, out);
                encode::optional_u32(Identifier::MessageExpiry, self.message_expiry, out);
                out.bytes(&self.properties);
            });
        }
        out.prefixed(self.topic.as_bytes());
        out.prefixed(&self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Role,
        packet::{
            Packet,
            check::{both_ways, decoded, decoded_by},
        },
    };

    fn packet(connect: Connect) -> Packet {
        Packet::Connect(Box::new(connect))
    }

    #[test]
    fn the_least_of_each_version() {
        both_ways(
            packet(Connect::new(Version::V3, "c")),
            Version::V3,
            b"\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c",
        );
        both_ways(
            packet(Connect::new(Version::V4, "")),
            Version::V4,
            b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
        );
        both_ways(
            packet(Connect::new(Version::V5, "")),
            Version::V5,
            b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00",
        );
    }

    // The version is not known before; the packet's own decides.
    #[test]
    fn the_first_packet_brings_its_version() {
        for version in [Version::V3, Version::V4, Version::V5] {
            let mut out = BytesMut::new();
            let connect = Connect::new(version, "client");
            connect.encode(&mut out);
            assert_eq!(decoded_by(&out, None, Role::Server), Ok(packet(connect)));
        }
    }

    #[test]
    fn will_and_credentials() {
        let mut connect = Connect::new(Version::V4, "c");
        connect.clean_start = false;
        connect.keep_alive = 60;
        connect.username = Some("u".into());
        connect.password = Some(Bytes::from_static(&[0xFF]));
        connect.will = Some(Will {
            topic: "w".into(),
            payload: Bytes::from_static(b"bye"),
            qos: QoS::ExactlyOnce,
            retain: true,
            ..Will::default()
        });
        both_ways(
            packet(connect),
            Version::V4,
            b"\x10\x1B\x00\x04MQTT\x04\xF4\x00\x3C\x00\x01c\x00\x01w\x00\x03bye\x00\x01u\x00\x01\xFF",
        );
    }

    #[test]
    fn everything_that_5_knows() {
        let mut connect = Connect::new(Version::V5, "c");
        connect.session_expiry = Some(u32::MAX);
        connect.receive_maximum = NonZeroU16::new(20);
        connect.maximum_packet_size = Some(1000);
        connect.topic_alias_maximum = 7;
        connect.request_response_information = true;
        connect.request_problem_information = false;
        connect.authentication_method = Some("m".into());
        connect.authentication_data = Some(Bytes::from_static(b"d"));
        connect.user_properties.push("k", "v");
        connect.will = Some(Will {
            topic: "w".into(),
            delay: 5,
            message_expiry: Some(9),
            properties: Bytes::from_static(&[1, 1]),
            ..Will::default()
        });
        connect.password = Some(Bytes::from_static(b"p"));
        let mut bytes = b"\x10\x46\x00\x04MQTT\x05\x46\x00\x00".to_vec();
        bytes.extend_from_slice(
            b"\x23\x11\xFF\xFF\xFF\xFF\x21\x00\x14\x27\x00\x00\x03\xE8\x22\x00\x07\x19\x01\x17\x00",
        );
        bytes.extend_from_slice(b"\x15\x00\x01m\x16\x00\x01d\x26\x00\x01k\x00\x01v");
        bytes.extend_from_slice(b"\x00\x01c");
        bytes.extend_from_slice(b"\x0C\x18\x00\x00\x00\x05\x02\x00\x00\x00\x09\x01\x01");
        bytes.extend_from_slice(b"\x00\x01w\x00\x00\x00\x01p");
        both_ways(packet(connect), Version::V5, &bytes);
    }

    // v3.1 3.1: flags may announce a user name that does not come
    #[test]
    fn in_3_1_the_length_outranks_the_flags() {
        let bytes = b"\x10\x0F\x00\x06MQIsdp\x03\xC2\x00\x00\x00\x01c";
        let Ok(Packet::Connect(connect)) = decoded(bytes, Version::V3) else {
            panic!()
        };
        assert_eq!((connect.username, connect.password), (None, None));
        let bytes = b"\x10\x0D\x00\x04MQTT\x04\xC2\x00\x00\x00\x01c";
        assert!(decoded(bytes, Version::V4).is_err());
    }
}
