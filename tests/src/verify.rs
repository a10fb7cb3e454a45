//! `catena verify` as a process, and what it prints: at once, or beside something that is broken meanwhile.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::{broker::binary, cluster::wait_for};

/// How long the load may stand still before it counts as dead.
const PROGRESS: Duration = Duration::from_secs(60);
/// A load goes on until it is told to end.
const DURATION_SECONDS: u32 = 100_000;

/// The parts of a report that tests look at.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "docs/verify.md explains them")]
pub struct Report {
    pub passed: bool,
    pub seed: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub wills_received: u64,
    pub connections: Connections,
    pub gaps: BTreeMap<String, Wait>,
    pub violations: BTreeMap<String, u64>,
    pub findings: Vec<serde_json::Value>,
    pub notes: Vec<String>,
}

/// How often clients came and went.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "docs/verify.md explains them")]
pub struct Connections {
    pub accepted: u64,
    pub resumed: u64,
    pub broken: u64,
}

/// A longest wait.
#[derive(Debug, Clone, Copy, Deserialize)]
#[allow(missing_docs, reason = "docs/verify.md explains them")]
pub struct Wait {
    pub milliseconds: f64,
}

/// How far a run is.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs, reason = "`--progress-json` explains them")]
pub struct Progress {
    pub phase: String,
    pub sent: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub broken: u64,
}

/// Runs it against `brokers` with `arguments`, which have spaces between them.
///
/// # Panics
/// When it does not print a report, or its exit code does not agree with it.
pub fn verify(brokers: &str, arguments: &str) -> Report {
    let output = Command::new(binary())
        .args(["verify", "--json", "--quiet", "--broker", brokers])
        .args(arguments.split_whitespace())
        .output()
        .expect("there is a catena");
    report(&output)
}

/// A run that goes on until it is told to end.
#[derive(Debug)]
pub struct Load {
    process: Option<Child>,
    progress: Arc<Mutex<Progress>>,
    complaints: Arc<Mutex<String>>,
    threads: Vec<JoinHandle<Vec<u8>>>,
}

impl Load {
    /// Starts it against `brokers` with `arguments`, which have spaces between them, and waits until messages flow.
    ///
    /// # Panics
    /// When they do not.
    pub fn start(brokers: &str, arguments: &str) -> Load {
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary())
            .args(["verify", "--json", "--progress-json", "--broker", brokers])
            .args(["--duration", &DURATION_SECONDS.to_string()])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a catena");
        let progress = Arc::new(Mutex::new(Progress::default()));
        let complaints = Arc::new(Mutex::new(String::new()));
        let mut stdout = process.stdout.take().expect("piped");
        let stderr = process.stderr.take().expect("piped");
        let (told, complained) = (Arc::clone(&progress), Arc::clone(&complaints));
        let threads = vec![
            thread::spawn(move || {
                let mut text = Vec::new();
                // What cannot be read is no report, which is found at the end.
                let _ = stdout.read_to_end(&mut text);
                text
            }),
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    match serde_json::from_str(&line) {
                        Ok(now) => *told.lock().expect("no panic holds it") = now,
                        Err(_) => *complained.lock().expect("no panic holds it") += &line,
                    }
                }
                Vec::new()
            }),
        ];
        let mut load = Load {
            process: Some(process),
            progress,
            complaints,
            threads,
        };
        load.wait_for_more(1);
        load
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.lock().expect("no panic holds it").clone()
    }

    /// Waits until `count` messages more are acknowledged and delivered.
    ///
    /// # Panics
    /// When they are not, for a minute.
    pub fn wait_for_more(&mut self, count: u64) {
        let from = self.progress();
        wait_for("messages to flow", PROGRESS, || {
            let now = self.progress();
            let flows = now.acknowledged >= from.acknowledged + count
                && now.delivered >= from.delivered + count;
            let process = self.process.as_mut().expect("it runs until the end");
            if let Ok(Some(status)) = process.try_wait() {
                let complaints = self.complaints.lock().expect("no panic holds it").clone();
                panic!("verify ended: {status}: {complaints}");
            }
            if flows {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        });
    }

    /// Ends the load, waits for what is missing, and tells what was seen.
    ///
    /// # Panics
    /// When it does not print a report, or its exit code does not agree with it.
    pub fn end(mut self) -> Report {
        let mut process = self.process.take().expect("it is ended once");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has a number"), Signal::INT).expect("it runs");
        let status = process.wait().expect("it is our child");
        let mut outputs = self.threads.drain(..);
        let mut next = || {
            let thread = outputs.next().expect("there are two");
            thread.join().expect("it does not panic")
        };
        let (stdout, _) = (next(), next());
        drop(outputs);
        let stderr = self.complaints.lock().expect("no panic holds it").clone();
        report(&Output {
            status,
            stdout,
            stderr: stderr.into_bytes(),
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn report(output: &Output) -> Report {
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let report: Report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {said}{complaint}"));
    assert_eq!(output.status.success(), report.passed, "{said}");
    report
}
