//! SUBSCRIBE. v5 and v3.1.1 3.8

use bytes::BytesMut;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::{Kind, PacketId};
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Section, UserProperties},
    qos::QoS,
    version::Version,
};

/// A client asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// To be repeated in SUBACK.
    pub packet_id: PacketId,
    /// 1 to 268,435,455: comes along with every message of these subscriptions (5).
    pub subscription_id: Option<u32>,
    /// v5 3.8.2.1.3
    pub user_properties: UserProperties,
    /// At least one. v5 `[MQTT-3.8.3-2]`, v3.1.1 `[MQTT-3.8.3-3]`
    pub filters: Vec<SubscribeFilter>,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Valid UTF-8; whether it is a valid *filter* is checked by the receiver with `Filter::parse`.
    pub filter: ByteString,
    /// The highest QoS at which the client wants the messages.
    pub qos: QoS,
    /// Not what this client itself publishes (5).
    pub no_local: bool,
    /// Messages come with the retain flag with which they were published (5).
    pub retain_as_published: bool,
    /// What becomes of the retained messages (5).
    pub retain_handling: RetainHandling,
}

/// Whether a new subscription is sent the retained messages. v5 3.8.3.1
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always: what versions below 5 mean.
    #[default]
    Send = 0,
    /// Only if there was no such subscription before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeFilter {
    /// A filter with the options that it has below 5.
    pub fn new(filter: impl Into<ByteString>, qos: QoS) -> SubscribeFilter {
        SubscribeFilter {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<SubscribeFilter, DecodeError> {
        let filter = reader.string("topic filter")?;
        let options = reader.u8("subscription options")?;
        // v5 [MQTT-3.8.3-5], v3.1.1 [MQTT-3.8.3-4]
        let reserved = if reader.version().is_v5() { 0xC0 } else { 0xFC };
        if options & reserved != 0 {
            return Err(reader.malformed("subscription options", "a reserved bit is set"));
        }
        let qos = QoS::from_bits(options & 0x03)
            .ok_or_else(|| reader.malformed("subscription options", "QoS 3"))?;
        let retain_handling = match options >> 4 & 0x03 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(reader.protocol("subscription options", "retain handling 3")),
        };
        let no_local = options & 0x04 != 0;
        // v5 [MQTT-3.8.3-4]
        if no_local && filter.starts_with("$share/") {
            return Err(reader.protocol("subscription options", "no local with a share"));
        }
        let retain_as_published = options & 0x08 != 0;
        Ok(SubscribeFilter {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        })
    }

    fn options(&self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

impl Subscribe {
    /// A SUBSCRIBE without properties.
    pub fn new(packet_id: PacketId, filters: Vec<SubscribeFilter>) -> Subscribe {
        let user_properties = UserProperties::new();
        Subscribe {
            packet_id,
            subscription_id: None,
            user_properties,
            filters,
        }
    }

    /// Appends the packet.
    ///
    /// # Panics
    ///
    /// As [`encode::encode`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        self.write(version, out);
    }

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Subscribe, DecodeError> {
        let mut subscribe = Subscribe::new(reader.packet_id()?, Vec::new());
        let mut section = Section::of(&mut reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::SubscriptionId => {
                    subscribe.subscription_id = Some(section.non_zero_variable()?);
                }
                Identifier::UserProperty => subscribe.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        // v5 [MQTT-3.8.3-2], v3.1.1 [MQTT-3.8.3-3]
        if reader.is_empty() {
            return Err(reader.protocol("payload", "no topic filter"));
        }
        while !reader.is_empty() {
            subscribe
                .filters
                .push(SubscribeFilter::decode(&mut reader)?);
        }
        Ok(subscribe)
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Subscribe, out, &|out| {
            out.u16(self.packet_id.get());
            if version.is_v5() {
                encode::section(out, &|out| {
                    if let Some(id) = self.subscription_id {
                        out.u8(Identifier::SubscriptionId as u8);
                        out.variable(id as usize);
                    }
                    self.user_properties.write(out);
                });
            }
            for filter in &self.filters {
                out.prefixed(filter.filter.as_bytes());
                out.u8(filter.options(version));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{both_ways, decoded, id, written},
    };

    #[test]
    fn two_filters_below_5() {
        let filters = vec![
            SubscribeFilter::new("a", QoS::AtMostOnce),
            SubscribeFilter::new("b/#", QoS::ExactlyOnce),
        ];
        let bytes = [0x82, 12, 0, 9, 0, 1, b'a', 0, 0, 3, b'b', b'/', b'#', 2];
        for version in [Version::V3, Version::V4] {
            both_ways(
                Packet::Subscribe(Subscribe::new(id(9), filters.clone())),
                version,
                &bytes,
            );
        }
    }

    #[test]
    fn options_and_properties() {
        let filter = SubscribeFilter {
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            ..SubscribeFilter::new("a", QoS::AtLeastOnce)
        };
        let mut subscribe = Subscribe::new(id(9), vec![filter]);
        subscribe.subscription_id = Some(268_435_455);
        let packet = Packet::Subscribe(subscribe);
        let bytes = [
            0x82,
            12,
            0,
            9,
            5,
            11,
            0xFF,
            0xFF,
            0xFF,
            0x7F,
            0,
            1,
            b'a',
            0b0010_1101,
        ];
        both_ways(packet.clone(), Version::V5, &bytes);
        written(&packet, Version::V4, &[0x82, 6, 0, 9, 0, 1, b'a', 1]);
    }

    // v5 [MQTT-3.8.3-4]
    #[test]
    fn no_local_does_not_go_with_a_share() {
        let with_no_local = b"\x82\x10\x00\x01\x00\x00\x0A$share/g/t\x04";
        assert!(decoded(with_no_local, Version::V5).is_err());
        let without = b"\x82\x10\x00\x01\x00\x00\x0A$share/g/t\x00";
        assert!(decoded(without, Version::V5).is_ok());
    }
}
