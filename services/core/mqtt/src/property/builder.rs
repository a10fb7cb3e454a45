//! Making the encoded properties of a message.

use bytes::{BufMut, Bytes, BytesMut};

use super::Identifier;
use crate::error::DecodeError;

/// Makes the encoded properties of a message, in the form of `Publish::properties`.
///
/// ```
/// let properties = catena_mqtt::property::Builder::new()
///     .content_type("application/json")
///     .user("source", "line-4")
///     .build()
///     .unwrap();
/// assert_eq!(catena_mqtt::property::find_user_property(&properties, "source"), Some("line-4"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    out: BytesMut,
    too_long: bool,
}

/// Why [`Builder::build`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value above 65,535 bytes. v5 1.5.4, 1.5.6
    #[error("a property is longer than 65,535 bytes")]
    TooLong,
    /// What a receiver would refuse: a character U+0000, a response topic with wildcards, one property twice.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
}

impl Builder {
    /// No properties yet.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Announces that the payload is UTF-8. v5 3.3.2.3.2
    pub fn payload_format_utf8(mut self) -> Builder {
        self.out.put_slice(&[Identifier::PayloadFormat as u8, 1]);
        self
    }

    /// Sets the content type. v5 3.3.2.3.9
    pub fn content_type(self, content_type: &str) -> Builder {
        self.identifier(Identifier::ContentType)
            .prefixed(content_type.as_bytes())
    }

    /// Sets the response topic, which has no wildcards. v5 3.3.2.3.5
    pub fn response_topic(self, topic: &str) -> Builder {
        self.identifier(Identifier::ResponseTopic)
            .prefixed(topic.as_bytes())
    }

    /// Sets the correlation data. v5 3.3.2.3.6
    pub fn correlation_data(self, data: &[u8]) -> Builder {
        self.identifier(Identifier::CorrelationData).prefixed(data)
    }

    /// Appends a user property. v5 3.3.2.3.7
    pub fn user(self, name: &str, value: &str) -> Builder {
        self.identifier(Identifier::UserProperty)
            .prefixed(name.as_bytes())
            .prefixed(value.as_bytes())
    }

    /// The encoded properties.
    ///
    /// # Errors
    ///
    /// When a receiver would refuse them.
    pub fn build(self) -> Result<Bytes, Error> {
        if self.too_long {
            return Err(Error::TooLong);
        }
        let encoded = self.out.freeze();
        super::validate(&encoded)?;
        Ok(encoded)
    }

    fn identifier(mut self, identifier: Identifier) -> Builder {
        self.out.put_u8(identifier as u8);
        self
    }

    fn prefixed(mut self, bytes: &[u8]) -> Builder {
        match u16::try_from(bytes.len()) {
            Ok(length) => {
                self.out.put_u16(length);
                self.out.put_slice(bytes);
            }
            Err(_) => self.too_long = true,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_would_refuse_is_not_built() {
        assert_eq!(
            Builder::new().user("a", &"x".repeat(65_536)).build(),
            Err(Error::TooLong)
        );
        for builder in [
            Builder::new().response_topic("a/+"),
            Builder::new().user("a\0", "b"),
            Builder::new().content_type("a").content_type("b"),
            Builder::new().payload_format_utf8().payload_format_utf8(),
        ] {
            assert!(matches!(builder.build(), Err(Error::Invalid(_))));
        }
        assert_eq!(Builder::new().build(), Ok(Bytes::new()));
    }
}
