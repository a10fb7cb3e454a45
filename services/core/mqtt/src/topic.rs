//! Topic names.

/// The most levels that a topic name can have: one more than the slashes of the longest string. A
/// bound by nature, not by choice: everything here takes time in proportion to the bytes.
pub const LEVELS_MAX: usize = 65_536;

/// The longest topic name, in bytes. v5 and v3.1.1 `[MQTT-4.7.3-3]`
pub const LENGTH_MAX: usize = 65_535;

/// Why a string is not a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// It is empty. v5 and v3.1.1 `[MQTT-4.7.3-1]`
    #[error("topic name is empty")]
    Empty,
    /// It is longer than [`LENGTH_MAX`]. v5 and v3.1.1 `[MQTT-4.7.3-3]`
    #[error("topic name is longer than 65,535 bytes")]
    TooLong,
    /// It contains `+` or `#`. v5 `[MQTT-3.3.2-2]`, `[MQTT-4.7.1-1]`, v3.1.1 `[MQTT-3.3.2-2]`
    #[error("topic name contains a wildcard")]
    Wildcard,
    /// It contains U+0000. v5 and v3.1.1 `[MQTT-4.7.3-2]`
    #[error("topic name contains the character U+0000")]
    Null,
}

/// Whether `topic` is a topic name.
///
/// # Errors
///
/// The first rule that it breaks.
#[inline]
pub fn validate(topic: &str) -> Result<(), Error> {
    let bytes = topic.as_bytes();
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    if bytes.len() > LENGTH_MAX {
        return Err(Error::TooLong);
    }
    // Without an early exit, for the loop to be done on many bytes at a time.
    let suspicious = bytes
        .iter()
        .fold(false, |found, byte| found | matches!(byte, 0 | b'+' | b'#'));
    match suspicious {
        false => Ok(()),
        true if bytes.contains(&0) => Err(Error::Null),
        true => Err(Error::Wildcard),
    }
}

/// The levels of a topic name or filter: what stands between the slashes, possibly empty. v5 4.7.1.1
pub fn levels(topic: &str) -> std::str::Split<'_, char> {
    topic.split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/", "a/b", " ", "$SYS/x", "a//b", "é/ü", "$share/g/t"] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        // [MQTT-4.7.3-1]
        assert_eq!(validate(""), Err(Error::Empty));
        // [MQTT-3.3.2-2]
        for bad in ["+", "#", "a/+", "a/#", "a+b", "a#"] {
            assert_eq!(validate(bad), Err(Error::Wildcard), "{bad}");
        }
        // [MQTT-4.7.3-2]
        assert_eq!(validate("a\0+"), Err(Error::Null));
        // [MQTT-4.7.3-3]
        assert_eq!(validate(&"a".repeat(65_535)), Ok(()));
        assert_eq!(validate(&"a".repeat(65_536)), Err(Error::TooLong));
    }

    #[test]
    fn levels_may_be_empty() {
        assert_eq!(levels("/a//").collect::<Vec<_>>(), ["", "a", "", ""]);
        assert_eq!(levels(&"/".repeat(65_535)).count(), LEVELS_MAX);
    }
}
