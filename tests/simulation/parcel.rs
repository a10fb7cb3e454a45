//! What happens in a world, and what travels through it.

use std::sync::Arc;

use catena_chain::{
    Incarnation, Input, StoreId,
    message::{ConnectionId, Envelope, FromOrigin, Report, ToOrigin},
};
use catena_slots::ShardId;
use catena_topology::{Heartbeat, topology::Kept};

use crate::{
    control::{Answer, Ask, Content},
    disks::Work,
    network::Place,
    workload::Workload,
};

/// Who has asked for a connection to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Gateway {
        gateway: usize,
        incarnation: u64,
        shard: ShardId,
    },
    Replica {
        node: usize,
        incarnation: Incarnation,
        shard: ShardId,
    },
}

impl End {
    pub fn place(self) -> Place {
        match self {
            End::Gateway { gateway, .. } => Place::Gateway(gateway),
            End::Replica { node, .. } => Place::Node(node),
        }
    }
}

/// A connection of an origin to a replica.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    pub from: End,
    pub name: ConnectionId,
    pub node: usize,
    pub incarnation: Incarnation,
    pub shard: ShardId,
}

/// What travels.
pub enum Parcel<W: Workload> {
    Chain {
        to: Incarnation,
        envelope: Envelope<W::Machine>,
    },
    ToShard {
        wire: u64,
        message: FromOrigin<W::Machine>,
    },
    ToOrigin {
        wire: u64,
        message: ToOrigin<W::Machine>,
    },
    /// The origin hangs up.
    HungUp {
        wire: u64,
    },
    /// The replica hangs up, or the connection broke.
    Closed {
        end: End,
        name: ConnectionId,
    },
    /// Another thread has come on with a snapshot.
    Snapshot {
        incarnation: Incarnation,
        shard: usize,
        input: Input<W::Machine>,
    },
    /// A thread of the disk has come to something.
    Disk {
        incarnation: Incarnation,
        shard: usize,
        store: StoreId,
        work: Work,
    },
    /// To the control plane.
    Speech(Speech),
    /// A process of the control plane hands on to the leader what is the leader's.
    Forwarded {
        from: Place,
        speech: Speech,
    },
    /// From the control plane.
    NodeRegistered {
        process: u64,
        incarnation: Incarnation,
    },
    GatewayRegistered {
        process: u64,
        incarnation: u64,
    },
    /// The leader has heard a node; `is_known`: its registration holds.
    Heard {
        incarnation: Incarnation,
        is_known: bool,
    },
    /// The gateway's incarnation is not live `[C-43]`.
    Over {
        incarnation: u64,
    },
    /// The leader looks whether anyone listens.
    Probe {
        incarnation: Incarnation,
    },
    /// Nobody does.
    Refused {
        node: usize,
        incarnation: Incarnation,
    },
    News(Arc<Content>),
    /// The store answers a process of the control plane.
    Answer(Answer),
}

/// What nodes and gateways say to the control plane.
#[derive(Debug, Clone)]
pub enum Speech {
    RegisterNode {
        process: u64,
        kept: Vec<Kept>,
    },
    Heartbeat {
        heartbeat: Box<Heartbeat>,
        reports: Vec<Report>,
    },
    RegisterGateway {
        process: u64,
    },
    GatewayBeat {
        incarnation: u64,
    },
    /// "It refuses me."
    Accuse {
        incarnation: Incarnation,
    },
}

pub enum Event<W: Workload> {
    Arrive {
        from: Place,
        to: Place,
        connection: u64,
        parcel: Parcel<W>,
    },
    /// Not through the network: the process notices by itself.
    Notice {
        to: Place,
        parcel: Parcel<W>,
    },
    Tick(Place),
    Offer(usize),
    /// The workload's own, at a gateway or at none.
    Own {
        gateway: Option<usize>,
        event: W::Event,
    },
    Break(Place, Place),
    Fault,
    /// A node's process ends; with `is_off` its machine too.
    Crash {
        node: usize,
        long: u64,
        is_off: bool,
    },
    Restart(Place),
    Resume(Place),
    HealPlace(Place),
    /// A thread that hung goes on.
    Thaw(usize, usize),
    /// A process of the control plane reaches the store.
    Ask {
        by: usize,
        ask: Ask,
    },
    StoreTick,
    Undrain(usize),
    /// Persistence is turned on or off.
    TurnDisks,
    /// When it counts changes.
    TurnSync,
    /// An administrator may ask something of a shard.
    Administer,
    /// The next line of the script.
    Line(usize),
    Heal,
    /// New work is taken again, a little of it.
    Probe,
    /// No new work is taken any more.
    Quiet,
}
