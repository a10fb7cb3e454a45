//! The packets of the hot loop as borrowed bytes: made from a template, read without a copy.
//!
//! Everything else goes through the codec. Here a message costs one copy out and none in.

use anyhow::{Context, bail};
use bytes::BytesMut;
use catena_mqtt::{
    QoS, Version,
    decode::{Limits, Role},
    packet::{PacketId, publish::Header},
};

use super::stamp::{self, Stamp};

/// What the generator takes: anything that a broker may send.
pub const LIMITS: Limits = Limits {
    maximum_packet_size: catena_mqtt::encode::PACKET_SIZE_MAX,
    role: Role::Client,
};

/// One publisher's PUBLISH, of which only packet id and stamp change.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// A message of `size` bytes of payload.
    ///
    /// # Panics
    ///
    /// When `size` is below [`stamp::LEN`].
    pub fn new(topic: &str, qos: QoS, size: usize, version: Version) -> Template {
        assert!(size >= stamp::LEN, "a payload has room for its stamp");
        let packet_id = (qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        let header = Header {
            qos,
            topic,
            packet_id,
            ..Header::default()
        };
        let mut bytes = BytesMut::new();
        header.encode(version, size, &mut bytes);
        let payload_at = bytes.len();
        let section = usize::from(version.is_v5());
        let packet_id_at = packet_id.map(|_| payload_at - section - 2);
        bytes.resize(payload_at + size, b'.');
        Template {
            bytes: bytes.to_vec(),
            packet_id_at,
            payload_at,
        }
    }

    /// Appends one message; `packet_id` counts above QoS 0.
    #[inline]
    pub fn append(&self, packet_id: u16, stamp: &Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            out[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        stamp.write(&mut out[start + self.payload_at..]);
    }
}

/// A packet from the broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// PUBLISH; the packet id is 0 at QoS 0.
    Publish {
        qos: u8,
        packet_id: u16,
        payload: &'a [u8],
    },
    /// PUBACK.
    Puback { packet_id: u16, reason: u8 },
    /// PUBREC.
    Pubrec { packet_id: u16, reason: u8 },
    /// PUBREL.
    Pubrel { packet_id: u16 },
    /// PUBCOMP.
    Pubcomp { packet_id: u16 },
    /// Anything else.
    Other,
}

/// Reads `frame`, which is one whole packet.
///
/// # Errors
///
/// When its inner lengths do not fit.
#[inline]
pub fn read(frame: &[u8], version: Version) -> anyhow::Result<Incoming<'_>> {
    let first = *frame.first().context("an empty packet")?;
    // The length takes as many bytes as have their top bit set, and one more.
    let length_bytes = frame[1..]
        .iter()
        .take(4)
        .take_while(|byte| **byte & 0x80 != 0)
        .count()
        + 1;
    let body = frame
        .get(1 + length_bytes..)
        .context("a packet without its length")?;
    Ok(match first >> 4 {
        3 => publish(first, body, version).context("a malformed PUBLISH")?,
        4 => Incoming::Puback {
            packet_id: packet_id(body)?,
            reason: reason(body),
        },
        5 => Incoming::Pubrec {
            packet_id: packet_id(body)?,
            reason: reason(body),
        },
        6 => Incoming::Pubrel {
            packet_id: packet_id(body)?,
        },
        7 => Incoming::Pubcomp {
            packet_id: packet_id(body)?,
        },
        _ => Incoming::Other,
    })
}

fn publish(first: u8, body: &[u8], version: Version) -> Option<Incoming<'_>> {
    let (topic_len, rest) = body.split_first_chunk()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    let qos = first >> 1 & 0x03;
    let mut packet_id = 0;
    if qos > 0 {
        let (id, after) = rest.split_first_chunk()?;
        packet_id = u16::from_be_bytes(*id);
        rest = after;
    }
    if version.is_v5() {
        let (length, after) = variable(rest)?;
        rest = after.get(length..)?;
    }
    Some(Incoming::Publish {
        qos,
        packet_id,
        payload: rest,
    })
}

/// A variable byte integer, and what follows it.
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

fn packet_id(body: &[u8]) -> anyhow::Result<u16> {
    let Some((id, _)) = body.split_first_chunk() else {
        bail!("an acknowledgement without its id")
    };
    Ok(u16::from_be_bytes(*id))
}

fn reason(body: &[u8]) -> u8 {
    body.get(2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use catena_mqtt::{Packet, decode};

    use super::*;

    const STAMP: Stamp = Stamp {
        run: 1,
        publisher: 2,
        sequence: 3,
        sent_ns: 4,
    };

    // What the template makes, the codec takes; and both readers see the same.
    #[test]
    fn the_template_speaks_mqtt() {
        for version in [Version::V4, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let template = Template::new("bench/1", qos, 300, version);
                let mut out = vec![0xFF];
                template.append(0x1234, &STAMP, &mut out);
                let frame = &out[1..];

                let decoded =
                    decode::decode(&mut Bytes::copy_from_slice(frame), Some(version), &LIMITS);
                let Ok(Some(Packet::Publish(publish))) = decoded else {
                    panic!("{decoded:?}")
                };
                assert_eq!(&*publish.topic, "bench/1");
                assert_eq!(publish.payload.len(), 300);
                assert_eq!(Stamp::read(&publish.payload), Some(STAMP));

                let id = if qos == QoS::AtMostOnce { 0 } else { 0x1234 };
                assert_eq!(publish.packet_id.map_or(0, PacketId::get), id);
                let seen = read(frame, version).unwrap();
                let expected = Incoming::Publish {
                    qos: qos as u8,
                    packet_id: id,
                    payload: &publish.payload,
                };
                assert_eq!(seen, expected);
            }
        }
    }

    #[test]
    fn acknowledgements_with_and_without_a_reason() {
        let read = |bytes: &'static [u8]| read(bytes, Version::V5).unwrap();
        assert_eq!(
            read(&[0x40, 2, 0, 9]),
            Incoming::Puback {
                packet_id: 9,
                reason: 0
            }
        );
        assert_eq!(
            read(&[0x50, 3, 1, 0, 0x97]),
            Incoming::Pubrec {
                packet_id: 256,
                reason: 0x97
            }
        );
        assert_eq!(read(&[0x62, 2, 0, 1]), Incoming::Pubrel { packet_id: 1 });
        assert_eq!(read(&[0x70, 2, 0, 1]), Incoming::Pubcomp { packet_id: 1 });
        assert_eq!(read(&[0xE0, 1, 0x8B]), Incoming::Other);
    }

    #[test]
    fn packets_cut_short_are_errors() {
        for bytes in [
            &[0x30_u8, 1, 0][..],
            &[0x30, 3, 0, 9, 1],
            &[0x32, 3, 0, 1, b'a'],
            &[0x40, 1, 0],
        ] {
            assert!(read(bytes, Version::V5).is_err(), "{bytes:?}");
        }
    }
}
