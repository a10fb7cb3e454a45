//! How fast a client publishes. What comes too fast waits as a publish does whose shard is busy `[F-62]`: it is parked, then reading
//! stops. Nothing is refused or lost, and what the client acknowledges goes on as long as there is room to park.

use crate::{
    Connection, Outside, Settings, input::Now, outside::Event, parking::Parked, timers::Timer,
};

/// Nanoseconds in a second, and in a millisecond.
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// What of a client's publishes is bounded: messages, bytes, or both.
#[derive(Debug)]
pub(crate) struct Rates {
    messages: Option<Rate>,
    bytes: Option<Rate>,
}

/// A number of units in a second, of which one second's worth may come at once.
#[derive(Debug)]
struct Rate {
    per_second: u64,
    /// When all that was taken is paid for, in nanoseconds.
    paid_at: u64,
}

impl Rates {
    /// `None` where the settings bound nothing.
    pub fn of(settings: &Settings) -> Option<Box<Rates>> {
        let rate = |per_second: Option<u64>| per_second.map(Rate::new);
        let rates = Rates {
            messages: rate(settings.publish_rate_max.map(u64::from)),
            bytes: rate(settings.publish_bytes_rate_max),
        };
        (rates.messages.is_some() || rates.bytes.is_some()).then(|| Box::new(rates))
    }

    /// When one more may go, if not now.
    fn wait(&self, now: Now) -> Option<Now> {
        let rates = [&self.messages, &self.bytes];
        let waits = rates.into_iter().flatten();
        waits.filter_map(|rate| rate.wait(now)).max()
    }

    fn take(&mut self, bytes: usize, now: Now) {
        if let Some(rate) = &mut self.messages {
            rate.take(1, now);
        }
        if let Some(rate) = &mut self.bytes {
            rate.take(bytes as u64, now);
        }
    }
}

impl Rate {
    fn new(per_second: u64) -> Rate {
        Rate {
            per_second: per_second.max(1),
            paid_at: 0,
        }
    }

    fn wait(&self, now: Now) -> Option<Now> {
        // One that is larger than a second's worth goes when all before it is paid for but a second's worth.
        let from = self.paid_at.saturating_sub(SECOND).div_ceil(MILLISECOND);
        (from > now.0).then_some(Now(from))
    }

    fn take(&mut self, units: u64, now: Now) {
        let cost = u128::from(units) * u128::from(SECOND) / u128::from(self.per_second);
        let from = self.paid_at.max(now.0.saturating_mul(MILLISECOND));
        self.paid_at = from.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
    }
}

impl Connection {
    /// Whether the client's rates let a publish go now; else the timer is set that looks again.
    pub(crate) fn is_within_rates<O: Outside>(&mut self, now: Now, outside: &mut O) -> bool {
        let Some(until) = self.rates.as_ref().and_then(|rates| rates.wait(now)) else {
            return true;
        };
        if !self.timers.is_set(Timer::Rate) {
            outside.count(Event::Slowed);
            self.timers.set(Timer::Rate, until);
        }
        false
    }

    /// A publish has gone.
    pub(crate) fn count_in_rates(&mut self, publish: &Parked, now: Now) {
        if let Some(rates) = &mut self.rates {
            let message = &publish.message;
            let bytes = message.topic.len() + message.payload.len() + message.properties.len();
            rates.take(bytes, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Too strict a rate would slow clients that keep to it; too loose a one would not be one.
    #[test]
    fn in_any_time_not_more_go_than_the_rate_and_a_second_of_it() {
        for per_second in [1, 7, 1_000, 1_000_000] {
            let mut rate = Rate::new(per_second);
            let (mut now, mut taken) = (5_000, 0);
            while now < 15_000 {
                match rate.wait(Now(now)) {
                    Some(until) => {
                        assert!(until.0 > now);
                        now = until.0;
                    }
                    None => {
                        rate.take(per_second.div_ceil(10), Now(now));
                        taken += per_second.div_ceil(10);
                    }
                }
            }
            let fair = 11 * per_second;
            assert!(
                (fair..=fair + 2 * per_second.div_ceil(10)).contains(&taken),
                "{per_second}: {taken}"
            );
        }
    }
}
