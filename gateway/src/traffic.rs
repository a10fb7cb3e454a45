//! What clients send and are sent, by the category that they name themselves in CONNECT.
//!
//! Each worker has a set of counters for each category, so that no two threads write to one; a connection holds its own, and
//! nothing is looked up for a message.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use catena_connection::outside::Event;
use catena_mqtt::{Packet, Version, packet::Connect};

use crate::{
    counters::Counter,
    limits::{CATEGORIES_MAX, CATEGORY_BYTES},
};

/// The user property of CONNECT that names a category.
const CATEGORY: &str = "metriccategory";
/// Of clients that name none, or too long a one, and of all that come when there are too many categories.
pub const UNCATEGORIZED: &str = "uncategorized";

/// What the clients of one category sent and were sent, on one worker.
#[derive(Debug, Default)]
pub struct Traffic {
    /// PUBLISH packets of clients.
    pub publishes_received: Counter,
    /// PUBLISH packets that were written.
    pub publishes_sent: Counter,
    /// Bytes of payload in them.
    pub payload_received: Counter,
    /// Bytes of payload in them.
    pub payload_sent: Counter,
    /// Who proved who he is.
    pub authenticated: Counter,
    /// Of whom it could not be decided.
    pub undecided: Counter,
    /// Who did not prove who he is.
    pub not_authenticated: Counter,
    /// What policies allowed.
    pub allowed: Counter,
    /// What policies did not allow.
    pub denied: Counter,
    /// QoS 0 publishes without room.
    pub dropped_incoming: Counter,
    /// QoS 0 deliveries without room.
    pub dropped_outgoing: Counter,
    /// Clients that were told yes, by version: 3.1, 3.1.1, 5.
    came: [Counter; 3],
    /// Of them, those that are gone.
    went: [Counter; 3],
}

/// The versions of [`Traffic::connected`].
pub const VERSIONS: [&str; 3] = ["3.1", "3.1.1", "5"];

impl Traffic {
    /// Clients that are connected, by the versions of [`VERSIONS`].
    pub fn connected(&self) -> [u64; 3] {
        // Who went has come before: read in this order there is never one less than none.
        let went = self.went.each_ref().map(Counter::get);
        let came = self.came.each_ref().map(Counter::get);
        std::array::from_fn(|version| came[version].saturating_sub(went[version]))
    }
}

/// The traffic of a worker.
#[derive(Debug, Default)]
pub struct Traffics {
    uncategorized: Arc<Traffic>,
    /// Locked when a client names a category, and when somebody wants to know.
    categories: Mutex<BTreeMap<Box<str>, Arc<Traffic>>>,
}

impl Traffics {
    /// Shows the traffic of each category.
    pub fn each(&self, mut show: impl FnMut(&str, &Traffic)) {
        show(UNCATEGORIZED, &self.uncategorized);
        let categories = self.categories.lock();
        let categories = categories.unwrap_or_else(PoisonError::into_inner).clone();
        for (category, traffic) in &categories {
            show(category, traffic);
        }
    }

    fn of(&self, category: Option<&str>) -> Arc<Traffic> {
        let Some(category) = category.filter(|name| (1..=CATEGORY_BYTES).contains(&name.len()))
        else {
            return self.uncategorized.clone();
        };
        let categories = self.categories.lock();
        let mut categories = categories.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = categories.get(category) {
            return known.clone();
        }
        if categories.len() >= CATEGORIES_MAX {
            return self.uncategorized.clone();
        }
        let traffic = Arc::<Traffic>::default();
        categories.insert(category.into(), traffic.clone());
        traffic
    }
}

/// What one connection counts with.
#[derive(Debug)]
pub(crate) struct Meter {
    pub traffic: Arc<Traffic>,
    version: usize,
    is_connected: bool,
    /// What happened to the client and is not logged yet.
    pub happened: Option<Event>,
}

impl Meter {
    /// Of a connection that has not sent anything.
    pub fn new(traffics: &Traffics) -> Meter {
        Meter {
            traffic: traffics.of(None),
            version: 0,
            is_connected: false,
            happened: None,
        }
    }

    /// A packet has come.
    pub fn received(&mut self, packet: &Packet, traffics: &Traffics) {
        match packet {
            Packet::Publish(publish) => {
                self.traffic.publishes_received.add();
                self.traffic.payload_received.add_by(publish.payload.len());
            }
            Packet::Connect(connect) if !self.is_connected => self.begin(connect, traffics),
            _ => {}
        }
    }

    fn begin(&mut self, connect: &Connect, traffics: &Traffics) {
        let category = connect.user_properties.get(CATEGORY);
        self.traffic = traffics.of(category.map(|category| &**category));
        self.version = match connect.version {
            Version::V3 => 0,
            Version::V4 => 1,
            Version::V5 => 2,
        };
    }

    /// The client was told yes.
    pub fn connected(&mut self) {
        if !std::mem::replace(&mut self.is_connected, true) {
            self.traffic.came[self.version].add();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.is_connected {
            self.traffic.went[self.version].add();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(category: Option<&str>) -> Packet {
        let mut connect = Connect::new(Version::V5, "c");
        if let Some(category) = category {
            connect.user_properties.push(CATEGORY, category);
        }
        Packet::Connect(Box::new(connect))
    }

    // A client could make a series of each of its connections.
    #[test]
    fn there_are_only_so_many_categories() {
        let traffics = Traffics::default();
        for index in 0..CATEGORIES_MAX + 5 {
            let mut meter = Meter::new(&traffics);
            meter.received(&connect(Some(&format!("c{index}"))), &traffics);
            meter.connected();
        }
        for wrong in [None, Some(""), Some(&*"x".repeat(CATEGORY_BYTES + 1))] {
            let mut meter = Meter::new(&traffics);
            meter.received(&connect(wrong), &traffics);
            meter.connected();
        }
        let (mut names, mut uncategorized) = (0, 0);
        traffics.each(|name, traffic| {
            names += 1;
            if name == UNCATEGORIZED {
                uncategorized = traffic.came[2].get();
            }
        });
        assert_eq!((names, uncategorized), (CATEGORIES_MAX + 1, 5 + 3));
    }

    // A gateway would show clients that are long gone, or lose those of a category that came and went.
    #[test]
    fn who_is_connected_is_counted_until_he_is_gone() {
        let traffics = Traffics::default();
        let mut meters: Vec<Meter> = (0..3).map(|_| Meter::new(&traffics)).collect();
        for meter in &mut meters {
            meter.received(&connect(Some("a")), &traffics);
        }
        meters[0].connected();
        meters[1].connected();
        meters[1].connected();
        let connected = || {
            let mut connected = [0; 3];
            traffics.each(|name, traffic| {
                if name == "a" {
                    connected = traffic.connected();
                }
            });
            connected
        };
        assert_eq!(connected(), [0, 0, 2]);
        meters.pop();
        assert_eq!(connected(), [0, 0, 2]);
        meters.pop();
        assert_eq!(connected(), [0, 0, 1]);
        drop(meters);
        assert_eq!(connected(), [0, 0, 0]);
    }
}
