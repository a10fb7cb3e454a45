//! What a publisher has under way: packet ids, and what a new connection has to send again. Pure.

use std::collections::VecDeque;

use catena_mqtt::{QoS, packet::PacketId};

/// A message without its final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    pub packet_id: PacketId,
    pub stream: usize,
    pub sequence: u64,
    pub qos: QoS,
    /// Its number among the retained topics.
    pub retained: Option<usize>,
    /// Empty, to take a retained message away.
    pub clears: bool,
    /// When it was first sent, in nanoseconds: what is sent again is the same to the last byte.
    pub sent_ns: u64,
    /// PUBREC has come: what is left to send is PUBREL.
    pub received: bool,
}

/// Messages under way in the order in which they were first sent.
#[derive(Debug, Default)]
pub struct Outbound {
    flights: VecDeque<Flight>,
    last_id: u16,
}

impl Outbound {
    /// How many.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// A packet id that is not in use. They are given in turn, so that a late answer does not meet a new message.
    pub fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && self.position(id).is_none()
            {
                return id;
            }
        }
    }

    /// A message is sent for the first time.
    pub fn push(&mut self, flight: Flight) {
        self.flights.push_back(flight);
    }

    /// The message with this id has its final answer.
    pub fn finish(&mut self, id: PacketId) -> Option<Flight> {
        self.position(id).and_then(|at| self.flights.remove(at))
    }

    /// PUBREC has come for this id; false if nothing at QoS 2 has it.
    pub fn receive(&mut self, id: PacketId) -> bool {
        let Some(at) = self.position(id) else {
            return false;
        };
        let flight = &mut self.flights[at];
        flight.received = flight.qos == QoS::ExactlyOnce;
        flight.received
    }

    /// All, in the order in which they are to be sent again. v5 `[MQTT-4.6.0-1]`
    pub fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// Forgets all, because the broker has. v5 `[MQTT-3.2.2-5]`
    pub fn take(&mut self) -> VecDeque<Flight> {
        std::mem::take(&mut self.flights)
    }

    fn position(&self, id: PacketId) -> Option<usize> {
        self.flights
            .iter()
            .position(|flight| flight.packet_id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(packet_id: PacketId, qos: QoS) -> Flight {
        Flight {
            packet_id,
            stream: 0,
            sequence: 0,
            qos,
            retained: None,
            clears: false,
            sent_ns: 0,
            received: false,
        }
    }

    #[test]
    fn ids_in_use_are_passed_over() {
        let mut outbound = Outbound::default();
        let first = outbound.next_id();
        outbound.push(flight(first, QoS::ExactlyOnce));
        for _ in 0..70_000 {
            assert_ne!(outbound.next_id(), first);
        }
        assert!(outbound.receive(first));
        assert!(outbound.iter().all(|flight| flight.received));
        assert!(outbound.finish(first).is_some());
        assert!(outbound.finish(first).is_none());
    }
}
