//! What the connections of one worker hold in memory, and who must wait when that is too much.
//!
//! Counted are bytes that wait to be written, publishes that are parked, and the beginnings of large packets; each connection tells
//! when it comes to rest. A part of the profile's figure for a gateway is theirs. Beyond it
//!
//! - large packets are gathered one at a time, and who does not bring its own in time is closed while others wait;
//! - clients that do not read lose QoS 0 messages sooner, and are closed sooner when they take nothing at all;
//! - who has a publish parked is not read further.
//!
//! None of it touches what was acknowledged: sessions and their messages are the shards'.

use std::collections::VecDeque;

use catena_connection::input::Now;
use catena_shard::ConnId;

use crate::limits::{GATHER_MS, MEMORY_RELIEVED_PERCENT};

/// The memory of a worker's connections.
#[derive(Debug)]
pub(crate) struct Memory {
    held: usize,
    max: usize,
    is_short: bool,
    /// Whose large packet is gathered while memory is short, and since when.
    turn: Option<(ConnId, Now)>,
    /// Those that wait for their turn, and may be gone.
    waiting: VecDeque<ConnId>,
    /// Those that had their turn and did not use it.
    late: Vec<ConnId>,
}

/// What a connection with a large packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gather {
    Go,
    /// It is woken; at the latest then.
    Wait(Now),
    /// The same, and the other one is to be woken: its turn is over.
    Instead(ConnId),
    /// It is closed.
    TooLate,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            held: 0,
            max: usize::MAX,
            is_short: false,
            turn: None,
            waiting: VecDeque::new(),
            late: Vec::new(),
        }
    }
}

impl Memory {
    /// Bytes that connections may hold.
    pub fn set_max(&mut self, bytes: usize) {
        self.max = bytes;
    }

    /// Whether they hold more.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// A connection that held `before` holds `now`. Whether memory is short from here on.
    pub fn count(&mut self, before: &mut usize, now: usize) -> bool {
        self.held = self.held.saturating_sub(*before).saturating_add(now);
        *before = now;
        let was_short = self.is_short;
        let bound = if was_short {
            self.max / 100 * MEMORY_RELIEVED_PERCENT
        } else {
            self.max
        };
        self.is_short = self.held >= bound;
        self.is_short && !was_short
    }

    /// Whether the next bytes of a connection's large packet may be read.
    pub fn gather(&mut self, id: ConnId, now: Now) -> Gather {
        if let Some(place) = self.late.iter().position(|late| *late == id) {
            self.late.swap_remove(place);
            return Gather::TooLate;
        }
        if !self.is_short {
            return Gather::Go;
        }
        let (holder, since) = *self.turn.get_or_insert((id, now));
        if holder == id {
            return Gather::Go;
        }
        let until = since.plus_millis(GATHER_MS);
        if now >= until {
            self.turn = Some((id, now));
            self.late.push(holder);
            return Gather::Instead(holder);
        }
        if !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
        Gather::Wait(until)
    }

    /// The connection has no large packet any more, or is gone.
    pub fn gathered(&mut self, id: ConnId) {
        if self.turn.is_some_and(|(holder, _)| holder == id) {
            self.turn = None;
        }
        self.late.retain(|late| *late != id);
    }

    /// The next that is to be woken, for it may go on.
    pub fn next(&mut self) -> Option<ConnId> {
        if self.waiting.is_empty() || (self.is_short && self.turn.is_some()) {
            return None;
        }
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnId = ConnId(1);
    const TWO: ConnId = ConnId(2);

    fn short() -> Memory {
        let mut memory = Memory::default();
        memory.set_max(1_000);
        let mut held = 0;
        assert!(!memory.count(&mut held, 999) && memory.count(&mut held, 1_000));
        memory
    }

    // At its bound it would be short and not short with each byte, and wake everybody each time.
    #[test]
    fn it_is_short_until_clearly_less_is_held() {
        let mut memory = short();
        let mut held = 1_000;
        assert!(!memory.count(&mut held, 1_100), "it was short before");
        memory.count(&mut held, 800);
        assert!(memory.is_short());
        memory.count(&mut held, 700);
        assert!(!memory.is_short());
    }

    // A hundred clients that each bring half of a large packet would hold fifty of them, for ever.
    #[test]
    fn large_packets_are_gathered_one_at_a_time_while_memory_is_short() {
        let mut memory = Memory::default();
        assert_eq!(memory.gather(ONE, Now(0)), Gather::Go);
        assert_eq!(memory.gather(TWO, Now(0)), Gather::Go);
        let mut memory = short();
        assert_eq!(memory.gather(ONE, Now(0)), Gather::Go);
        assert_eq!(memory.gather(TWO, Now(1)), Gather::Wait(Now(GATHER_MS)));
        assert_eq!(memory.next(), None);
        memory.gathered(ONE);
        assert_eq!(memory.next(), Some(TWO));
        assert_eq!(memory.gather(TWO, Now(2)), Gather::Go);
    }

    // One that begins a large packet and goes silent would keep all others waiting.
    #[test]
    fn a_turn_that_is_not_used_ends() {
        let mut memory = short();
        memory.gather(ONE, Now(0));
        memory.gather(TWO, Now(1));
        assert_eq!(memory.gather(TWO, Now(GATHER_MS)), Gather::Instead(ONE));
        assert_eq!(memory.gather(TWO, Now(GATHER_MS)), Gather::Go);
        assert_eq!(memory.gather(ONE, Now(GATHER_MS)), Gather::TooLate);
    }
}
