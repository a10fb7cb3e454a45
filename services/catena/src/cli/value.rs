//! Values on the command line.

use std::str::FromStr;

use catena_mqtt::{QoS, Version};

/// A quality of service, written 0, 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality(pub QoS);

impl FromStr for Quality {
    type Err = String;

    fn from_str(text: &str) -> Result<Quality, String> {
        let qos = text.parse().ok().and_then(QoS::from_bits);
        qos.map(Quality).ok_or_else(|| {
            "QoS is 0 (at most once), 1 (at least once) or 2 (exactly once)".to_owned()
        })
    }
}

/// A version of MQTT, by name or by protocol level.
pub fn version(text: &str) -> Result<Version, String> {
    match text {
        "3.1" | "31" | "mqttv31" | "3" => Ok(Version::V3),
        "3.1.1" | "311" | "mqttv311" | "4" => Ok(Version::V4),
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        _ => Err("the versions are 3.1.1 (also: 4) and 5".to_owned()),
    }
}

/// A number of things, at least one.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number, at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// A number that is not negative, whole or not.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        // What is longer is meant to be for ever, and a duration would not hold it.
        Ok(number) if (0.0..=1e9).contains(&number) => Ok(number),
        _ => Err("a number from 0 to 1,000,000,000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_nonsense() {
        assert_eq!("2".parse(), Ok(Quality(QoS::ExactlyOnce)));
        assert!("3".parse::<Quality>().is_err());
        assert_eq!(version("3.1.1"), Ok(Version::V4));
        assert_eq!(version("mqttv5"), Ok(Version::V5));
        assert!(version("6").is_err());
        assert_eq!(count("7"), Ok(7));
        assert!(count("0").is_err() && count("-1").is_err());
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(seconds("-1").is_err() && seconds("NaN").is_err() && seconds("inf").is_err());
    }
}
