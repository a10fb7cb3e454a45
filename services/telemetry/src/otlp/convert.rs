//! Samples as OTLP's messages, and who we are.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::Identity;
use crate::{
    names,
    samples::{Family, Kind, Labels, Samples, Value},
    traces,
};

/// All samples of one moment.
pub fn metrics(samples: &Samples, identity: &Identity) -> ExportMetricsServiceRequest {
    let at = (identity.started, traces::now());
    let metrics = samples
        .families()
        .map(|family| metric(family, identity, at));
    let scope_metrics = ScopeMetrics {
        scope: Some(scope(identity)),
        metrics: metrics.collect(),
        ..ScopeMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(identity)),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

pub fn resource(identity: &Identity) -> Resource {
    let said = [
        ("service.namespace", "catena"),
        ("service.name", identity.role),
        ("service.version", identity.version),
        ("service.instance.id", &*identity.instance),
        ("host.name", &*identity.instance),
    ];
    Resource {
        attributes: said.iter().map(|(key, value)| text(key, value)).collect(),
        ..Resource::default()
    }
}

pub fn scope(identity: &Identity) -> InstrumentationScope {
    InstrumentationScope {
        name: "catena".to_owned(),
        version: identity.version.to_owned(),
        ..InstrumentationScope::default()
    }
}

fn metric(family: &Family, identity: &Identity, (started, now): (u64, u64)) -> Metric {
    let metric = family.metric;
    let series = family.series.iter();
    let attributes = |labels: &Labels| {
        let mut attributes = Vec::with_capacity(labels.len() + 1);
        if names::has_hostname(metric) {
            attributes.push(text("hostname", &identity.instance));
        }
        let pairs = metric.labels.iter().zip(labels);
        attributes.extend(pairs.map(|(key, value)| text(key, value)));
        attributes
    };
    let numbers = || {
        let point = |(labels, value): (&Labels, &Value)| match value {
            Value::Number(number) => Some(NumberDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: started,
                time_unix_nano: now,
                value: Some(number_data_point::Value::AsDouble(*number)),
                ..NumberDataPoint::default()
            }),
            Value::Histogram(_) => None,
        };
        series.clone().filter_map(point).collect()
    };
    let histograms = || {
        let point = |(labels, value): (&Labels, &Value)| match value {
            Value::Histogram(histogram) => Some(HistogramDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: started,
                time_unix_nano: now,
                count: histogram.counts.iter().sum(),
                sum: Some(histogram.sum),
                bucket_counts: histogram.counts.clone(),
                explicit_bounds: histogram.bounds.clone(),
                ..HistogramDataPoint::default()
            }),
            Value::Number(_) => None,
        };
        series.clone().filter_map(point).collect()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: histograms(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: metric.name.to_owned(),
        description: metric.help.to_owned(),
        unit: metric.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
