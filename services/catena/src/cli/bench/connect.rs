//! What coming and going costs: connections made and ended again, as fast as a few clients can.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    handshake::{Client, Target},
    process::{CpuTime, Process},
    report::{self, Cpu, Latency},
    tally::histogram,
};

/// The result.
#[derive(Debug, Serialize)]
pub struct Connect {
    pub scenario: &'static str,
    /// Clients that come and go at the same time.
    pub clients: usize,
    pub seconds: f64,
    /// From connect to the end of the connection after DISCONNECT.
    pub cycles: u64,
    pub cycles_per_second: f64,
    pub latency_us: Latency,
    pub cpu: Vec<Cpu>,
    pub cpu_us_per_cycle: Option<f64>,
}

/// Lets `clients` come and go for `length`, and measures.
///
/// # Errors
///
/// When a connection fails.
pub fn run(
    target: &Target,
    run: u32,
    clients: usize,
    length: Duration,
    processes: &[Process],
    interrupted: &AtomicBool,
) -> anyhow::Result<Connect> {
    let cpu = || -> anyhow::Result<Vec<CpuTime>> {
        processes
            .iter()
            .map(|process| CpuTime::read(process.pid))
            .collect()
    };
    let total = Mutex::new(histogram());
    let cpu_start = cpu()?;
    let started = Instant::now();
    let over = || started.elapsed() >= length || interrupted.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|number| {
                let (total, over) = (&total, &over);
                scope.spawn(move || -> anyhow::Result<()> {
                    let latency = come_and_go(target, &format!("bench-{run:08x}-{number}"), over)?;
                    total
                        .lock()
                        .expect("nobody panics with the lock")
                        .add(latency)?;
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a visit does not panic"))
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let spent: Vec<_> = cpu()?
        .iter()
        .zip(&cpu_start)
        .map(|(end, start)| end.since(start))
        .collect();
    let latency = total.into_inner().expect("nobody panics with the lock");
    let cpu = Cpu::of(processes, &spent, latency.len());
    Ok(Connect {
        scenario: "connect",
        clients,
        seconds,
        cycles: latency.len(),
        cycles_per_second: latency.len() as f64 / seconds,
        latency_us: Latency::of(&latency),
        cpu_us_per_cycle: Cpu::sum_each(&cpu),
        cpu,
    })
}

fn come_and_go(
    target: &Target,
    prefix: &str,
    over: impl Fn() -> bool,
) -> anyhow::Result<Histogram<u64>> {
    let mut latency = histogram();
    for visit in 0_u64.. {
        if over() {
            break;
        }
        let began = Instant::now();
        target.visit(&Client {
            id: format!("{prefix}-{visit}"),
            subscription: None,
        })?;
        latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

impl Connect {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Connect {
            clients,
            seconds,
            cycles,
            cycles_per_second,
            ..
        } = self;
        writeln!(out, "connect, {clients} clients, {seconds:.1} s")?;
        writeln!(
            out,
            "  cycles        {cycles:>12}  {cycles_per_second:>10.0}/s"
        )?;
        let Latency { p50, p99, max, .. } = self.latency_us;
        writeln!(
            out,
            "  latency       p50 {p50:.0} us, p99 {p99:.0} us, max {max:.0} us"
        )?;
        report::write_cpu(&self.cpu, "connect and disconnect", out)
    }
}
