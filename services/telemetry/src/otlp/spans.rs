//! Spans as OTLP's messages, encoded as they go: what is said of them is encoded already.

use bytes::Bytes;
use prost::{
    Message,
    bytes::BufMut,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use super::{
    Identity,
    convert::{resource, scope},
};
use crate::traces::{
    Kind, Span,
    attributes::{field_len, put},
};

/// OTLP's `ExportTraceServiceRequest`, with its parts encoded.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    resource_spans: Vec<Bytes>,
}

// Numbers of fields, of OTLP's `trace/v1/trace.proto`.
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;
const SPANS: u32 = 2;
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const PARENT_SPAN_ID: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START: u32 = 7;
const END: u32 = 8;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
const STATUS_MESSAGE: u32 = 2;
const STATUS_CODE: u32 = 3;

// What the fields say.
const KIND_INTERNAL: u64 = 1;
const KIND_PRODUCER: u64 = 4;
const KIND_CONSUMER: u64 = 5;
const STATUS_ERROR: u64 = 2;
const FLAG_SAMPLED: u32 = 1;

/// Bytes of a fixed field of 64 bits.
const FIXED_LEN: usize = 1 + 8;

/// Some spans.
pub fn request(spans: &[Span], identity: &Identity) -> Request {
    let said = spans.iter().map(|span| field_len(len(span))).sum::<usize>();
    let scope = scope(identity).encode_to_vec();
    let mut scope_spans = Vec::with_capacity(said + field_len(scope.len()));
    put(SCOPE, &scope, &mut scope_spans);
    for span in spans {
        encode_key(SPANS, WireType::LengthDelimited, &mut scope_spans);
        encode_varint(len(span) as u64, &mut scope_spans);
        encode(span, &mut scope_spans);
    }
    let resource = resource(identity).encode_to_vec();
    let room = field_len(resource.len()) + field_len(scope_spans.len());
    let mut resource_spans = Vec::with_capacity(room);
    put(RESOURCE, &resource, &mut resource_spans);
    put(SCOPE_SPANS, &scope_spans, &mut resource_spans);
    Request {
        resource_spans: vec![resource_spans.into()],
    }
}

/// Bytes of the status of a span that went wrong.
fn status_len(error: &str) -> usize {
    field_len(error.len()) + 1 + encoded_len_varint(STATUS_ERROR)
}

/// Bytes that [`encode`] writes.
fn len(span: &Span) -> usize {
    let parent = if span.place.parent == 0 {
        0
    } else {
        field_len(8)
    };
    let error = span.error.map_or(0, |error| field_len(status_len(error)));
    field_len(16) + field_len(8) + parent
        + field_len(span.name.len())
        + 1 + encoded_len_varint(kind(span))
        + 2 * FIXED_LEN
        + span.attributes.encoded().len()
        + error
        // The number of the flags takes two bytes.
        + 2 + 4
}

fn kind(span: &Span) -> u64 {
    match span.kind {
        Kind::Consumer => KIND_CONSUMER,
        Kind::Internal => KIND_INTERNAL,
        Kind::Producer => KIND_PRODUCER,
    }
}

fn encode(span: &Span, out: &mut Vec<u8>) {
    let place = span.place;
    put(TRACE_ID, &place.trace.to_be_bytes(), out);
    put(SPAN_ID, &place.span.to_be_bytes(), out);
    if place.parent != 0 {
        put(PARENT_SPAN_ID, &place.parent.to_be_bytes(), out);
    }
    put(NAME, span.name.as_bytes(), out);
    encode_key(KIND, WireType::Varint, out);
    encode_varint(kind(span), out);
    encode_key(START, WireType::SixtyFourBit, out);
    out.put_u64_le(span.start);
    encode_key(END, WireType::SixtyFourBit, out);
    out.put_u64_le(span.end.max(span.start));
    out.put_slice(span.attributes.encoded());
    if let Some(error) = span.error {
        encode_key(STATUS, WireType::LengthDelimited, out);
        encode_varint(status_len(error) as u64, out);
        put(STATUS_MESSAGE, error.as_bytes(), out);
        encode_key(STATUS_CODE, WireType::Varint, out);
        encode_varint(STATUS_ERROR, out);
    }
    encode_key(FLAGS, WireType::ThirtyTwoBit, out);
    out.put_u32_le(FLAG_SAMPLED);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{span::SpanKind, status::StatusCode},
    };

    use super::*;
    use crate::traces::{Attributes, Place};

    // A collector would refuse what it cannot read, or draw another picture than what happened.
    #[test]
    fn a_collector_reads_what_was_written() {
        let mut said = Attributes::default();
        said.number("catena.shard", 3);
        let first = Span {
            place: Place {
                trace: u128::MAX - 1,
                span: 2,
                parent: 0,
            },
            name: "catena.publish",
            kind: Kind::Consumer,
            start: 5,
            end: u64::MAX,
            attributes: said,
            error: Some("denied"),
        };
        let second = Span {
            place: Place {
                trace: 1,
                span: u64::MAX,
                parent: 7,
            },
            kind: Kind::Producer,
            // A clock that was set back.
            start: 9,
            end: 8,
            attributes: Attributes::default(),
            error: None,
            ..first.clone()
        };
        let third = Span {
            kind: Kind::Internal,
            ..second.clone()
        };
        let ours = [first, second, third];
        for span in &ours {
            let mut bytes = Vec::new();
            encode(span, &mut bytes);
            assert_eq!(bytes.len(), len(span));
        }
        let identity = Identity::of("test", "1");
        let bytes = request(&ours, &identity).encode_to_vec();
        let read = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        let [of_us] = &read.resource_spans[..] else {
            panic!("{read:?}")
        };
        assert_eq!(of_us.resource, Some(resource(&identity)));
        assert_eq!(of_us.scope_spans[0].scope, Some(scope(&identity)));
        let spans = &of_us.scope_spans[0].spans;
        let kinds = [SpanKind::Consumer, SpanKind::Producer, SpanKind::Internal];
        assert_eq!(spans.len(), kinds.len());
        for ((span, ours), kind) in spans.iter().zip(&ours).zip(kinds) {
            assert_eq!(span.trace_id, ours.place.trace.to_be_bytes());
            assert_eq!(span.span_id, ours.place.span.to_be_bytes());
            assert_eq!((&*span.name, span.kind()), ("catena.publish", kind));
            assert_eq!(span.start_time_unix_nano, ours.start);
            assert_eq!(span.end_time_unix_nano, ours.end.max(ours.start));
            assert_eq!(span.flags, 1, "sampled");
        }
        assert_eq!(spans[0].attributes[0].key, "catena.shard");
        let status = spans[0].status.as_ref().unwrap();
        assert_eq!(
            (status.code(), &*status.message),
            (StatusCode::Error, "denied")
        );
        assert!(spans[0].parent_span_id.is_empty() && spans[1].status.is_none());
        assert_eq!(spans[1].parent_span_id, 7u64.to_be_bytes());
    }
}
