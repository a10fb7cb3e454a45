//! Messages as bytes, and back.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use catena_chain::message::Message;
use catena_proto::internal::v1 as proto;
use catena_replicated::{Entry, Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use prost::Message as _;

use super::{Malformed, NO_PROTOBUF, Wire, chain, hot, link};

/// Writes what an origin says on a connection to the shard `to`.
pub fn encode_from_origin(to: ShardId, message: &FromOrigin, bytes: &mut impl BufMut) {
    let fields = match message {
        FromOrigin::Ops {
            generation,
            acked_through,
            batch,
        } => hot::FromOriginFields::Ops {
            generation: *generation,
            acked_through: *acked_through,
            batch,
        },
        FromOrigin::Direct {
            generation,
            publishes,
        } => hot::FromOriginFields::Direct {
            generation: *generation,
            publishes,
        },
        FromOrigin::Open { .. } | FromOrigin::Acked { .. } => {
            return link::from_origin(to, message).encode_raw(bytes);
        }
    };
    hot::put(&fields, bytes);
}

/// Reads what an origin says; with it, if it is an Open, the shard that it means. Topics, payloads and properties are
/// slices of `bytes` where that is [`bytes::Bytes`] or a gRPC buffer.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_from_origin(mut bytes: impl Buf) -> Result<(Option<ShardId>, FromOrigin), Malformed> {
    let bytes = bytes.copy_to_bytes(bytes.remaining());
    if let Some(message) = hot::from_origin(&bytes)? {
        return Ok((None, message));
    }
    link::opened(proto::FromOrigin::decode(bytes).map_err(|_| NO_PROTOBUF)?)
}

/// Writes what a shard answers.
pub fn encode_to_origin(message: &ToOrigin, bytes: &mut impl BufMut) {
    let ToOrigin::Effects {
        generation,
        epoch,
        first,
        effects,
        committed,
        direct,
        direct_through,
        now,
    } = message
    else {
        return message.to_proto().encode_raw(bytes);
    };
    let fields = hot::ToOriginFields {
        generation: *generation,
        epoch: *epoch,
        first: *first,
        effects,
        committed: *committed,
        direct,
        direct_through: *direct_through,
        now: now.0,
    };
    hot::put(&fields, bytes);
}

/// Reads what a shard answers, as [`decode_from_origin`] does.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_to_origin(mut bytes: impl Buf) -> Result<ToOrigin, Malformed> {
    let bytes = bytes.copy_to_bytes(bytes.remaining());
    if let Some(message) = hot::to_origin(&bytes)? {
        return Ok(message);
    }
    Wire::from_proto(proto::ToOrigin::decode(bytes).map_err(|_| NO_PROTOBUF)?)
}

/// Writes what a replica says to another.
pub fn encode_envelope(envelope: Envelope, bytes: &mut impl BufMut) {
    let Message::Append {
        nonce,
        entries,
        last,
        durable,
    } = &envelope.message
    else {
        return chain::envelope(envelope).encode_raw(bytes);
    };
    let fields = hot::Appended {
        envelope: &envelope,
        nonce: *nonce,
        entries,
        last: *last,
        not_durable_from: chain::not_durable_from(*durable),
    };
    hot::put(&fields, bytes);
}

/// Reads what a replica says to another, as [`decode_from_origin`] does.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_envelope(mut bytes: impl Buf) -> Result<Envelope, Malformed> {
    let bytes = bytes.copy_to_bytes(bytes.remaining());
    if let Some(envelope) = hot::envelope(&bytes)? {
        return Ok(envelope);
    }
    chain::received(proto::Envelope::decode(bytes).map_err(|_| NO_PROTOBUF)?)
}

/// Writes an entry of the log, as it is kept on disk: as it travels too.
pub fn encode_entry(entry: &Arc<Entry>, bytes: &mut impl BufMut) {
    hot::put(entry, bytes);
}

/// Reads an entry of the log. What is large in it are slices of `bytes`.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_entry(bytes: &Bytes) -> Result<Arc<Entry>, Malformed> {
    hot::entry(bytes)
}
