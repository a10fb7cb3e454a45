//! An origin's way to a shard: a connection to the head for ops and one to the tail for effects.
//!
//! Both follow the topology, not only breaks `[C-41]`. A configuration is taken from whoever carries it `[C-11]`.

use crate::{
    clock::Now,
    configuration::{Configuration, Generation, Member},
    message::{ConnectionId, Lane},
};

/// Pause before a connection is asked for the third time, in microseconds; the second time is at once if the first was
/// open. It doubles from then on.
const RETRY_MICROS: u64 = 20_000;

/// The longest pause, in microseconds. A new configuration ends it.
const RETRY_MICROS_MAX: u64 = 250_000;

/// One lane's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Closed {
        retry_at: u64,
    },
    /// Asked for, or open once the answer has come.
    Asked {
        connection: ConnectionId,
        to: Member,
        is_open: bool,
    },
}

/// The way to one shard.
#[derive(Debug)]
pub struct Route {
    configuration: Option<Configuration>,
    lines: [Line; 2],
    /// Asked since a line was last open, by lane.
    attempts: [usize; 2],
}

impl Default for Route {
    fn default() -> Self {
        Route {
            configuration: None,
            lines: [Line::Closed { retry_at: 0 }; 2],
            attempts: [0; 2],
        }
    }
}

/// A configuration was adopted.
#[derive(Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Connections that lead to the wrong replica now.
    pub closed: Vec<ConnectionId>,
    pub is_new_generation: bool,
}

/// A connection that is to be made and told Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub connection: ConnectionId,
    pub lane: Lane,
    pub to: Member,
}

impl Route {
    /// Takes a higher configuration; `None` when ours is as high.
    pub fn adopt(&mut self, configuration: Configuration) -> Option<Adopted> {
        let before = self.configuration.as_ref();
        if before.is_some_and(|before| before.epoch >= configuration.epoch) {
            return None;
        }
        let is_new_generation =
            before.is_some_and(|before| before.generation != configuration.generation);
        let mut closed = Vec::new();
        for lane in [Lane::Ops, Lane::Effects] {
            let target = target(&configuration, lane, 0);
            self.attempts[lane as usize] = 0;
            let line = &mut self.lines[lane as usize];
            match *line {
                Line::Asked { to, .. } if Some(to) == target && !is_new_generation => continue,
                Line::Asked { connection, .. } => closed.push(connection),
                Line::Closed { .. } => {}
            }
            *line = Line::Closed { retry_at: 0 };
        }
        self.configuration = Some(configuration);
        Some(Adopted {
            closed,
            is_new_generation,
        })
    }

    /// The newest configuration that was heard of.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The generation that is spoken to.
    pub fn generation(&self) -> Option<Generation> {
        Some(self.configuration.as_ref()?.generation)
    }

    /// Connections to make now; each is told Open.
    pub fn wanted(&mut self, now: Now, next: &mut u64) -> Vec<Wanted> {
        let Some(configuration) = &self.configuration else {
            return Vec::new();
        };
        let mut wanted = Vec::new();
        for lane in [Lane::Ops, Lane::Effects] {
            let line = &mut self.lines[lane as usize];
            let is_due = matches!(*line, Line::Closed { retry_at } if retry_at <= now.monotonic);
            let attempts = self.attempts[lane as usize];
            if let (true, Some(to)) = (is_due, target(configuration, lane, attempts)) {
                self.attempts[lane as usize] += 1;
                *next += 1;
                let connection = ConnectionId(*next);
                *line = Line::Asked {
                    connection,
                    to,
                    is_open: false,
                };
                wanted.push(Wanted {
                    connection,
                    lane,
                    to,
                });
            }
        }
        wanted
    }

    /// When a connection is to be asked for next, on the monotonic clock in microseconds; `None` before the first
    /// configuration, and while both are asked for.
    pub fn wanted_at(&self) -> Option<u64> {
        self.configuration.as_ref()?;
        let due = |line: &Line| match *line {
            Line::Closed { retry_at } => Some(retry_at),
            Line::Asked { .. } => None,
        };
        self.lines.iter().filter_map(due).min()
    }

    /// The connections that were asked for and are not lost.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + use<> {
        let asked = |line: Line| match line {
            Line::Asked { connection, .. } => Some(connection),
            Line::Closed { .. } => None,
        };
        self.lines.into_iter().filter_map(asked)
    }

    /// Whether a connection of `lane` was asked for and is not lost.
    pub fn is_asked(&self, lane: Lane) -> bool {
        matches!(self.lines[lane as usize], Line::Asked { .. })
    }

    /// Which lane a connection is of now; `None` for one that is not wanted any more.
    pub fn lane_of(&self, id: ConnectionId) -> Option<Lane> {
        let is = |lane: &Lane| matches!(self.lines[*lane as usize], Line::Asked { connection, .. } if connection == id);
        [Lane::Ops, Lane::Effects].into_iter().find(is)
    }

    /// Open was answered.
    pub fn opened(&mut self, lane: Lane) {
        if let Line::Asked { is_open, .. } = &mut self.lines[lane as usize] {
            *is_open = true;
            self.attempts[lane as usize] = 0;
        }
    }

    /// The connection of `lane`, once Open was answered.
    pub fn open(&self, lane: Lane) -> Option<ConnectionId> {
        match self.lines[lane as usize] {
            Line::Asked {
                connection,
                is_open: true,
                ..
            } => Some(connection),
            _ => None,
        }
    }

    /// The connection broke, or "not yet" was the answer. One that was open is asked for again at once.
    pub fn lost(&mut self, connection: ConnectionId, now: Now) {
        if let Some(lane) = self.lane_of(connection) {
            let pause = pause_micros(self.attempts[lane as usize], connection, now);
            self.lines[lane as usize] = Line::Closed {
                retry_at: now.monotonic + pause,
            };
        }
    }

    /// Gives up both connections and returns them.
    pub fn close(&mut self) -> Vec<ConnectionId> {
        let asked = |line: &mut Line| match std::mem::replace(line, Line::Closed { retry_at: 0 }) {
            Line::Asked { connection, .. } => Some(connection),
            Line::Closed { .. } => None,
        };
        self.lines.iter_mut().filter_map(asked).collect()
    }
}

/// The pause after `attempts` in vain: a half of it is by chance, or all who lost the same replica would come back at the
/// same moment. Chance is the clock, which differs from process to process.
fn pause_micros(attempts: usize, connection: ConnectionId, now: Now) -> u64 {
    let Some(doublings) = attempts.checked_sub(1) else {
        return 0;
    };
    let pause = RETRY_MICROS
        .saturating_mul(1 << doublings.min(16))
        .min(RETRY_MICROS_MAX);
    let mixed = (now.monotonic ^ connection.0.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    pause / 2 + (mixed >> 32) % (pause / 2)
}

/// Whom to ask: the one whose lane it is, and when that fails in turn all others, who may know of a newer configuration.
fn target(configuration: &Configuration, lane: Lane, attempts: usize) -> Option<Member> {
    if attempts % 2 == 1 {
        let other = (attempts / 2) % configuration.chain.len().max(1);
        return configuration.chain.get(other).copied();
    }
    match lane {
        Lane::Ops => configuration.head(),
        Lane::Effects => configuration.tail(),
    }
}

#[cfg(test)]
mod tests {
    use catena_slots::ShardId;

    use super::*;
    use crate::configuration::{Epoch, Incarnation, ReplicaId};

    fn member(number: u64) -> Member {
        Member {
            id: ReplicaId(number),
            incarnation: Incarnation(number),
        }
    }

    fn configuration(epoch: u64, chain: &[u64]) -> Configuration {
        let generation = Generation(1);
        Configuration {
            chain: chain.iter().map(|number| member(*number)).collect(),
            ..Configuration::founded(ShardId(0), Epoch(epoch), generation, member(1))
        }
    }

    fn at(monotonic: u64) -> Now {
        Now { monotonic, wall: 0 }
    }

    fn asked(route: &mut Route, now: u64, next: &mut u64) -> Vec<(Lane, u64)> {
        let wanted = route.wanted(at(now), next).into_iter();
        wanted.map(|wanted| (wanted.lane, wanted.to.id.0)).collect()
    }

    // [C-41] A gateway that waits for a break would go on asking a head that is none any more.
    #[test]
    fn lines_follow_the_topology() {
        let (mut route, mut next) = (Route::default(), 0);
        route.adopt(configuration(1, &[1, 2, 3]));
        assert_eq!(
            asked(&mut route, 0, &mut next),
            [(Lane::Ops, 1), (Lane::Effects, 3)]
        );
        let adopted = route.adopt(configuration(3, &[2, 3])).unwrap();
        assert_eq!(adopted.closed, [ConnectionId(1)]);
        assert_eq!(asked(&mut route, 0, &mut next), [(Lane::Ops, 2)]);
        assert_eq!(route.adopt(configuration(2, &[1, 3])), None);
    }

    // [C-11] With the control plane away, somebody else of the chain knows who is head now.
    #[test]
    fn a_silent_head_is_not_the_only_one_to_ask() {
        let (mut route, mut next) = (Route::default(), 0);
        route.adopt(configuration(1, &[1, 2]));
        let mut all = Vec::new();
        for round in 0..6 {
            let now = round * RETRY_MICROS_MAX;
            all.extend(asked(&mut route, now, &mut next).iter().map(|(_, id)| *id));
            for connection in 1..=next {
                route.lost(ConnectionId(connection), at(now));
            }
        }
        assert!(all.contains(&1) && all.contains(&2), "{all:?}");
        let ops: Vec<_> = all.iter().step_by(2).collect();
        assert_eq!(ops, [&1, &1, &1, &2, &1, &1]);
    }

    // Neither a gateway that waits a second for a head that is back at once, nor one that asks without a pause.
    #[test]
    fn pauses_grow_until_a_line_was_open_or_the_topology_changes() {
        let (mut route, mut next, mut now) = (Route::default(), 0, 5_000_000);
        route.adopt(configuration(1, &[1]));
        let mut pauses = Vec::new();
        for round in 0..10 {
            route.wanted(at(now), &mut next);
            let ops = route.connections().next().unwrap();
            if round == 0 {
                route.opened(Lane::Ops);
            }
            route.lost(ops, at(now));
            let retry_at = route.wanted_at().unwrap();
            pauses.push(retry_at - now);
            now = retry_at;
        }
        assert_eq!(pauses[0], 0);
        for (doublings, pause) in pauses[1..].iter().enumerate() {
            let whole = (RETRY_MICROS << doublings).min(RETRY_MICROS_MAX);
            assert!((whole / 2..whole).contains(pause), "{pauses:?}");
        }
        route.adopt(configuration(2, &[1]));
        assert_eq!(route.wanted_at(), Some(0));
    }
}
