//! What a topic must retain.

/// A publish with RETAIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    sequence: u64,
    /// An empty payload, which takes the retained message away.
    clears: bool,
}

/// What a fresh subscriber got of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it asked.
    pub endpoint: String,
    /// The number of the retained message; `None` if there was none.
    pub sequence: Option<u64>,
}

/// One topic to which one publisher sends with RETAIN.
#[derive(Debug, Clone, Default)]
pub struct Retained {
    /// The topic.
    pub topic: String,
    /// The last that was acknowledged.
    acknowledged: Option<Value>,
    /// Later ones without an answer, which the broker may have taken or not.
    open: Vec<Value>,
    /// What was there at the end.
    pub seen: Vec<Seen>,
}

impl Retained {
    /// Nothing sent so far.
    pub fn new(topic: impl Into<String>) -> Retained {
        Retained {
            topic: topic.into(),
            ..Retained::default()
        }
    }

    /// A value, or the taking away of one, is sent for the first time.
    pub fn send(&mut self, sequence: u64, clears: bool) {
        self.open.push(Value { sequence, clears });
    }

    /// The broker has answered that it took it.
    pub fn acknowledge(&mut self, sequence: u64) {
        let Some(at) = self.position(sequence) else {
            return;
        };
        self.acknowledged = Some(self.open[at]);
        self.open.drain(..=at);
    }

    /// The broker has answered that it does not want it.
    pub fn refuse(&mut self, sequence: u64) {
        if let Some(at) = self.position(sequence) {
            self.open.remove(at);
        }
    }

    /// Whether the topic may hold `seen`.
    pub fn allows(&self, seen: Option<u64>) -> bool {
        let fits = |value: &Value| {
            let holds = (!value.clears).then_some(value.sequence);
            holds == seen
        };
        let acknowledged = self.acknowledged.as_ref().map_or(seen.is_none(), fits);
        acknowledged || self.open.iter().any(fits)
    }

    /// The number of the message that must be there, as far as that is known.
    pub fn expected(&self) -> Option<u64> {
        self.acknowledged
            .filter(|value| !value.clears)
            .map(|value| value.sequence)
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.open
            .iter()
            .position(|value| value.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_acknowledged_or_a_later_one_without_an_answer() {
        let mut retained = Retained::new("r");
        assert!(retained.allows(None));
        for sequence in 0..4 {
            retained.send(sequence, sequence == 3);
        }
        assert!(retained.allows(None) && retained.allows(Some(2)));
        retained.acknowledge(1);
        assert!(!retained.allows(Some(0)));
        assert!(retained.allows(Some(1)) && retained.allows(Some(2)) && retained.allows(None));
        retained.refuse(2);
        assert!(!retained.allows(Some(2)));
        retained.acknowledge(3);
        assert!(retained.allows(None) && !retained.allows(Some(1)));
    }
}
