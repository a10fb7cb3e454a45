//! A gateway's side of its clients: the real protocol of each, between its socket and the links.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use catena_chain::{Stamp, Uplink};
use catena_connection::{
    Connection, Identity, Input, Output, Outside, Settings,
    input::{Delivery, Effect as ForClient, Now},
    outside::{AuthOutcome, AuthRequest, Denial, Event},
};
use catena_link::{Class, Full};
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    decode::{Limits, Role, decode},
};
use catena_replicated::Replicated;
use catena_shard::{ConnId, Effect, Op, Time, op::Publish};
use catena_slots::{ShardId, SlotTable};

/// One client's connection.
#[derive(Debug)]
pub struct Conn {
    pub protocol: Connection,
    version: Version,
    output: Output,
    /// What came and was not taken yet.
    inbox: VecDeque<Packet>,
    /// The socket is gone; the last ops are still to be answered.
    pub is_closed: bool,
    /// When it is to be woken, in milliseconds.
    armed: Option<u64>,
}

/// What connections need to know of the link to one shard.
#[derive(Debug, Default)]
struct LinkView {
    handed_through: u64,
    waiting: Vec<ConnId>,
    time: Option<(Time, Now)>,
    /// Connections that are gone and whose publishes were given up `[F-43]`.
    forsaken: RefCell<BTreeSet<ConnId>>,
}

/// What a gateway has written to a socket.
#[derive(Debug, Default)]
pub struct Written {
    pub packets: Vec<Packet>,
    pub closes: bool,
}

/// The connections of one life of a gateway.
#[derive(Debug)]
pub struct Host {
    slots: SlotTable,
    settings: Arc<Settings>,
    off: Option<catena_connection::Rule>,
    pub conns: BTreeMap<u64, Conn>,
    links: Vec<LinkView>,
    touched: BTreeSet<u64>,
}

/// The gateway as one connection sees it.
struct View<'a> {
    conn: ConnId,
    now: Now,
    slots: &'a SlotTable,
    links: &'a mut [LinkView],
    uplinks: &'a mut [Uplink<Replicated>],
    output: &'a mut Output,
}

impl Outside for View<'_> {
    fn slots(&self) -> &SlotTable {
        self.slots
    }

    fn send(&mut self, shard: ShardId, class: Class, op: Op) -> Result<u64, Full> {
        let forsaken = self.links[shard.index()].forsaken.get_mut();
        let is_forsaken = matches!(&op, Op::Publish(publish)
            if publish.message.qos > QoS::AtMostOnce && forsaken.contains(&publish.conn));
        let op = if is_forsaken { Op::Noop } else { op };
        self.uplinks[shard.index()].push(class, op)
    }

    fn committed_through(&self, shard: ShardId) -> u64 {
        self.uplinks[shard.index()].committed_through()
    }

    fn effects_through(&self, shard: ShardId) -> u64 {
        self.links[shard.index()].handed_through
    }

    fn send_direct(&mut self, shard: ShardId, publish: Publish) -> Result<u64, Full> {
        let bytes = publish.message.weight();
        self.uplinks[shard.index()].push_direct(publish, bytes)
    }

    fn direct_through(&self, shard: ShardId) -> u64 {
        self.uplinks[shard.index()].direct_through()
    }

    fn await_progress(&mut self, shard: ShardId) {
        self.links[shard.index()].waiting.push(self.conn);
    }

    fn shard_time(&self, shard: ShardId) -> Option<Time> {
        let (told, at) = self.links[shard.index()].time?;
        Some(told.plus_millis(self.now.0.saturating_sub(at.0)))
    }

    fn authenticate(&mut self, _: AuthRequest<'_>) -> Option<AuthOutcome> {
        Some(AuthOutcome::Accepted {
            identity: Identity::default(),
            data: None,
        })
    }

    fn count(&mut self, _: Event) {}

    fn denied(&mut self, _: Denial<'_>) {}

    fn output(&mut self) -> &mut Output {
        self.output
    }
}

type Uplinks<'a> = &'a mut [Uplink<Replicated>];

impl Host {
    pub fn new(slots: SlotTable, off: Option<catena_connection::Rule>) -> Host {
        let links = slots.shards().map(|_| LinkView::default()).collect();
        Host {
            slots,
            settings: Arc::default(),
            off,
            conns: BTreeMap::new(),
            links,
            touched: BTreeSet::new(),
        }
    }

    /// A client has connected its socket.
    pub fn accept(&mut self, socket: u64, version: Version, now: Now) {
        let (conn, entropy) = (ConnId(socket), u128::from(socket));
        let mut protocol = Connection::new(self.settings.clone(), None, conn, entropy, now);
        if let Some(rule) = self.off {
            protocol.loosen(rule);
        }
        let conn = Conn {
            protocol,
            version,
            output: Output::default(),
            inbox: VecDeque::new(),
            is_closed: false,
            armed: None,
        };
        self.conns.insert(socket, conn);
    }

    /// The client sent a packet.
    pub fn packet(&mut self, socket: u64, packet: Packet) {
        if let Some(conn) = self.conns.get_mut(&socket) {
            conn.inbox.push_back(packet);
            self.touched.insert(socket);
        }
    }

    /// The client is gone.
    pub fn hung_up(&mut self, socket: u64, now: Now, uplinks: Uplinks<'_>) {
        if let Some(conn) = self.conns.get_mut(&socket) {
            conn.is_closed = true;
            conn.inbox.clear();
            self.handle(socket, Input::Closed, now, uplinks);
        }
    }

    /// A moment that a connection waited for may have come.
    pub fn woken(&mut self, socket: u64, now: Now, uplinks: Uplinks<'_>) {
        let Some(conn) = self.conns.get_mut(&socket) else {
            return;
        };
        if conn.armed.is_some_and(|armed| armed <= now.0) {
            conn.armed = None;
        }
        self.touched.insert(socket);
        if conn.protocol.deadline().is_some_and(|at| at <= now) {
            self.handle(socket, Input::Time, now, uplinks);
        }
    }

    fn handle(&mut self, socket: u64, input: Input<'_>, now: Now, uplinks: Uplinks<'_>) {
        // A delivery for a client that is gone: its Detach tells the shard, which still has it.
        let Some(conn) = self.conns.get_mut(&socket) else {
            return;
        };
        let mut view = View {
            conn: ConnId(socket),
            now,
            slots: &self.slots,
            links: &mut self.links,
            uplinks,
            output: &mut conn.output,
        };
        conn.protocol.handle(input, now, &mut view);
        self.touched.insert(socket);
    }

    pub fn opened(&mut self, shard: ShardId, time: Stamp, now: Now, uplinks: Uplinks<'_>) {
        self.links[shard.index()].time = Some((Time(time.0), now));
        self.progress(shard, now, uplinks);
    }

    pub fn progress(&mut self, shard: ShardId, now: Now, uplinks: Uplinks<'_>) {
        for conn in std::mem::take(&mut self.links[shard.index()].waiting) {
            self.handle(conn.0, Input::Progress(shard), now, uplinks);
        }
    }

    /// The shard has lost what it held: clients that rest on it are closed `[F-25]`.
    pub fn begun_anew(&mut self, shard: ShardId, now: Now, uplinks: Uplinks<'_>) {
        self.links[shard.index()].handed_through = 0;
        let rests = |(socket, conn): (&u64, &Conn)| {
            let rests = conn.protocol.rests_on(shard);
            rests.then_some(*socket)
        };
        let sockets: Vec<u64> = self.conns.iter().filter_map(rests).collect();
        for socket in sockets {
            let reason = ReasonCode::ImplementationSpecificError;
            self.handle(socket, Input::Drain(reason), now, uplinks);
        }
    }

    pub fn effects(
        &mut self,
        shard: ShardId,
        batch: (u64, Vec<Effect>, Vec<Effect>, Stamp),
        now: Now,
        uplinks: Uplinks<'_>,
    ) {
        let (first, effects, direct, time) = batch;
        let time = Time(time.0);
        self.links[shard.index()].time = Some((time, now));
        for (number, effect) in (first..).zip(effects) {
            self.links[shard.index()].handed_through = number;
            self.effect(shard, effect, time, now, uplinks);
        }
        for effect in direct {
            self.effect(shard, effect, time, now, uplinks);
        }
    }

    fn effect(
        &mut self,
        shard: ShardId,
        effect: Effect,
        shard_now: Time,
        now: Now,
        uplinks: Uplinks<'_>,
    ) {
        let (conn, effect) = match effect {
            Effect::Deliver(deliver) => {
                for target in &deliver.targets {
                    let effect = ForClient::Deliver(Delivery {
                        message: &deliver.message,
                        expires_at: deliver.expires_at,
                        shard_now,
                        target,
                    });
                    let input = Input::Effect(shard, effect);
                    self.handle(target.conn.0, input, now, uplinks);
                }
                return;
            }
            Effect::Published(published) => (published.conn, ForClient::Published(published)),
            Effect::Recorded(recorded) => (recorded.conn, ForClient::Recorded(recorded)),
            Effect::Released(released) => (released.conn, ForClient::Released(released)),
            Effect::Pubrel(pubrel) => (pubrel.conn, ForClient::Pubrel(pubrel)),
            Effect::Connected(connected) => (connected.conn, ForClient::Connected(connected)),
            Effect::Attached(attached) => (attached.conn, ForClient::Attached(attached)),
            Effect::Subscribed(answer) => (answer.conn, ForClient::Subscribed(answer)),
            Effect::Unsubscribed(answer) => (answer.conn, ForClient::Unsubscribed(answer)),
            Effect::Kick(kick) => (kick.conn, ForClient::Kick(kick)),
            Effect::AlsoAttach(also) => (also.conn, ForClient::AlsoAttach(also)),
            Effect::Peer(_) => return,
        };
        self.handle(conn.0, Input::Effect(shard, effect), now, uplinks);
    }

    /// Who was touched since the last call.
    pub fn touched(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.touched)
    }

    /// The next packet of a client, if its connection reads.
    pub fn take(&mut self, socket: u64) -> Option<Packet> {
        let conn = self.conns.get_mut(&socket)?;
        let reads = conn.protocol.reads() && !conn.output.is_closing() && !conn.is_closed;
        conn.inbox.pop_front().filter(|_| reads || conn.is_closed)
    }

    /// Whether a packet can be taken.
    pub fn has_next(&self, socket: u64) -> bool {
        self.conns.get(&socket).is_some_and(|conn| {
            let reads = conn.protocol.reads() && !conn.output.is_closing() && !conn.is_closed;
            reads && !conn.inbox.is_empty()
        })
    }

    pub fn handle_packet(&mut self, socket: u64, packet: Packet, now: Now, uplinks: Uplinks<'_>) {
        self.handle(socket, Input::Packet(packet), now, uplinks);
    }

    /// The end of a wake-up: acknowledgements go out, and what was written is taken.
    pub fn finish_turn(&mut self, socket: u64, now: Now, uplinks: Uplinks<'_>) -> Written {
        let Some(conn) = self.conns.get_mut(&socket) else {
            return Written::default();
        };
        let mut view = View {
            conn: ConnId(socket),
            now,
            slots: &self.slots,
            links: &mut self.links,
            uplinks,
            output: &mut conn.output,
        };
        conn.protocol.flush(&mut view);
        if conn.is_closed {
            conn.output.clear();
            return Written::default();
        }
        if conn.protocol.finished() && !conn.output.is_closing() {
            conn.output.close();
        }
        let pieces: Vec<u8> = conn.output.pieces().flatten().copied().collect();
        conn.output.advance(pieces.len());
        let mut bytes = Bytes::from(pieces);
        let limits = Limits {
            maximum_packet_size: u32::MAX,
            role: Role::Client,
        };
        let mut packets = Vec::new();
        while let Some(packet) =
            decode(&mut bytes, Some(conn.version), &limits).expect("a server writes packets")
        {
            packets.push(packet);
        }
        let closes = conn.output.is_closing();
        if closes {
            conn.is_closed = true;
            conn.inbox.clear();
            self.handle(socket, Input::Closed, now, uplinks);
        }
        Written { packets, closes }
    }

    /// Forgets a connection that is over: returns whether it is. Else, when it wants to be woken, if that is news.
    pub fn rest(&mut self, socket: u64) -> (bool, Option<u64>) {
        let Some(conn) = self.conns.get_mut(&socket) else {
            return (false, None);
        };
        if conn.protocol.finished() && conn.is_closed {
            self.conns.remove(&socket);
            for link in &mut self.links {
                link.forsaken.get_mut().remove(&ConnId(socket));
            }
            return (true, None);
        }
        let next = conn.protocol.deadline().map(|at| at.0);
        let is_news = next.is_some_and(|next| conn.armed.is_none_or(|armed| next < armed));
        if is_news {
            conn.armed = next;
        }
        (false, next.filter(|_| is_news))
    }

    /// A client that is gone will send again what it was owed an answer to, and no longer wants the session that it
    /// asked for `[F-43]` `[F-15]`.
    pub fn rewrite(&self, op: &Op) -> Op {
        let is_closed = |conn: ConnId| self.conns.get(&conn.0).is_none_or(|conn| conn.is_closed);
        match op {
            Op::Publish(publish)
                if publish.message.qos > QoS::AtMostOnce && is_closed(publish.conn) =>
            {
                let shard = self.slots.topic(&publish.message.topic);
                let forsaken = &self.links[shard.index()].forsaken;
                forsaken.borrow_mut().insert(publish.conn);
                Op::Noop
            }
            Op::Connect(connect) if is_closed(connect.attachment.conn) => Op::Noop,
            op => op.clone(),
        }
    }
}
