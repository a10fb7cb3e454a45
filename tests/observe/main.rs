//! What an operator sees of a broker: metrics, health, logs, traces, the probe.
//!
//! Start reading at `metrics.rs`. Prometheus' own tools come from the system's packages (tests/setup/prometheus.sh).

mod collector;
mod dashboards;
mod health;
mod logs;
mod metrics;
mod passports;
mod probe;
mod prometheus;
mod self_check;
mod traces;
