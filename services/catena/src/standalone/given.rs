//! What options, the environment and the file say of the Broker.
//!
//! The stored Broker is the truth; what is said here takes the place of its own fields at each start, and what is not
//! said stays as it was stored.

use anyhow::bail;
use catena_resources::{Broker, Invalid, MemoryProfile, QueueStrategy};
use serde::Deserialize;

/// The table `clients` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    max_session_expiry_seconds: Option<u32>,
    max_message_expiry_seconds: Option<u32>,
    max_packet_size_bytes: Option<u32>,
    max_receive_maximum: Option<u16>,
    max_keep_alive_seconds: Option<u16>,
    subscriber_queue_limit: QueueLimit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct QueueLimit {
    length: Option<u64>,
    strategy: Option<QueueStrategy>,
}

/// What is said of the Broker.
#[derive(Debug, Default)]
pub struct Given {
    pub memory_profile: Option<MemoryProfile>,
    pub clients: Clients,
}

impl Given {
    /// Whether anything is said.
    pub fn is_nothing(&self) -> bool {
        let mut broker = Broker::default();
        self.put_into(&mut broker);
        let clients = &self.clients;
        let said = self.memory_profile.is_some()
            || clients.max_session_expiry_seconds.is_some()
            || clients.max_receive_maximum.is_some()
            || clients.max_keep_alive_seconds.is_some()
            || clients.subscriber_queue_limit.strategy.is_some();
        // What has no default differs from it when it is said.
        !said && broker == Broker::default()
    }

    /// Changes what is said, and nothing else.
    pub fn put_into(&self, broker: &mut Broker) {
        fn put<T: Copy>(field: &mut T, said: Option<T>) {
            if let Some(said) = said {
                *field = said;
            }
        }
        let (said, clients) = (&self.clients, &mut broker.advanced.clients);
        put(&mut broker.memory_profile, self.memory_profile);
        put(
            &mut clients.max_session_expiry_seconds,
            said.max_session_expiry_seconds,
        );
        put(&mut clients.max_receive_maximum, said.max_receive_maximum);
        put(
            &mut clients.max_keep_alive_seconds,
            said.max_keep_alive_seconds,
        );
        let queue = &said.subscriber_queue_limit;
        put(&mut clients.subscriber_queue_limit.strategy, queue.strategy);
        // These have no default: what is said is there.
        for (field, said) in [
            (
                &mut clients.max_message_expiry_seconds,
                said.max_message_expiry_seconds,
            ),
            (
                &mut clients.max_packet_size_bytes,
                said.max_packet_size_bytes,
            ),
        ] {
            *field = said.or(*field);
        }
        let length = &mut clients.subscriber_queue_limit.length;
        *length = queue.length.or(*length);
    }

    /// # Errors
    /// A value out of its range, by its field of the Broker.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut broker = Broker::default();
        self.put_into(&mut broker);
        if let Err(Invalid(problems)) = broker.validate() {
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", said.join("; "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // An option that was not given must not undo what an administrator applied.
    #[test]
    fn what_is_not_said_stays() {
        let mut stored = Broker {
            memory_profile: MemoryProfile::Low,
            ..Broker::default()
        };
        stored.advanced.clients.max_keep_alive_seconds = 7;
        stored.advanced.clients.max_message_expiry_seconds = Some(8);
        let mut given = Given::default();
        assert!(given.is_nothing());
        let mut broker = stored.clone();
        given.put_into(&mut broker);
        assert_eq!(broker, stored);

        given.clients.max_keep_alive_seconds = Some(u16::MAX);
        assert!(!given.is_nothing(), "also the default may be said");
        given.put_into(&mut broker);
        stored.advanced.clients.max_keep_alive_seconds = u16::MAX;
        assert_eq!(broker, stored);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let mut given = Given::default();
        given.clients.max_receive_maximum = Some(0);
        given.clients.max_packet_size_bytes = Some(300_000_000);
        let said = given.check().unwrap_err().to_string();
        assert!(said.contains("maxReceiveMaximum"), "{said}");
        assert!(said.contains("maxPacketSizeBytes"), "{said}");
    }
}
