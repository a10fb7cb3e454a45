//! Samples and spans as OTLP's messages.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
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

/// Some spans.
pub fn spans(spans: &[traces::Span], identity: &Identity) -> ExportTraceServiceRequest {
    let scope_spans = ScopeSpans {
        scope: Some(scope(identity)),
        spans: spans.iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(identity)),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
}

fn resource(identity: &Identity) -> Resource {
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

fn scope(identity: &Identity) -> InstrumentationScope {
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

fn span(span: &traces::Span) -> Span {
    let place = span.place;
    let kind = match span.kind {
        traces::Kind::Consumer => SpanKind::Consumer,
        traces::Kind::Internal => SpanKind::Internal,
        traces::Kind::Producer => SpanKind::Producer,
    };
    let attributes = span.attributes.iter().map(|(key, value)| match value {
        traces::Attribute::Text(value) => text(key, value),
        traces::Attribute::Word(value) => text(key, value),
        traces::Attribute::Number(number) => {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            pair(key, any_value::Value::IntValue(number))
        }
    });
    let parent = (place.parent != 0).then(|| place.parent.to_be_bytes().to_vec());
    Span {
        trace_id: place.trace.to_be_bytes().to_vec(),
        span_id: place.span.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end.max(span.start),
        attributes: attributes.collect(),
        status: span.error.map(|error| Status {
            message: error.to_owned(),
            code: StatusCode::Error.into(),
        }),
        // The context is sampled.
        flags: 1,
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
