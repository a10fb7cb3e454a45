//! Bytes to packets.

pub(crate) mod reader;

use bytes::{Buf, Bytes};

use self::reader::Reader;
use crate::{
    error::DecodeError,
    packet::{
        Kind, Packet, ack, auth::Auth, connack::Connack, connect::Connect, disconnect::Disconnect,
        publish::Publish, suback::Suback, subscribe::Subscribe, unsuback::Unsuback,
        unsubscribe::Unsubscribe,
    },
    version::Version,
};

/// Which end of the connection is decoding: what only that end may *send* is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes what clients send.
    Server,
    /// Takes what servers send.
    Client,
    /// Takes everything: for tools that look at both directions.
    Either,
}

/// What the decoder accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of a whole packet, with its fixed header. v5 3.1.2.11.4
    pub maximum_packet_size: u32,
    /// The end of the connection at which we are.
    pub role: Role,
}

/// Takes one whole packet off the front of `buffer`; `Ok(None)` if more bytes are needed.
///
/// `version` is the one of the connection's CONNECT, and `None` before it: then only CONNECT is
/// accepted, and its own version field governs. With `Role::Server`, CONNECT is refused afterwards. `[MQTT-3.1.0-2]`
///
/// The strings and payloads of the packet are slices of `buffer`. Nothing is allocated but the lists
/// of SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK and of user properties, which grow with what was
/// really received, the boxes of the rare packets, and, for properties of a PUBLISH or will that do
/// not stand in one piece, a copy of them.
///
/// # Errors
///
/// What is wrong with the packet at the front. `buffer` is left as it was, and trying again will fail again.
pub fn decode(
    buffer: &mut Bytes,
    version: Option<Version>,
    limits: &Limits,
) -> Result<Option<Packet>, DecodeError> {
    let Some(&first) = buffer.first() else {
        return Ok(None);
    };
    let kind = expected(first, version, limits.role)?;
    let Some(header) = header(buffer, limits)? else {
        return Ok(None);
    };
    let Some(body) = buffer.get(header.length..header.length + header.remaining) else {
        return Ok(None);
    };
    // Before CONNECT the version is not known; CONNECT sets the reader's own once it has read it.
    let reader = Reader::new(buffer, body, kind, version.unwrap_or(Version::V5));
    let packet = dispatch(first, reader, limits.role)?;
    buffer.advance(header.length + header.remaining);
    Ok(Some(packet))
}

/// The bytes of the whole packet at the front of `buffer`, as soon as its fixed header is there;
/// `Ok(None)` before. So a reader may refuse a packet before its body arrives, or make room for it.
///
/// # Errors
///
/// As soon as it shows: a wrong first byte, a malformed length, a packet larger than the limit. What
/// depends on the version, which this function does not know, is left to [`decode`].
pub fn frame_length(buffer: &[u8], limits: &Limits) -> Result<Option<usize>, DecodeError> {
    Ok(header(buffer, limits)?.map(|header| header.length + header.remaining))
}

/// A fixed header.
struct Header {
    /// Its own bytes: 2 to 5.
    length: usize,
    /// The bytes that follow it.
    remaining: usize,
}

#[inline]
fn header(buffer: &[u8], limits: &Limits) -> Result<Option<Header>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let kind = Kind::from_first_byte(first)?;
    if !kind.may_come_to(limits.role) {
        return Err(DecodeError::Unexpected { packet: kind });
    }
    let Some((remaining, digits)) =
        reader::variable(rest).map_err(|problem| DecodeError::Malformed {
            packet: kind,
            field: "remaining length",
            problem,
        })?
    else {
        return Ok(None);
    };
    let header = Header {
        length: 1 + digits,
        remaining: remaining as usize,
    };
    let length = header.length + header.remaining;
    if length > limits.maximum_packet_size as usize {
        return Err(DecodeError::PacketTooLarge {
            length,
            maximum: limits.maximum_packet_size,
        });
    }
    Ok(Some(header))
}

/// What can be said of the first byte with the knowledge of the version.
#[inline]
fn expected(first: u8, version: Option<Version>, role: Role) -> Result<Kind, DecodeError> {
    let kind = Kind::from_first_byte(first)?;
    let refused = match (kind, version) {
        (Kind::Connect, None) => false,
        (_, None) => return Err(DecodeError::ConnectExpected { packet: kind }),
        // v5 and v3.1.1 [MQTT-3.1.0-2]
        (Kind::Connect, Some(_)) => role != Role::Either,
        (Kind::Auth, Some(version)) => !version.is_v5(),
        // Before 5 the server closes without a word.
        (Kind::Disconnect, Some(version)) => role == Role::Client && !version.is_v5(),
        // Only 3.1 marks these as duplicates when they are sent again.
        (Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe, Some(version)) => {
            if first & 0x08 != 0 && version != Version::V3 {
                return Err(crate::packet::wrong_flags(kind));
            }
            false
        }
        _ => false,
    };
    if refused {
        Err(DecodeError::Unexpected { packet: kind })
    } else {
        Ok(kind)
    }
}

#[inline]
fn dispatch(first: u8, reader: Reader<'_>, role: Role) -> Result<Packet, DecodeError> {
    Ok(match reader.kind() {
        Kind::Publish => Packet::Publish(Publish::decode(first, reader, role)?),
        Kind::Puback => Packet::Puback(ack::decode(reader)?),
        Kind::Pubrec => Packet::Pubrec(ack::decode(reader)?),
        Kind::Pubrel => Packet::Pubrel(ack::decode(reader)?),
        Kind::Pubcomp => Packet::Pubcomp(ack::decode(reader)?),
        Kind::Connect => Packet::Connect(Box::new(Connect::decode(reader)?)),
        Kind::Connack => Packet::Connack(Box::new(Connack::decode(reader)?)),
        Kind::Subscribe => Packet::Subscribe(Subscribe::decode(reader)?),
        Kind::Suback => Packet::Suback(Suback::decode(reader)?),
        Kind::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(reader)?),
        Kind::Unsuback => Packet::Unsuback(Unsuback::decode(reader)?),
        Kind::Pingreq => {
            reader.end()?;
            Packet::Pingreq
        }
        Kind::Pingresp => {
            reader.end()?;
            Packet::Pingresp
        }
        Kind::Disconnect => Packet::Disconnect(Box::new(Disconnect::decode(reader, role)?)),
        Kind::Auth => Packet::Auth(Box::new(Auth::decode(reader, role)?)),
    })
}
