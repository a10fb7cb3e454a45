//! What a session costs whose client is away: memory in the processes that keep it.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use serde::Serialize;

use super::{
    handshake::{Client, THREADS, Target},
    idle::Memory,
    process::{self, Process},
};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub sessions: usize,
    /// Topics that each of them subscribes to, all different.
    pub filters: usize,
    /// How long to look before memory is read: what was freed has been given back.
    pub hold: Duration,
    /// Whether to leave them to the broker.
    pub keep: bool,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Sessions {
    pub scenario: &'static str,
    pub sessions: usize,
    pub filters: usize,
    pub made_in_seconds: f64,
    pub memory: Vec<Memory>,
}

/// Makes the sessions, lets their clients go, and measures.
///
/// # Errors
///
/// When a client is refused, or the run is interrupted.
pub fn run(
    target: &Target,
    run: u32,
    wanted: Wanted,
    processes: &[Process],
    interrupted: &AtomicBool,
) -> anyhow::Result<Sessions> {
    let target = Target {
        persistent: true,
        ..target.clone()
    };
    let resident = || -> anyhow::Result<Vec<u64>> {
        processes
            .iter()
            .map(|process| process::resident_bytes(process.pid))
            .collect()
    };
    let before = resident()?;
    let started = Instant::now();
    each(wanted.sessions, interrupted, |number| {
        target.leave_behind(&client(run, number), &filters(run, number, wanted.filters))
    })?;
    let made_in_seconds = started.elapsed().as_secs_f64();
    thread::sleep(wanted.hold);
    let with = resident()?;
    if !wanted.keep {
        each(wanted.sessions, interrupted, |number| {
            target.forget_one(&client(run, number))
        })?;
    }
    let memory = processes.iter().zip(before.iter().zip(&with));
    Ok(Sessions {
        scenario: "sessions",
        sessions: wanted.sessions,
        filters: wanted.filters,
        made_in_seconds,
        memory: memory
            .map(|(process, (before, with))| Memory::of(process, *before, *with, wanted.sessions))
            .collect(),
    })
}

fn client(run: u32, number: usize) -> Client {
    Client {
        id: format!("bench-{run:08x}-session-{number}"),
        subscription: None,
    }
}

fn filters(run: u32, number: usize, count: usize) -> Vec<String> {
    (0..count)
        .map(|filter| format!("bench/{run:08x}/{number}/{filter}"))
        .collect()
}

/// Does something with each of `count` clients, some at a time.
fn each(
    count: usize,
    interrupted: &AtomicBool,
    visit: impl Fn(usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let next = AtomicU64::new(0);
    let take = || next.fetch_add(1, Ordering::Relaxed) as usize;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = take();
                        if number >= count {
                            return Ok(());
                        }
                        if interrupted.load(Ordering::Relaxed) {
                            bail!("interrupted");
                        }
                        visit(number)?;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("a visit does not panic")?;
        }
        Ok(())
    })
}

impl Sessions {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} sessions without clients, {} subscriptions each, made in {:.1} s",
            self.sessions, self.filters, self.made_in_seconds
        )?;
        self.memory
            .iter()
            .try_for_each(|memory| memory.write("session", out))
    }
}
