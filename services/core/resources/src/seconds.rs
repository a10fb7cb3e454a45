//! A span of time that is written in seconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MILLIS: f64 = 1_000.0;
/// Longest span: a day. Nothing that is written in seconds needs more.
const SECONDS_MAX: f64 = 86_400.0;

/// Milliseconds, written as a number of seconds: `3`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(with = "f64", inline)]
pub struct Seconds {
    millis: u64,
}

impl Seconds {
    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Seconds {
        Seconds { millis }
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// The same span.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.millis as f64 / MILLIS)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.millis.is_multiple_of(1_000) {
            serializer.serialize_u64(self.millis / 1_000)
        } else {
            serializer.serialize_f64(self.millis as f64 / MILLIS)
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if (0.0..=SECONDS_MAX).contains(&seconds) {
            let millis = (seconds * MILLIS).round() as u64;
            Ok(Seconds { millis })
        } else {
            Err(de::Error::custom(format!(
                "{seconds}: must be from 0 to {SECONDS_MAX} seconds"
            )))
        }
    }
}
