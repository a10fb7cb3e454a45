//! An MQTT client at packet level, which hides nothing and does nothing of itself: tests say what is
//! sent, acknowledged and expected, and may send any bytes.
//!
//! What a server may never do is checked on every packet that arrives ([`Client::next`]): a test
//! fails on it whatever it is about.

use std::{
    collections::{HashMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    decode::{Limits, Role, decode},
    encode::{PACKET_SIZE_MAX, encode},
    packet::{self, Ack, Connack, Connect, Publish, RetainHandling, Subscribe, SubscribeFilter},
};

use crate::{broker::Broker, stream::Stream, wire::Property};

/// How long a client waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client listens for what must not come. A broker answers in well under a tenth of it.
pub const QUIET: Duration = Duration::from_millis(150);

/// What a client sends in CONNECT.
#[derive(Debug, Clone)]
pub struct Options {
    /// The packet.
    pub connect: Connect,
}

impl Options {
    /// A clean start, keep alive off, nothing else.
    pub fn new(version: Version, client_id: &str) -> Options {
        let connect = Connect {
            clean_start: true,
            keep_alive: 0,
            ..Connect::new(version, client_id)
        };
        Options { connect }
    }

    /// Clean Start, or Clean Session below 5.
    pub fn clean_start(mut self, clean_start: bool) -> Options {
        self.connect.clean_start = clean_start;
        self
    }

    /// Takes up the session that exists, and lets it outlive the connection.
    pub fn persistent(self) -> Options {
        let lasting = if self.connect.version.is_v5() {
            self.session_expiry(300)
        } else {
            self
        };
        lasting.clean_start(false)
    }

    /// Seconds.
    pub fn session_expiry(mut self, seconds: u32) -> Options {
        self.connect.session_expiry = Some(seconds);
        self
    }

    /// Seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Options {
        self.connect.keep_alive = seconds;
        self
    }

    /// How many deliveries may be unacknowledged.
    ///
    /// # Panics
    /// For 0.
    pub fn receive_maximum(mut self, maximum: u16) -> Options {
        self.connect.receive_maximum = Some(NonZeroU16::new(maximum).expect("not 0"));
        self
    }

    /// Bytes of a whole packet.
    pub fn maximum_packet_size(mut self, bytes: u32) -> Options {
        self.connect.maximum_packet_size = Some(bytes);
        self
    }

    /// The highest alias that the broker may use.
    pub fn topic_alias_maximum(mut self, maximum: u16) -> Options {
        self.connect.topic_alias_maximum = maximum;
        self
    }

    /// Whether the broker may send reason strings everywhere.
    pub fn request_problem_information(mut self, wanted: bool) -> Options {
        self.connect.request_problem_information = wanted;
        self
    }

    /// Leaves `message` as the will, to be sent `delay` seconds after the connection.
    pub fn will(mut self, message: &Message, delay: u32) -> Options {
        self.connect.will = Some(packet::Will {
            topic: message.topic.as_str().into(),
            payload: message.payload.clone().into(),
            qos: message.qos_level(),
            retain: message.retain,
            delay,
            message_expiry: message.expiry,
            properties: message.property_bytes(),
        });
        self
    }

    /// Authenticates by `method`, with `data` to begin with.
    pub fn authentication(mut self, method: &str, data: &[u8]) -> Options {
        self.connect.authentication_method = Some(method.into());
        self.connect.authentication_data = Some(Bytes::copy_from_slice(data));
        self
    }

    /// Opens a connection and sends CONNECT.
    pub fn dial(&self, broker: &Broker) -> Client {
        self.dial_at(broker.address)
    }

    /// The same with any broker at that address.
    pub fn dial_at(&self, address: SocketAddr) -> Client {
        self.dial_over(Stream::dial(address))
    }

    /// The same over a connection that is open.
    pub fn dial_over(&self, stream: Stream) -> Client {
        let mut client = Client::over(stream, self.connect.version);
        client.maximum_packet_size = self.connect.maximum_packet_size.unwrap_or(u32::MAX);
        client.topic_alias_maximum = self.connect.topic_alias_maximum;
        client.send(&Packet::Connect(Box::new(self.connect.clone())));
        client
    }

    /// Opens a connection that the broker accepts.
    ///
    /// # Panics
    /// When it refuses.
    pub fn open(&self, broker: &Broker) -> Client {
        self.open_at(broker.address)
    }

    /// The same with any broker at that address.
    ///
    /// # Panics
    /// When it refuses.
    pub fn open_at(&self, address: SocketAddr) -> Client {
        self.open_over(Stream::dial(address))
    }

    /// The same over a connection that is open.
    ///
    /// # Panics
    /// When it refuses.
    pub fn open_over(&self, stream: Stream) -> Client {
        let mut client = self.dial_over(stream);
        let connack = client.expect_connack();
        assert_eq!(
            connack.reason,
            ReasonCode::Success,
            "the broker refuses {:?}",
            self.connect
        );
        client.connack = Some(connack);
        client
    }
}

/// A message as a client sends or receives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Empty to send an alias alone. A received message has the name that its alias stands for.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub dup: bool,
    /// 0 for none; when sending, for the next free one.
    pub packet_id: u16,
    /// 0 for none.
    pub alias: u16,
    /// Seconds.
    pub expiry: Option<u32>,
    /// The subscription identifiers, in ascending order when received.
    pub subscription_ids: Vec<u32>,
    /// The other properties, in their order.
    pub properties: Vec<Property>,
}

impl Message {
    /// A QoS 0 message.
    pub fn new(topic: &str, payload: impl AsRef<[u8]>) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_vec(),
            ..Message::default()
        }
    }

    /// With this QoS.
    pub fn qos(mut self, qos: u8) -> Message {
        self.qos = qos;
        self
    }

    /// With RETAIN.
    pub fn retain(mut self) -> Message {
        self.retain = true;
        self
    }

    /// With DUP.
    pub fn dup(mut self) -> Message {
        self.dup = true;
        self
    }

    /// With this packet identifier.
    pub fn packet_id(mut self, id: u16) -> Message {
        self.packet_id = id;
        self
    }

    /// With this topic alias.
    pub fn alias(mut self, alias: u16) -> Message {
        self.alias = alias;
        self
    }

    /// With this expiry, in seconds.
    pub fn expiry(mut self, seconds: u32) -> Message {
        self.expiry = Some(seconds);
        self
    }

    /// With one more property.
    pub fn property(mut self, property: Property) -> Message {
        self.properties.push(property);
        self
    }

    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    fn qos_level(&self) -> QoS {
        QoS::from_bits(self.qos).expect("0, 1 or 2")
    }

    fn property_bytes(&self) -> Bytes {
        self.properties.iter().flat_map(Property::bytes).collect()
    }

    fn packet(&self) -> Packet {
        Packet::Publish(Publish {
            dup: self.dup,
            qos: self.qos_level(),
            retain: self.retain,
            topic: self.topic.as_str().into(),
            packet_id: NonZeroU16::new(self.packet_id),
            topic_alias: NonZeroU16::new(self.alias),
            message_expiry: self.expiry,
            subscription_ids: self.subscription_ids.iter().copied().collect(),
            properties: self.property_bytes(),
            payload: self.payload.clone().into(),
        })
    }
}

/// A filter to subscribe to, with its options.
#[derive(Debug, Clone)]
pub struct Filter(SubscribeFilter);

impl Filter {
    /// A filter with all options off.
    ///
    /// # Panics
    /// When `qos` is above 2.
    pub fn new(filter: &str, qos: u8) -> Filter {
        Filter(SubscribeFilter {
            filter: filter.into(),
            qos: QoS::from_bits(qos).expect("0, 1 or 2"),
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        })
    }

    /// Not what this client publishes.
    pub fn no_local(mut self) -> Filter {
        self.0.no_local = true;
        self
    }

    /// RETAIN as the publisher set it.
    pub fn retain_as_published(mut self) -> Filter {
        self.0.retain_as_published = true;
        self
    }

    /// Which retained messages to send.
    pub fn retain_handling(mut self, handling: RetainHandling) -> Filter {
        self.0.retain_handling = handling;
        self
    }
}

/// What comes next on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A packet.
    Packet(Packet),
    /// The broker closed the connection.
    Closed,
    /// Nothing within the time.
    Silence,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// What the broker answered to CONNECT, after [`Options::open`].
    pub connack: Option<Connack>,
    version: Version,
    stream: Stream,
    received: BytesMut,
    /// Packets that were read while another was looked for.
    waiting: VecDeque<Packet>,
    /// The bytes of the last packet that was read.
    last: Bytes,
    packet_id: u16,
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    aliases: HashMap<u16, String>,
    accepted: bool,
    disconnected: bool,
}

impl Client {
    /// Opens a connection and sends nothing yet.
    ///
    /// # Panics
    /// When the broker does not listen.
    pub fn dial(address: SocketAddr, version: Version) -> Client {
        Client::over(Stream::dial(address), version)
    }

    /// Takes over a connection that is open, and sends nothing yet.
    pub fn over(stream: Stream, version: Version) -> Client {
        Client {
            connack: None,
            version,
            stream,
            received: BytesMut::new(),
            waiting: VecDeque::new(),
            last: Bytes::new(),
            packet_id: 0,
            maximum_packet_size: u32::MAX,
            topic_alias_maximum: 0,
            aliases: HashMap::new(),
            accepted: false,
            disconnected: false,
        }
    }

    /// Opens a connection with defaults, a clean start, and no session after it.
    pub fn open(broker: &Broker, version: Version, client_id: &str) -> Client {
        Options::new(version, client_id).open(broker)
    }

    /// The CONNACK that accepted this connection.
    ///
    /// # Panics
    /// Before it came.
    pub fn connack(&self) -> &Connack {
        self.connack.as_ref().expect("this connection was opened")
    }

    /// What it speaks over.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The bytes of the packet that was read last.
    pub fn last_bytes(&self) -> &Bytes {
        &self.last
    }

    // Sending.

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends any bytes. That the broker closed the connection meanwhile is seen by reading, not here.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(e) => panic!("cannot send: {e}"),
        }
    }

    /// A packet identifier that this client has not used lately.
    pub fn new_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }

    /// Sends a message and waits for nothing. Gives the packet identifier.
    pub fn send_message(&mut self, message: &Message) -> u16 {
        let mut message = message.clone();
        if message.qos > 0 && message.packet_id == 0 {
            message.packet_id = self.new_packet_id();
        }
        self.send(&message.packet());
        message.packet_id
    }

    /// Sends a message and goes through its handshake. Gives the reason code of PUBACK or PUBREC.
    pub fn publish(&mut self, message: &Message) -> ReasonCode {
        let id = self.send_message(message);
        match message.qos {
            0 => ReasonCode::Success,
            1 => self.expect_puback(id).reason,
            _ => {
                let reason = self.expect_pubrec(id).reason;
                if (reason as u8) < 0x80 {
                    self.send_pubrel(id);
                    assert_eq!(self.expect_pubcomp(id).reason, ReasonCode::Success);
                }
                reason
            }
        }
    }

    /// Subscribes to one filter.
    ///
    /// # Panics
    /// When this QoS is not granted.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let granted = self.subscribe_to(&[Filter::new(filter, qos)]);
        assert_eq!(
            granted,
            [ReasonCode::from_u8(qos).expect("0, 1 or 2")],
            "{filter}"
        );
    }

    /// Subscribes to filters in one packet. Gives the codes of SUBACK.
    pub fn subscribe_to(&mut self, filters: &[Filter]) -> Vec<ReasonCode> {
        self.subscribe_with_id(filters, None)
    }

    /// Subscribes to filters in one packet, with a subscription identifier.
    pub fn subscribe_with_id(&mut self, filters: &[Filter], id: Option<u32>) -> Vec<ReasonCode> {
        let packet_id = self.new_packet_id();
        self.send_subscribe(packet_id, filters, id);
        self.expect_suback(packet_id)
    }

    /// Sends SUBSCRIBE.
    ///
    /// # Panics
    /// When `packet_id` is 0.
    pub fn send_subscribe(&mut self, packet_id: u16, filters: &[Filter], id: Option<u32>) {
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: NonZeroU16::new(packet_id).expect("not 0"),
            subscription_id: id,
            user_properties: Default::default(),
            filters: filters.iter().map(|filter| filter.0.clone()).collect(),
        }));
    }

    /// Unsubscribes from filters in one packet. Gives the codes of UNSUBACK: none below version 5.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<ReasonCode> {
        let packet_id = self.new_packet_id();
        self.send_unsubscribe(packet_id, filters);
        self.expect_unsuback(packet_id)
    }

    /// Sends UNSUBSCRIBE.
    ///
    /// # Panics
    /// When `packet_id` is 0.
    pub fn send_unsubscribe(&mut self, packet_id: u16, filters: &[&str]) {
        self.send(&Packet::Unsubscribe(packet::Unsubscribe {
            packet_id: NonZeroU16::new(packet_id).expect("not 0"),
            user_properties: Default::default(),
            filters: filters.iter().map(|&filter| filter.into()).collect(),
        }));
    }

    /// Sends PUBACK.
    pub fn send_puback(&mut self, id: u16) {
        self.send(&Packet::Puback(ack(id, ReasonCode::Success)));
    }

    /// Sends PUBACK with a reason.
    pub fn send_puback_with(&mut self, id: u16, reason: ReasonCode) {
        self.send(&Packet::Puback(ack(id, reason)));
    }

    /// Sends PUBREC.
    pub fn send_pubrec(&mut self, id: u16) {
        self.send(&Packet::Pubrec(ack(id, ReasonCode::Success)));
    }

    /// Sends PUBREC with a reason.
    pub fn send_pubrec_with(&mut self, id: u16, reason: ReasonCode) {
        self.send(&Packet::Pubrec(ack(id, reason)));
    }

    /// Sends PUBREL.
    pub fn send_pubrel(&mut self, id: u16) {
        self.send(&Packet::Pubrel(ack(id, ReasonCode::Success)));
    }

    /// Sends PUBCOMP.
    pub fn send_pubcomp(&mut self, id: u16) {
        self.send(&Packet::Pubcomp(ack(id, ReasonCode::Success)));
    }

    /// Sends PINGREQ and waits for the answer.
    pub fn ping(&mut self) {
        self.send(&Packet::Pingreq);
        self.expect("PINGRESP", |packet| match packet {
            Packet::Pingresp => Some(()),
            _ => None,
        });
    }

    /// Sends DISCONNECT and waits until the broker closed.
    pub fn disconnect(self) {
        self.disconnect_with(ReasonCode::NORMAL_DISCONNECTION, None);
    }

    /// Sends DISCONNECT with a reason and, perhaps, a new session expiry; waits until the broker closed.
    pub fn disconnect_with(mut self, reason: ReasonCode, session_expiry: Option<u32>) {
        self.send(&Packet::Disconnect(Box::new(packet::Disconnect {
            session_expiry,
            ..packet::Disconnect::new(reason)
        })));
        assert_eq!(self.expect_close(), None, "nothing answers DISCONNECT");
    }

    /// Ends the connection without DISCONNECT, as a broken network does.
    pub fn abort(self) {
        self.stream.cut();
    }

    // Receiving.

    /// What comes next: first what was left over by a search.
    pub fn next(&mut self, patience: Duration) -> Event {
        match self.waiting.pop_front() {
            Some(packet) => Event::Packet(packet),
            None => self.read(Instant::now() + patience),
        }
    }

    /// The next packet, whatever it is.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect_packet(&mut self) -> Packet {
        match self.next(PATIENCE) {
            Event::Packet(packet) => packet,
            other => panic!("no packet but {other:?}"),
        }
    }

    /// The first packet that `wanted` takes; the others are kept in their order.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        let mut passed = VecDeque::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let packet = match self.waiting.pop_front() {
                Some(packet) => packet,
                None => match self.read(deadline) {
                    Event::Packet(packet) => packet,
                    end => panic!("no {what} but {end:?}, after {passed:?}"),
                },
            };
            if let Some(found) = wanted(&packet) {
                passed.append(&mut self.waiting);
                self.waiting = passed;
                return found;
            }
            passed.push_back(packet);
        }
    }

    /// The answer to CONNECT.
    pub fn expect_connack(&mut self) -> Connack {
        match self.expect_packet() {
            Packet::Connack(connack) => *connack,
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    /// The next message, not acknowledged.
    pub fn expect_message(&mut self) -> Message {
        let publish = self.expect("PUBLISH", |packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        });
        self.message(publish)
    }

    /// The next message, acknowledged as its QoS asks.
    pub fn receive(&mut self) -> Message {
        let message = self.expect_message();
        match message.qos {
            0 => {}
            1 => self.send_puback(message.packet_id),
            _ => {
                self.send_pubrec(message.packet_id);
                self.expect_pubrel(message.packet_id);
                self.send_pubcomp(message.packet_id);
            }
        }
        message
    }

    /// The PUBACK of `id`.
    pub fn expect_puback(&mut self, id: u16) -> Ack {
        self.expect("PUBACK", |packet| match packet {
            Packet::Puback(ack) if ack.packet_id.get() == id => Some(ack.clone()),
            _ => None,
        })
    }

    /// The PUBREC of `id`.
    pub fn expect_pubrec(&mut self, id: u16) -> Ack {
        self.expect("PUBREC", |packet| match packet {
            Packet::Pubrec(ack) if ack.packet_id.get() == id => Some(ack.clone()),
            _ => None,
        })
    }

    /// The PUBREL of `id`.
    pub fn expect_pubrel(&mut self, id: u16) -> Ack {
        self.expect("PUBREL", |packet| match packet {
            Packet::Pubrel(ack) if ack.packet_id.get() == id => Some(ack.clone()),
            _ => None,
        })
    }

    /// The PUBCOMP of `id`.
    pub fn expect_pubcomp(&mut self, id: u16) -> Ack {
        self.expect("PUBCOMP", |packet| match packet {
            Packet::Pubcomp(ack) if ack.packet_id.get() == id => Some(ack.clone()),
            _ => None,
        })
    }

    /// The codes of the SUBACK of `id`.
    pub fn expect_suback(&mut self, id: u16) -> Vec<ReasonCode> {
        self.expect("SUBACK", |packet| match packet {
            Packet::Suback(suback) if suback.packet_id.get() == id => Some(suback.codes.clone()),
            _ => None,
        })
    }

    /// The codes of the UNSUBACK of `id`.
    pub fn expect_unsuback(&mut self, id: u16) -> Vec<ReasonCode> {
        self.expect("UNSUBACK", |packet| match packet {
            Packet::Unsuback(unsuback) if unsuback.packet_id.get() == id => {
                Some(unsuback.codes.clone())
            }
            _ => None,
        })
    }

    /// Waits until the broker closes. Gives the reason of its DISCONNECT, if it sent one; what it
    /// sent before is passed over.
    ///
    /// # Panics
    /// When it does not close.
    pub fn expect_close(&mut self) -> Option<ReasonCode> {
        let deadline = Instant::now() + PATIENCE;
        let mut reason = None;
        loop {
            let event = match self.waiting.pop_front() {
                Some(packet) => Event::Packet(packet),
                None => self.read(deadline),
            };
            match event {
                Event::Packet(Packet::Disconnect(disconnect)) => reason = Some(disconnect.reason),
                Event::Packet(_) => {}
                Event::Closed => return reason,
                Event::Silence => panic!("the broker does not close the connection"),
            }
        }
    }

    /// Waits until the broker closes the connection for `reason`: said by DISCONNECT in version 5,
    /// silently below.
    ///
    /// # Panics
    /// When it does not, or for another reason.
    pub fn expect_closed_for(&mut self, reason: ReasonCode) {
        let expected = self.version.is_v5().then_some(reason);
        assert_eq!(self.expect_close(), expected);
    }

    /// All bytes up to the broker's close, without a look at what they are.
    ///
    /// # Panics
    /// When it does not close.
    pub fn read_to_close(&mut self) -> Vec<u8> {
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("more than nothing");
        let mut bytes = self.received.split().to_vec();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => bytes,
            Err(e) => panic!("the broker does not close the connection: {e}; it sent {bytes:x?}"),
        }
    }

    /// As many bytes as `expected` has.
    ///
    /// # Panics
    /// When others come, or none.
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("more than nothing");
        let mut bytes = self.received.split().to_vec();
        while bytes.len() < expected.len() {
            let mut chunk = vec![0; expected.len() - bytes.len()];
            match self.stream.read(&mut chunk) {
                Ok(length) if length > 0 => bytes.extend(&chunk[..length]),
                end => panic!("{end:?} after {bytes:x?}, not {expected:x?}"),
            }
        }
        assert_eq!(bytes, expected, "{bytes:x?}, not {expected:x?}");
    }

    /// Listens for a while.
    ///
    /// # Panics
    /// When anything comes.
    pub fn expect_nothing(&mut self) {
        let event = self.next(QUIET);
        assert_eq!(event, Event::Silence, "nothing was to come");
    }

    /// Listens for a while on several connections at once.
    ///
    /// # Panics
    /// When anything comes on any of them.
    pub fn expect_nothing_on<'a>(clients: impl IntoIterator<Item = &'a mut Client>) {
        let end = Instant::now() + QUIET;
        for client in clients {
            let left = end.saturating_duration_since(Instant::now());
            let event = client.next(left.max(Duration::from_millis(1)));
            assert_eq!(event, Event::Silence, "nothing was to come");
        }
    }

    fn message(&mut self, publish: Publish) -> Message {
        let alias = publish.topic_alias.map_or(0, NonZeroU16::get);
        let mut topic = publish.topic.to_string();
        if alias > 0 {
            if topic.is_empty() {
                topic = self
                    .aliases
                    .get(&alias)
                    .expect("the broker set this alias")
                    .clone();
            } else {
                self.aliases.insert(alias, topic.clone());
            }
        }
        let mut subscription_ids = publish.subscription_ids.to_vec();
        subscription_ids.sort_unstable();
        Message {
            topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id.map_or(0, NonZeroU16::get),
            alias,
            expiry: publish.message_expiry,
            subscription_ids,
            properties: Property::of_message(&publish.properties),
        }
    }

    /// Reads the next packet from the socket.
    fn read(&mut self, deadline: Instant) -> Event {
        loop {
            if let Some(length) = whole_packet(&self.received) {
                let bytes = self.received.split_to(length).freeze();
                return Event::Packet(self.checked(bytes));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Silence;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("more than nothing");
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(
                        self.received.is_empty(),
                        "cut off in a packet: {:x?}",
                        &self.received[..]
                    );
                    return Event::Closed;
                }
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Event::Silence,
                    ErrorKind::Interrupted => {}
                    // A broker that closes with our bytes unread resets the connection.
                    ErrorKind::ConnectionReset => return Event::Closed,
                    _ => panic!("cannot receive: {e}"),
                },
            }
        }
    }

    /// Decodes a packet, and holds the broker to what it may never do.
    fn checked(&mut self, bytes: Bytes) -> Packet {
        let (kind, flags) = (bytes[0] >> 4, bytes[0] & 0x0F);
        // v5 [MQTT-3.14.4-1]
        assert!(!self.disconnected, "a packet after DISCONNECT: {bytes:x?}");
        // v5 [MQTT-3.1.2-24]
        assert!(
            bytes.len() <= self.maximum_packet_size as usize,
            "{} bytes: {bytes:x?}",
            bytes.len()
        );
        // v5 [MQTT-2.1.3-1], v3.1.1 [MQTT-2.2.2-1]
        match kind {
            3 => {
                let (dup, qos) = (flags & 8 != 0, flags >> 1 & 3);
                // v5 and v3.1.1 [MQTT-3.3.1-2], [MQTT-3.3.1-4]
                assert!(
                    qos < 3 && !(dup && qos == 0),
                    "the flags of a PUBLISH: {flags:#06b}"
                );
            }
            6 => assert_eq!(flags, 0b0010, "the flags of PUBREL"),
            _ => assert_eq!(flags, 0, "the flags of packet type {kind}"),
        }
        // v5 and v3.1.1 [MQTT-3.2.0-1]; v5 [MQTT-3.2.0-2]
        let in_turn = if kind == 2 {
            !self.accepted
        } else {
            self.accepted || kind == 15
        };
        assert!(in_turn, "CONNACK first, and once: {bytes:x?}");
        let limits = Limits {
            maximum_packet_size: PACKET_SIZE_MAX,
            role: Role::Client,
        };
        let mut rest = bytes.clone();
        let packet = match decode(&mut rest, Some(self.version), &limits) {
            Ok(Some(packet)) => packet,
            wrong => panic!("not a packet of a server: {wrong:?}: {bytes:x?}"),
        };
        match &packet {
            Packet::Connack(connack) => self.accepted = connack.reason == ReasonCode::Success,
            Packet::Disconnect(_) => self.disconnected = true,
            Packet::Publish(publish) => {
                // v5 [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11]
                let alias = publish.topic_alias.map_or(0, NonZeroU16::get);
                assert!(alias <= self.topic_alias_maximum, "topic alias {alias}");
            }
            _ => {}
        }
        self.last = bytes;
        packet
    }
}

/// An acknowledgement.
fn ack(id: u16, reason: ReasonCode) -> Ack {
    Ack::new(NonZeroU16::new(id).expect("not 0"), reason)
}

/// The length of the packet at the front of `bytes`, once all of it is there.
fn whole_packet(bytes: &[u8]) -> Option<usize> {
    let mut remaining = 0;
    for (index, &byte) in bytes.iter().skip(1).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // v5 [MQTT-1.5.5-1]
            assert!(
                byte != 0 || index == 0,
                "a length that could be shorter: {bytes:x?}"
            );
            let length = 2 + index + remaining;
            return (bytes.len() >= length).then_some(length);
        }
        assert!(index < 3, "a length without end: {bytes:x?}");
    }
    None
}
