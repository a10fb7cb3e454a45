//! Connections of origins to replicas, and of replicas to one another.

use catena_chain::{
    Incarnation, Input,
    message::{ConnectionId, FromOrigin, ToOrigin},
};
use catena_slots::ShardId;

use crate::{
    network::Place,
    parcel::{End, Event, Parcel, Speech, Wire},
    workload::Workload,
    world::World,
};

impl<W: Workload> World<W> {
    pub fn connect(&mut self, from: End, name: ConnectionId, to: Incarnation, shard: ShardId) {
        let Some(node) = self.store.place_of.get(&to).copied() else {
            return;
        };
        self.next_wire += 1;
        let wire = Wire {
            from,
            name,
            node,
            incarnation: to,
            shard,
        };
        self.wires.insert(self.next_wire, wire);
    }

    fn wire(&self, from: End, name: ConnectionId) -> Option<(u64, Wire)> {
        let mut newest_first = self.wires.iter().rev();
        let found = newest_first.find(|(_, wire)| wire.from == from && wire.name == name);
        found.map(|(id, wire)| (*id, *wire))
    }

    pub fn send_on(&mut self, from: End, name: ConnectionId, message: FromOrigin<W::Machine>) {
        if let Some((wire, known)) = self.wire(from, name) {
            let parcel = Parcel::ToShard { wire, message };
            self.send(from.place(), Place::Node(known.node), parcel);
        }
    }

    pub fn hang_up(&mut self, from: End, name: ConnectionId) {
        // What is on its way down arrives still [C-41].
        if let Some((wire, known)) = self.wire(from, name) {
            let parcel = Parcel::HungUp { wire };
            self.send(from.place(), Place::Node(known.node), parcel);
        }
    }

    /// The replica's end of a wire is gone. `is_refused`: nobody listens where it led.
    pub fn wire_broke(&mut self, wire: u64, after: u64, is_refused: bool) {
        let Some(known) = self.wires.get(&wire).copied() else {
            return;
        };
        let (end, name) = (known.from, known.name);
        let to = end.place();
        let parcel = Parcel::Closed { end, name };
        self.schedule(self.now + after, Event::Notice { to, parcel });
        if let (true, Place::Gateway(gateway)) = (is_refused, to) {
            let incarnation = known.incarnation;
            self.gateway_says(gateway, Speech::Accuse { incarnation });
        }
    }

    pub fn closed(&mut self, end: End, name: ConnectionId) {
        let found = self.wire(end, name).map(|(wire, _)| wire);
        if let Some(wire) = found {
            self.wires.remove(&wire);
        }
        match end {
            End::Gateway {
                gateway,
                incarnation,
                shard,
            } if self.gateways[gateway].incarnation == Some(incarnation) => {
                self.drive(gateway, shard.index(), |uplink, _, now, actions| {
                    uplink.lost(name, now, actions);
                });
            }
            End::Replica {
                node,
                incarnation,
                shard,
            } if self.nodes[node].is(incarnation) => {
                let input = Input::PeerLost { connection: name };
                self.step(node, shard.index(), input);
            }
            _ => {}
        }
    }

    pub fn answer(&mut self, wire: u64, message: ToOrigin<W::Machine>) {
        let Some(known) = self.wires.get(&wire).copied() else {
            return;
        };
        let connection = known.name;
        match known.from {
            End::Gateway {
                gateway,
                incarnation,
                ..
            } if self.gateways[gateway].incarnation == Some(incarnation) => {
                let life = crate::workload::Life {
                    gateway,
                    incarnation,
                };
                let shard = known.shard.index();
                self.drive(gateway, shard, |uplink, workload, now, actions| {
                    let rewrite = |op: &_| workload.rewrite(life, op);
                    uplink.receive(now, connection, message, rewrite, actions);
                });
            }
            End::Replica {
                node,
                incarnation,
                shard,
            } if self.nodes[node].is(incarnation) => {
                let input = Input::FromPeer {
                    connection,
                    message,
                };
                self.step(node, shard.index(), input);
            }
            _ => {}
        }
    }

    /// What is on its way between two places is lost; both notice.
    pub fn break_pair(&mut self, a: Place, b: Place) {
        self.network.break_pair(a, b);
        let is_between = |wire: &Wire| {
            let (x, y) = (wire.from.place(), Place::Node(wire.node));
            (x, y) == (a, b) || (x, y) == (b, a)
        };
        let broken: Vec<_> = self
            .wires
            .iter()
            .filter(|(_, wire)| is_between(wire))
            .map(|(id, wire)| (*id, *wire))
            .collect();
        for (wire, known) in broken {
            let (end, name) = (known.from, known.name);
            let to = Place::Node(known.node);
            let parcel = Parcel::HungUp { wire };
            self.schedule(self.now, Event::Notice { to, parcel });
            let to = end.place();
            let parcel = Parcel::Closed { end, name };
            self.schedule(self.now, Event::Notice { to, parcel });
        }
        if let (Place::Node(a), Place::Node(b)) = (a, b) {
            for (node, other) in [(a, b), (b, a)] {
                let health = self.health(Place::Node(node));
                let Some(incarnation) = self.nodes[other].incarnation else {
                    continue;
                };
                if !health.is_up || health.is_stopped {
                    continue;
                }
                for shard in 0..self.nodes[node].replicas.len() {
                    let configuration = self.nodes[node].replicas[shard].configuration();
                    if let Some(member) = configuration.and_then(|c| c.role_of(incarnation)) {
                        self.step(node, shard, Input::Reconnected(member));
                    }
                }
            }
        }
    }
}
