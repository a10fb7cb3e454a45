//! What a connection costs that does nothing: memory.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    handshake::{Client, Target},
    process::{self, CpuTime, Process},
    report::Cpu,
};

/// The result.
#[derive(Debug, Serialize)]
pub struct Idle {
    pub scenario: &'static str,
    pub connections: usize,
    /// How long it took to open them all.
    pub opened_in_seconds: f64,
    pub memory: Vec<Memory>,
    /// Processor time while nothing happened; `us_each` is for each connection.
    pub cpu: Vec<Cpu>,
    pub held_seconds: f64,
}

/// Resident memory of one process.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub pid: u32,
    pub name: String,
    /// Before the first connection.
    pub before_bytes: u64,
    /// At the end of the hold.
    pub with_bytes: u64,
    /// What one connection, or session, has added.
    pub each_bytes: f64,
}

/// Opens `connections`, holds them for `hold`, and measures.
///
/// # Errors
///
/// When a connection cannot be opened.
pub fn run(
    target: &Target,
    run: u32,
    connections: usize,
    hold: Duration,
    processes: &[Process],
    interrupted: &AtomicBool,
) -> anyhow::Result<Idle> {
    let clients: Vec<_> = (0..connections)
        .map(|number| Client {
            id: format!("bench-{run:08x}-idle-{number}"),
            subscription: None,
        })
        .collect();
    let resident = || -> anyhow::Result<Vec<u64>> {
        processes
            .iter()
            .map(|process| process::resident_bytes(process.pid))
            .collect()
    };
    let cpu = || -> anyhow::Result<Vec<CpuTime>> {
        processes
            .iter()
            .map(|process| CpuTime::read(process.pid))
            .collect()
    };

    let before = resident()?;
    let started = Instant::now();
    let opened = target.hold_all(&clients)?;
    let opened_in_seconds = started.elapsed().as_secs_f64();

    let cpu_start = cpu()?;
    let held = Instant::now();
    while held.elapsed() < hold && !interrupted.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50).min(hold));
    }
    let held_seconds = held.elapsed().as_secs_f64();
    let spent: Vec<_> = cpu()?
        .iter()
        .zip(&cpu_start)
        .map(|(end, start)| end.since(start))
        .collect();
    let with = resident()?;

    let goodbye = target.goodbye();
    for mut connection in opened {
        // The measurement is over: whether the goodbye arrives changes nothing.
        let _ = connection.write_all(&goodbye);
        let _ = connection.flush();
    }
    target.forget(&clients)?;
    let memory = processes.iter().zip(before.iter().zip(&with));
    Ok(Idle {
        scenario: "idle",
        connections,
        opened_in_seconds,
        memory: memory
            .map(|(process, (before, with))| Memory::of(process, *before, *with, connections))
            .collect(),
        cpu: Cpu::of(processes, &spent, connections as u64),
        held_seconds,
    })
}

impl Memory {
    /// `count` things took what came between `before_bytes` and `with_bytes`.
    pub fn of(process: &Process, before_bytes: u64, with_bytes: u64, count: usize) -> Memory {
        let added = with_bytes.saturating_sub(before_bytes);
        Memory {
            pid: process.pid,
            name: process.name.clone(),
            before_bytes,
            with_bytes,
            each_bytes: added as f64 / count.max(1) as f64,
        }
    }

    /// The line on it; `each` is what was counted.
    pub fn write(&self, each: &str, out: &mut String) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            out,
            "  memory        {:.1} MiB, {:.1} MiB before; {:.0} bytes per {each}: {} ({})",
            mib(self.with_bytes),
            mib(self.before_bytes),
            self.each_bytes,
            self.name,
            self.pid
        )
    }
}

impl Idle {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Idle {
            connections,
            opened_in_seconds,
            held_seconds,
            ..
        } = self;
        writeln!(
            out,
            "idle, {connections} connections, opened in {opened_in_seconds:.1} s, held for {held_seconds:.1} s"
        )?;
        for memory in &self.memory {
            memory.write("connection", out)?;
        }
        for cpu in &self.cpu {
            let percent = cpu.seconds * 100.0 / held_seconds.max(f64::EPSILON);
            writeln!(
                out,
                "  cpu           {percent:.2} % while held: {} ({})",
                cpu.name, cpu.pid
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_counts() {
        let process = Process {
            pid: 1,
            name: "broker".to_owned(),
        };
        assert_eq!(Memory::of(&process, 1_000, 11_000, 10).each_bytes, 1_000.0);
        assert_eq!(Memory::of(&process, 2_000, 1_000, 10).each_bytes, 0.0);
    }
}
