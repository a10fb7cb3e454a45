//! The QoS 2 messages that a subscriber has got and that the broker has not released. Pure.

use std::collections::BTreeMap;

use catena_mqtt::packet::PacketId;

/// What a PUBLISH at QoS 2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// New.
    Yes,
    /// Sent again.
    No,
    /// Another message under an id that still is in use: a client must take it for the old one, so it is lost.
    Clash,
}

/// By packet id: which message.
#[derive(Debug, Default)]
pub struct Inbound {
    unreleased: BTreeMap<PacketId, (u32, u64)>,
}

impl Inbound {
    /// A PUBLISH has come, with the stream and number of its message.
    pub fn take(&mut self, id: PacketId, message: (u32, u64)) -> First {
        match self.unreleased.get(&id) {
            None => {
                self.unreleased.insert(id, message);
                First::Yes
            }
            Some(known) if *known == message => First::No,
            Some(_) => First::Clash,
        }
    }

    /// PUBREL has come.
    pub fn release(&mut self, id: PacketId) {
        self.unreleased.remove(&id);
    }

    /// The session is gone, and so is this.
    pub fn clear(&mut self) {
        self.unreleased.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a message that the broker sends again would count as doubled.
    #[test]
    fn an_id_means_one_message_until_it_is_released() {
        let id = PacketId::MIN;
        let mut inbound = Inbound::default();
        assert_eq!(inbound.take(id, (1, 7)), First::Yes);
        assert_eq!(inbound.take(id, (1, 7)), First::No);
        assert_eq!(inbound.take(id, (1, 8)), First::Clash);
        inbound.release(id);
        assert_eq!(inbound.take(id, (1, 8)), First::Yes);
        inbound.clear();
        assert_eq!(inbound.take(id, (1, 9)), First::Yes);
    }
}
