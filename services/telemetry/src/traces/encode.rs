//! A span as OTLP has it, written where it is over.

use prost::encoding::{WireType, encoded_len_varint};

use super::{
    Attributes, Kind, Span,
    wire::{field_len, key, put, put_head},
};

// Numbers of fields, of OTLP's `trace/v1/trace.proto`.
const SPANS: u8 = 2;
const TRACE_ID: u8 = 1;
const SPAN_ID: u8 = 2;
const PARENT_SPAN_ID: u8 = 4;
const NAME: u8 = 5;
const KIND: u8 = 6;
const START: u8 = 7;
const END: u8 = 8;
const STATUS: u8 = 15;
const STATUS_MESSAGE: u8 = 2;
const STATUS_CODE: u8 = 3;

// What the fields say.
const KIND_INTERNAL: u8 = 1;
const KIND_PRODUCER: u8 = 4;
const KIND_CONSUMER: u8 = 5;
const STATUS_ERROR: u8 = 2;

/// Field 16, of 32 bits: the span is sampled.
const FLAGS: [u8; 6] = [0x85, 0x01, 1, 0, 0, 0];

/// Bytes of the ids of trace and span, and of the parent's.
const IDS: usize = 2 + 16 + 2 + 8;
const PARENT: usize = 2 + 8;

/// Bytes of the kind and the times.
const WHEN: usize = 2 + 2 * (1 + 8);

impl Span {
    /// Bytes that [`Span::encode`] writes.
    pub(super) fn len(&self, said: &Attributes) -> usize {
        field_len(self.inner_len(said))
    }

    fn inner_len(&self, said: &Attributes) -> usize {
        let parent = if self.place.parent == 0 { 0 } else { PARENT };
        let error = self.error.map_or(0, |error| field_len(status_len(error)));
        let fixed = IDS + parent + WHEN + FLAGS.len();
        fixed + field_len(self.name.len()) + said.encoded().len() + error
    }

    /// Writes it, as one of the `spans` of OTLP's `ScopeSpans`.
    pub(super) fn encode(&self, said: &Attributes, out: &mut Vec<u8>) {
        put_head(SPANS, self.inner_len(said), out);
        let place = self.place;
        let mut ids = [0; IDS + PARENT];
        ids[..2].copy_from_slice(&[key(TRACE_ID, WireType::LengthDelimited), 16]);
        ids[2..18].copy_from_slice(&place.trace.to_be_bytes());
        ids[18..20].copy_from_slice(&[key(SPAN_ID, WireType::LengthDelimited), 8]);
        ids[20..28].copy_from_slice(&place.span.to_be_bytes());
        ids[28..30].copy_from_slice(&[key(PARENT_SPAN_ID, WireType::LengthDelimited), 8]);
        ids[30..].copy_from_slice(&place.parent.to_be_bytes());
        let ids_len = if place.parent == 0 { IDS } else { ids.len() };
        out.extend_from_slice(&ids[..ids_len]);
        put(NAME, self.name.as_bytes(), out);
        let mut when = [0; WHEN];
        when[..2].copy_from_slice(&[key(KIND, WireType::Varint), self.kind()]);
        when[2] = key(START, WireType::SixtyFourBit);
        when[3..11].copy_from_slice(&self.start.to_le_bytes());
        when[11] = key(END, WireType::SixtyFourBit);
        when[12..].copy_from_slice(&self.end.max(self.start).to_le_bytes());
        out.extend_from_slice(&when);
        out.extend_from_slice(said.encoded());
        if let Some(error) = self.error {
            put_head(STATUS, status_len(error), out);
            put(STATUS_MESSAGE, error.as_bytes(), out);
            out.extend_from_slice(&[key(STATUS_CODE, WireType::Varint), STATUS_ERROR]);
        }
        out.extend_from_slice(&FLAGS);
    }

    fn kind(&self) -> u8 {
        match self.kind {
            Kind::Consumer => KIND_CONSUMER,
            Kind::Internal => KIND_INTERNAL,
            Kind::Producer => KIND_PRODUCER,
        }
    }
}

/// Bytes of the status of a span that went wrong.
fn status_len(error: &str) -> usize {
    field_len(error.len()) + 1 + encoded_len_varint(STATUS_ERROR.into())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, span::SpanKind, status::StatusCode};
    use prost::Message;

    use super::*;
    use crate::traces::Place;

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
            error: None,
            ..first
        };
        let third = Span {
            kind: Kind::Internal,
            ..second
        };
        let none = Attributes::default();
        let ours = [(first, said), (second, none.clone()), (third, none)];
        let mut bytes = Vec::new();
        for (span, said) in &ours {
            let before = bytes.len();
            span.encode(said, &mut bytes);
            assert_eq!(bytes.len() - before, span.len(said));
        }
        let spans = ScopeSpans::decode(&*bytes).unwrap().spans;
        let kinds = [SpanKind::Consumer, SpanKind::Producer, SpanKind::Internal];
        assert_eq!(spans.len(), kinds.len());
        for ((span, (ours, _)), kind) in spans.iter().zip(&ours).zip(kinds) {
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
