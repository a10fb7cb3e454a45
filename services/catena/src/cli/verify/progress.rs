//! How far a run has come: a line on the terminal that is written over and over, or lines for a program.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write as _},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    history::{History, Kind},
    plan::Audience,
    report::Wait,
    run::{Phase, Run},
};

/// How often to show progress to people.
const FOR_PEOPLE: Duration = Duration::from_millis(500);
/// How often to tell programs, which may wait for what it says.
const FOR_PROGRAMS: Duration = Duration::from_millis(100);

/// Shows how far the run is, if anybody wants to know.
pub struct Progress {
    audience: Audience,
    next: Instant,
    began: Instant,
}

/// A line for a program.
#[derive(Debug, Serialize)]
struct Line {
    phase: Phase,
    /// Since the start of the run, as in the report.
    seconds: f64,
    sent: u64,
    acknowledged: u64,
    /// Sent and not answered.
    open: u64,
    delivered: u64,
    /// Connections that broke.
    broken: u64,
    /// The longest waits, by kind of client, that ended since the line before.
    gaps: BTreeMap<Kind, Wait>,
}

impl Progress {
    /// Progress of `run` from now on.
    pub fn new(run: &Run) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let audience = match run.plan.audience {
            Audience::People if !terminal => Audience::Nobody,
            audience => audience,
        };
        let now = Instant::now();
        Progress {
            audience,
            next: now,
            began: now,
        }
    }

    /// Shows it, unless it was shown just before.
    pub fn show(&mut self, run: &Run, phase: Phase) {
        if Instant::now() < self.next {
            return;
        }
        // Who watched and is gone sees nothing, which is no reason to stop.
        match self.audience {
            Audience::Nobody => {}
            Audience::People => {
                self.next = Instant::now() + FOR_PEOPLE;
                let line = self.for_people(&run.history());
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            }
            Audience::Program => {
                self.next = Instant::now() + FOR_PROGRAMS;
                let line = Line::new(&mut run.history(), phase, run.now());
                let line = serde_json::to_string(&line).expect("numbers and names are JSON");
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    /// Leaves the terminal as it was.
    pub fn end(&self) {
        if self.audience == Audience::People {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn for_people(&self, history: &History) -> String {
        let counts = Counts::of(history);
        let gap = history.gaps.get(&Kind::Publisher);
        format!(
            "{:>5.0} s  sent {}  open {}  delivered {}  broken {}  longest wait for an answer {} ms",
            self.began.elapsed().as_secs_f64(),
            counts.sent,
            counts.open,
            counts.delivered,
            counts.broken,
            gap.copied().unwrap_or_default().length.as_millis()
        )
    }
}

impl Line {
    fn new(history: &mut History, phase: Phase, now: Duration) -> Line {
        let counts = Counts::of(history);
        let gaps = std::mem::take(&mut history.recent_gaps);
        Line {
            phase,
            seconds: now.as_secs_f64(),
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            open: counts.open,
            delivered: counts.delivered,
            broken: counts.broken,
            gaps: gaps
                .iter()
                .map(|(kind, gap)| (*kind, Wait::of(gap)))
                .collect(),
        }
    }
}

struct Counts {
    sent: u64,
    acknowledged: u64,
    open: u64,
    delivered: u64,
    broken: u64,
}

impl Counts {
    fn of(history: &History) -> Counts {
        let sent = history.sent.iter();
        let subscriptions = history.subscriptions.iter();
        Counts {
            sent: sent.clone().map(|sent| sent.next).sum(),
            acknowledged: sent.clone().map(|sent| sent.acknowledged.len()).sum(),
            open: sent.map(|sent| sent.unanswered().len()).sum(),
            delivered: subscriptions
                .map(|subscription| subscription.deliveries)
                .sum(),
            broken: history.sessions.iter().map(|session| session.breaks).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::history::Gap, *};

    // Who measures one failover after the other must not see the longest gap of all in each line.
    #[test]
    fn a_line_tells_the_gaps_since_the_line_before() {
        let mut history = History::default();
        let gap = |ms| Gap {
            client: 1,
            length: Duration::from_millis(ms),
            at: Duration::from_secs(1),
        };
        history.waited(Kind::Publisher, gap(300));
        history.waited(Kind::Publisher, gap(200));
        let line = |history: &mut History| Line::new(history, Phase::Load, Duration::ZERO);
        let longest = |line: &Line| line.gaps[&Kind::Publisher].milliseconds;
        assert_eq!(longest(&line(&mut history)), 300.0);
        assert!(line(&mut history).gaps.is_empty());
        history.waited(Kind::Publisher, gap(100));
        assert_eq!(longest(&line(&mut history)), 100.0);
        assert_eq!(history.gaps[&Kind::Publisher], gap(300));
    }
}
