//! `-D COMMAND PROPERTY VALUE`: properties of MQTT 5 on the command line, as mosquitto has them.
//!
//! The shell gives one list of words for all of them; each property says how many are its own.

use std::{num::NonZeroU16, str::FromStr};

use bytes::Bytes;
use catena_mqtt::{
    packet::Connect,
    property::{Builder, UserProperties},
};

/// All that was asked for, by packet.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    pub connect: ConnectProperties,
    pub publish: Message,
    pub subscribe: SubscribeProperties,
    pub will: Message,
}

/// Those of CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_packet_size: Option<u32>,
    pub user: UserProperties,
}

/// Those of SUBSCRIBE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribeProperties {
    pub subscription_id: Option<u32>,
    pub user: UserProperties,
}

/// Those of a message: of PUBLISH, or of a will.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Seconds.
    pub expiry: Option<u32>,
    /// Seconds; only of a will.
    pub delay: Option<u32>,
    rest: Builder,
}

/// What is wrong with the words behind `-D`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("-D {0}: not a packet that takes properties; one of connect, publish, subscribe, will")]
    Command(String),
    #[error("-D {command} {property}: no such property; {known}")]
    Property {
        command: String,
        property: String,
        known: &'static str,
    },
    #[error("-D {command} {property}: needs {wanted}")]
    Missing {
        command: String,
        property: String,
        wanted: &'static str,
    },
    #[error("-D {command} {property} {value}: not {wanted}")]
    Value {
        command: String,
        property: String,
        value: String,
        wanted: &'static str,
    },
    #[error("-D {command}: {reason}")]
    Message {
        command: &'static str,
        reason: String,
    },
}

const CONNECT: &str =
    "one of session-expiry-interval, receive-maximum, maximum-packet-size, user-property";
const MESSAGE: &str = "one of payload-format-indicator, message-expiry-interval, content-type, \
     response-topic, correlation-data, user-property (and will-delay-interval of a will)";
const SUBSCRIBE: &str = "one of subscription-identifier, user-property";
const U32: &str = "a number from 0 to 4294967295";

impl Properties {
    /// Reads the words behind all `-D`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them.
    pub fn parse(words: &[String]) -> Result<Properties, Error> {
        let mut properties = Properties::default();
        let mut words = words.iter();
        while let Some(command) = words.next() {
            let property = words.next().map_or("", String::as_str);
            let mut one = One {
                command,
                property,
                words: &mut words,
            };
            match command.as_str() {
                "connect" => one.connect(&mut properties.connect)?,
                "publish" => one.message(&mut properties.publish, false)?,
                "subscribe" => one.subscribe(&mut properties.subscribe)?,
                "will" => one.message(&mut properties.will, true)?,
                _ => return Err(Error::Command(command.clone())),
            }
        }
        Ok(properties)
    }
}

impl ConnectProperties {
    /// Writes them into a CONNECT.
    pub fn apply(&self, connect: &mut Connect) {
        connect.session_expiry = self.session_expiry.or(connect.session_expiry);
        connect.receive_maximum = self.receive_maximum;
        connect.maximum_packet_size = self.maximum_packet_size;
        connect.user_properties = self.user.clone();
    }
}

impl Message {
    /// The encoded properties, in the form of `Publish::properties`.
    ///
    /// # Errors
    ///
    /// When a broker would refuse them.
    pub fn encoded(&self, command: &'static str) -> Result<Bytes, Error> {
        let built = self.rest.clone().build();
        built.map_err(|error| Error::Message {
            command,
            reason: error.to_string(),
        })
    }

    fn change(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.rest = change(std::mem::take(&mut self.rest));
    }
}

/// One property while it is read.
struct One<'a, 'b> {
    command: &'a str,
    property: &'a str,
    words: &'b mut std::slice::Iter<'a, String>,
}

impl<'a> One<'a, '_> {
    fn connect(&mut self, to: &mut ConnectProperties) -> Result<(), Error> {
        match self.property {
            "session-expiry-interval" => to.session_expiry = Some(self.number(U32)?),
            "receive-maximum" => {
                to.receive_maximum = Some(self.number("a number from 1 to 65535")?)
            }
            "maximum-packet-size" => {
                let size = self.number::<std::num::NonZeroU32>("a number from 1 to 4294967295")?;
                to.maximum_packet_size = Some(size.get());
            }
            "user-property" => {
                let (name, value) = self.pair()?;
                to.user.push(name, value);
            }
            _ => return Err(self.unknown(CONNECT)),
        }
        Ok(())
    }

    fn subscribe(&mut self, to: &mut SubscribeProperties) -> Result<(), Error> {
        match self.property {
            "subscription-identifier" => {
                let id = self.value(SUBSCRIPTION_ID)?;
                to.subscription_id =
                    Some(subscription_id(id).map_err(|_| self.wrong(id, SUBSCRIPTION_ID))?);
            }
            "user-property" => {
                let (name, value) = self.pair()?;
                to.user.push(name, value);
            }
            _ => return Err(self.unknown(SUBSCRIBE)),
        }
        Ok(())
    }

    fn message(&mut self, to: &mut Message, will: bool) -> Result<(), Error> {
        match self.property {
            "payload-format-indicator" => match self.value("0 or 1")? {
                "1" => to.change(Builder::payload_format_utf8),
                // What is absent means the same.
                "0" => {}
                value => return Err(self.wrong(value, "0 or 1")),
            },
            "message-expiry-interval" => to.expiry = Some(self.number(U32)?),
            "will-delay-interval" if will => to.delay = Some(self.number(U32)?),
            "content-type" => {
                let value = self.value("a text")?;
                to.change(|builder| builder.content_type(value));
            }
            "response-topic" => {
                let value = self.value("a topic")?;
                to.change(|builder| builder.response_topic(value));
            }
            "correlation-data" => {
                let value = self.value("a text")?;
                to.change(|builder| builder.correlation_data(value.as_bytes()));
            }
            "user-property" => {
                let (name, value) = self.pair()?;
                to.change(|builder| builder.user(name, value));
            }
            _ => return Err(self.unknown(MESSAGE)),
        }
        Ok(())
    }

    fn value(&mut self, wanted: &'static str) -> Result<&'a str, Error> {
        let (command, property) = (self.command.to_owned(), self.property.to_owned());
        let value = self.words.next().map(String::as_str);
        value.ok_or(Error::Missing {
            command,
            property,
            wanted,
        })
    }

    fn number<N: FromStr>(&mut self, wanted: &'static str) -> Result<N, Error> {
        let value = self.value(wanted)?;
        value.parse().map_err(|_| self.wrong(value, wanted))
    }

    fn pair(&mut self) -> Result<(&'a str, &'a str), Error> {
        const PAIR: &str = "a name and a value";
        Ok((self.value(PAIR)?, self.value(PAIR)?))
    }

    fn wrong(&self, value: &str, wanted: &'static str) -> Error {
        let (command, property) = (self.command.to_owned(), self.property.to_owned());
        Error::Value {
            command,
            property,
            value: value.to_owned(),
            wanted,
        }
    }

    fn unknown(&self, known: &'static str) -> Error {
        let (command, property) = (self.command.to_owned(), self.property.to_owned());
        Error::Property {
            command,
            property,
            known,
        }
    }
}

const SUBSCRIPTION_ID: &str = "a number from 1 to 268435455";

/// A subscription identifier. v5 3.8.2.1.2
pub fn subscription_id(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(id @ 1..=catena_mqtt::encode::VARIABLE_MAX) => Ok(id),
        _ => Err(SUBSCRIPTION_ID.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use catena_mqtt::property;

    use super::*;

    fn parse(words: &[&str]) -> Result<Properties, Error> {
        Properties::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn properties_follow_each_other() {
        let properties = parse(&[
            "publish",
            "user-property",
            "site",
            "plant 3",
            "publish",
            "content-type",
            "text/plain",
            "will",
            "will-delay-interval",
            "30",
            "connect",
            "receive-maximum",
            "7",
            "publish",
            "message-expiry-interval",
            "60",
            "subscribe",
            "subscription-identifier",
            "5",
        ])
        .unwrap();
        let encoded = properties.publish.encoded("publish").unwrap();
        assert_eq!(
            property::find_user_property(&encoded, "site"),
            Some("plant 3")
        );
        assert_eq!(property::content_type(&encoded), Some("text/plain"));
        assert_eq!(properties.publish.expiry, Some(60));
        assert_eq!(properties.will.delay, Some(30));
        assert_eq!(properties.connect.receive_maximum, NonZeroU16::new(7));
        assert_eq!(properties.subscribe.subscription_id, Some(5));
    }

    // Whoever mistypes is told what would be right.
    #[test]
    fn mistakes_are_explained() {
        let text = |words: &[&str]| parse(words).unwrap_err().to_string();
        assert!(text(&["publsh", "content-type", "x"]).contains("one of connect, publish"));
        assert!(text(&["publish", "contenttype", "x"]).contains("content-type"));
        assert!(text(&["publish", "will-delay-interval", "1"]).contains("no such property"));
        assert!(text(&["publish", "user-property", "x"]).contains("a name and a value"));
        assert!(text(&["publish"]).contains("no such property"));
        assert!(text(&["connect", "receive-maximum", "0"]).contains("from 1 to 65535"));
        assert!(text(&["subscribe", "subscription-identifier", "0"]).contains("268435455"));
    }

    #[test]
    fn what_a_broker_would_refuse_is_refused_here() {
        let properties = parse(&["publish", "response-topic", "a/#"]).unwrap();
        assert!(properties.publish.encoded("publish").is_err());
    }
}
