//! The link from this shard to another: the outbox is what is to be sent, and only `committed` comes back `[C-42]`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use catena_link::{Batch, Outbox};
use catena_shard::{
    Effect, Op, Origin,
    wire::{FromShard, ToShard},
};
use catena_slots::ShardId;
use tokio::time::Sleep;

use crate::old::{
    limits::{BATCH_BYTES, BATCH_EFFECTS, PEER_OPS, PEER_RETRY_MS, PEER_RETRY_MS_MAX},
    link::weight,
    port::{Connection, Port},
};

/// The way to another shard's host.
pub(crate) struct Peer {
    pub shard: ShardId,
    port: Port,
    state: State,
    retry_ms: u64,
}

enum State {
    /// Nothing was ever to be sent.
    Idle,
    /// `Open` is to be sent or on its way.
    Opening {
        connection: Connection,
        is_asked: bool,
    },
    Open {
        connection: Connection,
        generation: u32,
        sent_through: u64,
        committed: u64,
    },
    /// Closed by the other side; asked again after this.
    Waiting(Pin<Box<Sleep>>),
}

/// The other shard has committed our ops through this number.
pub(crate) struct Progress {
    pub generation: u32,
    pub committed: u64,
}

impl Peer {
    pub fn new(shard: ShardId, port: Port) -> Peer {
        Peer {
            shard,
            port,
            state: State::Idle,
            retry_ms: PEER_RETRY_MS,
        }
    }

    /// Takes what the other shard says; the last of it counts.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Option<Progress> {
        let mut progress = None;
        loop {
            let connection = match &mut self.state {
                State::Opening { connection, .. } | State::Open { connection, .. } => connection,
                State::Idle | State::Waiting(_) => return progress,
            };
            match connection.poll_receive(cx) {
                Poll::Pending => return progress,
                Poll::Ready(None) => self.wait(),
                Poll::Ready(Some(FromShard::Opened {
                    generation,
                    applied_through,
                    committed,
                    ..
                })) => {
                    self.retry_ms = PEER_RETRY_MS;
                    self.opened(generation, applied_through, committed);
                    progress = Some(Progress {
                        generation,
                        committed,
                    });
                }
                Poll::Ready(Some(FromShard::Effects {
                    generation,
                    committed: told,
                    ..
                })) => {
                    if let State::Open { committed, .. } = &mut self.state {
                        *committed = told.max(*committed);
                    }
                    progress = Some(Progress {
                        generation,
                        committed: told,
                    });
                }
            }
        }
    }

    fn opened(&mut self, generation: u32, applied_through: u64, committed: u64) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Opening { connection, .. } | State::Open { connection, .. } => {
                self.state = State::Open {
                    connection,
                    generation,
                    sent_through: applied_through,
                    committed,
                };
            }
            other => self.state = other,
        }
    }

    fn wait(&mut self) {
        let sleep = tokio::time::sleep(Duration::from_millis(self.retry_ms));
        self.retry_ms = (self.retry_ms * 2).min(PEER_RETRY_MS_MAX);
        self.state = State::Waiting(Box::pin(sleep));
    }

    /// Sends what the outbox to that shard holds, as `me`, as far as there is room.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, me: Origin, outbox: &Outbox<Effect>) {
        loop {
            match &mut self.state {
                State::Idle if outbox.is_empty() => return,
                State::Idle => self.connect(),
                State::Waiting(sleep) => match sleep.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(()) => self.connect(),
                },
                State::Opening { is_asked: true, .. } => return,
                State::Opening {
                    connection,
                    is_asked,
                } => {
                    let open = ToShard::Open {
                        origin: me,
                        first_uncommitted: outbox.first(),
                        effects_through: 0,
                    };
                    match connection
                        .poll_ready(cx)
                        .map(|room| room.and_then(|()| connection.send(open)))
                    {
                        Poll::Pending => return,
                        Poll::Ready(Ok(())) => {
                            *is_asked = true;
                            // The answer is waited for from now on.
                            cx.waker().wake_by_ref();
                            return;
                        }
                        Poll::Ready(Err(_)) => self.wait(),
                    }
                }
                State::Open {
                    connection,
                    generation,
                    sent_through,
                    committed,
                } => {
                    if outbox.last() <= *sent_through || *sent_through >= *committed + PEER_OPS {
                        return;
                    }
                    match connection.poll_ready(cx) {
                        Poll::Pending => return,
                        Poll::Ready(Err(_)) => self.wait(),
                        Poll::Ready(Ok(())) => {
                            let batch = ops(outbox, *sent_through);
                            *sent_through = batch.last();
                            let ops = ToShard::Ops {
                                generation: *generation,
                                acked_through: 0,
                                batch: Arc::new(batch),
                            };
                            if connection.send(ops).is_err() {
                                self.wait();
                            }
                        }
                    }
                }
            }
        }
    }

    fn connect(&mut self) {
        self.state = State::Opening {
            connection: self.port.connect(),
            is_asked: false,
        };
    }
}

/// The next ops; at least one.
fn ops(outbox: &Outbox<Effect>, sent_through: u64) -> Batch<Op> {
    let (first, unsent) = outbox.after(sent_through);
    let mut bytes = 0;
    let within = |effect: &&Effect| {
        bytes += weight(effect);
        bytes <= BATCH_BYTES
    };
    let mut ops: Vec<Op> = unsent
        .take(BATCH_EFFECTS)
        .take_while(within)
        .filter_map(op)
        .collect();
    if ops.is_empty() {
        ops.extend(outbox.after(sent_through).1.take(1).filter_map(op));
    }
    Batch { first, ops }
}

fn op(effect: &Effect) -> Option<Op> {
    match effect {
        Effect::Peer(op) => Some(Op::clone(op)),
        // What an outbox to a shard holds is ops alone.
        _ => Some(Op::Noop),
    }
}
