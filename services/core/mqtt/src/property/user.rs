//! User properties.

use bytes::Bytes;
use bytestring::ByteString;

use super::{Identifier, encoded};
use crate::encode::Sink;

/// Names and values that the protocol gives no meaning. Order is kept, and names may repeat. v5 `[MQTT-3.3.2-18]`
///
/// Empty, it owns no memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserProperties(Vec<(ByteString, ByteString)>);

impl UserProperties {
    /// No properties.
    pub const fn new() -> UserProperties {
        UserProperties(Vec::new())
    }

    /// The user properties among the encoded properties of a PUBLISH or will, as slices of them.
    pub fn from_encoded(encoded: &Bytes) -> UserProperties {
        let share = |part: &str| {
            ByteString::try_from(encoded.slice_ref(part.as_bytes())).unwrap_or_else(|_| part.into())
        };
        encoded::user_properties(encoded)
            .map(|(name, value)| (share(name), share(value)))
            .collect()
    }

    /// Appends a property. Name and value have at most 65,535 bytes each and no U+0000.
    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// The value of the first property of that name.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (ByteString, ByteString)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push_pair(&mut self, pair: (ByteString, ByteString)) {
        self.0.push(pair);
    }

    pub(crate) fn write(&self, out: &mut dyn Sink) {
        for (name, value) in &self.0 {
            out.u8(Identifier::UserProperty as u8);
            out.prefixed(name.as_bytes());
            out.prefixed(value.as_bytes());
        }
    }
}

impl FromIterator<(ByteString, ByteString)> for UserProperties {
    fn from_iter<I: IntoIterator<Item = (ByteString, ByteString)>>(pairs: I) -> UserProperties {
        UserProperties(pairs.into_iter().collect())
    }
}

impl Extend<(ByteString, ByteString)> for UserProperties {
    fn extend<I: IntoIterator<Item = (ByteString, ByteString)>>(&mut self, pairs: I) {
        self.0.extend(pairs);
    }
}

impl<'a> IntoIterator for &'a UserProperties {
    type Item = &'a (ByteString, ByteString);
    type IntoIter = std::slice::Iter<'a, (ByteString, ByteString)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for UserProperties {
    type Item = (ByteString, ByteString);
    type IntoIter = std::vec::IntoIter<(ByteString, ByteString)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
