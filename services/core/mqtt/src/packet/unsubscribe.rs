//! UNSUBSCRIBE. v5 and v3.1.1 3.10

use bytes::BytesMut;
use bytestring::ByteString;

use super::{Kind, PacketId};
use crate::{
    decode::reader::Reader,
    encode::{self, Sink},
    error::DecodeError,
    property::{Identifier, Section, UserProperties},
    version::Version,
};

/// A client wants no more messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// To be repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// v5 3.10.2.1.2
    pub user_properties: UserProperties,
    /// At least one. v5 and v3.1.1 `[MQTT-3.10.3-2]`. Valid UTF-8; whether each is a valid *filter* is
    /// checked by the receiver.
    pub filters: Vec<ByteString>,
}

impl Unsubscribe {
    /// An UNSUBSCRIBE without properties.
    pub fn new(packet_id: PacketId, filters: Vec<ByteString>) -> Unsubscribe {
        Unsubscribe {
            packet_id,
            user_properties: UserProperties::new(),
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

    pub(crate) fn decode(mut reader: Reader<'_>) -> Result<Unsubscribe, DecodeError> {
        let mut unsubscribe = Unsubscribe::new(reader.packet_id()?, Vec::new());
        let mut section = Section::of(&mut reader)?;
        while let Some(identifier) = section.next()? {
            match identifier {
                Identifier::UserProperty => unsubscribe.user_properties.push_pair(section.pair()?),
                _ => return Err(section.misplaced()),
            }
        }
        // v5 and v3.1.1 [MQTT-3.10.3-2]
        if reader.is_empty() {
            return Err(reader.protocol("payload", "no topic filter"));
        }
        while !reader.is_empty() {
            unsubscribe.filters.push(reader.string("topic filter")?);
        }
        Ok(unsubscribe)
    }

    pub(crate) fn write(&self, version: Version, out: &mut dyn Sink) {
        encode::frame(Kind::Unsubscribe, out, &|out| {
            out.u16(self.packet_id.get());
            if version.is_v5() {
                encode::section(out, &|out| self.user_properties.write(out));
            }
            for filter in &self.filters {
                out.prefixed(filter.as_bytes());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        check::{both_ways, id},
    };

    #[test]
    fn filters() {
        let mut unsubscribe = Unsubscribe::new(id(4), vec!["a".into(), "+/b".into()]);
        let packet = Packet::Unsubscribe(unsubscribe.clone());
        let bytes = [0xA2, 10, 0, 4, 0, 1, b'a', 0, 3, b'+', b'/', b'b'];
        both_ways(packet, Version::V4, &bytes);
        unsubscribe.user_properties.push("", "");
        let packet = Packet::Unsubscribe(unsubscribe);
        let bytes = [
            0xA2, 16, 0, 4, 5, 38, 0, 0, 0, 0, 0, 1, b'a', 0, 3, b'+', b'/', b'b',
        ];
        both_ways(packet, Version::V5, &bytes);
    }
}
