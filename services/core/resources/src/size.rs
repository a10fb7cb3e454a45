//! Amounts of storage as Kubernetes writes them: `500M`, `10Gi`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of storage, written as `10Gi`. Units: K, M, G, T, P, E (powers of 1,000) and Ki, Mi, Gi, Ti, Pi, Ei (powers of
/// 1,024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    number: u64,
    /// Index into [`UNITS`].
    unit: u8,
    bytes: u64,
}

const UNITS: &[(&str, u64)] = &[
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

/// The form of a size, for schemas.
const PATTERN: &str = "^[0-9]+[KMGTPE]i?$";

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: must be a whole number with one of the units K, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, as 10Gi"
)]
pub struct InvalidSize(String);

impl Size {
    /// The same amount in bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// `number` GiB; what does not fit is cut off.
    pub fn gib(number: u32) -> Size {
        let (unit, number) = (8, u64::from(number));
        Size {
            number,
            unit,
            bytes: number.saturating_mul(UNITS[usize::from(unit)].1),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Size, InvalidSize> {
        let parsed = || {
            let digits = text.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = text[..digits].parse().ok()?;
            let unit = UNITS
                .iter()
                .position(|(unit, _)| *unit == &text[digits..])?;
            let bytes = number.checked_mul(UNITS[unit].1)?;
            let unit = u8::try_from(unit).ok()?;
            Some(Size {
                number,
                unit,
                bytes,
            })
        };
        parsed().ok_or_else(|| InvalidSize(text.to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, UNITS[usize::from(self.unit)].0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "size", "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A size that is read as another fills a disk, or stops at a thousandth of it.
    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("500M", 500_000_000),
            ("10Gi", 10 << 30),
            ("0K", 0),
            ("15Ei", 15 << 60),
            ("18E", 18_000_000_000_000_000_000),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!(Size::gib(10), "10Gi".parse().unwrap());
        for text in [
            "", "10", "Gi", "10gi", "10 Gi", "-1G", "1.5G", "10Gib", "16Ei", "19E", "10k",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
