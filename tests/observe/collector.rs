//! A collector: OTLP over gRPC, as the OpenTelemetry project defines it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::Span,
};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, transport::Server};

use crate::metrics::ports::free_port;

/// It runs until it is dropped.
pub struct Collector {
    pub address: SocketAddr,
    seen: Seen,
    _runtime: Runtime,
}

/// What has come.
#[derive(Debug, Clone, Default)]
struct Seen {
    metrics: Arc<Mutex<Vec<(String, String)>>>,
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

impl Collector {
    /// A collector on a free port.
    pub fn start() -> Collector {
        let runtime = Runtime::new().expect("there are threads");
        let (address, seen) = (free_port(), Seen::default());
        let server = Server::builder()
            .add_service(MetricsServiceServer::new(seen.clone()))
            .add_service(TraceServiceServer::new(seen.clone()));
        runtime.spawn(async move { server.serve(address).await.expect("its port is free") });
        Collector {
            address,
            seen,
            _runtime: runtime,
        }
    }

    /// Metrics that have come, each as the service that sent it and its name.
    pub fn metrics(&self) -> Vec<(String, String)> {
        self.seen.metrics.lock().expect("nothing panics").clone()
    }

    /// The names of all spans that have come.
    pub fn names(&self) -> Vec<String> {
        let spans = self.seen.spans.lock().expect("nothing panics");
        spans.iter().map(|(_, span)| span.name.clone()).collect()
    }

    /// Spans of a trace that have come, each with the service that sent it.
    pub fn spans(&self, trace: &[u8]) -> Vec<(String, Span)> {
        let spans = self.seen.spans.lock().expect("nothing panics");
        let of_trace = spans.iter().filter(|(_, span)| span.trace_id == trace);
        of_trace.cloned().collect()
    }
}

/// A text among attributes.
pub fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == key);
    match found.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn service(resource: Option<&Resource>) -> String {
    resource.map_or_else(String::new, |resource| {
        text(&resource.attributes, "service.name")
    })
}

#[tonic::async_trait]
impl MetricsService for Seen {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut seen = self.metrics.lock().expect("nothing panics");
        for of in request.into_inner().resource_metrics {
            let service = service(of.resource.as_ref());
            let metrics = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            seen.extend(metrics.map(|metric| (service.clone(), metric.name)));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Seen {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.spans.lock().expect("nothing panics");
        for of in request.into_inner().resource_spans {
            let service = service(of.resource.as_ref());
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
