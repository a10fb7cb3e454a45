//! Spans of time as Go writes them: `2160h`, `1h30m`, `1.5s`.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written as `1h30m`. Units: `h`, `m`, `s`, `ms`, `us`, `ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The form of a span, for schemas.
const PATTERN: &str = "^(0|([0-9]+(\\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$";

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be a span of time, such as 90m or 2160h")]
pub struct InvalidDuration(String);

impl std::str::FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<GoDuration, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        if text == "0" {
            return Ok(GoDuration(Duration::ZERO));
        }
        let (mut rest, mut total) = (text, Duration::ZERO);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
            let (number, unit) = rest.split_at(digits.ok_or_else(invalid)?);
            let end = unit
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(unit.len());
            let (unit, after) = unit.split_at(end);
            let number: f64 = number.parse().map_err(|_| invalid())?;
            let (_, nanos) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(invalid)?;
            let seconds = number * *nanos as f64 / 1e9;
            let span = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
            total = total.checked_add(span).ok_or_else(invalid)?;
            rest = after;
        }
        if text.is_empty() {
            return Err(invalid());
        }
        Ok(GoDuration(total))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let seconds = f64::from(nanos) / 1e9 + seconds as f64;
        if seconds > 0.0 || self.0.is_zero() {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_go_does() {
        for (text, written, seconds) in [
            ("2160h", "2160h", 7_776_000.0),
            ("1h30m", "1h30m", 5_400.0),
            ("90m", "1h30m", 5_400.0),
            ("1.5s", "1.5s", 1.5),
            ("0", "0s", 0.0),
            ("250ms", "0.25s", 0.25),
        ] {
            let span: GoDuration = text.parse().unwrap();
            assert_eq!(span.0.as_secs_f64(), seconds, "{text}");
            assert_eq!(span.to_string(), written);
            assert_eq!(written.parse::<GoDuration>().unwrap(), span);
        }
        for text in ["", "5", "h", "1d", "-1h", "1h-", "1..5s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
