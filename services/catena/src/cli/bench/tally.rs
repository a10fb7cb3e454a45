//! What comes in: answered, checked, timed and counted.

use anyhow::bail;
use bytes::Bytes;
use catena_mqtt::{Packet, Version, decode};
use hdrhistogram::Histogram;

use super::{
    check::{Arrival, Arrivals, Order},
    plan::Plan,
    publisher::Publisher,
    stamp::Stamp,
    wire::{self, Incoming, LIMITS},
};
use crate::cli::words;

/// The longest latency that is told from longer ones, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Latencies are told apart to three digits, and to 100 ns.
const LATENCY_NS_MIN: u64 = 100;

/// A histogram of latencies in nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// Events since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages acknowledged to their publisher.
    pub acknowledged: u64,
    /// Messages delivered, without duplicates.
    pub delivered: u64,
    /// Deliveries of a message that had been delivered.
    pub duplicates: u64,
    /// Deliveries after one of a later message.
    pub out_of_order: u64,
    /// Messages that the broker refused.
    pub refused: u64,
    /// Deliveries that are not of this run, or that the subscriber should not have got.
    pub foreign: u64,
}

/// The publishers, and what has come in so far.
#[derive(Debug)]
pub struct Tally {
    plan: Plan,
    version: Version,
    /// The publishers, whose connections come after those of the subscribers.
    pub publishers: Vec<Publisher>,
    arrivals: Vec<Arrivals>,
    orders: Vec<Order>,
    /// Events since the start.
    pub counts: Counts,
    /// End to end, since it was last cleared.
    pub latency: Histogram<u64>,
}

impl Tally {
    /// Nothing has come in yet.
    pub fn new(plan: &Plan, version: Version, publishers: Vec<Publisher>) -> Tally {
        let (arrivals, orders) = plan.shape.place_counts();
        Tally {
            plan: plan.clone(),
            version,
            publishers,
            arrivals: vec![Arrivals::default(); arrivals],
            orders: vec![Order::default(); orders],
            counts: Counts::default(),
            latency: histogram(),
        }
    }

    /// Takes one packet that came to a connection, and puts the answer into `out`.
    ///
    /// # Errors
    ///
    /// When the broker says goodbye, or something that makes no sense.
    #[inline]
    pub fn take(
        &mut self,
        connection: usize,
        frame: &[u8],
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        match wire::read(frame, self.version)? {
            Incoming::Publish {
                qos,
                packet_id,
                payload,
            } => {
                match qos {
                    1 => answer(0x40, packet_id, out),
                    2 => answer(0x50, packet_id, out),
                    _ => {}
                }
                self.deliver(connection, payload, now_ns);
            }
            Incoming::Pubrel { packet_id } => answer(0x70, packet_id, out),
            Incoming::Puback { packet_id, reason } => self.finish(connection, packet_id, reason)?,
            Incoming::Pubcomp { packet_id } => self.finish(connection, packet_id, 0)?,
            Incoming::Pubrec { packet_id, reason } if reason >= 0x80 => {
                self.finish(connection, packet_id, reason)?;
            }
            Incoming::Pubrec { packet_id, .. } => {
                self.publisher(connection)?.expect(packet_id)?;
                answer(0x62, packet_id, out);
            }
            Incoming::Other => self.take_rare(frame)?,
        }
        Ok(())
    }

    /// Messages that were sent, by all.
    pub fn sent(&self) -> u64 {
        self.publishers.iter().map(Publisher::sent).sum()
    }

    /// Whether nothing is waited for.
    pub fn is_settled(&self) -> bool {
        self.publishers.iter().all(Publisher::is_settled)
    }

    /// Deliveries that did not happen.
    pub fn lost(&self) -> u64 {
        let lost = |(place, arrivals): (usize, &Arrivals)| {
            arrivals.lost(self.publishers[self.plan.shape.publisher_at(place)].sent())
        };
        self.arrivals.iter().enumerate().map(lost).sum()
    }

    #[inline]
    fn deliver(&mut self, subscriber: usize, payload: &[u8], now_ns: u64) {
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.run == self.plan.run) else {
            self.counts.foreign += 1;
            return;
        };
        let publisher = stamp.publisher as usize;
        let Some((arrival, order)) = self.plan.shape.places(subscriber, publisher) else {
            self.counts.foreign += 1;
            return;
        };
        match self.arrivals[arrival].take(stamp.sequence) {
            Arrival::Duplicate => {
                self.counts.duplicates += 1;
                return;
            }
            Arrival::New { skipped } => self.publishers[publisher].settle(1 + skipped),
            Arrival::Late => {}
        }
        self.counts.delivered += 1;
        self.counts.out_of_order += u64::from(!self.orders[order].take(stamp.sequence));
        self.latency
            .saturating_record(now_ns.saturating_sub(stamp.sent_ns));
    }

    #[inline]
    fn finish(&mut self, connection: usize, packet_id: u16, reason: u8) -> anyhow::Result<()> {
        let copies = self.plan.shape.copies();
        let publisher = self.publisher(connection)?;
        publisher.acknowledge(packet_id)?;
        if reason >= 0x80 {
            publisher.settle(copies);
            self.counts.refused += 1;
        } else {
            self.counts.acknowledged += 1;
        }
        Ok(())
    }

    #[inline]
    fn publisher(&mut self, connection: usize) -> anyhow::Result<&mut Publisher> {
        let number = connection.checked_sub(self.plan.shape.subscribers());
        match number.and_then(|number| self.publishers.get_mut(number)) {
            Some(publisher) => Ok(publisher),
            None => bail!("the broker acknowledged a publish to a client that published nothing"),
        }
    }

    #[cold]
    fn take_rare(&self, frame: &[u8]) -> anyhow::Result<()> {
        let mut bytes = Bytes::copy_from_slice(frame);
        match decode::decode(&mut bytes, Some(self.version), &LIMITS)? {
            Some(Packet::Disconnect(disconnect)) => {
                bail!(
                    "the broker disconnected a client: {}",
                    words::reason(disconnect.reason)
                )
            }
            _ => Ok(()),
        }
    }
}

#[inline]
fn answer(first: u8, packet_id: u16, out: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

#[cfg(test)]
mod tests {
    use catena_mqtt::QoS;

    use super::*;
    use crate::cli::bench::plan::{Length, Shape};

    fn plan(qos: QoS) -> Plan {
        Plan {
            shape: Shape::Pairs { pairs: 1 },
            qos,
            size: 64,
            window: 10,
            rate: None,
            warmup: 0.0,
            length: Length::Messages(1),
            run: 9,
            quiet: true,
        }
    }

    fn tally(qos: QoS) -> Tally {
        let plan = plan(qos);
        let publisher = Publisher::new(&plan, 0, Version::V5, u16::MAX);
        Tally::new(&plan, Version::V5, vec![publisher])
    }

    // What a publisher sends, its subscriber may be given as it is: the same packet.
    fn message(tally: &mut Tally) -> Vec<u8> {
        let mut frame = Vec::new();
        tally.publishers[0].send(100, &mut frame);
        frame
    }

    #[test]
    fn a_message_of_qos_2_goes_all_the_way() {
        let mut tally = tally(QoS::ExactlyOnce);
        let frame = message(&mut tally);
        let mut out = Vec::new();
        tally.take(0, &frame, 2_100, &mut out).unwrap();
        tally.take(0, &[0x62, 2, 0, 1], 0, &mut out).unwrap();
        assert_eq!(out, [0x50, 2, 0, 1, 0x70, 2, 0, 1]);
        out.clear();
        tally.take(1, &[0x50, 2, 0, 1], 0, &mut out).unwrap();
        assert_eq!(out, [0x62, 2, 0, 1]);
        assert!(!tally.is_settled());
        tally.take(1, &[0x70, 2, 0, 1], 0, &mut out).unwrap();
        assert!(tally.is_settled());
        assert_eq!((tally.counts.acknowledged, tally.counts.delivered), (1, 1));
        assert_eq!(tally.lost(), 0);
        assert!(tally.latency.max().abs_diff(2_000) < 100);
    }

    #[test]
    fn duplicates_gaps_and_strangers_are_counted() {
        let mut tally = tally(QoS::AtMostOnce);
        let frames: Vec<_> = (0..3).map(|_| message(&mut tally)).collect();
        let mut out = Vec::new();
        for frame in [&frames[2], &frames[0], &frames[0]] {
            tally.take(0, frame, 100, &mut out).unwrap();
        }
        let counts = tally.counts;
        assert_eq!(
            (counts.delivered, counts.duplicates, counts.out_of_order),
            (2, 1, 1)
        );
        assert_eq!(tally.lost(), 1);
        tally
            .take(0, &[0x30, 5, 0, 1, b'a', 0, b'x'], 100, &mut out)
            .unwrap();
        assert_eq!(tally.counts.foreign, 1);
    }

    #[test]
    fn a_refused_message_is_not_waited_for() {
        let mut tally = tally(QoS::AtLeastOnce);
        message(&mut tally);
        tally
            .take(1, &[0x40, 3, 0, 1, 0x97], 0, &mut Vec::new())
            .unwrap();
        assert!(tally.is_settled());
        assert_eq!(tally.counts.refused, 1);
        let error = tally
            .take(0, &[0xE0, 1, 0x8B], 0, &mut Vec::new())
            .unwrap_err();
        assert!(
            error.to_string().contains("server shutting down"),
            "{error}"
        );
    }
}
