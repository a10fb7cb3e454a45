//! A part of a whole.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MILLION: f64 = 1_000_000.0;

/// A part of a whole in millionths, written as a number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ratio {
    millionths: u32,
}

impl Ratio {
    /// `millionths` of a whole; more than a whole is a whole.
    pub const fn from_millionths(millionths: u32) -> Ratio {
        let whole = 1_000_000;
        Ratio {
            millionths: if millionths < whole {
                millionths
            } else {
                whole
            },
        }
    }

    /// The part in millionths: 0 to 1,000,000.
    pub const fn millionths(self) -> u32 {
        self.millionths
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.millionths) / MILLION)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.millionths) / MILLION)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ratio, D::Error> {
        let part = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&part) {
            Ok(Ratio::from_millionths((part * MILLION).round() as u32))
        } else {
            Err(de::Error::custom(format!("{part}: must be from 0 to 1")))
        }
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}
