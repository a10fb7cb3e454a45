//! A publisher: how much of its window is taken, and which packet ids.

use std::collections::VecDeque;

use catena_mqtt::QoS;

use super::{plan::Plan, stamp::Stamp, wire::Template};

/// One publisher.
#[derive(Debug)]
pub struct Publisher {
    template: Template,
    stamp: Stamp,
    window: u64,
    acknowledged: bool,
    /// Deliveries that each message is to have.
    copies: u64,
    /// Deliveries so far, and those that are given up because later ones came first.
    settled: u64,
    /// Free packet ids, the one that has been free longest first.
    ids: VecDeque<u16>,
    /// Packet ids in use, by number.
    taken: Vec<bool>,
}

/// An acknowledgement of a packet id that is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker acknowledged packet id {0}, which is not in flight")]
pub struct Unsolicited(u16);

impl Publisher {
    /// Publisher `number` of the plan. Above QoS 0 its window is at most `receive_maximum`.
    pub fn new(
        plan: &Plan,
        number: usize,
        version: catena_mqtt::Version,
        receive_maximum: u16,
    ) -> Publisher {
        let acknowledged = plan.qos != QoS::AtMostOnce;
        let ids_max = if acknowledged {
            plan.window.min(usize::from(receive_maximum))
        } else {
            0
        };
        let ids_max = u16::try_from(ids_max).expect("the receive maximum is 16 bits wide");
        let topic = plan.shape.topic(plan.run, number);
        Publisher {
            template: Template::new(&topic, plan.qos, plan.size, version),
            stamp: Stamp {
                run: plan.run,
                publisher: u32::try_from(number).expect("there are not that many publishers"),
                sequence: 0,
                sent_ns: 0,
            },
            window: plan.window as u64,
            acknowledged,
            copies: plan.shape.copies(),
            settled: 0,
            ids: (1..=ids_max).collect(),
            taken: vec![false; usize::from(ids_max) + 1],
        }
    }

    /// Messages sent so far.
    pub fn sent(&self) -> u64 {
        self.stamp.sequence
    }

    /// Packet ids in flight.
    pub fn unacknowledged(&self) -> u64 {
        (self.taken.len() - 1 - self.ids.len()) as u64
    }

    /// Messages that may be sent now.
    ///
    /// A message takes its place until it is acknowledged *and* delivered: a broker that has
    /// acknowledged faster than it delivers would otherwise be filled without bound.
    #[inline]
    pub fn room(&self) -> u64 {
        let room = self.window.saturating_sub(self.undelivered());
        if self.acknowledged {
            room.min(self.ids.len() as u64)
        } else {
            room
        }
    }

    /// Whether everything that was sent has been acknowledged and delivered.
    pub fn is_settled(&self) -> bool {
        self.undelivered() == 0 && self.unacknowledged() == 0
    }

    /// Appends one message; there must be room.
    #[inline]
    pub fn send(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        let mut id = 0;
        if self.acknowledged {
            id = self.ids.pop_front().expect("the caller has asked for room");
            self.taken[usize::from(id)] = true;
        }
        self.stamp.sent_ns = now_ns;
        self.template.append(id, &self.stamp, out);
        self.stamp.sequence += 1;
    }

    /// The broker has finished with a packet id.
    ///
    /// # Errors
    ///
    /// When it is not in flight.
    #[inline]
    pub fn acknowledge(&mut self, id: u16) -> Result<(), Unsolicited> {
        self.expect(id)?;
        self.taken[usize::from(id)] = false;
        self.ids.push_back(id);
        Ok(())
    }

    /// Checks that a packet id is in flight.
    ///
    /// # Errors
    ///
    /// When it is not.
    #[inline]
    pub fn expect(&self, id: u16) -> Result<(), Unsolicited> {
        let in_flight = self.taken.get(usize::from(id)).copied().unwrap_or(false);
        if in_flight {
            Ok(())
        } else {
            Err(Unsolicited(id))
        }
    }

    /// That many deliveries have happened, or are not waited for any more.
    #[inline]
    pub fn settle(&mut self, deliveries: u64) {
        self.settled += deliveries;
    }

    #[inline]
    fn undelivered(&self) -> u64 {
        (self.stamp.sequence * self.copies)
            .saturating_sub(self.settled)
            .div_ceil(self.copies)
    }
}

#[cfg(test)]
mod tests {
    use catena_mqtt::Version;

    use super::*;
    use crate::cli::bench::plan::{Length, Shape};

    fn publisher(qos: QoS, shape: Shape, receive_maximum: u16) -> Publisher {
        let plan = Plan {
            shape,
            qos,
            size: 64,
            window: 3,
            rate: None,
            warmup: 0.0,
            length: Length::Messages(1),
            run: 1,
            quiet: true,
        };
        Publisher::new(&plan, 0, Version::V5, receive_maximum)
    }

    #[test]
    fn without_acknowledgements_only_delivery_makes_room() {
        let mut publisher = publisher(QoS::AtMostOnce, Shape::FanOut { subscribers: 2 }, 1);
        assert_eq!(publisher.room(), 3);
        let mut out = Vec::new();
        for _ in 0..3 {
            publisher.send(0, &mut out);
        }
        assert_eq!(publisher.room(), 0);
        publisher.settle(1);
        assert_eq!(publisher.room(), 0);
        publisher.settle(1);
        assert_eq!(publisher.room(), 1);
        publisher.settle(4);
        assert!(publisher.is_settled());
    }

    #[test]
    fn acknowledgement_and_delivery_are_both_needed() {
        let mut publisher = publisher(QoS::AtLeastOnce, Shape::Pairs { pairs: 1 }, 2);
        let mut out = Vec::new();
        publisher.send(0, &mut out);
        publisher.send(0, &mut out);
        // The broker's receive maximum is smaller than the window.
        assert_eq!(publisher.room(), 0);
        assert_eq!(publisher.acknowledge(3), Err(Unsolicited(3)));
        publisher.acknowledge(2).unwrap();
        assert_eq!(publisher.acknowledge(2), Err(Unsolicited(2)));
        assert_eq!(publisher.room(), 1);
        publisher.acknowledge(1).unwrap();
        assert!(!publisher.is_settled());
        publisher.settle(2);
        assert!(publisher.is_settled());
        assert_eq!(publisher.room(), 2);
    }
}
