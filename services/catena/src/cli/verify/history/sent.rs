//! What one publisher sent to one topic at one QoS: a stream, within which a broker keeps the order.

use catena_mqtt::QoS;

use super::Ranges;

/// One stream. Its messages are 0, 1, 2 ...
#[derive(Debug, Clone)]
pub struct Sent {
    /// Who publishes.
    pub publisher: usize,
    /// To which topic.
    pub topic: String,
    /// At which QoS.
    pub qos: QoS,
    /// The number of the next message.
    pub next: u64,
    /// What the broker has taken over: PUBACK, PUBCOMP.
    pub acknowledged: Ranges,
    /// What was sent more than once, with DUP.
    pub resent: Ranges,
    /// What the broker did not want, by reason code.
    pub refused: Ranges,
    /// What was on its way when the broker lost the session: it may have arrived, or not.
    pub abandoned: Ranges,
}

impl Sent {
    /// A stream of which nothing has been sent.
    pub fn new(publisher: usize, topic: impl Into<String>, qos: QoS) -> Sent {
        Sent {
            publisher,
            topic: topic.into(),
            qos,
            next: 0,
            acknowledged: Ranges::default(),
            resent: Ranges::default(),
            refused: Ranges::default(),
            abandoned: Ranges::default(),
        }
    }

    /// The number of a message that is sent now.
    pub fn send(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// What neither was answered nor had to be given up.
    pub fn unanswered(&self) -> Ranges {
        let mut all = Ranges::default();
        all.insert_range(0..self.next);
        all.without(&self.acknowledged)
            .without(&self.refused)
            .without(&self.abandoned)
    }
}
