//! Devices: MQTT clients that keep the rules of clients, connect, subscribe, publish, leave, and come back.

use std::collections::{BTreeMap, VecDeque};

use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    packet::{
        Ack, Connack, Connect, Disconnect, PacketId, Publish, Subscribe, SubscribeFilter, Will,
    },
};

use crate::{
    mqtt::{
        Clients, Event, Here,
        ledger::{Losses, SHARED, SHARED_FILTER, TOPICS},
        wills,
    },
    random::Random,
    workload::{Phase, Violation},
};

/// Microseconds without an answer after which a device gives its socket up.
const STALLED: u64 = 2_500_000;

/// Publishes without their last acknowledgement.
const OUTGOING_MAX: usize = 8;

/// Seconds.
const SESSION_EXPIRY: u32 = 3_600;

/// How far a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Away,
    Connecting,
    Live,
}

/// What a device knows of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    None,
    Alive,
    Unknown,
}

/// A subscription of a device.
#[derive(Debug, Clone)]
pub struct Sub {
    pub filter: String,
    pub qos: QoS,
    /// When SUBSCRIBE left, and when it was answered with yes; `None`: it does not hold.
    pub asked_at: u64,
    pub since: Option<u64>,
}

/// A publish that is not acknowledged to its end.
#[derive(Debug, Clone)]
struct Outgoing {
    packet_id: u16,
    id: u64,
    topic: String,
    qos: QoS,
    retain: bool,
    /// PUBREC has come.
    is_received: bool,
}

#[derive(Debug)]
pub struct Device {
    pub index: usize,
    pub version: Version,
    pub is_persistent: bool,
    receive_maximum: u16,
    will_delay: Option<u32>,
    pub subs: Vec<Sub>,
    pub socket: Option<u64>,
    pub state: State,
    belief: Belief,
    /// When it asked for its session, and was told that it has a new one.
    born: (u64, u64),
    asked_clean: bool,
    /// When it first asked for its session since it was last answered.
    asked_at: Option<u64>,
    /// When an administrator has told a shard to end its session, which may have happened, or will.
    pub doomed_at: Option<u64>,
    /// Since when something is not answered.
    waits_since: Option<u64>,
    next_packet_id: u16,
    outgoing: VecDeque<Outgoing>,
    subscribing: Option<u16>,
    /// QoS 2 messages that were taken and not released, by packet id.
    held: BTreeMap<u16, u64>,
    /// When the last of its own QoS 2 messages was released.
    released_at: u64,
    /// It has forgotten such messages, of which its session may still know.
    has_left_any: bool,
}

impl Device {
    pub fn new(index: usize, qos_max: QoS, random: &mut Random) -> Device {
        let sub = |filter: &str, qos: QoS| Sub {
            filter: filter.to_owned(),
            qos: qos.min(qos_max),
            asked_at: 0,
            since: None,
        };
        let any_qos = |random: &mut Random| match random.below(3) {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let mut subs = match index {
            // Hears of everyone's comings and goings.
            0 => vec![sub("s/+", QoS::AtLeastOnce), sub("t/0", QoS::ExactlyOnce)],
            // Hears all in one lane.
            3 => vec![sub("t/+", QoS::AtMostOnce)],
            _ if random.once_in(3) => vec![sub("t/+", any_qos(random))],
            _ => {
                let topics: Vec<_> = (0..TOPICS).filter(|_| random.once_in(2)).collect();
                let topics = topics.into_iter();
                topics
                    .map(|topic| sub(&format!("t/{topic}"), any_qos(random)))
                    .collect()
            }
        };
        subs.push(sub("r/+", QoS::AtLeastOnce));
        if index == 1 || index == 2 {
            subs.push(sub(SHARED_FILTER, QoS::ExactlyOnce));
        }
        Device {
            index,
            version: if random.once_in(4) {
                Version::V4
            } else {
                Version::V5
            },
            is_persistent: index < 3 || random.once_in(2),
            receive_maximum: random.within(1, 20) as u16,
            will_delay: match random.below(4) {
                0 => None,
                1 => Some(1),
                _ => Some(0),
            },
            subs,
            socket: None,
            state: State::Away,
            belief: Belief::None,
            born: (0, 0),
            asked_clean: false,
            asked_at: None,
            doomed_at: None,
            waits_since: None,
            next_packet_id: 0,
            outgoing: VecDeque::new(),
            subscribing: None,
            held: BTreeMap::new(),
            released_at: 0,
            has_left_any: false,
        }
    }

    fn packet_id(&mut self) -> u16 {
        loop {
            self.next_packet_id = self.next_packet_id % 200 + 1;
            let id = self.next_packet_id;
            let is_taken = self.outgoing.iter().any(|out| out.packet_id == id);
            if !is_taken && self.subscribing != Some(id) {
                return id;
            }
        }
    }

    /// Forgets the session.
    fn forget(&mut self) {
        self.has_left_any |= self.is_releasing();
        self.outgoing.clear();
        self.held.clear();
        self.unsubscribe();
    }

    /// Whether QoS 2 messages of its own are not yet released.
    fn is_releasing(&self) -> bool {
        let mut outgoing = self.outgoing.iter();
        outgoing.any(|out| out.qos == QoS::ExactlyOnce)
    }

    /// Whether its session may have ended because the shard does not know what was QoS 2 in it when the power went `[C-64]`.
    fn may_have_ended(&self, losses: &Losses) -> bool {
        let (asked_at, _) = self.born;
        let gets = self.subs.iter().any(|sub| sub.qos == QoS::ExactlyOnce);
        let is_any = gets || self.has_left_any || self.is_releasing();
        let mut spans = losses.0.iter().filter(|(_, at)| asked_at <= *at);
        spans.any(|(from, _)| is_any || self.released_at >= *from)
    }

    fn unsubscribe(&mut self) {
        self.subs.iter_mut().for_each(|sub| sub.since = None);
    }

    /// The socket is gone.
    fn leave(&mut self) {
        self.socket = None;
        self.state = State::Away;
        self.subscribing = None;
        self.waits_since = None;
        if !self.is_persistent {
            self.forget();
        }
    }

    fn owes_nothing(&self) -> bool {
        self.outgoing.is_empty() && self.subscribing.is_none() && self.state == State::Live
    }

    fn answered(&mut self, now: u64) {
        self.waits_since = (!self.owes_nothing()).then_some(now);
    }

    /// Everything that was asked is answered.
    pub fn is_settled(&self) -> Result<(), Violation> {
        if self.owes_nothing() && self.subs.iter().all(|sub| sub.since.is_some()) {
            return Ok(());
        }
        Err(format!(
            "client {} waits for an answer: {:?}, {:?}, subscribing {:?}",
            self.index,
            self.state,
            self.outgoing.front(),
            self.subscribing
        ))
    }
}

fn pid(id: u16) -> PacketId {
    PacketId::new(id).expect("ids of devices are above 0")
}

impl Clients {
    /// A device's turn.
    pub fn act_device(&mut self, index: usize, scene: &mut Here<'_>) {
        let now = scene.now;
        let (state, waits) = {
            let device = &self.devices[index];
            let waits = device.waits_since.map_or(0, |since| now - since);
            (device.state, waits)
        };
        if state == State::Away {
            if !self.is_scripted && (scene.phase > Phase::Faults || scene.random.once_in(3)) {
                self.connect(index, scene);
            }
            return;
        }
        if waits > STALLED && scene.phase < Phase::Quiet {
            scene.trace(|| format!("client {index} gives up its socket"));
            self.hang_up(index, scene);
            return;
        }
        if state != State::Live || self.is_scripted {
            return;
        }
        if self.devices[index].subscribing.is_none()
            && self.devices[index]
                .subs
                .iter()
                .any(|sub| sub.since.is_none())
        {
            self.subscribe(index, scene);
        }
        match scene.phase {
            Phase::Faults => {}
            Phase::Probing if scene.random.once_in(4) => {
                return self.publish_any(index, scene);
            }
            _ => return,
        }
        match scene.random.below(100) {
            0..=1 => self.disconnect(index, scene),
            2..=4 => self.hang_up(index, scene),
            // Comes by another way, before the old one is closed.
            5..=7 => self.connect(index, scene),
            8..=9 => {
                // Leaves well, and comes back at once by another way.
                self.disconnect(index, scene);
                self.connect(index, scene);
            }
            10..=84 => self.publish_any(index, scene),
            _ => {}
        }
    }

    pub fn connect(&mut self, index: usize, scene: &mut Here<'_>) {
        let reachable = scene.reachable.iter().enumerate();
        let gateways: Vec<usize> = reachable.filter(|(_, is)| **is).map(|(at, _)| at).collect();
        if let Some(gateway) = scene.random.pick(&gateways).copied() {
            self.connect_to(index, gateway, scene);
        }
    }

    pub fn connect_to(&mut self, index: usize, gateway: usize, scene: &mut Here<'_>) {
        // The one who hears of wills never forgets.
        let may_ask = index != 0 && !self.is_scripted && self.devices[index].version == Version::V5;
        let wants_clean = may_ask && scene.random.once_in(20);
        let is_faulty = scene.phase == Phase::Faults;
        let device = &mut self.devices[index];
        device.leave();
        // Who does not know what is left of its session begins a new one.
        let is_doomed = device.doomed_at.is_some();
        let clean = !device.is_persistent || (wants_clean && is_faulty) || is_doomed;
        let mut connect = Connect::new(device.version, format!("device-{index}"));
        connect.clean_start = clean;
        if device.version == Version::V5 {
            connect.session_expiry = Some(if device.is_persistent {
                SESSION_EXPIRY
            } else {
                0
            });
            connect.receive_maximum = std::num::NonZeroU16::new(device.receive_maximum);
        }
        let next = self.next_socket + 1;
        if let Some(delay) = device.will_delay {
            connect.will = Some(Will {
                topic: format!("s/{index}").into(),
                payload: wills::payload(next),
                qos: QoS::AtLeastOnce,
                retain: true,
                delay: if device.version == Version::V5 {
                    delay
                } else {
                    0
                },
                ..Will::default()
            });
            let is_at_once = delay == 0 || device.version != Version::V5;
            self.wills.asked(next, device, is_at_once);
        }
        device.asked_clean = clean;
        device.asked_at.get_or_insert(scene.now);
        if clean {
            // The client forgets at once, too.
            device.belief = Belief::Unknown;
            device.forget();
        }
        device.state = State::Connecting;
        device.socket = Some(next);
        device.waits_since = Some(scene.now);
        scene.trace(|| {
            format!("client {index} connects to gateway {gateway} as {next}, clean: {clean}")
        });
        self.open(index, connect, gateway, scene);
    }

    /// The device closes its socket without a word.
    pub fn hang_up(&mut self, index: usize, scene: &mut Here<'_>) {
        if let Some(socket) = self.devices[index].socket {
            self.give_gateway(socket, Event::HungUp { socket }, scene);
        }
        self.devices[index].leave();
    }

    pub fn disconnect(&mut self, index: usize, scene: &mut Here<'_>) {
        if let Some(socket) = self.devices[index].socket {
            scene.trace(|| format!("client {index} disconnects {socket}"));
            self.wills.disconnect_sent(socket);
            let packet = Packet::Disconnect(Box::new(Disconnect::new(ReasonCode::Success)));
            self.give_gateway(socket, Event::ToGateway { socket, packet }, scene);
        }
        self.hang_up(index, scene);
    }

    fn say(&mut self, index: usize, packet: Packet, scene: &mut Here<'_>) {
        if let Some(socket) = self.devices[index].socket {
            self.give_gateway(socket, Event::ToGateway { socket, packet }, scene);
        }
    }

    fn subscribe(&mut self, index: usize, scene: &mut Here<'_>) {
        let device = &mut self.devices[index];
        let id = device.packet_id();
        device.subscribing = Some(id);
        device.waits_since.get_or_insert(scene.now);
        let filters = device.subs.iter_mut().map(|sub| {
            sub.asked_at = scene.now;
            SubscribeFilter::new(sub.filter.clone(), sub.qos)
        });
        let subscribe = Subscribe::new(pid(id), filters.collect());
        self.say(index, Packet::Subscribe(subscribe), scene);
    }

    fn publish_any(&mut self, index: usize, scene: &mut Here<'_>) {
        let (topic, retain) = match scene.random.below(10) {
            0 if index == 1 => ("r/0".to_owned(), true),
            1 if index == 2 => ("r/1".to_owned(), true),
            2..=3 => (SHARED.to_owned(), false),
            // Most to few, so that lanes and packet ids meet.
            4..=6 => ("t/0".to_owned(), false),
            _ => (format!("t/{}", scene.random.below(TOPICS)), false),
        };
        let qos = match scene.random.below(3) {
            0 if !retain => QoS::AtMostOnce,
            0..=1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        self.publish(index, &topic, qos.min(self.qos_max), retain, scene);
    }

    pub fn publish(
        &mut self,
        index: usize,
        topic: &str,
        qos: QoS,
        retain: bool,
        scene: &mut Here<'_>,
    ) {
        let device = &mut self.devices[index];
        let Some(socket) = device.socket.filter(|_| device.state == State::Live) else {
            return;
        };
        if device.outgoing.len() >= OUTGOING_MAX {
            return;
        }
        let id = self
            .ledger
            .publish(index, topic, qos, retain, socket, scene.now);
        let packet_id = if qos == QoS::AtMostOnce {
            None
        } else {
            let packet_id = device.packet_id();
            device.waits_since.get_or_insert(scene.now);
            device.outgoing.push_back(Outgoing {
                packet_id,
                id,
                topic: topic.to_owned(),
                qos,
                retain,
                is_received: false,
            });
            Some(pid(packet_id))
        };
        let mut publish = Publish::new(topic.to_owned(), id.to_le_bytes().to_vec());
        (publish.qos, publish.retain, publish.packet_id) = (qos, retain, packet_id);
        self.say(index, Packet::Publish(publish), scene);
    }

    /// Something reaches a device, on the socket that it uses now.
    pub fn device_hears(
        &mut self,
        socket: u64,
        packets: Vec<Packet>,
        closes: bool,
        scene: &mut Here<'_>,
    ) -> Result<(), Violation> {
        let Some(index) = self.sockets.get(&socket).map(|known| known.device) else {
            return Ok(());
        };
        for packet in packets {
            if self.devices[index].socket != Some(socket) {
                return Ok(());
            }
            self.device_takes(index, packet, scene)?;
        }
        if closes && self.devices[index].socket == Some(socket) {
            scene.trace(|| format!("client {index}: socket {socket} is closed"));
            self.devices[index].leave();
        }
        Ok(())
    }

    fn device_takes(
        &mut self,
        index: usize,
        packet: Packet,
        scene: &mut Here<'_>,
    ) -> Result<(), Violation> {
        let now = scene.now;
        let device = &mut self.devices[index];
        match packet {
            Packet::Connack(connack) => return self.connected(index, &connack, scene),
            Packet::Suback(suback) if device.subscribing == Some(suback.packet_id.get()) => {
                device.subscribing = None;
                for (sub, code) in device.subs.iter_mut().zip(&suback.codes) {
                    sub.since = (!code.is_error()).then_some(now);
                }
                device.answered(now);
            }
            Packet::Puback(ack) => {
                let id = ack.packet_id.get();
                let is_it = |out: &Outgoing| out.packet_id == id && out.qos == QoS::AtLeastOnce;
                if let Some(place) = device.outgoing.iter().position(is_it) {
                    let out = device.outgoing.remove(place);
                    device.answered(now);
                    if let Some(out) = out.filter(|_| !ack.reason.is_error()) {
                        self.ledger.acked(out.id, now);
                    }
                }
            }
            Packet::Pubrec(ack) => {
                let id = ack.packet_id.get();
                let is_it = |out: &Outgoing| out.packet_id == id && out.qos == QoS::ExactlyOnce;
                if let Some(place) = device.outgoing.iter().position(is_it) {
                    if ack.reason.is_error() {
                        device.outgoing.remove(place);
                        device.answered(now);
                        return Ok(());
                    }
                    device.outgoing[place].is_received = true;
                    let id = device.outgoing[place].id;
                    self.ledger.acked(id, now);
                }
                self.say(index, Packet::Pubrel(Ack::success(ack.packet_id)), scene);
            }
            Packet::Pubcomp(ack) => {
                let id = ack.packet_id.get();
                let is_it = |out: &Outgoing| out.packet_id == id && out.is_received;
                device.outgoing.retain(|out| !is_it(out));
                device.released_at = now;
                device.answered(now);
            }
            Packet::Publish(publish) => return self.delivered(index, &publish, scene),
            Packet::Pubrel(ack) => {
                device.held.remove(&ack.packet_id.get());
                self.say(index, Packet::Pubcomp(Ack::success(ack.packet_id)), scene);
            }
            _ => {}
        }
        Ok(())
    }

    fn delivered(
        &mut self,
        index: usize,
        publish: &Publish,
        scene: &mut Here<'_>,
    ) -> Result<(), Violation> {
        let device = &mut self.devices[index];
        let Ok(bytes) = <[u8; 8]>::try_from(&publish.payload[..]) else {
            return Err(format!("client {index} got a payload that nobody sent"));
        };
        let id = u64::from_le_bytes(bytes);
        scene.trace(|| {
            format!(
                "client {index} gets {id:x} of {} at {:?} as {:?}, again: {}",
                publish.topic, publish.qos, publish.packet_id, publish.dup
            )
        });
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            let known = device.held.insert(packet_id.get(), id);
            if known.is_some_and(|known| known != id) {
                return Err(format!(
                    "client {index} got {id} with a packet id that is in use"
                ));
            }
            self.say(index, Packet::Pubrec(Ack::success(packet_id)), scene);
            if known.is_some() {
                return Ok(());
            }
        } else if let Some(packet_id) = publish.packet_id {
            self.say(index, Packet::Puback(Ack::success(packet_id)), scene);
        }
        let device = &self.devices[index];
        if wills::is_will(id) {
            self.wills.received(index, id);
            self.ledger.heard(index, &publish.topic, id);
            return Ok(());
        }
        self.ledger.delivered(device, publish, id)
    }

    fn connected(
        &mut self,
        index: usize,
        connack: &Connack,
        scene: &mut Here<'_>,
    ) -> Result<(), Violation> {
        let device = &mut self.devices[index];
        if connack.reason.is_error() {
            scene.trace(|| format!("client {index} is refused: {:?}", connack.reason));
            return Ok(());
        }
        let present = connack.session_present;
        scene.trace(|| format!("client {index} is connected, its session was there: {present}"));
        if present && device.asked_clean {
            return Err(format!(
                "client {index} asked for a new session, and got an old one"
            ));
        }
        let may_be_new = device.asked_clean || device.doomed_at.is_some();
        let is_lost = device.belief == Belief::Alive && !present && !may_be_new;
        let (asked_at, born_at) = device.born;
        let losses = &self.ledger.losses;
        let may_have_ended = device.may_have_ended(losses);
        let may_be_lost = losses.may_take(asked_at, Some(born_at)) || may_have_ended;
        if is_lost && !may_be_lost && !self.ledger.is_void {
            return Err(format!("client {index} has lost its session"));
        }
        // A session that was asked for later is not the one that is meant.
        let socket = device.socket.and_then(|socket| self.sockets.get(&socket));
        let asked_at = socket.map_or(0, |socket| socket.connect_sent);
        let asked_first_at = device.asked_at.take().unwrap_or(asked_at);
        // What is there may be what an earlier CONNECT began that was never answered.
        let is_unsure = present && may_have_ended && asked_first_at < asked_at;
        if present && (device.belief == Belief::Unknown || is_unsure) {
            // It had asked for a new session, forgot the old one, and was never answered; or it does not know which one this is.
            self.ledger.forgot(index);
        }
        device.state = State::Live;
        device.belief = if device.is_persistent {
            Belief::Alive
        } else {
            Belief::None
        };
        if !present || is_unsure {
            device.forget();
            device.has_left_any = is_unsure;
            device.born = (if present { asked_first_at } else { asked_at }, scene.now);
        }
        device.doomed_at = device.doomed_at.filter(|doomed_at| *doomed_at >= asked_at);
        let again: Vec<Outgoing> = device.outgoing.iter().cloned().collect();
        device.answered(scene.now);
        for out in again {
            let packet = if out.is_received {
                Packet::Pubrel(Ack::success(pid(out.packet_id)))
            } else {
                self.ledger.sent_again(out.id);
                let mut publish = Publish::new(out.topic, out.id.to_le_bytes().to_vec());
                publish.dup = true;
                (publish.qos, publish.retain) = (out.qos, out.retain);
                publish.packet_id = Some(pid(out.packet_id));
                Packet::Publish(publish)
            };
            self.say(index, packet, scene);
        }
        if self.devices[index]
            .subs
            .iter()
            .any(|sub| sub.since.is_none())
        {
            self.subscribe(index, scene);
        }
        self.publish(index, &format!("s/{index}"), QoS::AtLeastOnce, true, scene);
        Ok(())
    }

    /// What a script may expect: `client N gets TOPIC COUNT`, of what others and it itself published there;
    /// `will N COUNT`, `connected N`.
    pub fn is_expected(&self, words: &[&str]) -> Result<(), Violation> {
        let wrong = || format!("nothing can be expected by {words:?}");
        let number = |word: &str| word.parse::<usize>().ok().ok_or_else(wrong);
        let (found, wanted) = match *words {
            ["client", index, "gets", topic, count] => {
                let index = number(index)?;
                (self.ledger.count(index, topic), number(count)?)
            }
            ["wills", index, count] => (self.wills.count(number(index)?), number(count)?),
            ["connected", index] => {
                let device = self.devices.get(number(index)?).ok_or_else(wrong)?;
                (usize::from(device.state == State::Live), 1)
            }
            _ => return Err(wrong()),
        };
        if found != wanted {
            return Err(format!("{words:?} was expected, and there were {found}"));
        }
        Ok(())
    }

    /// What a script lets a device do: `client N connect G | disconnect | drop | publish TOPIC QOS`.
    pub fn script_device(&mut self, words: &[&str], scene: &mut Here<'_>) -> Result<(), Violation> {
        let wrong = || format!("no client can do {words:?}");
        let number = |word: &&str| word.parse::<usize>().ok();
        let index = words.first().and_then(number).ok_or_else(wrong)?;
        if index >= self.devices.len() {
            return Err(wrong());
        }
        match words[1..] {
            ["connect", gateway] => {
                let gateway = number(&gateway).ok_or_else(wrong)?;
                self.connect_to(index, gateway, scene);
            }
            ["disconnect"] => self.disconnect(index, scene),
            ["drop"] => self.hang_up(index, scene),
            ["publish", topic, qos] => {
                let qos = qos
                    .parse()
                    .ok()
                    .and_then(QoS::from_bits)
                    .ok_or_else(wrong)?;
                self.publish(index, topic, qos, false, scene);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}
