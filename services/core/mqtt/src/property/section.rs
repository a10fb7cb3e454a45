//! The walk through a section of properties.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;

use super::Identifier;
use crate::{decode::reader::Reader, error::DecodeError};

/// Walks through a section of properties: the caller asks for one identifier after the other, and
/// reads each value by its type.
pub(crate) struct Section<'a> {
    reader: Reader<'a>,
    /// The bit of every identifier that has been there; all are below 64.
    seen: u64,
    current: Identifier,
}

impl<'a> Section<'a> {
    /// Reads the property length, and takes the section out of `packet`. Empty below 5.
    #[inline]
    pub(crate) fn of(packet: &mut Reader<'a>) -> Result<Section<'a>, DecodeError> {
        Ok(Section::over(packet.section()?))
    }

    /// Walks to the end of `reader`.
    #[inline]
    pub(crate) fn over(reader: Reader<'a>) -> Section<'a> {
        Section {
            reader,
            seen: 0,
            current: Identifier::UserProperty,
        }
    }

    /// The identifier of the next property, whose value must be read next.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Identifier>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let number = self.reader.variable("property identifier")?;
        let Some(identifier) = Identifier::from_u32(number) else {
            return Err(self.reader.malformed("property identifier", "unknown"));
        };
        let bit = 1 << number;
        if self.seen & bit != 0 && identifier != Identifier::UserProperty {
            // Only PUBLISH may repeat another one, and takes its bit away again.
            return Err(self.reader.protocol(identifier.name(), "more than once"));
        }
        self.seen |= bit;
        self.current = identifier;
        Ok(Some(identifier))
    }

    /// The current property may come again.
    pub(crate) fn may_repeat(&mut self) {
        self.seen &= !(1 << self.current as u8);
    }

    /// The current property has no place in this packet.
    #[cold]
    pub(crate) fn misplaced(&self) -> DecodeError {
        self.reader
            .protocol(self.current.name(), "not allowed in this packet")
    }

    #[cold]
    pub(crate) fn protocol(&self, problem: &'static str) -> DecodeError {
        self.reader.protocol(self.current.name(), problem)
    }

    /// The bytes of the section that are not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, DecodeError> {
        self.reader.boolean(self.current.name())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.reader.u16(self.current.name())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.reader.u32(self.current.name())
    }

    pub(crate) fn non_zero_u16(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or_else(|| self.protocol("is 0"))
    }

    pub(crate) fn non_zero_u32(&mut self) -> Result<u32, DecodeError> {
        match self.u32()? {
            0 => Err(self.protocol("is 0")),
            value => Ok(value),
        }
    }

    pub(crate) fn non_zero_variable(&mut self) -> Result<u32, DecodeError> {
        match self.reader.variable(self.current.name())? {
            0 => Err(self.protocol("is 0")),
            value => Ok(value),
        }
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, DecodeError> {
        self.reader.str(self.current.name())
    }

    pub(crate) fn string(&mut self) -> Result<ByteString, DecodeError> {
        self.reader.string(self.current.name())
    }

    pub(crate) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        self.reader.binary(self.current.name())
    }

    pub(crate) fn pair(&mut self) -> Result<(ByteString, ByteString), DecodeError> {
        Ok((
            self.reader.string("name of user property")?,
            self.reader.string("user property")?,
        ))
    }

    /// Reads the value of one of the properties of a message that travel as bytes, and checks it.
    #[inline]
    pub(crate) fn check_message_property(&mut self) -> Result<(), DecodeError> {
        match self.current {
            Identifier::PayloadFormat => drop(self.boolean()?),
            Identifier::ContentType => drop(self.str()?),
            Identifier::CorrelationData => drop(self.reader.prefixed(self.current.name())?),
            Identifier::UserProperty => {
                self.reader.str("name of user property")?;
                self.reader.str("user property")?;
            }
            Identifier::ResponseTopic => {
                // v5 [MQTT-3.3.2-13], [MQTT-3.3.2-14]
                if crate::topic::validate(self.str()?).is_err() {
                    return Err(self.protocol("not a topic name"));
                }
            }
            _ => return Err(self.misplaced()),
        }
        Ok(())
    }
}
