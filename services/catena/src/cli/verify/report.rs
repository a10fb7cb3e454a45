//! What a run has shown, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    check::{self, Fault, Finding},
    history::{Gap, History, Kind},
    plan::Plan,
};

/// How many findings of one sort are printed for people; programs get all.
const LISTED_MAX: usize = 10;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub passed: bool,
    pub seed: u64,
    /// What names the clients and topics of this run in the broker's logs.
    pub run: String,
    pub brokers: Vec<String>,
    pub seconds: f64,
    pub sent: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub wills_received: u64,
    pub connections: Connections,
    /// The longest wait by kind of client.
    pub gaps: BTreeMap<Kind, Wait>,
    /// All that a broker must not do, by sort: messages, sessions, wills.
    pub violations: BTreeMap<Fault, u64>,
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
}

/// How often clients came and went.
#[derive(Debug, Default, Serialize)]
pub struct Connections {
    pub accepted: u64,
    pub resumed: u64,
    pub moved: u64,
    pub broken: u64,
    pub failed: u64,
}

/// The longest wait of a kind of client.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Wait {
    pub client: usize,
    pub milliseconds: f64,
    /// When it ended, since the start.
    pub at_seconds: f64,
}

impl Report {
    /// The report of `history`, after a load of `length`, with notes of what is not in it.
    pub fn new(plan: &Plan, history: &History, length: Duration, mut notes: Vec<String>) -> Report {
        let findings = check::check(history);
        let mut violations = BTreeMap::new();
        for finding in &findings {
            *violations.entry(finding.fault).or_default() += finding.count;
        }
        notes.extend(check::notes(history));
        let mut connections = Connections::default();
        for session in &history.sessions {
            connections.accepted += session.connections;
            connections.resumed += session.resumed;
            connections.moved += session.moves;
            connections.broken += session.breaks;
            connections.failed += session.failures;
        }
        let sent = history.sent.iter();
        Report {
            passed: findings.is_empty(),
            seed: plan.seed,
            run: format!("{:08x}", plan.run),
            brokers: plan.endpoints.iter().map(ToString::to_string).collect(),
            seconds: length.as_secs_f64(),
            sent: sent.clone().map(|sent| sent.next).sum(),
            acknowledged: sent.map(|sent| sent.acknowledged.len()).sum(),
            delivered: history
                .subscriptions
                .iter()
                .map(|subscription| subscription.deliveries)
                .sum(),
            wills_received: history.wills.iter().map(|wills| wills.received()).sum(),
            connections,
            gaps: history
                .gaps
                .iter()
                .map(|(kind, gap)| (*kind, Wait::of(gap)))
                .collect(),
            violations,
            findings,
            notes,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let brokers = self.brokers.join(", ");
        let Report { run, seed, .. } = self;
        writeln!(
            out,
            "verify {brokers}, {:.1} s, run {run}, --seed {seed}",
            self.seconds
        )?;
        writeln!(out, "  sent          {:>10}", self.sent)?;
        writeln!(out, "  acknowledged  {:>10}", self.acknowledged)?;
        writeln!(out, "  delivered     {:>10}", self.delivered)?;
        let Connections {
            accepted,
            resumed,
            moved,
            broken,
            failed,
        } = self.connections;
        writeln!(
            out,
            "  connections   {accepted:>10}  {resumed} resumed a session; \
             {moved} moves, {broken} broken, {failed} failed to connect"
        )?;
        writeln!(out, "  wills         {:>10}", self.wills_received)?;
        for (kind, wait) in &self.gaps {
            writeln!(
                out,
                "  longest gap   {:>7.0} ms  {kind} {}, until {:.1} s",
                wait.milliseconds, wait.client, wait.at_seconds
            )?;
        }
        let mut listed = 0;
        let mut last = None;
        for finding in &self.findings {
            listed = if last == Some(finding.fault) {
                listed + 1
            } else {
                0
            };
            last = Some(finding.fault);
            match listed {
                0..LISTED_MAX => write_finding(finding, out)?,
                LISTED_MAX => writeln!(out, "  ... and more of these (--json lists all)")?,
                _ => {}
            }
        }
        for note in &self.notes {
            writeln!(out, "  note: {note}")?;
        }
        if self.passed {
            return writeln!(out, "  passed: nothing was wrong");
        }
        let sums = self.violations.iter();
        let sums: Vec<_> = sums
            .map(|(fault, count)| format!("{} {count}", name(*fault)))
            .collect();
        writeln!(out, "  FAILED: {}", sums.join(", "))
    }
}

impl Wait {
    pub fn of(gap: &Gap) -> Wait {
        Wait {
            client: gap.client,
            milliseconds: gap.length.as_secs_f64() * 1e3,
            at_seconds: gap.at.as_secs_f64(),
        }
    }
}

fn write_finding(finding: &Finding, out: &mut String) -> std::fmt::Result {
    let Finding {
        fault,
        client,
        detail,
        count,
        numbers,
    } = finding;
    write!(out, "  {} {count}: ", name(*fault).to_uppercase())?;
    if !client.is_empty() {
        write!(out, "{client}, ")?;
    }
    write!(out, "{detail}")?;
    if !numbers.is_empty() {
        write!(out, ", numbers {}", numbers.join(" "))?;
    }
    writeln!(out)
}

/// A fault in words.
fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Lost => "lost",
        Fault::Doubled => "doubled",
        Fault::Reordered => "reordered",
        Fault::Foreign => "foreign",
        Fault::SessionLost => "session lost",
        Fault::SessionStale => "session stale",
        Fault::Retained => "retained wrong",
        Fault::WillMissing => "will missing",
        Fault::WillWrong => "will wrong",
        Fault::Unanswered => "unanswered",
        Fault::Odd => "odd",
    }
}
