//! Logs, metrics, traces and the probe.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{go_duration::GoDuration, ratio::Ratio, spelled::spelled, switch::Switch};

const PROMETHEUS_PORT_DEFAULT: u16 = 9_600;
const OTLP_INTERVAL_DEFAULT: GoDuration = GoDuration(std::time::Duration::from_secs(30));
const SAMPLE_RATIO_DEFAULT: Ratio = Ratio::from_millionths(10_000);

/// Logs, metrics, traces and the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Diagnostics {
    /// What is logged.
    pub logs: Logs,
    /// Where metrics are to be had.
    pub metrics: Metrics,
    /// The probe: a client that watches the broker from within.
    pub self_check: SelfCheck,
    /// Traces of messages.
    pub traces: Traces,
    /// + Where metrics, traces and logs are sent to, by OTLP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opentelemetry: Option<OpenTelemetry>,
    /// + Whether the customary counters are published under `$SYS/`.
    pub sys_topics: Switch,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logs {
    /// trace, debug, info, warn, error or off; or a filter such as `info,gateway=debug`. Changes at once.
    pub level: String,
}

/// Where metrics are to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metrics {
    /// The port at which Prometheus asks for them; 0 turns it off.
    #[schemars(range(min = 0, max = 65535))]
    pub prometheus_port: u16,
    /// An OpenTelemetry collector that they are sent to: `http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opentelemetry_collector_address: Option<String>,
}

/// Where metrics, traces and logs are sent to, by OTLP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenTelemetry {
    /// The collector: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub endpoint: String,
    /// What the collector speaks.
    #[serde(default)]
    pub protocol: OtlpProtocol,
    /// Sent with each request. They are kept with the manifest: no place for passwords.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A secret with more headers: its keys are their names. They count before those of the same name in `headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<String>,
    /// How often metrics are sent.
    #[serde(default = "otlp_interval")]
    pub interval: GoDuration,
}

/// The probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SelfCheck {
    /// Whether there is one.
    pub mode: Switch,
    /// How often it looks, in seconds.
    #[schemars(range(min = 30, max = 300))]
    pub interval_seconds: u16,
    /// How long it waits for a message to come back, in seconds.
    #[schemars(range(min = 5, max = 120))]
    pub timeout_seconds: u16,
}

/// Traces of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Traces {
    /// Whether there are any.
    pub mode: Switch,
    /// Memory for traces that wait to be sent, in MB.
    #[schemars(range(min = 1, max = 128))]
    pub cache_size_megabytes: u16,
    /// Spans that wait to be taken into traces.
    #[schemars(range(min = 1000, max = 100000))]
    pub span_channel_capacity: u32,
    /// Traces of the probe's messages.
    pub self_tracing: SelfTracing,
    /// + The part of messages that is traced where the publisher brings no trace context.
    pub sample_ratio: Ratio,
}

/// Traces of the probe's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SelfTracing {
    /// Whether they are traced.
    pub mode: Switch,
    /// How often one is traced, in seconds.
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: u16,
}

spelled! {
    /// What an OpenTelemetry collector speaks.
    #[derive(Default)]
    pub enum OtlpProtocol {
        /// OTLP over gRPC.
        #[default]
        Grpc,
        /// OTLP over HTTP, in protobuf.
        Http,
    }
}

fn otlp_interval() -> GoDuration {
    OTLP_INTERVAL_DEFAULT
}

impl Default for Diagnostics {
    fn default() -> Diagnostics {
        Diagnostics {
            logs: Logs::default(),
            metrics: Metrics::default(),
            self_check: SelfCheck::default(),
            traces: Traces::default(),
            opentelemetry: None,
            sys_topics: Switch::Disabled,
        }
    }
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            level: "info".to_owned(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            prometheus_port: PROMETHEUS_PORT_DEFAULT,
            opentelemetry_collector_address: None,
        }
    }
}

impl Default for SelfCheck {
    fn default() -> SelfCheck {
        SelfCheck {
            mode: Switch::Enabled,
            interval_seconds: 30,
            timeout_seconds: 15,
        }
    }
}

impl Default for Traces {
    fn default() -> Traces {
        Traces {
            mode: Switch::Enabled,
            cache_size_megabytes: 16,
            span_channel_capacity: 1_000,
            self_tracing: SelfTracing::default(),
            sample_ratio: SAMPLE_RATIO_DEFAULT,
        }
    }
}

impl Default for SelfTracing {
    fn default() -> SelfTracing {
        SelfTracing {
            mode: Switch::Enabled,
            interval_seconds: 30,
        }
    }
}
