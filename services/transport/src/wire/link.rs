//! What travels between an origin and a shard.

use std::sync::Arc;

use catena_chain::{Epoch, Generation, ReplicaId, Stamp, message::Lane};
use catena_link::Batch;
use catena_proto::internal::v1 as proto;
use catena_replicated::{FromOrigin, ToOrigin};
use catena_shard::{Op, Origin};
use catena_slots::ShardId;
use proto::{from_origin, origin, to_origin};

use super::{Malformed, Wire, all, each, narrow, number, required, shard};

impl Wire for Origin {
    type Proto = proto::Origin;

    fn to_proto(&self) -> proto::Origin {
        let kind = match *self {
            Origin::Gateway {
                incarnation,
                worker,
            } => origin::Kind::Gateway(origin::Gateway {
                incarnation,
                worker: worker.into(),
            }),
            Origin::Shard { shard, generation } => origin::Kind::Shard(origin::Shard {
                shard: shard.0.into(),
                generation,
            }),
        };
        proto::Origin { kind: Some(kind) }
    }

    fn from_proto(origin: proto::Origin) -> Result<Origin, Malformed> {
        Ok(match origin.kind.ok_or(Malformed { what: "origin" })? {
            origin::Kind::Gateway(gateway) => Origin::Gateway {
                incarnation: gateway.incarnation,
                worker: narrow("worker", gateway.worker)?,
            },
            origin::Kind::Shard(peer) => Origin::Shard {
                shard: shard(peer.shard)?,
                generation: peer.generation,
            },
        })
    }
}

impl Wire for Lane {
    type Proto = i32;

    fn to_proto(&self) -> i32 {
        match self {
            Lane::Ops => proto::Lane::Ops,
            Lane::Effects => proto::Lane::Effects,
        }
        .into()
    }

    fn from_proto(lane: i32) -> Result<Lane, Malformed> {
        let what = "lane";
        match narrow(what, lane)? {
            proto::Lane::Unspecified => Err(Malformed { what }),
            proto::Lane::Ops => Ok(Lane::Ops),
            proto::Lane::Effects => Ok(Lane::Effects),
        }
    }
}

impl Wire for Arc<Batch<Op>> {
    type Proto = proto::Batch;

    fn to_proto(&self) -> proto::Batch {
        proto::Batch {
            first: self.first,
            ops: each(&self.ops),
        }
    }

    fn from_proto(batch: proto::Batch) -> Result<Self, Malformed> {
        numbered("batch", batch.first, batch.ops.len())?;
        if batch.ops.is_empty() {
            return Err(Malformed { what: "batch" });
        }
        Ok(Arc::new(Batch {
            first: batch.first,
            ops: all(batch.ops)?,
        }))
    }
}

/// Whether `count` things can be numbered from `first` on.
pub(super) fn numbered(what: &'static str, first: u64, count: usize) -> Result<(), Malformed> {
    if first == 0 {
        return Err(Malformed { what });
    }
    number(what, first.saturating_add(count as u64)).map(drop)
}

/// What an origin says on a connection to `to`; only its Open names the shard.
pub(super) fn from_origin(to: ShardId, message: &FromOrigin) -> proto::FromOrigin {
    use from_origin::Message;
    let message = match message {
        FromOrigin::Open {
            origin,
            lane,
            replica,
            epoch,
            generation,
            first_uncommitted,
            effects_through,
        } => Message::Open(from_origin::Open {
            shard: to.0.into(),
            origin: Some(origin.to_proto()),
            lane: lane.to_proto(),
            replica: replica.0,
            epoch: epoch.0,
            generation: generation.0,
            first_uncommitted: *first_uncommitted,
            effects_through: *effects_through,
        }),
        FromOrigin::Ops {
            generation,
            acked_through,
            batch,
        } => Message::Ops(from_origin::Ops {
            generation: generation.0,
            acked_through: *acked_through,
            batch: Some(batch.to_proto()),
        }),
        FromOrigin::Acked {
            generation,
            through,
        } => Message::Acked(from_origin::Acked {
            generation: generation.0,
            through: *through,
        }),
        FromOrigin::Direct {
            generation,
            publishes,
        } => Message::Direct(from_origin::Direct {
            generation: generation.0,
            publishes: each(publishes),
        }),
    };
    proto::FromOrigin {
        message: Some(message),
    }
}

/// What an origin says; with it, if it is an Open, the shard that it means.
pub(super) fn opened(
    message: proto::FromOrigin,
) -> Result<(Option<ShardId>, FromOrigin), Malformed> {
    use from_origin::Message;
    let message = message.message.ok_or(Malformed { what: "message" })?;
    Ok(match message {
        Message::Open(open) => {
            let meant = shard(open.shard)?;
            let open = FromOrigin::Open {
                origin: required("origin", open.origin)?,
                lane: Wire::from_proto(open.lane)?,
                replica: ReplicaId(open.replica),
                epoch: Epoch(number("epoch", open.epoch)?),
                generation: Generation(open.generation),
                first_uncommitted: number("first uncommitted op", open.first_uncommitted)?,
                effects_through: number("last effect taken", open.effects_through)?,
            };
            (Some(meant), open)
        }
        Message::Ops(ops) => (
            None,
            FromOrigin::Ops {
                generation: Generation(ops.generation),
                acked_through: number("last effect taken", ops.acked_through)?,
                batch: required("batch", ops.batch)?,
            },
        ),
        Message::Acked(acked) => (
            None,
            FromOrigin::Acked {
                generation: Generation(acked.generation),
                through: number("last effect taken", acked.through)?,
            },
        ),
        Message::Direct(direct) => (
            None,
            FromOrigin::Direct {
                generation: Generation(direct.generation),
                publishes: all(direct.publishes)?,
            },
        ),
    })
}

impl Wire for ToOrigin {
    type Proto = proto::ToOrigin;

    fn to_proto(&self) -> proto::ToOrigin {
        use to_origin::Message;
        let message = match self {
            ToOrigin::OpsOpened {
                generation,
                applied_through,
                now,
            } => Message::OpsOpened(to_origin::OpsOpened {
                generation: generation.0,
                applied_through: *applied_through,
                now: now.0,
            }),
            ToOrigin::Gap { applied_through } => Message::Gap(to_origin::Gap {
                applied_through: *applied_through,
            }),
            ToOrigin::Effects {
                generation,
                epoch,
                first,
                effects,
                committed,
                direct,
                direct_through,
                now,
            } => Message::Effects(to_origin::Effects {
                generation: generation.0,
                epoch: epoch.0,
                first: *first,
                effects: each(effects),
                committed: *committed,
                direct: each(direct),
                direct_through: *direct_through,
                now: now.0,
            }),
            ToOrigin::NotYet { configuration } => Message::NotYet(to_origin::NotYet {
                configuration: configuration.as_ref().map(Wire::to_proto),
            }),
            ToOrigin::Newer { configuration } => Message::Newer(to_origin::Newer {
                configuration: Some(configuration.to_proto()),
            }),
            ToOrigin::Refused => Message::Refused(to_origin::Refused {}),
        };
        proto::ToOrigin {
            message: Some(message),
        }
    }

    fn from_proto(message: proto::ToOrigin) -> Result<ToOrigin, Malformed> {
        use to_origin::Message;
        let message = message.message.ok_or(Malformed { what: "message" })?;
        Ok(match message {
            Message::OpsOpened(opened) => ToOrigin::OpsOpened {
                generation: Generation(opened.generation),
                applied_through: number("last op applied", opened.applied_through)?,
                now: stamp(opened.now)?,
            },
            Message::Gap(gap) => ToOrigin::Gap {
                applied_through: number("last op applied", gap.applied_through)?,
            },
            Message::Effects(effects) => {
                numbered("first effect", effects.first, effects.effects.len())?;
                ToOrigin::Effects {
                    generation: Generation(effects.generation),
                    epoch: Epoch(number("epoch", effects.epoch)?),
                    first: effects.first,
                    effects: all(effects.effects)?,
                    committed: number("last op committed", effects.committed)?,
                    direct: all(effects.direct)?,
                    direct_through: number("last direct publish", effects.direct_through)?,
                    now: stamp(effects.now)?,
                }
            }
            Message::NotYet(not_yet) => ToOrigin::NotYet {
                configuration: not_yet.configuration.map(Wire::from_proto).transpose()?,
            },
            Message::Newer(newer) => ToOrigin::Newer {
                configuration: required("configuration", newer.configuration)?,
            },
            Message::Refused(to_origin::Refused {}) => ToOrigin::Refused,
        })
    }
}

pub(super) fn stamp(at: u64) -> Result<Stamp, Malformed> {
    number("shard time", at).map(Stamp)
}
