//! Who publishes to whom.

use catena_mqtt::QoS;

/// The shape of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each publisher has a subscriber and a topic of its own.
    Pairs { pairs: usize },
    /// All publish, each to its own topic, to one subscriber.
    FanIn { publishers: usize },
    /// One publishes to all.
    FanOut { subscribers: usize },
    /// All publish, each to its own topic, to one group whose members share the messages.
    Shared { publishers: usize, members: usize },
}

impl Shape {
    /// How many publish.
    pub fn publishers(self) -> usize {
        match self {
            Shape::Pairs { pairs } => pairs,
            Shape::FanIn { publishers } | Shape::Shared { publishers, .. } => publishers,
            Shape::FanOut { .. } => 1,
        }
    }

    /// How many subscribe.
    pub fn subscribers(self) -> usize {
        match self {
            Shape::Pairs { pairs } => pairs,
            Shape::FanIn { .. } => 1,
            Shape::FanOut { subscribers } => subscribers,
            Shape::Shared { members, .. } => members,
        }
    }

    /// How often each message is to be delivered.
    pub fn copies(self) -> u64 {
        match self {
            Shape::FanOut { subscribers } => subscribers as u64,
            _ => 1,
        }
    }

    /// The topic of a publisher.
    pub fn topic(self, run: u32, publisher: usize) -> String {
        format!("bench/{run:08x}/{publisher}")
    }

    /// The filter of a subscriber.
    pub fn filter(self, run: u32, subscriber: usize) -> String {
        match self {
            Shape::Pairs { .. } => self.topic(run, subscriber),
            Shape::FanOut { .. } => self.topic(run, 0),
            Shape::FanIn { .. } => format!("bench/{run:08x}/+"),
            Shape::Shared { .. } => format!("$share/bench/bench/{run:08x}/+"),
        }
    }

    /// Where a subscriber's messages of a publisher are checked: the place of their arrivals, and
    /// the place of their order. `None`: it is to get none of them.
    #[inline]
    pub fn places(self, subscriber: usize, publisher: usize) -> Option<(usize, usize)> {
        match self {
            Shape::Pairs { .. } => (subscriber == publisher).then_some((publisher, publisher)),
            Shape::FanIn { publishers } => {
                (publisher < publishers).then_some((publisher, publisher))
            }
            Shape::FanOut { .. } => (publisher == 0).then_some((subscriber, subscriber)),
            // The group as a whole gets each message once; each member sees some, in order.
            Shape::Shared { publishers, .. } => {
                (publisher < publishers).then_some((publisher, subscriber * publishers + publisher))
            }
        }
    }

    /// The number of places for arrivals and for order.
    pub fn place_counts(self) -> (usize, usize) {
        match self {
            Shape::Pairs { pairs: n }
            | Shape::FanIn { publishers: n }
            | Shape::FanOut { subscribers: n } => (n, n),
            Shape::Shared {
                publishers,
                members,
            } => (publishers, publishers * members),
        }
    }

    /// The publisher whose messages are checked at a place for arrivals.
    pub fn publisher_at(self, place: usize) -> usize {
        match self {
            Shape::FanOut { .. } => 0,
            _ => place,
        }
    }
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// After a time.
    Seconds(f64),
    /// After a number of published messages.
    Messages(u64),
}

/// A load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who publishes to whom.
    pub shape: Shape,
    /// Quality of service of messages and subscriptions.
    pub qos: QoS,
    /// Bytes of a payload.
    pub size: usize,
    /// Messages of one publisher that may be under way.
    pub window: usize,
    /// Messages per second of all publishers together; `None`: as fast as the windows let.
    pub rate: Option<f64>,
    /// Seconds before the measurement.
    pub warmup: f64,
    /// How long to measure.
    pub length: Length,
    /// Tells this run's messages from those of another.
    pub run: u32,
    /// Whether to show progress.
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 4] = [
        Shape::Pairs { pairs: 3 },
        Shape::FanIn { publishers: 3 },
        Shape::FanOut { subscribers: 3 },
        Shape::Shared {
            publishers: 3,
            members: 2,
        },
    ];

    // A place outside the tables would be a panic in the middle of a measurement.
    #[test]
    fn every_place_is_counted() {
        for shape in SHAPES {
            let (arrivals, orders) = shape.place_counts();
            let mut receivers = 0;
            for subscriber in 0..shape.subscribers() {
                for publisher in 0..shape.publishers() {
                    if let Some((arrival, order)) = shape.places(subscriber, publisher) {
                        assert!(arrival < arrivals && order < orders);
                        assert_eq!(shape.publisher_at(arrival), publisher);
                        receivers += 1;
                    }
                }
            }
            assert_eq!(receivers, orders);
            assert_eq!(arrivals as u64, shape.copies() * shape.publishers() as u64);
        }
    }

    #[test]
    fn filters_fit_topics() {
        assert_eq!(SHAPES[0].topic(1, 2), SHAPES[0].filter(1, 2));
        assert_eq!(SHAPES[2].topic(1, 0), SHAPES[2].filter(1, 2));
        assert_eq!(SHAPES[3].filter(1, 0), "$share/bench/bench/00000001/+");
    }
}
