//! The origin's side of ops: numbered, windowed, and kept until they are committed.

use std::{collections::VecDeque, sync::Arc};

/// Which window an op counts against `[F-61]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A publish: may wait or be refused. The weight is in bytes.
    Publish(u32),
    /// Everything that may free memory: never waits behind a publish.
    Control,
}

/// Bounds of the ops that are not yet committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Publishes; at least 1.
    pub publishes: usize,
    /// Bytes of publishes; one publish always fits.
    pub publish_bytes: usize,
}

/// The window for publishes has no room; the op was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link's window for publishes is full")]
pub struct Full;

/// Ops with consecutive numbers, shared between the sender's memory and the transport.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// Number of the first op.
    pub first: u64,
    /// The ops; never empty.
    pub ops: Vec<T>,
}

impl<T> Batch<T> {
    /// Number of the last op.
    pub fn last(&self) -> u64 {
        self.first + self.ops.len() as u64 - 1
    }
}

/// What one sent batch holds of the window.
#[derive(Debug)]
struct Sent<T> {
    batch: Arc<Batch<T>>,
    publishes: usize,
    publish_bytes: usize,
}

/// Numbers ops, gathers them into batches, and keeps each batch until all of it is committed `[C-40]`.
#[derive(Debug)]
pub struct Sender<T> {
    window: Window,
    /// Ops that are not yet part of a batch.
    gathering: Vec<T>,
    gathering_publishes: usize,
    gathering_publish_bytes: usize,
    next: u64,
    kept: VecDeque<Sent<T>>,
    kept_publishes: usize,
    kept_publish_bytes: usize,
    committed: u64,
}

impl<T> Sender<T> {
    /// A sender whose first op gets number 1.
    pub fn new(window: Window) -> Sender<T> {
        Sender {
            window,
            gathering: Vec::new(),
            gathering_publishes: 0,
            gathering_publish_bytes: 0,
            next: 1,
            kept: VecDeque::new(),
            kept_publishes: 0,
            kept_publish_bytes: 0,
            committed: 0,
        }
    }

    /// From here on the window is another; what has been taken stays.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Whether a publish of `bytes` fits the window now.
    pub fn has_room(&self, bytes: usize) -> bool {
        let publishes = self.gathering_publishes + self.kept_publishes;
        let held = self.gathering_publish_bytes + self.kept_publish_bytes;
        publishes == 0
            || (publishes < self.window.publishes && held + bytes <= self.window.publish_bytes)
    }

    /// Takes an op and returns its number.
    ///
    /// # Errors
    /// [`Full`] for a publish that does not fit the window. Other ops are always taken `[F-61]`.
    pub fn push(&mut self, class: Class, op: T) -> Result<u64, Full> {
        if let Class::Publish(bytes) = class {
            if !self.has_room(bytes as usize) {
                return Err(Full);
            }
            self.gathering_publishes += 1;
            self.gathering_publish_bytes += bytes as usize;
        }
        self.gathering.push(op);
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Whether ops wait for [`Sender::batch`].
    pub fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// How many ops are not yet committed.
    pub fn uncommitted(&self) -> u64 {
        self.next - 1 - self.committed
    }

    /// Makes a batch of what has gathered, to be sent once; `None` when nothing has.
    pub fn batch(&mut self) -> Option<Arc<Batch<T>>> {
        if self.gathering.is_empty() {
            return None;
        }
        let capacity = self.gathering.len();
        let ops = std::mem::replace(&mut self.gathering, Vec::with_capacity(capacity.min(256)));
        let batch = Arc::new(Batch {
            first: self.next - ops.len() as u64,
            ops,
        });
        let publishes = std::mem::take(&mut self.gathering_publishes);
        let publish_bytes = std::mem::take(&mut self.gathering_publish_bytes);
        self.kept_publishes += publishes;
        self.kept_publish_bytes += publish_bytes;
        self.kept.push_back(Sent {
            batch: batch.clone(),
            publishes,
            publish_bytes,
        });
        Some(batch)
    }

    /// Forgets ops up to and including `through`. Returns whether that made room for publishes.
    pub fn committed(&mut self, through: u64) -> bool {
        let through = through.min(self.next - 1);
        self.committed = self.committed.max(through);
        let before = self.kept.len();
        while let Some(sent) = self.kept.front() {
            if sent.batch.last() > self.committed {
                break;
            }
            self.kept_publishes -= sent.publishes;
            self.kept_publish_bytes -= sent.publish_bytes;
            self.kept.pop_front();
        }
        self.kept.len() < before
    }

    /// The highest number known to be committed.
    pub fn committed_through(&self) -> u64 {
        self.committed
    }

    /// The number of the first op that the shard may still have to see.
    pub fn first_uncommitted(&self) -> u64 {
        self.committed + 1
    }

    /// The kept batches with numbers above `applied_through`, oldest first: what to send after a break.
    /// `rewrite` sees each op and may replace it, for instance by a no-op `[F-43]`; numbers stay.
    pub fn resend(
        &mut self,
        applied_through: u64,
        rewrite: impl Fn(&T) -> T,
    ) -> Vec<Arc<Batch<T>>> {
        let mut batches = Vec::new();
        for sent in &mut self.kept {
            if sent.batch.last() <= applied_through {
                continue;
            }
            let ops = sent.batch.ops.iter().map(&rewrite).collect();
            sent.batch = Arc::new(Batch {
                first: sent.batch.first,
                ops,
            });
            batches.push(sent.batch.clone());
        }
        batches
    }
}
