//! The connection: its state, and where each input goes. What is done with an input stands in the module of its name.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{
    Packet, ReasonCode, Version,
    decode::{Limits, Role},
    packet,
};
use catena_policy::Policy;
use catena_shard::{ClientKey, ConnId, Who, unkept::Keeps};
use catena_slots::ShardId;

use crate::{
    Input, Outside, Settings,
    alias::{AliasesIn, AliasesOut},
    answers::Answers,
    authenticate::Reauthentication,
    bounds::{
        OUTPUT_READ_STOP_BYTES, PARKED_BYTES_MAX, PARKED_V3_MAX, REQUESTS_MAX, UNANSWERED_V3_MAX,
        UNKNOWN_PACKET_BYTES_MAX, WAITING_RELEASES_MAX,
    },
    connect::Entering,
    deliver::Flight,
    guard::Guard,
    input::{Effect, Now},
    packet_ids::{IdMap, NextId},
    peers::Peers,
    rate::Rates,
    release::Inbound,
    requests::Requests,
    switches::Switches,
    timers::{Timer, Timers},
};

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    AwaitConnect,
    /// It is not yet sure who the client is. `waiting`: for the gateway, and not for the client's AUTH.
    Authenticating {
        entering: Box<Entering>,
        waiting: bool,
    },
    /// The home shard's time is not known yet.
    Asking(Box<Entering>),
    /// The home shard was asked.
    Connecting(Box<Entering>),
    /// The client was told yes.
    Live,
    /// The home shard was asked, and the client is gone `[F-15]`.
    Abandoned,
    /// The client is gone; the last ops are not answered yet `[F-12]` `[F-14]`.
    Leaving,
    /// Taken over: the last op waits until the shards have committed Detach `[F-12]`.
    Detaching,
    /// Nothing is left to be done.
    Gone,
}

/// What the client's leaving means for its session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    pub will: bool,
    pub expiry: Option<u32>,
    /// Home waits for `Op::Kicked` `[F-12]`.
    pub kicked: bool,
}

/// One client's MQTT protocol.
///
/// The driver hands in packets one at a time while [`Connection::reads`] says so, calls [`Connection::flush`] once per
/// wake-up after the last input, then asks [`Connection::deadline`] and [`Connection::finished`] again.
#[derive(Debug)]
pub struct Connection {
    pub(crate) settings: Arc<Settings>,
    pub(crate) conn: ConnId,
    /// Makes an assigned client id unlike all others.
    pub(crate) entropy: u128,
    pub(crate) phase: Phase,
    pub(crate) timers: Timers,
    /// Whether the client can still be written to.
    pub(crate) open: bool,
    /// [`OUTPUT_READ_STOP_BYTES`] wait to be written.
    output_full: bool,
    /// What [`Connection::reads`] said last.
    was_reading: bool,

    pub(crate) version: Option<Version>,
    pub(crate) client_id: ByteString,
    pub(crate) client: ClientKey,
    pub(crate) home: ShardId,
    /// `Some` once the home shard has given a session.
    pub(crate) session: Option<Who>,
    /// Seconds, as agreed at CONNECT. Above 0: the session is persistent.
    pub(crate) expiry: u32,
    /// The session was there before.
    pub(crate) resumed: bool,
    pub(crate) authentication_method: Option<ByteString>,
    pub(crate) reauthentication: Reauthentication,
    /// `None`: an anonymous client, which may do anything.
    pub(crate) guard: Option<Box<Guard>>,
    /// Where the will goes, if there is one: a policy may come that does not allow it.
    pub(crate) will_topic: Option<Box<ByteString>>,
    /// Milliseconds of silence after which the client is closed; 0: none.
    pub(crate) silence_ms: u64,
    pub(crate) last_packet: Now,

    pub(crate) peers: Peers,
    /// Attach ops without an answer.
    pub(crate) attaching: u32,
    /// Of those, to shards that may hold inbound QoS 2 ids `[F-42]`.
    pub(crate) resuming: u32,

    // From the client:
    pub(crate) aliases_in: Option<Box<AliasesIn>>,
    /// QoS 1 publishes without PUBACK.
    pub(crate) acknowledging: Answers,
    /// Their packet ids (5).
    pub(crate) acknowledging_ids: IdMap<()>,
    /// QoS 2 publishes without PUBREC.
    pub(crate) recording: Answers,
    /// QoS 2 publishes without PUBCOMP.
    pub(crate) inbound: IdMap<Inbound>,
    /// Of those, the ones that came over this connection.
    pub(crate) inbound_counted: usize,
    /// Publish ops without an answer.
    pub(crate) publishing: u32,
    /// Release ops without an answer.
    pub(crate) releasing: u32,
    /// PUBRELs that wait for the answers to Attach.
    pub(crate) waiting_releases: Vec<u16>,
    pub(crate) parked: usize,
    pub(crate) parked_bytes: usize,
    /// The gateway is short of memory: nothing more is read while a publish is parked.
    is_memory_short: bool,
    /// `None`: publishes come as fast as they may.
    pub(crate) rates: Option<Box<Rates>>,
    /// Counts QoS 0 publishes `[F-70]`.
    pub(crate) counter: u32,
    pub(crate) requests: Option<Box<Requests>>,

    // To the client:
    pub(crate) aliases_out: Option<Box<AliasesOut>>,
    /// The client's Receive Maximum, bounded.
    pub(crate) receive_maximum: u16,
    /// Why its queues may be some of those that outlive a start from disk `[C-59]`.
    pub(crate) keeps: Keeps,
    /// The client's Maximum Packet Size.
    pub(crate) packet_size_max: usize,
    pub(crate) flights: IdMap<Flight>,
    /// The client's packet id of a tracked delivery to an ephemeral session, by the shard's.
    pub(crate) tracked: IdMap<u16>,
    pub(crate) next_id: NextId,
    /// Deliveries that count against the Receive Maximum.
    pub(crate) unacknowledged: u16,
    /// Deliveries that wait, over all shards.
    pub(crate) waiting: usize,
    /// Whose turn it is among the shards `[F-52]`.
    pub(crate) turn: usize,
    /// Acknowledgements wait for [`Connection::flush`].
    pub(crate) dirty: bool,

    pub(crate) leave: Leave,
    pub(crate) switches: Switches,
}

impl Connection {
    /// A connection that waits for CONNECT.
    ///
    /// `policy` is that of the port; without one the client may do anything. `conn` is unique within the life of the gateway's worker; `entropy` is random, and becomes the client id of a
    /// client that brings none.
    pub fn new(
        settings: Arc<Settings>,
        policy: Option<Arc<Policy>>,
        conn: ConnId,
        entropy: u128,
        now: Now,
    ) -> Connection {
        Connection {
            rates: Rates::of(&settings),
            settings,
            conn,
            entropy,
            phase: Phase::AwaitConnect,
            timers: Timers::new(),
            open: true,
            output_full: false,
            was_reading: true,
            version: None,
            client_id: ByteString::new(),
            client: ClientKey(0),
            home: ShardId(0),
            session: None,
            expiry: 0,
            resumed: false,
            authentication_method: None,
            reauthentication: Reauthentication::Idle,
            guard: Guard::new(policy),
            will_topic: None,
            silence_ms: 0,
            last_packet: now,
            peers: Peers::default(),
            attaching: 0,
            resuming: 0,
            aliases_in: None,
            acknowledging: Answers::default(),
            acknowledging_ids: IdMap::new(),
            recording: Answers::default(),
            inbound: IdMap::new(),
            inbound_counted: 0,
            publishing: 0,
            releasing: 0,
            waiting_releases: Vec::new(),
            parked: 0,
            parked_bytes: 0,
            is_memory_short: false,
            counter: 0,
            requests: None,
            aliases_out: None,
            receive_maximum: u16::MAX,
            keeps: Keeps::default(),
            packet_size_max: usize::MAX,
            flights: IdMap::new(),
            tracked: IdMap::new(),
            next_id: NextId::default(),
            unacknowledged: 0,
            waiting: 0,
            turn: 0,
            dirty: false,
            leave: Leave {
                will: true,
                expiry: None,
                kicked: false,
            },
            switches: Switches::default(),
        }
    }

    /// Takes one input.
    pub fn handle<O: Outside>(&mut self, input: Input<'_>, now: Now, outside: &mut O) {
        match input {
            Input::Packet(packet) => self.on_packet(packet, now, outside),
            Input::Effect(shard, effect) => self.on_effect(shard, effect, now, outside),
            Input::Progress(shard) => self.on_progress(shard, now, outside),
            Input::Time => self.on_time(now, outside),
            Input::Drained => {}
            Input::Malformed(error) => self.fail(error.reason(), &error.to_string(), now, outside),
            Input::Closed => self.on_closed(now, outside),
            Input::Drain(reason) => self.on_drain(reason, now, outside),
            Input::Authenticated(outcome) => self.on_outcome(*outcome, now, outside),
            Input::Policy(policy) => self.on_policy(policy, now, outside),
        }
        self.settle(now, outside);
    }

    /// Sends what has gathered over a wake-up: acknowledgements of deliveries `[F-55]`.
    pub fn flush<O: Outside>(&mut self, outside: &mut O) {
        if self.dirty {
            self.send_acks(outside);
        }
    }

    /// When [`Input::Time`] is wanted next. It may have moved after every input.
    pub fn deadline(&self) -> Option<Now> {
        self.timers.next()
    }

    /// Whether the driver may hand in the client's next packet. It may change with every input.
    pub fn reads(&self) -> bool {
        match self.phase {
            Phase::AwaitConnect => self.open,
            Phase::Authenticating { waiting, .. } => self.open && !waiting,
            Phase::Live => self.open && !self.output_full && self.has_room_for_packets(),
            _ => false,
        }
    }

    /// Whether the gateway is short of memory, from here on.
    pub fn set_memory_short(&mut self, is_short: bool) {
        self.is_memory_short = is_short;
    }

    /// Bytes of publishes that wait here.
    pub fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// The client is kept waiting: its silence is none `[F-62]`.
    pub fn excuse_silence(&mut self, now: Now) {
        self.last_packet = now;
    }

    /// Whether nothing is left to be done: the driver forgets the connection once its output is written.
    pub fn finished(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// The protocol version, once CONNECT has come.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// What may be decoded. It is less as long as nobody knows who the client is.
    pub fn limits(&self) -> Limits {
        let maximum = self.settings.maximum_packet_size;
        let is_unknown = matches!(
            self.phase,
            Phase::AwaitConnect | Phase::Authenticating { .. }
        );
        Limits {
            maximum_packet_size: if is_unknown {
                maximum.min(UNKNOWN_PACKET_BYTES_MAX)
            } else {
                maximum
            },
            role: Role::Server,
        }
    }

    /// The client id, once CONNECT has come.
    pub fn client_id(&self) -> Option<&str> {
        (!self.client_id.is_empty()).then_some(&*self.client_id)
    }

    /// The session that the connection was given.
    pub fn who(&self) -> Option<Who> {
        self.session
    }

    /// The name by which shards call the connection.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// Whether the client was told yes, and is not leaving.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// The home shard is asked.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Asking(_) | Phase::Connecting(_))
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.version == Some(Version::V5)
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry > 0
    }

    /// Whether packet ids and what is in flight are the shards' `[F-51]`. So they stay for a session that was resumed,
    /// also if it now ends with its connection: its ids were given before.
    pub(crate) fn is_tracked(&self) -> bool {
        self.is_persistent() || self.resumed
    }

    /// `[F-62]`: the bounds of what may wait here. None of them waits for the client itself.
    fn has_room_for_packets(&self) -> bool {
        let v5 = self.is_v5();
        let parked_max = if v5 {
            usize::from(self.settings.receive_maximum)
        } else {
            PARKED_V3_MAX
        };
        let unanswered = self.acknowledging.len() + self.recording.len();
        let parked_max = if self.is_memory_short { 1 } else { parked_max };
        self.parked < parked_max
            && self.parked_bytes < PARKED_BYTES_MAX
            && (v5 || unanswered < UNANSWERED_V3_MAX)
            && self.waiting_releases.len() < WAITING_RELEASES_MAX
            && self
                .requests
                .as_ref()
                .is_none_or(|requests| requests.len() < REQUESTS_MAX)
            && !self.timers.is_set(Timer::Hold)
    }

    fn on_packet<O: Outside>(&mut self, packet: Packet, now: Now, outside: &mut O) {
        self.last_packet = now;
        match (&self.phase, packet) {
            (Phase::Live, packet) => self.on_live_packet(packet, now, outside),
            (Phase::AwaitConnect, Packet::Connect(connect)) => {
                self.on_connect(connect, now, outside);
            }
            (Phase::Authenticating { waiting: false, .. }, Packet::Auth(auth)) => {
                self.on_auth_at_connect(&auth, now, outside);
            }
            (Phase::Authenticating { .. }, Packet::Disconnect(_)) => self.on_closed(now, outside),
            // v5 [MQTT-3.1.0-1], [MQTT-3.1.2-30]
            (Phase::AwaitConnect | Phase::Authenticating { .. }, _) => {
                self.fail(ReasonCode::ProtocolError, "out of place", now, outside);
            }
            // Nothing is read in the other phases.
            _ => {}
        }
    }

    fn on_live_packet<O: Outside>(&mut self, packet: Packet, now: Now, outside: &mut O) {
        match packet {
            Packet::Publish(publish) => self.on_publish(publish, now, outside),
            Packet::Puback(ack) => self.on_puback(&ack, now, outside),
            Packet::Pubrec(ack) => self.on_pubrec(&ack, now, outside),
            Packet::Pubrel(ack) => self.on_pubrel(&ack, now, outside),
            Packet::Pubcomp(ack) => self.on_pubcomp(&ack, now, outside),
            Packet::Subscribe(subscribe) => self.on_subscribe(subscribe, now, outside),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe, now, outside),
            Packet::Pingreq => self.write_pingresp(outside),
            Packet::Disconnect(disconnect) => self.on_disconnect(&disconnect, now, outside),
            Packet::Auth(auth) => self.on_auth(&auth, now, outside),
            // v5 and v3.1.1 [MQTT-3.1.0-2]
            Packet::Connect(_) => {
                self.fail(ReasonCode::ProtocolError, "a second CONNECT", now, outside);
            }
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.fail(ReasonCode::ProtocolError, "not for a server", now, outside);
            }
        }
    }

    fn on_effect<O: Outside>(
        &mut self,
        shard: ShardId,
        effect: Effect<'_>,
        now: Now,
        outside: &mut O,
    ) {
        if matches!(self.phase, Phase::Detaching | Phase::Gone) {
            // Detach has been sent: nothing may follow it but the last op.
            return;
        }
        match effect {
            Effect::Deliver(delivery) => self.on_deliver(shard, &delivery, now, outside),
            Effect::Published(published) => self.on_published(&published, now, outside),
            Effect::Recorded(recorded) => self.on_recorded(&recorded, outside),
            Effect::Released(released) => self.on_released(shard, &released, now, outside),
            Effect::Pubrel(pubrel) => self.on_resumed_pubrel(shard, &pubrel, outside),
            Effect::Subscribed(subscribed) => {
                self.on_subscribed(shard, &subscribed, now, outside);
            }
            Effect::Unsubscribed(unsubscribed) => {
                self.on_unsubscribed(shard, &unsubscribed, now, outside);
            }
            Effect::Connected(connected) => self.on_connected(*connected, now, outside),
            Effect::Attached(attached) => self.on_attached(shard, &attached, now, outside),
            Effect::AlsoAttach(also) => {
                if matches!(self.phase, Phase::Live) {
                    self.attach(also.shard, true, outside);
                }
            }
            Effect::Kick(kick) => self.on_kick(&kick, now, outside),
        }
    }

    fn on_progress<O: Outside>(&mut self, shard: ShardId, now: Now, outside: &mut O) {
        if let Some(place) = self.peers.find(shard) {
            self.peers.at_mut(place).awaiting = false;
            if matches!(self.phase, Phase::Live | Phase::Leaving) {
                self.drain_parked(place, now, outside);
                self.go_on_with_requests(now, outside);
            }
        }
        if matches!(self.phase, Phase::Asking(_)) {
            self.ask_home(now, outside);
        }
    }

    fn on_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Phase => self.on_phase_time(now, outside),
                Timer::KeepAlive => self.on_keep_alive_time(now, outside),
                Timer::Request => self.on_request_time(now, outside),
                Timer::Barrier => self.drain_all_parked(now, outside),
                Timer::Shared => self.on_shared_time(now),
                Timer::Credit => self.send_credits(outside),
                Timer::Hold => self.on_hold_time(now, outside),
                Timer::Expiry => self.on_expiry_time(now, outside),
                Timer::Rate => self.drain_all_parked(now, outside),
            }
        }
    }

    /// What may have become possible by any input.
    fn settle<O: Outside>(&mut self, now: Now, outside: &mut O) {
        match self.phase {
            Phase::Live => {
                if self.waiting > 0 {
                    self.write_waiting(now, outside);
                }
                self.output_full = outside.output().len() >= OUTPUT_READ_STOP_BYTES;
                let reading = self.reads();
                if reading && !self.was_reading {
                    // Keep alive stood still meanwhile [F-62].
                    self.last_packet = now;
                }
                self.was_reading = reading;
            }
            Phase::Leaving => self.detach_when_answered(now, outside),
            Phase::Detaching => self.tell_kicked_when_detached(outside),
            _ => {}
        }
    }
}

/// The packet id of a packet or effect that is known to be above 0.
pub(crate) fn packet_id(id: u16) -> Option<packet::PacketId> {
    packet::PacketId::new(id)
}
