//! The loop that publishes and receives: one thread, one poll, one write per connection and wake-up.

use std::{
    io::{ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use super::{
    connection::{Connection, SCRATCH_LEN},
    handshake::{Client, Target},
    plan::{Length, Plan},
    process::{CpuTime, Process},
    publisher::Publisher,
    tally::{Counts, Tally, histogram},
};

/// How long nothing may come in before what is missing is given up. Shared machines have been seen to
/// stop a process for several seconds.
pub const STALL_SECONDS: u64 = 10;
const STALL_NS: u64 = STALL_SECONDS * SECOND_NS;
/// How long to look for duplicates after everything has come.
const LINGER_NS: u64 = 200_000_000;
/// How long to sleep at most, so that time is noticed.
const SLEEP: Duration = Duration::from_millis(20);
/// Unsent bytes of a connection above which its publisher waits.
const UNSENT_MAX: usize = 1 << 20;
const SECOND_NS: u64 = 1_000_000_000;

/// What a load has shown.
#[derive(Debug)]
pub struct Outcome {
    /// The length of the measurement.
    pub seconds: f64,
    /// Messages sent in it.
    pub sent: u64,
    /// Messages acknowledged and delivered in it.
    pub counts: Counts,
    /// End to end, in nanoseconds, in it.
    pub latency: Histogram<u64>,
    /// Nanoseconds of processor time in it, by process.
    pub cpu_ns: Vec<u64>,
    /// Deliveries missing at the end, warm-up included, as in all the following.
    pub lost: u64,
    /// All that went wrong.
    pub wrong: Counts,
    /// The smallest Receive Maximum of the broker, if it made a window smaller.
    pub window_cut: Option<u16>,
    /// Nothing came in for so long that the run was given up.
    pub stalled: bool,
    /// Messages that were sent and neither acknowledged nor refused at the end; none at QoS 0.
    pub unacknowledged: u64,
}

/// Runs `plan`, measuring `processes`, until it is over or `interrupted`.
///
/// # Errors
///
/// When the broker cannot be reached, refuses, or loses a connection.
pub fn run(
    target: &Target,
    plan: &Plan,
    processes: &[Process],
    interrupted: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let clients = clients(plan);
    let opened = target.open_all(&clients)?;
    let poll = Poll::new()?;
    let subscribers = plan.shape.subscribers();
    let mut receive_maximum = u16::MAX;
    let mut connections = Vec::with_capacity(opened.len());
    let mut publishers = Vec::new();
    for (number, opened) in opened.into_iter().enumerate() {
        if let Some(publisher) = number.checked_sub(subscribers) {
            receive_maximum = receive_maximum.min(opened.receive_maximum);
            publishers.push(Publisher::new(
                plan,
                publisher,
                target.version,
                opened.receive_maximum,
            ));
        }
        connections.push(Connection::new(opened, poll.registry(), Token(number))?);
    }
    let mut load = Load {
        plan,
        processes,
        poll,
        connections,
        tally: Tally::new(plan, target.version, publishers),
        scratch: vec![0; SCRATCH_LEN],
        origin: Instant::now(),
        turn: 0,
        progress: Progress::default(),
    };
    let mut outcome = load.measure(interrupted)?;
    outcome.window_cut = (plan.qos as u8 > 0 && usize::from(receive_maximum) < plan.window)
        .then_some(receive_maximum);
    for connection in &mut load.connections {
        connection.out().extend_from_slice(&target.goodbye());
        connection.flush()?;
    }
    drop(load);
    target.forget(&clients)?;
    Ok(outcome)
}

/// Subscribers first, so that they are there before anything is published.
fn clients(plan: &Plan) -> Vec<Client> {
    let subscribers = (0..plan.shape.subscribers()).map(|number| Client {
        id: format!("bench-{:08x}-sub-{number}", plan.run),
        subscription: Some((plan.shape.filter(plan.run, number), plan.qos)),
    });
    let publishers = (0..plan.shape.publishers()).map(|number| Client {
        id: format!("bench-{:08x}-pub-{number}", plan.run),
        subscription: None,
    });
    subscribers.chain(publishers).collect()
}

struct Load<'a> {
    plan: &'a Plan,
    processes: &'a [Process],
    poll: Poll,
    connections: Vec<Connection>,
    tally: Tally,
    scratch: Vec<u8>,
    origin: Instant,
    /// The publisher whose turn it is, at a fixed rate.
    turn: usize,
    progress: Progress,
}

/// Where everything stands at one moment.
#[derive(Debug, Clone)]
struct Mark {
    at_ns: u64,
    sent: u64,
    counts: Counts,
    cpu: Vec<CpuTime>,
}

/// What the progress line needs, and when something last moved.
#[derive(Debug, Default)]
struct Progress {
    shown_ns: u64,
    shown_delivered: u64,
    moved_ns: u64,
    moved: Counts,
}

impl Load<'_> {
    fn measure(&mut self, interrupted: &AtomicBool) -> anyhow::Result<Outcome> {
        let mut events = Events::with_capacity(1024);
        let mut total = histogram();
        let warm_ns = (self.plan.warmup * 1e9) as u64;
        while self.now_ns() < warm_ns && !self.has_stalled() && !interrupted.load(Ordering::Relaxed)
        {
            self.publish(u64::MAX)?;
            self.step(&mut events)?;
            self.show_progress("warm-up", None);
        }
        self.tally.latency.reset();
        let start = self.mark()?;
        let mut stalled = false;
        while !interrupted.load(Ordering::Relaxed) && !stalled {
            match self.plan.length {
                Length::Seconds(seconds)
                    if self.now_ns() >= start.at_ns + (seconds * 1e9) as u64 =>
                {
                    break;
                }
                Length::Seconds(_) => self.publish(u64::MAX)?,
                Length::Messages(messages) => {
                    let left = (start.sent + messages).saturating_sub(self.tally.sent());
                    if left == 0 && self.tally.is_settled() {
                        break;
                    }
                    self.publish(left)?;
                }
            }
            self.step(&mut events)?;
            self.show_progress("measuring", Some(&mut total));
            stalled = self.has_stalled();
        }
        let end = self.mark()?;
        total
            .add(&self.tally.latency)
            .expect("the histograms have the same bounds");
        stalled |= self.drain(&mut events)?;
        Ok(self.outcome(&start, &end, total, stalled))
    }

    /// Waits for what is under way. Returns whether it was given up.
    fn drain(&mut self, events: &mut Events) -> anyhow::Result<bool> {
        self.progress.moved_ns = self.now_ns();
        while !self.tally.is_settled() {
            self.step(events)?;
            if self.has_stalled() {
                return Ok(true);
            }
        }
        let until = self.now_ns() + LINGER_NS;
        while self.now_ns() < until {
            self.step(events)?;
        }
        Ok(false)
    }

    fn outcome(&self, start: &Mark, end: &Mark, latency: Histogram<u64>, stalled: bool) -> Outcome {
        let cpu_ns = end
            .cpu
            .iter()
            .zip(&start.cpu)
            .map(|(end, start)| end.since(start))
            .collect();
        Outcome {
            seconds: (end.at_ns - start.at_ns) as f64 / 1e9,
            sent: end.sent - start.sent,
            counts: Counts {
                acknowledged: end.counts.acknowledged - start.counts.acknowledged,
                delivered: end.counts.delivered - start.counts.delivered,
                ..Counts::default()
            },
            latency,
            cpu_ns,
            lost: self.tally.lost(),
            wrong: self.tally.counts,
            window_cut: None,
            stalled,
            unacknowledged: self
                .tally
                .publishers
                .iter()
                .map(Publisher::unacknowledged)
                .sum(),
        }
    }

    fn mark(&self) -> anyhow::Result<Mark> {
        let cpu = self
            .processes
            .iter()
            .map(|process| CpuTime::read(process.pid))
            .collect::<Result<_, _>>()?;
        Ok(Mark {
            at_ns: self.now_ns(),
            sent: self.tally.sent(),
            counts: self.tally.counts,
            cpu,
        })
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Publishes what windows and rate allow, at most `messages`.
    fn publish(&mut self, messages: u64) -> anyhow::Result<()> {
        let Some(rate) = self.plan.rate else {
            return self.publish_all(messages);
        };
        let due = (self.now_ns() as f64 / 1e9 * rate) as u64;
        let mut messages = messages.min(due.saturating_sub(self.tally.sent()));
        let mut passed = 0;
        while messages > 0 && passed < self.tally.publishers.len() {
            let number = self.turn;
            self.turn = (self.turn + 1) % self.tally.publishers.len();
            let sent = self.publish_one(number, 1)?;
            messages -= sent;
            passed = if sent == 0 { passed + 1 } else { 0 };
        }
        Ok(())
    }

    fn publish_all(&mut self, mut messages: u64) -> anyhow::Result<()> {
        for number in 0..self.tally.publishers.len() {
            messages -= self.publish_one(number, messages)?;
        }
        Ok(())
    }

    /// Publishes at most `messages` of one publisher, in one write.
    #[inline]
    fn publish_one(&mut self, number: usize, messages: u64) -> anyhow::Result<u64> {
        let publisher = &mut self.tally.publishers[number];
        let messages = messages.min(publisher.room());
        let connection = &mut self.connections[self.plan.shape.subscribers() + number];
        if messages == 0 || connection.out().len() > UNSENT_MAX {
            return Ok(0);
        }
        let now_ns = self.origin.elapsed().as_nanos() as u64;
        for _ in 0..messages {
            publisher.send(now_ns, connection.out());
        }
        connection.flush()?;
        Ok(messages)
    }

    /// Waits for the sockets and takes what they have.
    fn step(&mut self, events: &mut Events) -> anyhow::Result<()> {
        // At a fixed rate the loop does not sleep: a timer would be coarser than what is measured.
        let sleep = if self.plan.rate.is_some() {
            Duration::ZERO
        } else {
            SLEEP
        };
        match self.poll.poll(events, Some(sleep)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("cannot poll the sockets")?,
        }
        for event in events.iter() {
            let Token(number) = event.token();
            let connection = &mut self.connections[number];
            if event.is_writable() {
                connection.unblock();
            }
            if event.is_readable() {
                let mut more = true;
                while more {
                    let mut now_ns = None;
                    more = connection.read(&mut self.scratch, |frame, out| {
                        let now = || self.origin.elapsed().as_nanos() as u64;
                        self.tally
                            .take(number, frame, *now_ns.get_or_insert_with(now), out)
                    })?;
                }
            }
            connection.flush()?;
        }
        Ok(())
    }

    /// Whether nothing has moved for long, though something is waited for.
    fn has_stalled(&mut self) -> bool {
        let now = self.now_ns();
        if self.tally.counts != self.progress.moved || self.tally.is_settled() {
            self.progress.moved = self.tally.counts;
            self.progress.moved_ns = now;
        }
        now - self.progress.moved_ns > STALL_NS
    }

    /// Once a second: tells how it goes, and puts the second's latencies to the others.
    fn show_progress(&mut self, phase: &str, total: Option<&mut Histogram<u64>>) {
        let now = self.now_ns();
        if now - self.progress.shown_ns < SECOND_NS {
            return;
        }
        let delivered = self.tally.counts.delivered - self.progress.shown_delivered;
        let rate = delivered as f64 * 1e9 / (now - self.progress.shown_ns) as f64;
        if !self.plan.quiet {
            let p50_us = self.tally.latency.value_at_quantile(0.5) as f64 / 1e3;
            let seconds = now / SECOND_NS;
            // Nobody may be there to read it, which must not end the measurement.
            let _ = writeln!(
                std::io::stderr(),
                "{seconds:4} s  {phase:<9}  {rate:>10.0} delivered/s  p50 {p50_us:>8.1} us"
            );
        }
        if let Some(total) = total {
            total
                .add(&self.tally.latency)
                .expect("the histograms have the same bounds");
        }
        self.tally.latency.reset();
        self.progress.shown_ns = now;
        self.progress.shown_delivered = self.tally.counts.delivered;
    }
}
