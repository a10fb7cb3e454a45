//! A received message as one line of JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use catena_mqtt::{packet::Publish, property};
use serde::Serialize;

/// The line.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    timestamp: String,
    topic: &'a str,
    qos: u8,
    retain: bool,
    dup: bool,
    payload: String,
    /// How `payload` is written: `utf8` as it is, or `base64` where it is not text.
    encoding: &'static str,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: Properties<'a>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Properties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format_indicator: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    /// Base64: it need not be text.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    subscription_identifiers: &'a [u32],
    /// Names may repeat, so these are pairs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(&'a str, &'a str)>,
}

impl Properties<'_> {
    fn is_empty(&self) -> bool {
        *self == Properties::default()
    }
}

impl Message<'_> {
    /// The line for `publish`, received at `at`.
    pub fn new(publish: &Publish, at: SystemTime) -> Message<'_> {
        let (payload, encoding) = match std::str::from_utf8(&publish.payload) {
            Ok(text) => (text.to_owned(), "utf8"),
            Err(_) => (BASE64_STANDARD.encode(&publish.payload), "base64"),
        };
        Message {
            timestamp: rfc3339(at),
            topic: &publish.topic,
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            payload,
            encoding,
            properties: properties(publish),
        }
    }
}

fn properties(publish: &Publish) -> Properties<'_> {
    let encoded = &publish.properties;
    Properties {
        payload_format_indicator: property::payload_format_is_utf8(encoded).then_some(1),
        message_expiry_interval: publish.message_expiry,
        content_type: property::content_type(encoded),
        response_topic: property::response_topic(encoded),
        correlation_data: property::correlation_data(encoded)
            .map(|data| BASE64_STANDARD.encode(data)),
        subscription_identifiers: &publish.subscription_ids,
        user_properties: property::user_properties(encoded).collect(),
    }
}

/// A time as `2026-03-01T12:00:00.000000Z`.
fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970-01-01.
///
/// Years are counted from March, so that the day that comes and goes is the last, in eras of 400
/// years, which all have the same length. After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn days_that_are_easy_to_get_wrong() {
        let text = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59.000000Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(951_868_800), "2000-03-01T00:00:00.000000Z");
        assert_eq!(text(1_704_067_199), "2023-12-31T23:59:59.000000Z");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn text_stays_text_and_bytes_become_base64() {
        let mut publish = Publish {
            topic: "a".into(),
            payload: "gr\u{fc}n".into(),
            ..Publish::default()
        };
        let line =
            |publish: &Publish| serde_json::to_value(Message::new(publish, UNIX_EPOCH)).unwrap();
        let text = line(&publish);
        assert_eq!(
            (text["payload"].as_str(), text["encoding"].as_str()),
            (Some("gr\u{fc}n"), Some("utf8"))
        );
        assert!(text.get("properties").is_none());

        publish.payload = Bytes::from_static(&[0xFF, 0]);
        publish.properties = property::Builder::new()
            .user("a", "1")
            .user("a", "2")
            .build()
            .unwrap();
        let bytes = line(&publish);
        assert_eq!(
            (bytes["payload"].as_str(), bytes["encoding"].as_str()),
            (Some("/wA="), Some("base64"))
        );
        assert_eq!(
            bytes["properties"]["user-properties"],
            serde_json::json!([["a", "1"], ["a", "2"]])
        );
    }
}
