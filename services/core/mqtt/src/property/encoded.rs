//! Reading the encoded properties of a message: those of `Publish::properties` and `Will::properties`.
//!
//! All of it borrows and none of it allocates. The bytes are taken to be valid; where they are not,
//! the readers end early, and nothing worse happens.

use bytes::Bytes;

use super::{Identifier, Section};
use crate::{
    decode::reader::{self, Reader},
    error::DecodeError,
    packet::Kind,
    version::Version,
};

/// Checks bytes that did not come out of the decoder: whether they are well-formed properties of a
/// message that travel encoded, without a length before them. v5 3.3.2.3
///
/// # Errors
///
/// What the decoder would say of them in a PUBLISH.
pub fn validate(encoded: &Bytes) -> Result<(), DecodeError> {
    let mut section = Section::over(Reader::new(encoded, encoded, Kind::Publish, Version::V5));
    while section.next()?.is_some() {
        section.check_message_property()?;
    }
    Ok(())
}

/// The user properties, as pairs of name and value, in order.
pub fn user_properties(encoded: &[u8]) -> UserPropertiesIter<'_> {
    UserPropertiesIter(Walk(encoded))
}

/// The value of the first user property of that name.
pub fn find_user_property<'a>(encoded: &'a [u8], name: &str) -> Option<&'a str> {
    Walk(encoded).find_map(|property| match property {
        Property::User(key, value) if key == name.as_bytes() => std::str::from_utf8(value).ok(),
        _ => None,
    })
}

/// Whether the payload is announced to be UTF-8: payload format indicator 1. v5 3.3.2.3.2
pub fn payload_format_is_utf8(encoded: &[u8]) -> bool {
    Walk(encoded).any(|property| matches!(property, Property::PayloadFormat(1)))
}

/// The content type. v5 3.3.2.3.9
pub fn content_type(encoded: &[u8]) -> Option<&str> {
    std::str::from_utf8(one(encoded, Identifier::ContentType)?).ok()
}

/// The response topic. v5 3.3.2.3.5
pub fn response_topic(encoded: &[u8]) -> Option<&str> {
    std::str::from_utf8(one(encoded, Identifier::ResponseTopic)?).ok()
}

/// The correlation data. v5 3.3.2.3.6
pub fn correlation_data(encoded: &[u8]) -> Option<&[u8]> {
    one(encoded, Identifier::CorrelationData)
}

fn one(encoded: &[u8], wanted: Identifier) -> Option<&[u8]> {
    Walk(encoded).find_map(|property| match property {
        Property::Prefixed(identifier, value) if identifier == wanted => Some(value),
        _ => None,
    })
}

/// See [`user_properties`].
#[derive(Debug, Clone)]
pub struct UserPropertiesIter<'a>(Walk<'a>);

impl<'a> Iterator for UserPropertiesIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.find_map(|property| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })?;
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    }
}

/// One property.
enum Property<'a> {
    PayloadFormat(u8),
    Prefixed(Identifier, &'a [u8]),
    User(&'a [u8], &'a [u8]),
}

/// The properties one by one, up to the end or the first that is not well-formed.
#[derive(Debug, Clone)]
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn step(&mut self) -> Option<Property<'a>> {
        let (identifier, length) = reader::variable(self.0).ok()??;
        self.0 = &self.0[length..];
        Some(match Identifier::from_u32(identifier)? {
            Identifier::PayloadFormat => {
                let (&value, rest) = self.0.split_first()?;
                self.0 = rest;
                Property::PayloadFormat(value)
            }
            Identifier::UserProperty => Property::User(self.prefixed()?, self.prefixed()?),
            identifier @ (Identifier::ContentType
            | Identifier::ResponseTopic
            | Identifier::CorrelationData) => Property::Prefixed(identifier, self.prefixed()?),
            _ => return None,
        })
    }

    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(value)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let property = self.step();
        if property.is_none() {
            self.0 = &[];
        }
        property
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::{Builder, UserProperties};

    fn sample() -> Bytes {
        Builder::new()
            .payload_format_utf8()
            .content_type("text/plain")
            .user("colour", "red")
            .response_topic("answers/7")
            .user("colour", "blue")
            .correlation_data(&[0, 255])
            .build()
            .unwrap()
    }

    // What the builder writes, the readers find, and the decoder's rules accept.
    #[test]
    fn readers_find_what_the_builder_wrote() {
        let encoded = sample();
        assert_eq!(validate(&encoded), Ok(()));
        assert!(payload_format_is_utf8(&encoded));
        assert_eq!(content_type(&encoded), Some("text/plain"));
        assert_eq!(response_topic(&encoded), Some("answers/7"));
        assert_eq!(correlation_data(&encoded), Some(&[0, 255][..]));
        assert_eq!(find_user_property(&encoded, "colour"), Some("red"));
        assert_eq!(find_user_property(&encoded, "color"), None);
        let pairs: Vec<_> = user_properties(&encoded).collect();
        assert_eq!(pairs, [("colour", "red"), ("colour", "blue")]);
        let shared = UserProperties::from_encoded(&encoded);
        assert_eq!(shared.get("colour").map(|value| &**value), Some("red"));
        assert_eq!(shared.len(), 2);
    }

    // Bytes that were never validated must not take the readers down.
    #[test]
    fn readers_end_at_what_is_cut_short() {
        let encoded = sample();
        for length in 0..encoded.len() {
            let cut = &encoded[..length];
            let _ = (
                content_type(cut),
                response_topic(cut),
                correlation_data(cut),
            );
            assert!(user_properties(cut).count() < 3);
        }
    }
}
