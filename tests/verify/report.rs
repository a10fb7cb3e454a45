//! `catena verify` as a process, and the JSON that it prints.

use std::{collections::BTreeMap, env, process::Command};

use serde::Deserialize;

/// The parts of a report that tests look at.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub passed: bool,
    pub acknowledged: u64,
    pub wills_received: u64,
    pub connections: Connections,
    pub gaps: BTreeMap<String, Wait>,
    pub violations: BTreeMap<String, u64>,
    #[allow(dead_code, reason = "shown when a test fails")]
    pub findings: Vec<serde_json::Value>,
    #[allow(dead_code, reason = "shown when a test fails")]
    pub notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Connections {
    pub resumed: u64,
    pub broken: u64,
}

#[derive(Debug, Deserialize)]
pub struct Wait {
    pub milliseconds: f64,
}

/// Runs it against `brokers` with `arguments`, which have spaces between them. The exit code must agree
/// with what it prints.
///
/// # Panics
/// When it does not print a report. Call it when a broker runs: that has built the binary.
pub fn verify(brokers: &str, arguments: &str) -> Report {
    // The tests lie in a directory beside the binary, unless another is named.
    let beside = env::current_exe().expect("a test knows where it is");
    let beside = beside.ancestors().nth(2).expect("target/debug/deps");
    let binary = env::var_os("CATENA_BIN").map_or_else(|| beside.join("catena"), Into::into);
    let output = Command::new(binary)
        .args(["verify", "--json", "--quiet", "--broker", brokers])
        .args(arguments.split_whitespace())
        .output()
        .expect("there is a catena");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let report: Report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {said}{complaint}"));
    assert_eq!(output.status.success(), report.passed, "{said}");
    report
}
