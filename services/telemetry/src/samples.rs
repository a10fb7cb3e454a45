//! What is measured at one moment.

use std::{borrow::Cow, collections::BTreeMap};

use crate::limits::{LABEL_CHARS_MAX, SERIES_MAX};

/// What a metric is, as its documentation says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Prometheus' name of it; also OpenTelemetry's.
    pub name: &'static str,
    pub kind: Kind,
    /// In the words of UCUM, as OpenTelemetry has it: `s`, `By`, `1`, or `{clients}`.
    pub unit: &'static str,
    /// A sentence without a full stop.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// How a metric's values are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often what was measured fell into which range.
    Histogram,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Histogram(Histogram),
}

/// How often what was measured fell into which range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Upper bounds, ascending; the last range has none.
    pub bounds: Vec<f64>,
    /// One more than bounds: each range for itself.
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number as f64)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(number as f64)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Number(if is { 1.0 } else { 0.0 })
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Value {
        Value::Histogram(histogram)
    }
}

/// Values of a metric's labels, in the order of [`Metric::labels`].
pub type Labels = Vec<Cow<'static, str>>;

/// All series of a metric.
#[derive(Debug)]
pub struct Family {
    pub metric: &'static Metric,
    pub series: BTreeMap<Labels, Value>,
}

/// What is measured at one moment, by metric. A series that is given twice is the sum of both: of two threads, say.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, Family>,
    dropped: u64,
}

impl Samples {
    /// Adds a series. `labels` are the values of the metric's labels, in their order.
    ///
    /// # Panics
    /// In debug builds, where there are more or fewer of them than the metric has.
    pub fn add<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [&str; N],
        value: impl Into<Value>,
    ) {
        debug_assert_eq!(
            labels.len(),
            metric.labels.len(),
            "labels of {}",
            metric.name
        );
        let family = self.families.entry(metric.name).or_insert_with(|| Family {
            metric,
            series: BTreeMap::new(),
        });
        let labels: Labels = labels
            .iter()
            .map(|label| Cow::Owned(shorten(label)))
            .collect();
        if family.series.len() >= SERIES_MAX && !family.series.contains_key(&labels) {
            self.dropped += 1;
            return;
        }
        let value = value.into();
        match family.series.get_mut(&labels) {
            Some(known) => known.add(value),
            None => {
                family.series.insert(labels, value);
            }
        }
    }

    /// The families, by name.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.values()
    }

    /// Series that were left out because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Value {
    fn add(&mut self, other: Value) {
        match (self, other) {
            (Value::Number(sum), Value::Number(other)) => *sum += other,
            (Value::Histogram(sum), Value::Histogram(other)) if sum.bounds == other.bounds => {
                sum.sum += other.sum;
                for (count, other) in sum.counts.iter_mut().zip(other.counts) {
                    *count += other;
                }
            }
            _ => debug_assert!(false, "two series that cannot be added"),
        }
    }
}

fn shorten(label: &str) -> String {
    label.chars().take(LABEL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static METRIC: Metric = Metric {
        name: "m",
        kind: Kind::Gauge,
        unit: "1",
        help: "A metric",
        labels: &["a"],
    };

    // What two workers counted would be what one of them counted.
    #[test]
    fn series_of_the_same_labels_are_one() {
        let mut samples = Samples::default();
        samples.add(&METRIC, ["x"], 1_u64);
        samples.add(&METRIC, ["x"], 2_u64);
        samples.add(&METRIC, ["y"], 5_u64);
        let family = samples.families().next().unwrap();
        let values: Vec<_> = family.series.values().cloned().collect();
        assert_eq!(values, [Value::Number(3.0), Value::Number(5.0)]);
    }

    // A label that clients choose would fill the memory of whoever stores metrics, and ours.
    #[test]
    fn there_are_only_so_many_series_and_labels_are_short() {
        let mut samples = Samples::default();
        for index in 0..SERIES_MAX + 7 {
            samples.add(&METRIC, [&index.to_string()], 1_u64);
        }
        samples.add(&METRIC, ["0"], 1_u64);
        assert_eq!(samples.dropped(), 7);
        assert_eq!(samples.families().next().unwrap().series.len(), SERIES_MAX);
        let mut samples = Samples::default();
        samples.add(&METRIC, [&*"é".repeat(LABEL_CHARS_MAX + 1)], 1_u64);
        let family = samples.families().next().unwrap();
        let label = family.series.keys().next().unwrap();
        assert_eq!(label[0].chars().count(), LABEL_CHARS_MAX);
    }
}
