//! The task of one connection: it owns the socket, and does nothing but move bytes and time.
//!
//! A turn: hand in what was read, let the protocol gather its answers, write all of them at once. Reading goes on when
//! the client does not take what is written, and the other way round, as far as the protocol allows.

mod read;
mod write;

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use catena_connection::{Input, input::Now, output::LOW_WATER_BYTES};
use catena_mqtt::Packet;
use catena_shard::ConnId;
use tokio::io::AsyncWrite;
use tracing::debug;

use crate::{
    client::read::{Inbound, Read},
    clients::Clients,
    limits::{
        LINGER_BYTES, LINGER_MS, TURN_BYTES, TURN_PACKETS, WRITE_STALL_MS, WRITE_STALL_SHORT_MS,
    },
    memory::Gather,
    stream::Stream,
    worker::{Seats, Shared},
};

/// The task.
#[derive(Debug)]
pub(crate) struct Task {
    worker: Rc<Shared>,
    id: ConnId,
    phase: Phase,
    inbound: Inbound,
    /// CONNECT has to be here by then.
    connect_by: Option<Now>,
    /// Since when the client takes nothing of what is to be written.
    stalled_since: Option<Now>,
    /// Its large packet waits for memory: it asks again then.
    gathers_at: Option<Now>,
}

#[derive(Debug)]
enum Phase {
    /// Bytes go both ways.
    Serving(Socket),
    /// The last byte is written; what still comes is thrown away.
    Lingering {
        socket: Socket,
        until: Now,
        left: usize,
        /// What ends TLS or a WebSocket is not yet written.
        is_ending: bool,
    },
    /// The socket is gone; the last ops are still to be answered.
    Leaving,
}

#[derive(Debug)]
struct Socket {
    stream: Stream,
    _seats: Seats,
}

/// What one turn may still do.
struct Budget {
    bytes: usize,
    packets: usize,
}

/// How far a write came.
enum Written {
    AsMuchAsTaken,
    /// Nothing will be written any more.
    Last,
}

impl Task {
    /// CONNECT has to be here by `connect_by`.
    pub fn new(
        worker: Rc<Shared>,
        id: ConnId,
        stream: Stream,
        seats: Seats,
        connect_by: Now,
    ) -> Task {
        Task {
            worker,
            id,
            phase: Phase::Serving(Socket {
                stream,
                _seats: seats,
            }),
            inbound: Inbound::default(),
            connect_by: Some(connect_by),
            stalled_since: None,
            gathers_at: None,
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.worker.now();
        self.keep_time(now);
        match self.phase {
            Phase::Serving(_) => {
                if self.serve(cx, now).is_err() {
                    self.close(now);
                }
            }
            Phase::Lingering { .. } => self.linger(cx, now),
            Phase::Leaving => self.flush(now),
        }
        self.rest(cx)
    }
}

impl Task {
    fn serve(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<()> {
        self.gathers_at = None;
        let mut budget = Budget {
            bytes: TURN_BYTES,
            packets: TURN_PACKETS,
        };
        while self.hand_in(now, &mut budget) {
            if budget.bytes == 0 || budget.packets == 0 {
                // Others have their turn.
                cx.waker().wake_by_ref();
                break;
            }
            if self.inbound.is_large() && !self.may_gather(now)? {
                break;
            }
            let Phase::Serving(socket) = &mut self.phase else {
                break;
            };
            match self
                .inbound
                .poll_read(cx, &mut socket.stream, &self.worker.chunk)
            {
                Poll::Pending => break,
                Poll::Ready(Ok(Read::Bytes(count))) => {
                    budget.bytes = budget.bytes.saturating_sub(count)
                }
                Poll::Ready(Ok(Read::End)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        self.flush(now);
        if let Written::Last = self.write(cx, now)? {
            self.begin_to_linger(cx, now);
        }
        Ok(())
    }

    /// Whether more of a large packet may be read: while memory is short one is gathered at a time.
    fn may_gather(&mut self, now: Now) -> io::Result<bool> {
        self.gathers_at = None;
        loop {
            let asked = self.worker.router.borrow_mut().memory.gather(self.id, now);
            match asked {
                Gather::Go => return Ok(true),
                Gather::Wait(until) => {
                    self.gathers_at = Some(until);
                    return Ok(false);
                }
                Gather::Instead(other) => {
                    if let Some(client) = self.worker.clients.borrow_mut().get_mut(other) {
                        client.wake();
                    }
                }
                Gather::TooLate => {
                    self.worker.counters.over_memory.add();
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    /// Hands packets to the protocol; whether it wants more than there are.
    fn hand_in(&mut self, now: Now, budget: &mut Budget) -> bool {
        let clients = &mut *self.worker.clients.borrow_mut();
        let router = &mut *self.worker.router.borrow_mut();
        let Some(client) = clients.get_mut(self.id) else {
            return false;
        };
        client.protocol.set_memory_short(router.memory.is_short());
        loop {
            if client.output.is_closing() {
                self.inbound.forget();
                return false;
            }
            if !client.protocol.reads() {
                self.inbound.shrink();
                return false;
            }
            if budget.packets == 0 {
                return true;
            }
            match self
                .inbound
                .next(client.protocol.version(), &client.protocol.limits())
            {
                Ok(None) => return true,
                Ok(Some(packet)) => {
                    budget.packets -= 1;
                    client
                        .meter
                        .received(&packet, &self.worker.counters.traffic);
                    let is_publish = matches!(packet, Packet::Publish(_));
                    router.passports.answered(self.id, &packet);
                    client.handle(Input::Packet(packet), now, router);
                    if is_publish {
                        router.tracer.handled();
                        router.passports.handled();
                    }
                }
                Err(error) => {
                    debug!(conn = self.id.0, %error, "a packet that is none");
                    self.inbound.forget();
                    client.handle(Input::Malformed(error), now, router);
                    if !client.output.is_closing() {
                        client.output.close();
                    }
                }
            }
        }
    }

    fn flush(&mut self, now: Now) {
        let clients = &mut *self.worker.clients.borrow_mut();
        let router = &mut *self.worker.router.borrow_mut();
        if let Some(client) = clients.get_mut(self.id) {
            client.flush(now, router);
        }
    }

    /// Writes as much as the client takes.
    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<Written> {
        let Phase::Serving(socket) = &mut self.phase else {
            return Ok(Written::AsMuchAsTaken);
        };
        let clients = &mut *self.worker.clients.borrow_mut();
        let router = &mut *self.worker.router.borrow_mut();
        let Some(client) = clients.get_mut(self.id) else {
            return Ok(Written::AsMuchAsTaken);
        };
        let before = client.output.len();
        if before == 0 && !client.output.is_closing() && !socket.stream.owes() {
            return Ok(Written::AsMuchAsTaken);
        }
        let outcome = write::poll_write(cx, &mut socket.stream, &mut client.output);
        if client.output.len() < before {
            self.stalled_since = None;
        }
        let is_all_sent = outcome.is_ready();
        match outcome {
            Poll::Ready(outcome) => {
                outcome?;
                self.stalled_since = None;
            }
            Poll::Pending => {
                self.stalled_since.get_or_insert(now);
            }
        }
        if before >= LOW_WATER_BYTES && client.output.len() < LOW_WATER_BYTES {
            client.handle(Input::Drained, now, router);
            // What that made possible is done in the next turn.
            cx.waker().wake_by_ref();
        }
        if client.output.is_empty() {
            router.buffers.take_back(&mut client.output);
            if client.output.is_closing() && is_all_sent {
                client.is_closed = true;
                client.call = None;
                client.handle(Input::Closed, now, router);
                return Ok(Written::Last);
            }
        }
        Ok(Written::AsMuchAsTaken)
    }

    fn begin_to_linger(&mut self, cx: &mut Context<'_>, now: Now) {
        let Phase::Serving(socket) = std::mem::replace(&mut self.phase, Phase::Leaving) else {
            return;
        };
        self.stalled_since = None;
        self.gathers_at = None;
        self.connect_by = None;
        self.phase = Phase::Lingering {
            socket,
            until: now.plus_millis(LINGER_MS),
            left: LINGER_BYTES,
            is_ending: true,
        };
        cx.waker().wake_by_ref();
    }

    fn linger(&mut self, cx: &mut Context<'_>, now: Now) {
        self.flush(now);
        let Phase::Lingering {
            socket,
            until,
            left,
            is_ending,
        } = &mut self.phase
        else {
            return;
        };
        if *is_ending {
            // An error means that the client is gone already.
            *is_ending = Pin::new(&mut socket.stream).poll_shutdown(cx).is_pending();
        }
        let is_over = loop {
            if now >= *until {
                break true;
            }
            match self
                .inbound
                .poll_read(cx, &mut socket.stream, &self.worker.chunk)
            {
                Poll::Pending => break false,
                Poll::Ready(Ok(Read::Bytes(count))) if count < *left => {
                    *left -= count;
                    self.inbound.forget();
                }
                Poll::Ready(_) => break true,
            }
        };
        if is_over {
            self.phase = Phase::Leaving;
        }
    }

    /// The socket broke or the client closed it.
    fn close(&mut self, now: Now) {
        let clients = &mut *self.worker.clients.borrow_mut();
        let router = &mut *self.worker.router.borrow_mut();
        if let Some(client) = clients.get_mut(self.id) {
            client.is_closed = true;
            client.call = None;
            client.handle(Input::Closed, now, router);
            client.flush(now, router);
            client.output.clear();
        }
        self.phase = Phase::Leaving;
        self.inbound.forget();
        self.stalled_since = None;
        self.gathers_at = None;
        self.connect_by = None;
    }

    /// What is due by now.
    fn keep_time(&mut self, now: Now) {
        let is_late = {
            let clients = &mut *self.worker.clients.borrow_mut();
            let router = &mut *self.worker.router.borrow_mut();
            let Some(client) = clients.get_mut(self.id) else {
                return;
            };
            if client.protocol.version().is_some() {
                self.connect_by = None;
            }
            if self.gathers_at.is_some() {
                client.protocol.excuse_silence(now);
            }
            if client
                .protocol
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                client.handle(Input::Time, now, router);
            }
            self.connect_by.is_some_and(|by| by <= now)
        };
        let has_stalled = self
            .stalled_since
            .is_some_and(|since| since.plus_millis(self.stall_ms()) <= now);
        if is_late {
            self.worker.counters.connect_timeouts.add();
        }
        if has_stalled {
            self.worker.counters.stalled.add();
        }
        if is_late || has_stalled {
            self.close(now);
        }
    }

    /// How long the client may take nothing although something is to be written.
    fn stall_ms(&self) -> u64 {
        match self.worker.router.borrow().memory.is_short() {
            true => WRITE_STALL_SHORT_MS,
            false => WRITE_STALL_MS,
        }
    }

    /// Tells what the connection holds in memory now.
    fn count_memory(&self, clients: &mut Clients) {
        let Some(client) = clients.get(self.id) else {
            return;
        };
        let is_gone = matches!(self.phase, Phase::Leaving);
        if is_gone || !self.inbound.is_large() {
            self.worker.router.borrow_mut().memory.gathered(self.id);
        }
        let held = client.output.len() + client.protocol.parked_bytes() + self.inbound.held();
        if held != client.held {
            self.worker.count_memory(clients, self.id, held);
        }
    }

    /// Ends the task if nothing is left, else sleeps until something comes.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stall_ms = self.stall_ms();
        let clients = &mut *self.worker.clients.borrow_mut();
        self.count_memory(clients);
        let Some(client) = clients.get_mut(self.id) else {
            return Poll::Ready(());
        };
        if client.protocol.finished() {
            match self.phase {
                Phase::Leaving => {
                    self.worker.count_memory(clients, self.id, 0);
                    clients.remove(self.id);
                    self.worker.router.borrow_mut().forget(self.id);
                    return Poll::Ready(());
                }
                // The protocol has nothing more to say.
                Phase::Serving(_) if !client.output.is_closing() => {
                    client.output.close();
                    cx.waker().wake_by_ref();
                }
                _ => {}
            }
        }
        let lingers = match &self.phase {
            Phase::Lingering { until, .. } => Some(*until),
            _ => None,
        };
        let stalls = self.stalled_since.map(|since| since.plus_millis(stall_ms));
        let deadlines = [
            client.protocol.deadline(),
            self.connect_by,
            stalls,
            lingers,
            self.gathers_at,
        ];
        if let Some(next) = deadlines.into_iter().flatten().min()
            && client.armed.is_none_or(|armed| next < armed)
        {
            let at = self.worker.timers.borrow_mut().enter(self.id, next);
            // Rounded up to a step, it may be the one that is armed already.
            client.armed = Some(at);
        }
        client.sleep(cx.waker());
        Poll::Pending
    }
}
