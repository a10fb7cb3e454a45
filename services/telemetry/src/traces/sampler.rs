//! Which messages are traced, and what their spans are called.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Spans, w3c::Parent};
use crate::passports::Passports;

/// What the Broker says of traces, where each thread reads it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    pub spans: Spans,
    /// Messages that an administrator follows.
    pub passports: Passports,
    /// Of 2^64 messages without a context so many are traced.
    threshold: Arc<AtomicU64>,
}

impl Tracing {
    /// The part of messages that is traced where the publisher brings no context, in millionths.
    pub fn set_ratio(&self, millionths: u32) {
        let millionths = u64::from(millionths.min(1_000_000));
        let threshold = match millionths {
            1_000_000 => u64::MAX,
            _ => millionths * (u64::MAX / 1_000_000),
        };
        self.threshold.store(threshold, Relaxed);
    }
}

/// One thread's.
#[derive(Debug)]
pub struct Sampler {
    tracing: Tracing,
    state: u64,
}

impl Sampler {
    pub fn new(tracing: Tracing) -> Sampler {
        // Seeds of RandomState are random, and no two are alike.
        let state = RandomState::new().hash_one(0) | 1;
        Sampler { tracing, state }
    }

    /// Where spans go.
    pub fn spans(&self) -> &Spans {
        &self.tracing.spans
    }

    /// Whether a message is traced that a publisher brings, with its context or without; and if so, in which trace and below
    /// which span (0: none).
    #[inline]
    pub fn decide(&mut self, parent: impl FnOnce() -> Option<Parent>) -> Option<(u128, u64)> {
        if !self.tracing.spans.are_wanted() {
            return None;
        }
        if let Some(parent) = parent() {
            let is_traced = parent.is_sampled && self.tracing.spans.have_room();
            return is_traced.then_some((parent.trace, parent.span));
        }
        let threshold = self.tracing.threshold.load(Relaxed);
        if threshold == 0 || self.draw() > threshold {
            return None;
        }
        if !self.tracing.spans.have_room() {
            return None;
        }
        Some((self.trace(), 0))
    }

    /// The name of a new trace: not 0.
    pub fn trace(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// The name of a new span: not 0.
    pub fn span(&mut self) -> u64 {
        self.draw()
    }

    /// Xorshift: quick, never 0, and nobody's secret.
    fn draw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // At 1 % an operator expects 1 %, and pays for no more.
    #[test]
    fn so_many_are_traced_as_the_broker_says() {
        let tracing = Tracing::default();
        let mut sampler = Sampler::new(tracing.clone());
        let mut count = |millionths| {
            tracing.set_ratio(millionths);
            (0..100_000)
                .filter(|_| sampler.decide(|| None).is_some())
                .count()
        };
        assert_eq!(count(1_000_000), 0, "nobody wants spans");
        tracing.spans.set_room(1);
        assert_eq!(count(1_000_000), 100_000);
        assert_eq!(count(0), 0);
        let hundredth = count(10_000);
        assert!((700..1_400).contains(&hundredth), "{hundredth}");
    }

    // A publisher that traces its message would not find what became of it, and one that does not would be charged for it.
    #[test]
    fn the_publisher_s_word_goes_before_the_ratio() {
        let tracing = Tracing::default();
        tracing.spans.set_room(1);
        let mut sampler = Sampler::new(tracing.clone());
        let parent = |is_sampled| {
            move || {
                Some(Parent {
                    trace: 7,
                    span: 8,
                    is_sampled,
                })
            }
        };
        assert_eq!(sampler.decide(parent(true)), Some((7, 8)));
        tracing.set_ratio(1_000_000);
        assert_eq!(sampler.decide(parent(false)), None);
    }
}
