//! Checks that the tests of the packets share.

use bytes::{Bytes, BytesMut};

use super::{Packet, PacketId};
use crate::{
    decode::{Limits, Role, decode},
    encode::{encode, encoded_len},
    error::DecodeError,
    version::Version,
};

pub(super) const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

pub(super) fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("a test names no packet identifier 0")
}

/// Decodes all of `bytes` as one packet, for either role.
pub(super) fn decoded(bytes: &[u8], version: Version) -> Result<Packet, DecodeError> {
    decoded_by(bytes, Some(version), Role::Either)
}

pub(super) fn decoded_by(
    bytes: &[u8],
    version: Option<Version>,
    role: Role,
) -> Result<Packet, DecodeError> {
    let mut buffer = Bytes::copy_from_slice(bytes);
    let packet = decode(
        &mut buffer,
        version,
        &Limits {
            maximum_packet_size: u32::MAX,
            role,
        },
    )?;
    assert!(buffer.is_empty(), "one packet, with nothing behind it");
    Ok(packet.expect("a whole packet"))
}

/// `packet` is written as `bytes`, and `bytes` are read as `packet`.
#[track_caller]
pub(super) fn both_ways(packet: Packet, version: Version, bytes: &[u8]) {
    written(&packet, version, bytes);
    assert_eq!(decoded(bytes, version), Ok(packet));
}

/// `packet` is written as `bytes`.
#[track_caller]
pub(super) fn written(packet: &Packet, version: Version, bytes: &[u8]) {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out);
    assert_eq!(out[..], *bytes);
    assert_eq!(encoded_len(packet, version), bytes.len());
}
