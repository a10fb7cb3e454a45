//! The wills of one client: each connection leaves one, with the connection's number.

use catena_mqtt::QoS;

use super::Ranges;

/// What is known of how a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Without DISCONNECT: the will must be sent.
    Broken,
    /// The broker has got the DISCONNECT: the will must not be sent.
    Normal,
    /// Either may be right: the broker may not have got the CONNECT, or the DISCONNECT.
    Unclear,
}

/// The wills.
#[derive(Debug, Clone, Default)]
pub struct Wills {
    /// Their topic.
    pub topic: String,
    /// The number of the next one.
    pub next: u64,
    due: Ranges,
    barred: Ranges,
    received: Ranges,
    /// What came again at QoS 2.
    pub doubled: Ranges,
    /// What nobody left.
    pub foreign: u64,
}

impl Wills {
    /// None so far.
    pub fn new(topic: impl Into<String>) -> Wills {
        Wills {
            topic: topic.into(),
            ..Wills::default()
        }
    }

    /// The number of the will that the next connection leaves.
    pub fn leave(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The connection that left will `number` is over.
    pub fn ended(&mut self, number: u64, ending: Ending) {
        match ending {
            Ending::Broken => self.due.insert(number),
            Ending::Normal => self.barred.insert(number),
            Ending::Unclear => false,
        };
    }

    /// A will has come to one who watches.
    pub fn take(&mut self, number: u64, qos: QoS) {
        if number >= self.next {
            self.foreign += 1;
        } else if !self.received.insert(number) && qos == QoS::ExactlyOnce {
            self.doubled.insert(number);
        }
    }

    /// How many came.
    pub fn received(&self) -> u64 {
        self.received.len()
    }

    /// What must have come and has not.
    pub fn missing(&self) -> Ranges {
        self.due.without(&self.received)
    }

    /// What has come and must not.
    pub fn wrong(&self) -> Ranges {
        self.barred.intersection(&self.received)
    }
}
