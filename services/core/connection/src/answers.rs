//! Answers to publishes, in the order of the publishes.

use std::collections::VecDeque;

use catena_mqtt::ReasonCode;

use crate::bounds::KEPT_CAPACITY;

/// Bits of a token that say which queue it is of.
const CLASS_BITS: u32 = 2;
const SEQUENCE_MASK: u32 = u32::MAX >> CLASS_BITS;

/// Which queue an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerClass {
    /// PUBACK.
    Qos1 = 0,
    /// PUBREC.
    Qos2 = 1,
    /// Nothing is told: retained QoS 0.
    Silent = 2,
}

/// The class of a token, and its sequence number.
pub(crate) fn split_token(token: u32) -> Option<(AnswerClass, u32)> {
    let class = match token & ((1 << CLASS_BITS) - 1) {
        0 => AnswerClass::Qos1,
        1 => AnswerClass::Qos2,
        2 => AnswerClass::Silent,
        _ => return None,
    };
    Some((class, token >> CLASS_BITS))
}

/// A token of `class` with a sequence number.
pub(crate) fn token(class: AnswerClass, sequence: u32) -> u32 {
    (sequence & SEQUENCE_MASK) << CLASS_BITS | class as u32
}

#[derive(Debug)]
struct Answer {
    packet_id: u16,
    reason: Option<ReasonCode>,
}

/// Publishes of one QoS that wait for their acknowledgements, which leave in the same order.
/// v5 `[MQTT-4.6.0-2]`, `[MQTT-4.6.0-3]`
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Sequence number of the front of the queue.
    first: u32,
    queue: VecDeque<Answer>,
}

impl Answers {
    /// Adds a publish; returns its sequence number.
    pub fn push(&mut self, packet_id: u16) -> u32 {
        let sequence = self.first.wrapping_add(self.queue.len() as u32) & SEQUENCE_MASK;
        self.queue.push_back(Answer {
            packet_id,
            reason: None,
        });
        sequence
    }

    /// Keeps the answer of a publish. Returns its packet id, unless it is unknown or was answered before.
    pub fn answer(&mut self, sequence: u32, reason: ReasonCode) -> Option<u16> {
        let index = sequence.wrapping_sub(self.first) & SEQUENCE_MASK;
        let answer = self.queue.get_mut(index as usize)?;
        if answer.reason.is_some() {
            return None;
        }
        answer.reason = Some(reason);
        Some(answer.packet_id)
    }

    /// The next acknowledgement that may leave.
    pub fn pop(&mut self) -> Option<(u16, ReasonCode)> {
        let reason = self.queue.front()?.reason?;
        let answer = self.queue.pop_front()?;
        self.first = self.first.wrapping_add(1) & SEQUENCE_MASK;
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
        Some((answer.packet_id, reason))
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A client that pairs acknowledgements with publishes by order would lose track. [MQTT-4.6.0-2]
    #[test]
    fn answers_leave_in_the_order_of_the_publishes() {
        let mut answers = Answers {
            first: SEQUENCE_MASK,
            queue: VecDeque::new(),
        };
        let first = answers.push(7);
        let second = answers.push(8);
        assert_eq!(
            split_token(token(AnswerClass::Qos2, second)),
            Some((AnswerClass::Qos2, 0))
        );
        assert_eq!(answers.answer(second, ReasonCode::Success), Some(8));
        assert_eq!(answers.pop(), None);
        assert_eq!(
            answers.answer(first, ReasonCode::NoMatchingSubscribers),
            Some(7)
        );
        assert_eq!(answers.answer(first, ReasonCode::Success), None);
        assert_eq!(answers.pop(), Some((7, ReasonCode::NoMatchingSubscribers)));
        assert_eq!(answers.pop(), Some((8, ReasonCode::Success)));
        assert_eq!(answers.answer(first, ReasonCode::Success), None);
    }
}
