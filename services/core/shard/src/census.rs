//! Counting what a shard holds, a few rows at a time: for metrics, and no part of the state.
//!
//! Nothing is counted while ops are applied. A count of all rows takes several calls, and the last one that was finished is
//! shown: with many sessions it is some seconds old.

use crate::shard::Shard;

/// Queues that are shown by length.
pub const LONGEST: usize = 5;

/// What a shard held when it was last counted through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sessions at home here that outlive their connection and have one.
    pub persistent_connected: u64,
    /// The same, without a connection.
    pub persistent_away: u64,
    /// Sessions at home here that end with their connection.
    pub ephemeral: u64,
    /// Wills that wait.
    pub wills: u64,
    /// Bytes that they weigh.
    pub will_bytes: u64,
    /// Subscriptions, without shared ones.
    pub subscriptions: u64,
    /// Members of shared subscriptions.
    pub shared_subscriptions: u64,
    /// Messages that wait for single readers, and for groups.
    pub queued: u64,
    /// Readers with a connection for which messages wait, and whose window is full: they take less than there is.
    pub slow_readers: u64,
    /// The longest queues of readers and of groups, longest first.
    pub longest: [u64; LONGEST],
}

/// A count that goes on from call to call.
#[derive(Debug, Default)]
pub struct Census {
    at: At,
    counting: Counted,
    counted: Counted,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Homes(u32),
    Readers(u32),
    Groups(u32),
}

impl Default for At {
    fn default() -> At {
        At::Homes(0)
    }
}

impl Census {
    /// Counts at most `rows` more of `shard`, which may be another than before: the next count is right again.
    pub fn go_on(&mut self, shard: &Shard, rows: u32) {
        match self.at {
            At::Homes(place) => match shard.homes.ids_at(place, rows) {
                Some(ids) => {
                    for id in ids {
                        self.counting.count_home(shard, id);
                    }
                    self.at = At::Homes(place.saturating_add(rows));
                }
                None => self.at = At::Readers(0),
            },
            At::Readers(place) => match shard.readers.ids_at(place, rows) {
                Some(ids) => {
                    for id in ids {
                        self.counting.count_reader(shard, id);
                    }
                    self.at = At::Readers(place.saturating_add(rows));
                }
                None => self.at = At::Groups(0),
            },
            At::Groups(place) => match shard.groups.ids_at(place, rows) {
                Some(ids) => {
                    for id in ids {
                        self.counting.count_group(shard, id);
                    }
                    self.at = At::Groups(place.saturating_add(rows));
                }
                None => {
                    self.counted = std::mem::take(&mut self.counting);
                    self.at = At::Homes(0);
                }
            },
        }
    }

    /// What was counted through last.
    pub fn counted(&self) -> Counted {
        self.counted
    }
}

impl Counted {
    fn count_home(&mut self, shard: &Shard, id: crate::home::HomeId) {
        let Some(session) = shard.homes.get(id).and_then(|home| home.session.as_ref()) else {
            return;
        };
        match (session.expiry > 0, session.attached.is_some()) {
            (true, true) => self.persistent_connected += 1,
            (true, false) => self.persistent_away += 1,
            (false, _) => self.ephemeral += 1,
        }
        if let Some(will) = &session.will {
            self.wills += 1;
            self.will_bytes += will.message.weight() as u64;
        }
    }

    fn count_reader(&mut self, shard: &Shard, id: crate::reader::ReaderId) {
        let Some(reader) = shard.readers.get(id) else {
            return;
        };
        let queued = reader.queue.len();
        self.subscriptions += reader.subscriptions.len() as u64;
        self.shared_subscriptions += reader.groups.len() as u64;
        self.queued += queued;
        let is_full = reader.window.messages >= reader.window.messages_max;
        if queued > 0 && reader.attached.is_some() && is_full {
            self.slow_readers += 1;
        }
        self.enter(queued);
    }

    fn count_group(&mut self, shard: &Shard, id: crate::group::GroupId) {
        let queued = shard.groups.get(id).map_or(0, |group| group.queued());
        self.queued += queued;
        self.enter(queued);
    }

    fn enter(&mut self, mut queued: u64) {
        for place in &mut self.longest {
            if queued > *place {
                std::mem::swap(place, &mut queued);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The longest queue would be shown as the shortest, or a queue twice.
    #[test]
    fn the_longest_queues_are_kept_in_order() {
        let mut counted = Counted::default();
        for queued in [3, 9, 1, 7, 7, 2, 8, 0] {
            counted.enter(queued);
        }
        assert_eq!(counted.longest, [9, 8, 7, 7, 3]);
    }
}
