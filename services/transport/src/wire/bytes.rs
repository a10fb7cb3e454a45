//! Messages as bytes, and back.

use bytes::{Buf, BufMut};
use catena_proto::internal::v1 as proto;
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_slots::ShardId;
use prost::Message as _;

use super::{Malformed, Wire, chain, link};

const NO_PROTOBUF: Malformed = Malformed { what: "protobuf" };

/// Writes what an origin says on a connection to the shard `to`.
pub fn encode_from_origin(to: ShardId, message: &FromOrigin, bytes: &mut impl BufMut) {
    link::from_origin(to, message).encode_raw(bytes);
}

/// Reads what an origin says; with it, if it is an Open, the shard that it means. Topics, payloads and properties are
/// slices of `bytes` where that is [`bytes::Bytes`] or a gRPC buffer.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_from_origin(bytes: impl Buf) -> Result<(Option<ShardId>, FromOrigin), Malformed> {
    let message = proto::FromOrigin::decode(bytes).map_err(|_| NO_PROTOBUF)?;
    link::opened(message)
}

/// Writes what a shard answers.
pub fn encode_to_origin(message: &ToOrigin, bytes: &mut impl BufMut) {
    message.to_proto().encode_raw(bytes);
}

/// Reads what a shard answers, as [`decode_from_origin`] does.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_to_origin(bytes: impl Buf) -> Result<ToOrigin, Malformed> {
    let message = proto::ToOrigin::decode(bytes).map_err(|_| NO_PROTOBUF)?;
    Wire::from_proto(message)
}

/// Writes what a replica says to another.
pub fn encode_envelope(envelope: Envelope, bytes: &mut impl BufMut) {
    chain::envelope(envelope).encode_raw(bytes);
}

/// Reads what a replica says to another, as [`decode_from_origin`] does.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_envelope(bytes: impl Buf) -> Result<Envelope, Malformed> {
    let message = proto::Envelope::decode(bytes).map_err(|_| NO_PROTOBUF)?;
    chain::received(message)
}
