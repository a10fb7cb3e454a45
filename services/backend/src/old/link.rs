//! One open connection of an origin: what it has been sent, and what waits for it.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use catena_link::Outbox;
use catena_shard::{Effect, Origin, Time, wire::FromShard};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::old::limits::{BATCH_BYTES, BATCH_EFFECTS, DIRECT_WAITING_BYTES};

/// The origin has closed the connection.
#[derive(Debug)]
pub(crate) struct Gone;

/// What the shard says about an origin now.
pub(crate) struct Owed<'a> {
    /// `None`: the shard does not know the origin.
    pub outbox: Option<&'a Outbox<Effect>>,
    pub committed: u64,
    pub generation: u32,
    pub now: Time,
}

/// A delivery of the direct lane, behind all effects through `after`.
#[derive(Debug)]
struct Direct {
    after: u64,
    effect: Effect,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub connection: u64,
    pub origin: Origin,
    replies: PollSender<FromShard>,
    /// The last effect sent on this connection.
    sent_through: u64,
    committed_sent: u64,
    /// Publishes that the direct lane of this connection has brought.
    direct_in: u64,
    direct_in_sent: u64,
    direct: VecDeque<Direct>,
    direct_bytes: usize,
    /// Direct deliveries that found no room `[F-59]`.
    pub dropped: u64,
}

impl Link {
    pub fn new(
        connection: u64,
        origin: Origin,
        replies: mpsc::Sender<FromShard>,
        effects_through: u64,
    ) -> Link {
        Link {
            connection,
            origin,
            replies: PollSender::new(replies),
            sent_through: effects_through,
            committed_sent: 0,
            direct_in: 0,
            direct_in_sent: 0,
            direct: VecDeque::new(),
            direct_bytes: 0,
            dropped: 0,
        }
    }

    /// Answers `Open`; the channel is empty at that moment.
    pub fn opened(&mut self, applied_through: u64, owed: &Owed<'_>) {
        self.committed_sent = owed.committed;
        let opened = FromShard::Opened {
            generation: owed.generation,
            applied_through,
            committed: owed.committed,
            now: owed.now,
        };
        if let Some(replies) = self.replies.get_ref() {
            // A failure shows at the next message.
            let _ = replies.try_send(opened);
        }
    }

    /// Counts publishes that the direct lane brought.
    pub fn brought_direct(&mut self, count: usize) {
        self.direct_in += count as u64;
    }

    /// Takes a direct delivery, which goes out behind all effects that the outbox holds now: so the two lanes of a
    /// publisher keep their order `[F-41]`.
    pub fn deliver_direct(&mut self, outbox_last: u64, effect: Effect) {
        let bytes = weight(&effect);
        if self.direct_bytes + bytes > DIRECT_WAITING_BYTES && !self.direct.is_empty() {
            self.dropped += 1;
            return;
        }
        self.direct_bytes += bytes;
        self.direct.push_back(Direct {
            after: outbox_last,
            effect,
        });
    }

    /// Sends what is owed, as far as the channel has room; `Pending` when more waits for room.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, owed: &Owed<'_>) -> Poll<Result<(), Gone>> {
        while self.owes(owed) {
            match self.replies.poll_reserve(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone)),
                Poll::Ready(Ok(())) => {}
            }
            let batch = self.batch(owed);
            if self.replies.send_item(batch).is_err() {
                return Poll::Ready(Err(Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn owes(&self, owed: &Owed<'_>) -> bool {
        owed.outbox
            .is_some_and(|outbox| outbox.last() > self.sent_through)
            || owed.committed > self.committed_sent
            || self.direct_in > self.direct_in_sent
            || !self.direct.is_empty()
    }

    /// Effects up to the first direct delivery, then the direct deliveries that stand there.
    fn batch(&mut self, owed: &Owed<'_>) -> FromShard {
        let (first, effects) = match owed.outbox {
            Some(outbox) => self.effects(outbox),
            None => (self.sent_through + 1, Vec::new()),
        };
        self.sent_through = first + effects.len() as u64 - 1;
        let has_sent_all = owed
            .outbox
            .is_none_or(|outbox| outbox.last() <= self.sent_through);
        let direct = self.direct_after(if has_sent_all {
            u64::MAX
        } else {
            self.sent_through
        });
        self.committed_sent = owed.committed;
        if self.direct.is_empty() {
            self.direct_in_sent = self.direct_in;
        }
        FromShard::Effects {
            generation: owed.generation,
            first,
            effects,
            committed: owed.committed,
            direct,
            direct_through: self.direct_in_sent,
            now: owed.now,
        }
    }

    fn effects(&self, outbox: &Outbox<Effect>) -> (u64, Vec<Effect>) {
        let (first, unsent) = outbox.after(self.sent_through);
        let until_direct = match self.direct.front() {
            Some(direct) => (direct.after + 1).saturating_sub(first) as usize,
            None => usize::MAX,
        };
        let count = ((outbox.last() + 1).saturating_sub(first) as usize)
            .min(BATCH_EFFECTS)
            .min(until_direct);
        let mut effects = Vec::with_capacity(count);
        let mut bytes = 0;
        for effect in unsent.take(count) {
            bytes += weight(effect);
            if bytes > BATCH_BYTES && !effects.is_empty() {
                break;
            }
            effects.push(effect.clone());
        }
        (first, effects)
    }

    fn direct_after(&mut self, sent_through: u64) -> Vec<Effect> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(direct) = self.direct.front() {
            bytes += weight(&direct.effect);
            let is_full =
                taken.len() >= BATCH_EFFECTS || (bytes > BATCH_BYTES && !taken.is_empty());
            if direct.after > sent_through || is_full {
                break;
            }
            taken.extend(self.direct.pop_front().map(|direct| direct.effect));
        }
        self.direct_bytes -= taken.iter().map(weight).sum::<usize>();
        taken
    }
}

/// Bytes of an effect, roughly: enough to bound a batch.
pub(crate) fn weight(effect: &Effect) -> usize {
    match effect {
        Effect::Deliver(deliver) => deliver.message.weight() + 64 * deliver.targets.len(),
        _ => 64,
    }
}
