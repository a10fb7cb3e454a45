//! Samples in the words of Prometheus: its text format, version 0.0.4.

use std::fmt::Write;

use crate::samples::{Family, Kind, Labels, Samples, Value};

/// What says that a body is of this format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All samples. `hostname` is a label of each that is named as Azure names it: its dashboards group by it.
pub fn text(samples: &Samples, hostname: &str) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in samples.families() {
        // A String takes whatever is written.
        let _ = write_family(&mut out, family, hostname);
    }
    out
}

fn write_family(out: &mut String, family: &Family, hostname: &str) -> std::fmt::Result {
    let metric = family.metric;
    let name = metric.name;
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# HELP {name} {}", escape_help(metric.help))?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for (labels, value) in &family.series {
        let mut pairs = pairs(metric.labels, labels);
        if crate::names::has_hostname(metric) {
            pairs.insert(0, format!("hostname=\"{}\"", escape(hostname)));
        }
        match value {
            Value::Number(number) => {
                writeln!(out, "{name}{} {}", braced(&pairs), Shown(*number))?;
            }
            Value::Histogram(histogram) => {
                let mut sum = 0;
                let bounds = histogram
                    .bounds
                    .iter()
                    .map(|bound| Shown(*bound).to_string());
                for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&histogram.counts) {
                    sum += count;
                    let mut pairs = pairs.clone();
                    pairs.push(format!("le=\"{bound}\""));
                    writeln!(out, "{name}_bucket{} {sum}", braced(&pairs))?;
                }
                writeln!(out, "{name}_sum{} {}", braced(&pairs), Shown(histogram.sum))?;
                writeln!(out, "{name}_count{} {sum}", braced(&pairs))?;
            }
        }
    }
    Ok(())
}

fn pairs(names: &[&str], labels: &Labels) -> Vec<String> {
    let pairs = names.iter().zip(labels);
    pairs
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect()
}

fn braced(pairs: &[String]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    format!("{{{}}}", pairs.join(","))
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

fn escape_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

/// A number as Prometheus reads it.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            infinite if infinite == f64::INFINITY => f.write_str("+Inf"),
            infinite if infinite == f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Histogram, Metric};

    static NAMED: Metric = Metric {
        name: "aio_broker_qos0_messages_dropped",
        kind: Kind::Counter,
        unit: "1",
        help: "With a \\ and\na line",
        labels: &["category"],
    };
    static TIMES: Metric = Metric {
        name: "catena_times_seconds",
        kind: Kind::Histogram,
        unit: "s",
        help: "Times",
        labels: &[],
    };

    // A client id with a quote in it would end the scrape of everything.
    #[test]
    fn what_is_special_is_escaped() {
        let mut samples = Samples::default();
        samples.add(&NAMED, ["a\"b\\c\nd"], 1.5);
        let text = text(&samples, "h");
        assert_eq!(
            text,
            "# HELP aio_broker_qos0_messages_dropped With a \\\\ and\\na line\n\
             # TYPE aio_broker_qos0_messages_dropped counter\n\
             aio_broker_qos0_messages_dropped{hostname=\"h\",category=\"a\\\"b\\\\c\\nd\"} 1.5\n"
        );
    }

    // Quantiles are computed from what is below each bound.
    #[test]
    fn buckets_add_up() {
        let mut samples = Samples::default();
        let histogram = Histogram {
            bounds: vec![0.1, 1.0],
            counts: vec![1, 2, 3],
            sum: 9.25,
        };
        samples.add(&TIMES, [], histogram);
        let text = text(&samples, "h");
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "catena_times_seconds_bucket{le=\"0.1\"} 1",
                "catena_times_seconds_bucket{le=\"1\"} 3",
                "catena_times_seconds_bucket{le=\"+Inf\"} 6",
                "catena_times_seconds_sum 9.25",
                "catena_times_seconds_count 6",
            ]
        );
    }
}
