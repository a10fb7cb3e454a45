//! What a run has shown, for people and for programs.

use std::fmt::Write as _;

use catena_mqtt::QoS;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    load::{Outcome, STALL_SECONDS},
    plan::Plan,
    process::Process,
};

/// The result of a load.
#[derive(Debug, Serialize)]
pub struct Load {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// Quality of service.
    pub qos: u8,
    /// Bytes of a payload.
    pub size: usize,
    /// Messages of one publisher that may be under way.
    pub window: usize,
    /// The length of the measurement.
    pub seconds: f64,
    /// Messages in it, and per second.
    pub sent: u64,
    pub sent_per_second: f64,
    pub acknowledged: u64,
    pub acknowledged_per_second: f64,
    pub delivered: u64,
    pub delivered_per_second: f64,
    /// End to end.
    pub latency_us: Latency,
    /// Of the broker's processes.
    pub cpu: Vec<Cpu>,
    /// Of all of them together.
    pub cpu_us_per_delivered: Option<f64>,
    /// Over the whole run.
    pub checks: Checks,
    /// Things to know.
    pub notes: Vec<String>,
}

/// Quantiles in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Processor time of one process.
#[derive(Debug, Serialize)]
pub struct Cpu {
    pub pid: u32,
    pub name: String,
    pub seconds: f64,
    /// Microseconds for each message delivered, or each connection made.
    pub us_each: f64,
}

/// What must hold whatever the load.
#[derive(Debug, Serialize)]
pub struct Checks {
    pub passed: bool,
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    pub refused: u64,
    pub foreign: u64,
    pub stalled: bool,
}

impl Latency {
    /// The quantiles of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

impl Cpu {
    /// The cost of `count` things, by process.
    pub fn of(processes: &[Process], cpu_ns: &[u64], count: u64) -> Vec<Cpu> {
        let cpu = |(process, &ns): (&Process, &u64)| Cpu {
            pid: process.pid,
            name: process.name.clone(),
            seconds: ns as f64 / 1e9,
            us_each: ns as f64 / 1e3 / count.max(1) as f64,
        };
        processes.iter().zip(cpu_ns).map(cpu).collect()
    }

    /// All processes together.
    pub fn sum_each(cpu: &[Cpu]) -> Option<f64> {
        (!cpu.is_empty()).then(|| cpu.iter().map(|cpu| cpu.us_each).sum())
    }
}

impl Checks {
    fn of(qos: QoS, outcome: &Outcome) -> Checks {
        let wrong = outcome.wrong;
        // At QoS 1 a message may come more than once; that is worth a note and no more.
        let duplicates_wrong = if qos == QoS::AtLeastOnce {
            0
        } else {
            wrong.duplicates
        };
        let errors =
            outcome.lost + duplicates_wrong + wrong.out_of_order + wrong.refused + wrong.foreign;
        Checks {
            passed: errors == 0 && !outcome.stalled,
            lost: outcome.lost,
            duplicates: wrong.duplicates,
            out_of_order: wrong.out_of_order,
            refused: wrong.refused,
            foreign: wrong.foreign,
            stalled: outcome.stalled,
        }
    }
}

impl Load {
    /// The report of `outcome`.
    pub fn new(
        scenario: &'static str,
        plan: &Plan,
        processes: &[Process],
        outcome: &Outcome,
    ) -> Load {
        let per_second = |count: u64| count as f64 / outcome.seconds.max(f64::EPSILON);
        let cpu = Cpu::of(processes, &outcome.cpu_ns, outcome.counts.delivered);
        Load {
            scenario,
            qos: plan.qos as u8,
            size: plan.size,
            window: plan.window,
            seconds: outcome.seconds,
            sent: outcome.sent,
            sent_per_second: per_second(outcome.sent),
            acknowledged: outcome.counts.acknowledged,
            acknowledged_per_second: per_second(outcome.counts.acknowledged),
            delivered: outcome.counts.delivered,
            delivered_per_second: per_second(outcome.counts.delivered),
            latency_us: Latency::of(&outcome.latency),
            cpu_us_per_delivered: Cpu::sum_each(&cpu),
            cpu,
            checks: Checks::of(plan.qos, outcome),
            notes: notes(plan, outcome),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Load {
            scenario,
            qos,
            size,
            window,
            seconds,
            ..
        } = self;
        writeln!(
            out,
            "{scenario}, QoS {qos}, {size} bytes, window {window}, {seconds:.1} s"
        )?;
        writeln!(
            out,
            "  sent          {:>12}  {:>10.0}/s",
            self.sent, self.sent_per_second
        )?;
        if self.qos > 0 {
            let rate = self.acknowledged_per_second;
            writeln!(
                out,
                "  acknowledged  {:>12}  {rate:>10.0}/s",
                self.acknowledged
            )?;
        }
        writeln!(
            out,
            "  delivered     {:>12}  {:>10.0}/s",
            self.delivered, self.delivered_per_second
        )?;
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency_us;
        writeln!(
            out,
            "  latency       p50 {p50:.0} us, p90 {p90:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us, max {max:.0} us"
        )?;
        write_cpu(&self.cpu, "delivered message", out)?;
        let checks = &self.checks;
        let verdict = if checks.passed { "passed" } else { "FAILED" };
        writeln!(
            out,
            "  checks {verdict}: lost {}, duplicates {}, out of order {}, refused {}, foreign {}",
            checks.lost, checks.duplicates, checks.out_of_order, checks.refused, checks.foreign
        )?;
        self.notes
            .iter()
            .try_for_each(|note| writeln!(out, "  note: {note}"))
    }
}

/// The lines on processor time.
pub fn write_cpu(cpu: &[Cpu], each: &str, out: &mut String) -> std::fmt::Result {
    for Cpu {
        pid,
        name,
        seconds,
        us_each,
    } in cpu
    {
        writeln!(
            out,
            "  cpu           {us_each:.3} us per {each}: {name} ({pid}), {seconds:.2} s"
        )?;
    }
    if let (Some(sum), 2..) = (Cpu::sum_each(cpu), cpu.len()) {
        writeln!(out, "  cpu           {sum:.3} us per {each}: all of them")?;
    }
    Ok(())
}

fn notes(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(maximum) = outcome.window_cut {
        notes.push(format!(
            "the broker takes {maximum} unacknowledged messages (its Receive Maximum), fewer than the window"
        ));
    }
    if plan.qos == QoS::AtLeastOnce && outcome.wrong.duplicates > 0 {
        notes.push(format!(
            "{} duplicates, which QoS 1 allows",
            outcome.wrong.duplicates
        ));
    }
    if outcome.stalled {
        notes.push(format!(
            "nothing came in for {STALL_SECONDS} s; what was missing then counts as lost; {} messages were not acknowledged",
            outcome.unacknowledged
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::tally::{Counts, histogram};

    fn outcome(wrong: Counts, lost: u64) -> Outcome {
        Outcome {
            seconds: 2.0,
            sent: 10,
            counts: Counts::default(),
            latency: histogram(),
            cpu_ns: Vec::new(),
            lost,
            wrong,
            window_cut: None,
            stalled: false,
            unacknowledged: 0,
        }
    }

    #[test]
    fn quantiles_are_in_microseconds() {
        let mut histogram = histogram();
        for us in 1..=1_000 {
            histogram.record(us * 1_000).unwrap();
        }
        let latency = Latency::of(&histogram);
        for (value, expected) in [
            (latency.p50, 500.0),
            (latency.p90, 900.0),
            (latency.p99, 990.0),
            (latency.p999, 999.0),
            (latency.max, 1_000.0),
        ] {
            assert!(
                (value - expected).abs() < expected * 0.002,
                "{value} is not {expected}"
            );
        }
    }

    #[test]
    fn duplicates_are_wrong_but_at_qos_1() {
        let duplicates = Counts {
            duplicates: 1,
            ..Counts::default()
        };
        assert!(!Checks::of(QoS::AtMostOnce, &outcome(duplicates, 0)).passed);
        assert!(Checks::of(QoS::AtLeastOnce, &outcome(duplicates, 0)).passed);
        assert!(!Checks::of(QoS::ExactlyOnce, &outcome(duplicates, 0)).passed);
        assert!(!Checks::of(QoS::AtLeastOnce, &outcome(Counts::default(), 1)).passed);
        assert!(Checks::of(QoS::ExactlyOnce, &outcome(Counts::default(), 0)).passed);
    }

    #[test]
    fn cost_is_shared_by_what_was_delivered() {
        let processes = [1, 2].map(|pid| Process {
            pid,
            name: "broker".to_owned(),
        });
        let cpu = Cpu::of(&processes, &[4_000_000, 2_000_000], 1_000);
        assert_eq!(cpu[0].us_each, 4.0);
        assert_eq!(Cpu::sum_each(&cpu), Some(6.0));
        assert_eq!(Cpu::sum_each(&[]), None);
    }
}
