//! What the broker's processes cost: processor time and memory, read from `/proc`.

use std::{collections::BTreeMap, fs, io};

use anyhow::{Context, bail};

/// Nanoseconds of a clock tick in `/proc/PID/stat`: the kernel shows 100 per second on every
/// architecture that Rust runs on.
const TICK_NS: u64 = 10_000_000;

/// A process that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command name.
    pub name: String,
}

/// The processes that `list` names: numbers or command names, with commas between them.
///
/// # Errors
///
/// When one is not running, or a name fits none.
pub fn find(list: &[String]) -> anyhow::Result<Vec<Process>> {
    let mut found = Vec::new();
    for word in list {
        if let Ok(pid) = word.parse::<u32>() {
            let name = command_name(pid).with_context(|| format!("--pids: no process {pid}"))?;
            found.push(Process { pid, name });
            continue;
        }
        let before = found.len();
        for entry in fs::read_dir("/proc").context("cannot list /proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process may end while we look.
            if pid != std::process::id() && command_name(pid).is_ok_and(|name| name == *word) {
                found.push(Process {
                    pid,
                    name: word.clone(),
                });
            }
        }
        if found.len() == before {
            bail!("--pids: no process is called {word:?} (see `ps -e -o pid,comm`)");
        }
    }
    Ok(found)
}

fn command_name(pid: u32) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?
        .trim_end()
        .to_owned())
}

/// The processor time of one process so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Nanoseconds by thread; empty where the kernel does not keep them.
    threads: BTreeMap<u32, u64>,
    /// Nanoseconds of all threads, also those that have ended, in steps of a tick.
    total_ns: u64,
}

impl CpuTime {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn read(pid: u32) -> anyhow::Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} has ended"))?;
        let total_ns = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat: {stat:?}"))?;
        Ok(CpuTime {
            threads: threads(pid).unwrap_or_default(),
            total_ns,
        })
    }

    /// Nanoseconds from `earlier` to `self`.
    ///
    /// The finer clock of the threads counts, unless one has ended and taken its time with it.
    pub fn since(&self, earlier: &CpuTime) -> u64 {
        let none_ended = earlier
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if self.threads.is_empty() || !none_ended {
            return self.total_ns.saturating_sub(earlier.total_ns);
        }
        let spent = |(thread, ns): (&u32, &u64)| {
            ns.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0))
        };
        self.threads.iter().map(spent).sum()
    }
}

/// Nanoseconds on a processor by thread, from `schedstat`, which not every kernel has.
fn threads(pid: u32) -> Option<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let path = format!("/proc/{pid}/task/{thread}/schedstat");
        let ns = fs::read_to_string(path)
            .ok()?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()?;
        threads.insert(thread, ns);
    }
    Some(threads)
}

/// User and system time of a line of `/proc/PID/stat`, in nanoseconds.
fn parse_stat(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses, which may hold anything, also spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

/// The memory of a process that is in RAM now, in bytes.
///
/// # Errors
///
/// When the process has ended.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    parse_resident(&status).with_context(|| format!("no VmRSS in /proc/{pid}/status"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_an_awkward_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 30 0 0 20 0 1 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(280 * TICK_NS));
        assert_eq!(parse_stat("rubbish"), None);
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        assert_eq!(
            parse_resident("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon: 1 kB"),
            Some(2 << 20)
        );
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    fn time(threads: &[(u32, u64)], total_ns: u64) -> CpuTime {
        CpuTime {
            threads: threads.iter().copied().collect(),
            total_ns,
        }
    }

    // A thread that ended would otherwise make the broker look cheaper than it is.
    #[test]
    fn threads_count_unless_one_has_ended() {
        let start = time(&[(1, 100), (2, 50)], 1_000);
        assert_eq!(time(&[(1, 150), (2, 60), (3, 7)], 9_000).since(&start), 67);
        assert_eq!(time(&[(1, 150)], 9_000).since(&start), 8_000);
        assert_eq!(time(&[], 9_000).since(&time(&[], 2_000)), 7_000);
    }

    #[test]
    fn our_own_process_is_found() {
        let pid = std::process::id();
        let found = find(&[pid.to_string()]).unwrap();
        assert_eq!(found[0].pid, pid);
        assert!(resident_bytes(pid).unwrap() > 0);
        CpuTime::read(pid).unwrap();
        assert!(find(&["no-such-process".to_owned()]).is_err());
    }
}
