//! What the system says of the process, by the names that every process of every kind has.

use std::{fs, time::SystemTime};

use crate::{names, registry::Source, samples::Samples};

/// The process, of which `role` is what it does in a cluster.
#[derive(Debug)]
pub struct Process {
    role: &'static str,
    version: &'static str,
    started: f64,
}

impl Process {
    /// Of the process that runs, from now on.
    pub fn new(role: &'static str, version: &'static str) -> Process {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Process {
            role,
            version,
            started: started.map_or(0.0, |since| since.as_secs_f64()),
        }
    }
}

impl Source for Process {
    fn collect(&self, samples: &mut Samples) {
        samples.add(&names::BUILD_INFO, [self.version, self.role], 1_u64);
        samples.add(&names::PROCESS_START_TIME, [], self.started);
        if let Some(seconds) = cpu_seconds() {
            samples.add(&names::PROCESS_CPU, [], seconds);
        }
        if let Some(bytes) = resident_bytes() {
            samples.add(&names::PROCESS_RESIDENT, [], bytes);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            samples.add(&names::PROCESS_OPEN_FILES, [], files.count());
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit {
            samples.add(&names::PROCESS_FILES_MAX, [], limit);
        }
        if let Some(threads) = status_line("Threads:") {
            samples.add(&names::PROCESS_THREADS, [], threads);
        }
    }
}

/// Seconds on a processor, of all threads.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, and may have anything in it.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some((user + system) / ticks as f64)
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn status_line(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The name of this machine, which is that of the pod in Kubernetes.
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Value;

    // A field that is read at the wrong place would be a number all the same.
    #[test]
    fn the_numbers_are_those_of_this_process() {
        let spin = std::time::Instant::now();
        while spin.elapsed() < std::time::Duration::from_millis(60) {}
        let mut samples = Samples::default();
        Process::new("test", "1").collect(&mut samples);
        let value = |metric: &crate::samples::Metric| {
            let family = samples.families().find(|family| family.metric == metric);
            match family.and_then(|family| family.series.values().next()) {
                Some(Value::Number(number)) => *number,
                other => panic!("{}: {other:?}", metric.name),
            }
        };
        let cpu = value(&names::PROCESS_CPU);
        assert!((0.02..600.0).contains(&cpu), "{cpu}");
        let resident = value(&names::PROCESS_RESIDENT);
        assert!((500_000.0..4e9).contains(&resident), "{resident}");
        assert!(value(&names::PROCESS_OPEN_FILES) >= 3.0);
        assert!(value(&names::PROCESS_THREADS) >= 1.0);
        assert!(!hostname().is_empty());
    }
}
