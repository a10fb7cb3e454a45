//! A place in the body of a packet, from which fields are read.

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    error::DecodeError,
    packet::{Kind, PacketId},
    reason::ReasonCode,
    version::Version,
};

/// Reads the fields of one packet in their order. No read goes beyond the packet, and none allocates:
/// what is long is a slice of the received buffer.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    source: &'a Bytes,
    rest: &'a [u8],
    kind: Kind,
    version: Version,
}

impl<'a> Reader<'a> {
    /// A reader of `body`, which is a part of `source`.
    #[inline]
    pub(crate) fn new(
        source: &'a Bytes,
        body: &'a [u8],
        kind: Kind,
        version: Version,
    ) -> Reader<'a> {
        Reader {
            source,
            rest: body,
            kind,
            version,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[cold]
    pub(crate) fn malformed(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Malformed {
            packet: self.kind,
            field,
            problem,
        }
    }

    #[cold]
    pub(crate) fn protocol(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Protocol {
            packet: self.kind,
            field,
            problem,
        }
    }

    /// Nothing may be left.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("end", "bytes left over"))
        }
    }

    #[inline]
    pub(crate) fn take(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.malformed(field, "longer than what contains it")),
        }
    }

    /// `part`, which was taken from this reader, as a handle of the received buffer.
    #[inline]
    pub(crate) fn share(&self, part: &'a [u8]) -> Bytes {
        if part.is_empty() {
            Bytes::new()
        } else {
            self.source.slice_ref(part)
        }
    }

    /// All that is left.
    #[inline]
    pub(crate) fn remainder(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.share(rest)
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, field)?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let bytes = self.take(2, field)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let bytes = self.take(4, field)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    #[inline]
    pub(crate) fn variable(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match variable(self.rest) {
            Ok(Some((value, length))) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            Ok(None) => Err(self.malformed(field, "cut short")),
            Err(problem) => Err(self.malformed(field, problem)),
        }
    }

    /// A byte that may only be 0 or 1.
    #[inline]
    pub(crate) fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.protocol(field, "neither 0 nor 1")),
        }
    }

    /// Two bytes of length, then the bytes. v5 1.5.6
    #[inline]
    pub(crate) fn prefixed(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u16(field)?;
        self.take(usize::from(length), field)
    }

    /// Binary data. v5 1.5.6
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let bytes = self.prefixed(field)?;
        Ok(self.share(bytes))
    }

    /// A string, checked but not shared. v5 and v3.1.1 1.5.3, 1.5.4
    #[inline]
    pub(crate) fn str(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.prefixed(field)?;
        // v5 [MQTT-1.5.4-2], v3.1.1 [MQTT-1.5.3-2]
        if bytes.contains(&0) {
            return Err(self.malformed(field, "contains the character U+0000"));
        }
        // v5 [MQTT-1.5.4-1], v3.1.1 [MQTT-1.5.3-1]
        std::str::from_utf8(bytes).map_err(|_| self.malformed(field, "not well-formed UTF-8"))
    }

    /// A string.
    #[inline]
    pub(crate) fn string(&mut self, field: &'static str) -> Result<ByteString, DecodeError> {
        let bytes = self.prefixed(field)?;
        if bytes.contains(&0) {
            return Err(self.malformed(field, "contains the character U+0000"));
        }
        ByteString::try_from(self.share(bytes))
            .map_err(|_| self.malformed(field, "not well-formed UTF-8"))
    }

    /// A packet identifier, which is not 0. v5 `[MQTT-2.2.1-3]`, v3.1.1 `[MQTT-2.3.1-1]`
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let id = self.u16("packet identifier")?;
        PacketId::new(id).ok_or_else(|| {
            if self.version.is_v5() {
                self.protocol("packet identifier", "is 0")
            } else {
                self.malformed("packet identifier", "is 0")
            }
        })
    }

    /// A reason code that this packet may carry (5).
    pub(crate) fn reason(&mut self) -> Result<ReasonCode, DecodeError> {
        ReasonCode::from_u8(self.u8("reason code")?)
            .filter(|reason| reason.is_valid_in(self.kind))
            .ok_or_else(|| self.protocol("reason code", "not one of this packet"))
    }

    /// A section of properties, as a reader of its own that ends where they end; empty below 5.
    #[inline]
    pub(crate) fn section(&mut self) -> Result<Reader<'a>, DecodeError> {
        let length = if self.version.is_v5() {
            self.variable("property length")?
        } else {
            0
        };
        let section = self.take(length as usize, "properties")?;
        Ok(Reader {
            rest: section,
            ..self.clone()
        })
    }
}

/// The variable byte integer at the front of `bytes` and how many bytes it has; `Ok(None)` if it goes on
/// beyond them. v5 1.5.5
#[inline]
pub(crate) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, &'static str> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // v5 [MQTT-1.5.5-1]
            if byte == 0 && index > 0 {
                return Err("not in its shortest form");
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        Err("longer than four bytes")
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers() {
        assert_eq!(variable(&[0x00, 1]), Ok(Some((0, 1))));
        assert_eq!(variable(&[0xC1, 0x02]), Ok(Some((321, 2))));
        assert_eq!(
            variable(&[0xFF, 0xFF, 0xFF, 0x7F]),
            Ok(Some((268_435_455, 4)))
        );
        assert_eq!(variable(&[]), Ok(None));
        assert_eq!(variable(&[0x80, 0x80, 0x80]), Ok(None));
        // v5 [MQTT-1.5.5-1]
        assert!(variable(&[0x80, 0x00]).is_err());
        assert!(variable(&[0x80, 0x80, 0x80, 0x80]).is_err());
    }
}
