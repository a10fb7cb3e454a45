//! What travels between the replicas of a shard.

use std::sync::Arc;

use bytes::Bytes;
use catena_chain::{
    Epoch, Generation, Incarnation, Member, Payload, Position, ReplicaId,
    message::{PeerProgress, SnapshotHeader},
    snapshot::Piece,
};
use catena_proto::internal::v1 as proto;
use catena_replicated::{Entry, Envelope, Message};
use catena_shard::LEVEL;
use proto::{entry, envelope};

use super::{Malformed, Wire, all, each, link::stamp, narrow, number, required, shard};

/// An envelope as it is sent. It is taken, since parts of snapshots are large.
pub(super) fn envelope(envelope: Envelope) -> proto::Envelope {
    proto::Envelope {
        shard: envelope.shard.0.into(),
        epoch: envelope.epoch.0,
        generation: envelope.generation.0,
        from_replica: envelope.from.id.0,
        from_incarnation: envelope.from.incarnation.0,
        to_replica: envelope.to.0,
        message: Some(message(envelope.message)),
    }
}

fn message(message: Message) -> envelope::Message {
    use envelope::Message as Sent;
    match message {
        Message::Hello {
            configuration,
            nonce,
            end,
            commit,
            peers,
            durable,
        } => Sent::Hello(envelope::Hello {
            configuration: Some(configuration.to_proto()),
            nonce,
            end: end.as_ref().map(Wire::to_proto),
            commit,
            peers: each(&peers),
            not_durable_from: not_durable_from(durable),
        }),
        Message::Append {
            nonce,
            entries,
            last,
            durable,
        } => Sent::Append(envelope::Append {
            nonce,
            entries: each(&entries),
            last,
            not_durable_from: not_durable_from(durable),
        }),
        Message::Ack {
            nonce,
            last,
            durable,
            commit,
            peers,
        } => Sent::Ack(envelope::Ack {
            nonce,
            last,
            commit,
            peers: each(&peers),
            not_durable_from: not_durable_from(durable),
        }),
        Message::Mismatch { nonce } => Sent::Mismatch(envelope::Mismatch { nonce }),
        Message::SnapshotPart {
            nonce,
            header,
            piece,
        } => Sent::SnapshotPart(envelope::SnapshotPart {
            nonce,
            format: LEVEL,
            end: Some(header.end.to_proto()),
            at: header.at.0,
            is_last: piece.is_last,
            checksum: piece.checksum,
            offset: piece.offset as u64,
            part: Bytes::from(piece.bytes),
        }),
        Message::SnapshotTaken { nonce, through } => Sent::SnapshotTaken(envelope::SnapshotTaken {
            nonce,
            offset: through as u64,
        }),
        Message::Newer { configuration } => Sent::Newer(envelope::Newer {
            configuration: Some(configuration.to_proto()),
        }),
    }
}

/// How far a log is durable, as it is sent: so that what is left out means that nobody waits for it.
pub(super) fn not_durable_from(durable: Option<u64>) -> u64 {
    durable.map_or(0, |through| through + 1)
}

/// How far a log is durable, as it was received.
pub(super) fn durable(not_durable_from: u64) -> Result<Option<u64>, Malformed> {
    let through = not_durable_from.checked_sub(1);
    through
        .map(|through| number("last durable entry", through))
        .transpose()
}

/// An envelope as it was received.
pub(super) fn received(envelope: proto::Envelope) -> Result<Envelope, Malformed> {
    use envelope::Message as Sent;
    let message = envelope.message.ok_or(Malformed { what: "message" })?;
    let message = match message {
        Sent::Hello(hello) => Message::Hello {
            configuration: required("configuration", hello.configuration)?,
            nonce: hello.nonce,
            end: hello.end.map(Wire::from_proto).transpose()?,
            commit: number("commit", hello.commit)?,
            peers: all(hello.peers)?,
            durable: durable(hello.not_durable_from)?,
        },
        Sent::Append(append) => Message::Append {
            nonce: append.nonce,
            entries: all(append.entries)?,
            last: number("last entry", append.last)?,
            durable: durable(append.not_durable_from)?,
        },
        Sent::Ack(ack) => Message::Ack {
            nonce: ack.nonce,
            last: number("last entry", ack.last)?,
            durable: durable(ack.not_durable_from)?,
            commit: number("commit", ack.commit)?,
            peers: all(ack.peers)?,
        },
        Sent::Mismatch(mismatch) => Message::Mismatch {
            nonce: mismatch.nonce,
        },
        Sent::SnapshotPart(part) => snapshot_part(part)?,
        Sent::SnapshotTaken(taken) => Message::SnapshotTaken {
            nonce: taken.nonce,
            through: narrow("offset", taken.offset)?,
        },
        Sent::Newer(newer) => Message::Newer {
            configuration: required("configuration", newer.configuration)?,
        },
    };
    Ok(Envelope {
        shard: shard(envelope.shard)?,
        epoch: Epoch(number("epoch", envelope.epoch)?),
        generation: Generation(envelope.generation),
        from: Member {
            id: ReplicaId(envelope.from_replica),
            incarnation: Incarnation(envelope.from_incarnation),
        },
        to: ReplicaId(envelope.to_replica),
        message,
    })
}

fn snapshot_part(part: envelope::SnapshotPart) -> Result<Message, Malformed> {
    if part.format != LEVEL {
        return Err(Malformed {
            what: "the level of the snapshot (of a backend of another version)",
        });
    }
    Ok(Message::SnapshotPart {
        nonce: part.nonce,
        header: SnapshotHeader {
            end: required("end", part.end)?,
            at: stamp(part.at)?,
        },
        piece: Piece {
            offset: narrow("offset", part.offset)?,
            bytes: part.part.into(),
            checksum: part.checksum,
            is_last: part.is_last,
        },
    })
}

impl Wire for Position {
    type Proto = proto::Position;

    fn to_proto(&self) -> proto::Position {
        proto::Position {
            index: self.index,
            epoch: self.epoch.0,
            digest: self.digest,
        }
    }

    fn from_proto(position: proto::Position) -> Result<Position, Malformed> {
        Ok(Position {
            index: number("index", position.index)?,
            epoch: Epoch(number("epoch", position.epoch)?),
            digest: position.digest,
        })
    }
}

impl Wire for PeerProgress {
    type Proto = proto::PeerProgress;

    fn to_proto(&self) -> proto::PeerProgress {
        proto::PeerProgress {
            shard: self.shard.0.into(),
            generation: self.generation.0,
            through: self.through,
        }
    }

    fn from_proto(progress: proto::PeerProgress) -> Result<PeerProgress, Malformed> {
        Ok(PeerProgress {
            shard: shard(progress.shard)?,
            generation: Generation(progress.generation),
            through: number("progress of a peer", progress.through)?,
        })
    }
}

impl Wire for Arc<Entry> {
    type Proto = proto::Entry;

    fn to_proto(&self) -> proto::Entry {
        use entry::Payload as Sent;
        let payload = match &self.payload {
            Payload::Ops {
                origin,
                acked_through,
                batch,
            } => Sent::Ops(entry::Ops {
                origin: Some(origin.to_proto()),
                acked_through: *acked_through,
                batch: Some(batch.to_proto()),
            }),
            Payload::LinkOpen { origin, first } => Sent::LinkOpen(entry::LinkOpen {
                origin: Some(origin.to_proto()),
                first: *first,
            }),
            Payload::Acked { origin, through } => Sent::Acked(entry::Acked {
                origin: Some(origin.to_proto()),
                through: *through,
            }),
            Payload::Gateways { version, live } => Sent::Gateways(entry::Gateways {
                version: *version,
                live: live.to_vec(),
            }),
            Payload::PeerAck {
                shard,
                generation,
                through,
            } => Sent::PeerAck(proto::PeerProgress {
                shard: shard.0.into(),
                generation: generation.0,
                through: *through,
            }),
            Payload::Command(command) => Sent::Command(command.to_proto()),
            Payload::Configure(settings) => Sent::Configure(settings.to_proto()),
            Payload::Tick => Sent::Tick(entry::Tick {}),
            Payload::Checkpoint { digest } => Sent::Checkpoint(*digest),
        };
        proto::Entry {
            index: self.index,
            epoch: self.epoch.0,
            at: self.at.0,
            payload: Some(payload),
        }
    }

    fn from_proto(entry: proto::Entry) -> Result<Self, Malformed> {
        use entry::Payload as Sent;
        let payload = match entry.payload.ok_or(Malformed { what: "payload" })? {
            Sent::Ops(ops) => Payload::Ops {
                origin: required("origin", ops.origin)?,
                acked_through: number("last effect taken", ops.acked_through)?,
                batch: required("batch", ops.batch)?,
            },
            Sent::LinkOpen(open) => Payload::LinkOpen {
                origin: required("origin", open.origin)?,
                first: number("first op", open.first)?,
            },
            Sent::Acked(acked) => Payload::Acked {
                origin: required("origin", acked.origin)?,
                through: number("last effect taken", acked.through)?,
            },
            Sent::Gateways(gateways) => Payload::Gateways {
                version: number("version of gateways", gateways.version)?,
                live: gateways.live.into(),
            },
            Sent::PeerAck(ack) => {
                let PeerProgress {
                    shard,
                    generation,
                    through,
                } = Wire::from_proto(ack)?;
                Payload::PeerAck {
                    shard,
                    generation,
                    through,
                }
            }
            Sent::Command(command) => Payload::Command(Wire::from_proto(command)?),
            Sent::Configure(settings) => Payload::Configure(Wire::from_proto(settings)?),
            Sent::Tick(entry::Tick {}) => Payload::Tick,
            Sent::Checkpoint(digest) => Payload::Checkpoint { digest },
        };
        Ok(Arc::new(Entry {
            index: number("index", entry.index)?,
            epoch: Epoch(number("epoch", entry.epoch)?),
            at: stamp(entry.at)?,
            payload,
        }))
    }
}
