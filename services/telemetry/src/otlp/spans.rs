//! Requests that are encoded already: around spans, which are not copied.

use std::sync::Arc;

use bytes::{Buf, Bytes, buf::Chain};
use prost::Message;

use super::{
    Identity,
    convert::{resource, scope},
};
use crate::traces::{
    Piece,
    wire::{field_len, put, put_head},
};

/// What is sent, encoded, in two parts: of OTLP's `ExportTraceServiceRequest` what stands before the spans, and the spans.
#[derive(Debug, Clone)]
pub struct Request([Bytes; 2]);

impl Request {
    /// One that is in one piece.
    pub fn whole(bytes: Vec<u8>) -> Request {
        Request([bytes.into(), Bytes::new()])
    }

    /// Its bytes.
    pub fn bytes(self) -> Chain<Bytes, Bytes> {
        let Request([head, spans]) = self;
        head.chain(spans)
    }
}

// Numbers of fields, of OTLP's `collector/trace/v1/trace_service.proto` and `trace/v1/trace.proto`.
const RESOURCE_SPANS: u8 = 1;
const RESOURCE: u8 = 1;
const SCOPE_SPANS: u8 = 2;
const SCOPE: u8 = 1;

/// For the spans of a piece.
pub fn request(piece: &Arc<Piece>, identity: &Identity) -> Request {
    let scope = scope(identity).encode_to_vec();
    let scope_spans = field_len(scope.len()) + piece.bytes().len();
    let resource = resource(identity).encode_to_vec();
    let resource_spans = field_len(resource.len()) + field_len(scope_spans);
    let mut head = Vec::new();
    put_head(RESOURCE_SPANS, resource_spans, &mut head);
    put(RESOURCE, &resource, &mut head);
    put_head(SCOPE_SPANS, scope_spans, &mut head);
    put(SCOPE, &scope, &mut head);
    let spans = Bytes::from_owner(Shared(piece.clone()));
    Request([head.into(), spans])
}

/// Who sends it may hold it for longer than we wait for the answer.
struct Shared(Arc<Piece>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::traces::{Attributes, Kind, Place, Span, Spans};

    // A collector would refuse the request, or not know whose spans they are.
    #[test]
    fn a_collector_reads_spans_and_whose_they_are() {
        let spans = Spans::default();
        spans.set_room(10_000);
        let ids: Vec<u64> = (1..=1_000).collect();
        for span in &ids {
            let span = Span {
                place: Place {
                    trace: 1,
                    span: *span,
                    parent: 0,
                },
                name: "catena.publish",
                kind: Kind::Consumer,
                start: 1,
                end: 2,
                error: None,
            };
            spans.add(&span, &Attributes::default());
        }
        let piece = Arc::new(spans.take().remove(0));
        let identity = Identity::of("test", "1");
        let bytes = request(&piece, &identity).bytes();
        let read = ExportTraceServiceRequest::decode(bytes).unwrap();
        let [of_us] = &read.resource_spans[..] else {
            panic!("{read:?}")
        };
        assert_eq!(of_us.resource, Some(resource(&identity)));
        let [scope_spans] = &of_us.scope_spans[..] else {
            panic!("{of_us:?}")
        };
        assert_eq!(scope_spans.scope, Some(scope(&identity)));
        let id = |id: &[u8]| u64::from_be_bytes(id.try_into().unwrap());
        let read = scope_spans.spans.iter().map(|span| id(&span.span_id));
        assert_eq!(read.collect::<Vec<u64>>(), ids);
    }
}
