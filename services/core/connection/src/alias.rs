//! Topic aliases, in both directions (5).

use std::num::NonZeroU16;

use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use hashbrown::HashMap;

use crate::bounds::ALIAS_TOPIC_BYTES_MAX;

/// Aliases that the client set. v5 3.3.2.3.4
#[derive(Debug, Default)]
pub(crate) struct AliasesIn {
    /// By alias - 1; grows with what the client sets, up to the maximum that it was told.
    topics: Vec<Option<ByteString>>,
}

impl AliasesIn {
    /// The topic that a PUBLISH with `alias` means.
    ///
    /// # Errors
    /// 0x94 for an alias above `maximum`, 0x82 for one that was never set.
    pub fn resolve(
        &mut self,
        topic: ByteString,
        alias: NonZeroU16,
        maximum: u16,
    ) -> Result<ByteString, ReasonCode> {
        // v5 [MQTT-3.3.2-9]
        if alias.get() > maximum {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        let index = usize::from(alias.get()) - 1;
        if topic.is_empty() {
            let known = self.topics.get(index).cloned().flatten();
            return known.ok_or(ReasonCode::ProtocolError);
        }
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        // A copy: the received bytes must not live as long as the alias [F-45].
        let kept = ByteString::from(&*topic);
        self.topics[index] = Some(kept.clone());
        Ok(kept)
    }
}

/// How a topic is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// In full.
    Topic,
    /// In full, with the alias that stands for it from now on.
    New(NonZeroU16),
    /// By its alias alone.
    Alias(NonZeroU16),
}

/// Aliases that we gave, first come first served `[F-44]`.
#[derive(Debug)]
pub(crate) struct AliasesOut {
    maximum: u16,
    given: HashMap<ByteString, NonZeroU16>,
}

impl AliasesOut {
    /// `maximum` is what the client takes.
    pub fn new(maximum: u16) -> AliasesOut {
        AliasesOut {
            maximum,
            given: HashMap::new(),
        }
    }

    /// How to write `topic`. A new alias counts only once [`AliasesOut::keep`] was called.
    pub fn say(&self, topic: &str) -> Said {
        if let Some(alias) = self.given.get(topic) {
            return Said::Alias(*alias);
        }
        // v5 [MQTT-3.1.2-26]
        match u16::try_from(self.given.len()) {
            Ok(given) if given < self.maximum && topic.len() <= ALIAS_TOPIC_BYTES_MAX => {
                NonZeroU16::new(given + 1).map_or(Said::Topic, Said::New)
            }
            _ => Said::Topic,
        }
    }

    /// The packet with the new alias will be written.
    pub fn keep(&mut self, topic: &str, alias: NonZeroU16) {
        // A copy: the message must not live as long as the alias [F-45].
        self.given.insert(ByteString::from(topic), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    // A client could name a topic that it never gave, or use more memory than it was told. [MQTT-3.3.2-9]
    #[test]
    fn aliases_in_are_bounded_and_must_be_set_first() {
        let mut aliases = AliasesIn::default();
        let none = ByteString::from_static("");
        assert_eq!(
            aliases.resolve("a".into(), alias(3), 2),
            Err(ReasonCode::TopicAliasInvalid)
        );
        assert_eq!(
            aliases.resolve(none.clone(), alias(2), 2),
            Err(ReasonCode::ProtocolError)
        );
        assert_eq!(aliases.resolve("a".into(), alias(2), 2), Ok("a".into()));
        assert_eq!(aliases.resolve(none.clone(), alias(2), 2), Ok("a".into()));
        assert_eq!(aliases.resolve("b".into(), alias(2), 2), Ok("b".into()));
        assert_eq!(aliases.resolve(none, alias(2), 2), Ok("b".into()));
    }

    // The client would be sent an alias above its maximum and close. [MQTT-3.1.2-26]
    #[test]
    fn aliases_out_are_given_first_come_up_to_the_maximum() {
        let mut aliases = AliasesOut::new(1);
        assert_eq!(aliases.say("a"), Said::New(alias(1)));
        assert_eq!(aliases.say("a"), Said::New(alias(1)));
        aliases.keep("a", alias(1));
        assert_eq!(aliases.say("a"), Said::Alias(alias(1)));
        assert_eq!(aliases.say("b"), Said::Topic);
    }
}
