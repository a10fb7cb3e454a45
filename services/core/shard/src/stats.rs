//! Counts for metrics; never read by `apply`.

use crate::{
    unkept::Which,
    watch::{What, Why},
};

/// What happened on this replica since it began, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Publishes that were applied.
    pub publishes: u64,
    /// Publishes refused with 0x97 `[F-63]`.
    pub publishes_refused: u64,
    /// Of them, those for which the disk of long queues had no room either.
    pub publishes_refused_disk: u64,
    /// QoS 0 deliveries that found no connection or no room `[F-59]`.
    pub qos0_dropped: u64,
    /// Messages that expired in a queue.
    pub expired: u64,
    /// Messages dropped from a full queue `[F-65]`.
    pub queue_dropped: u64,
    /// Ops refused because their session or epoch was stale `[F-3]`.
    pub stale: u64,
    /// Sessions taken over.
    pub takeovers: u64,
    /// Wills published.
    pub wills: u64,
    /// Messages that left memory with a part of a long queue.
    pub spilled: u64,
    /// Bytes of such parts now.
    pub spilled_bytes: u64,
    /// CONNECTs and retained messages that asked to be kept on disk, where the settings let them ask.
    pub asked_allowed: u64,
    /// The same where they do not.
    pub asked_denied: u64,
    /// Messages that were dropped after a start from disk, since the settings do not keep them.
    pub unkept_dropped: u64,
    /// Bytes that the state weighs.
    pub bytes: u64,
    /// Messages in queues, in flight and retained.
    pub stored_messages: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Bytes that they weigh.
    pub retained_bytes: u64,
    /// Links of gateways and shards that it knows.
    pub links: u64,
    /// Of them, those whose outbox is so full that their readers wait `[F-64]`.
    pub links_congested: u64,
    /// Pieces of work that Ticks go on with `[F-60]`.
    pub jobs: u64,
}

impl Stats {
    /// A QoS 0 delivery found no room, or no connection `[F-59]`.
    pub(crate) fn drop_qos0(&mut self, is_connected: bool) -> What {
        self.qos0_dropped += 1;
        What::Dropped(match is_connected {
            true => Why::Congested,
            false => Why::NotConnected,
        })
    }

    /// Somebody asked to be kept on disk.
    pub(crate) fn count_asked(&mut self, which: Which) {
        match which {
            Which::Custom { asked: true } => self.asked_allowed += 1,
            _ => self.asked_denied += 1,
        }
    }
}
