//! Passports, as a worker sees them: in from a client, to the shard and back, out to clients, and what these say.
//!
//! One look for each message while nobody follows any. A message that is followed is given a name behind its properties, unless it is
//! traced and has one, so that its steps are found together.

use std::collections::{HashMap, VecDeque};

use catena_connection::outside::{self, Event};
use catena_membership::passports::wanted;
use catena_mqtt::{Packet, QoS, packet::Publish, property};
use catena_shard::{
    ClientKey, ConnId, Message,
    trace::{self, Context},
    watch::Watch,
};
use catena_slots::ShardId;
use catena_telemetry::{
    passports::{Client, Kind, Passports as All, Step, front},
    traces::{
        self,
        sampler::{Sampler, Tracing},
        w3c,
    },
};

use crate::limits::PASSPORTS_OPEN_MAX;

/// The passports of a worker.
#[derive(Debug)]
pub(crate) struct Passports {
    all: All,
    /// Of the orders that `watch` is made of.
    version: u64,
    watch: Watch,
    names: Sampler,
    /// Of the packet that is being handled, and whether it was said that its publisher may.
    current: Option<(Seen, bool)>,
    /// Publishes whose ops are not committed yet.
    open: VecDeque<(ShardId, u64, Seen)>,
    /// What clients have not acknowledged yet.
    flown: HashMap<(ConnId, u16), (Seen, String)>,
}

/// What is told of a message.
#[derive(Debug, Clone)]
struct Seen {
    orders: Vec<u64>,
    name: Option<Context>,
    topic: String,
    qos: QoS,
    payload_bytes: u64,
    publisher: ClientKey,
}

impl Passports {
    pub fn new(tracing: Tracing) -> Passports {
        Passports {
            all: tracing.passports.clone(),
            version: 0,
            watch: Watch::default(),
            names: Sampler::new(tracing),
            current: None,
            open: VecDeque::new(),
            flown: HashMap::new(),
        }
    }

    /// Whether anybody follows anything.
    #[inline]
    pub fn are_wanted(&mut self) -> bool {
        if self.all.version() != self.version {
            self.learn();
        }
        !self.watch.wanted.is_empty()
    }

    #[cold]
    fn learn(&mut self) {
        self.version = self.all.version();
        self.watch.wanted = wanted(&self.all.orders());
        if self.watch.wanted.is_empty() {
            self.open.clear();
            self.flown.clear();
        }
    }

    /// A client publishes. Whatever stands behind the properties of a message is the broker's own here.
    #[cold]
    pub fn received(&mut self, publish: &mut Publish, client_id: &str, client: ClientKey) {
        let properties = &publish.properties;
        let mark = trace::read(properties);
        let own = trace::without(properties);
        let trace = match mark {
            Some(mark) => Some(mark.context.trace),
            None => property::find_user_property(own, w3c::TRACEPARENT)
                .and_then(w3c::parse)
                .map(|parent| parent.trace),
        };
        let orders = self.watch.orders(&publish.topic, client, trace, None);
        if orders.is_empty() {
            return;
        }
        let name = mark.map_or_else(
            || Context {
                trace: trace.unwrap_or_else(|| self.names.trace()),
                span: self.names.span(),
            },
            |mark| mark.context,
        );
        let seen = Seen {
            orders,
            name: Some(name),
            topic: front(&publish.topic),
            qos: publish.qos,
            payload_bytes: publish.payload.len() as u64,
            publisher: client,
        };
        if mark.is_none() {
            publish.properties = trace::name(&properties.slice_ref(own), name);
        }
        let publisher = Client::Id(front(client_id));
        self.tell(Kind::Received, &seen, Some(publisher), None, "");
        self.current = Some((seen, false));
    }

    /// Something happened to the client whose packet is being handled.
    #[inline]
    pub fn happened(&mut self, event: Event) {
        if self.current.is_some() {
            self.happened_to_message(event);
        }
    }

    #[cold]
    fn happened_to_message(&mut self, event: Event) {
        let (kind, detail) = match event {
            Event::Allowed(outside::Action::Publish) => (Kind::Authorized, "by the policy"),
            Event::Denied(outside::Action::Publish) => (Kind::Denied, "by the policy"),
            Event::PublishRefused(_) => (
                Kind::Dropped,
                "refused: the topic is reserved, or the packet id is in use",
            ),
            _ => return,
        };
        let Some((seen, _)) = self.current.take() else {
            return;
        };
        self.tell(kind, &seen, None, None, detail);
        if kind == Kind::Authorized {
            self.current = Some((seen, true));
        }
    }

    /// The packet was handled.
    #[inline]
    pub fn handled(&mut self) {
        self.current = None;
    }

    /// A publish goes to its shard: as op `number`, or past the log.
    #[cold]
    pub fn sent(&mut self, shard: ShardId, number: Option<u64>, message: &Message) {
        let Some(seen) = self.seen(message, None) else {
            return;
        };
        self.is_authorized(&seen);
        let detail = match number {
            Some(_) => "",
            None => "past the log: QoS 0",
        };
        self.tell(Kind::Sent, &seen, None, Some(shard), detail);
        if let (Some(number), true) = (number, seen.qos > QoS::AtMostOnce)
            && self.open.len() < PASSPORTS_OPEN_MAX
        {
            self.open.push_back((shard, number, seen));
        }
    }

    /// A port without a policy says nothing of it.
    fn is_authorized(&mut self, seen: &Seen) {
        if let Some((_, is_said @ false)) = &mut self.current {
            *is_said = true;
            self.tell(Kind::Authorized, seen, None, None, "the port has no policy");
        }
    }

    /// Ops of `shard` are committed.
    #[inline]
    pub fn committed(&mut self, shard: ShardId, through: u64) {
        if !self.open.is_empty() {
            self.answer(shard, through);
        }
    }

    #[cold]
    fn answer(&mut self, shard: ShardId, through: u64) {
        for (of, number, seen) in std::mem::take(&mut self.open) {
            if of == shard && number <= through {
                self.tell(Kind::Answered, &seen, None, Some(shard), "");
            } else {
                self.open.push_back((of, number, seen));
            }
        }
    }

    /// A connection did something with a message.
    #[cold]
    pub fn stepped(
        &mut self,
        conn: ConnId,
        client_id: &str,
        message: &Message,
        step: outside::Step,
    ) {
        let reader = match step {
            outside::Step::Waits | outside::Step::Dropped(outside::Why::PublisherLeft) => None,
            _ => Some(ClientKey::of(client_id)),
        };
        let Some(seen) = self.seen(message, reader) else {
            return;
        };
        let client = reader.map(|_| Client::Id(front(client_id)));
        match step {
            outside::Step::Waits => {
                self.is_authorized(&seen);
                self.tell(Kind::Waiting, &seen, None, None, "");
            }
            outside::Step::Delivered { packet_id, qos } => {
                let detail = match qos {
                    QoS::AtMostOnce => "with QoS 0",
                    QoS::AtLeastOnce => "with QoS 1",
                    QoS::ExactlyOnce => "with QoS 2",
                };
                self.tell(Kind::Delivered, &seen, client, None, detail);
                if packet_id != 0 && self.flown.len() < PASSPORTS_OPEN_MAX {
                    let flown = (seen, front(client_id));
                    self.flown.insert((conn, packet_id), flown);
                }
            }
            outside::Step::Dropped(why) => {
                self.tell(Kind::Dropped, &seen, client, None, words(why));
            }
        }
    }

    /// A client answers something.
    #[inline]
    pub fn answered(&mut self, conn: ConnId, packet: &Packet) {
        if self.flown.is_empty() {
            return;
        }
        let (id, detail) = match packet {
            Packet::Puback(ack) => (ack.packet_id, "PUBACK"),
            Packet::Pubrec(ack) if ack.reason.is_error() => (ack.packet_id, "PUBREC: refused"),
            Packet::Pubcomp(ack) => (ack.packet_id, "PUBCOMP"),
            _ => return,
        };
        if let Some((seen, client)) = self.flown.remove(&(conn, id.get())) {
            let client = Some(Client::Id(client));
            self.tell(Kind::Acknowledged, &seen, client, None, detail);
        }
    }

    /// The connection is over.
    pub fn forget(&mut self, conn: ConnId) {
        if !self.flown.is_empty() {
            self.flown.retain(|(of, _), _| *of != conn);
        }
    }

    fn seen(&mut self, message: &Message, reader: Option<ClientKey>) -> Option<Seen> {
        let orders = self.watch.orders_of(message, reader);
        (!orders.is_empty()).then(|| Seen {
            orders,
            name: trace::read(&message.properties).map(|mark| mark.context),
            topic: front(&message.topic),
            qos: message.qos,
            payload_bytes: message.payload.len() as u64,
            publisher: message.publisher,
        })
    }

    fn tell(
        &self,
        kind: Kind,
        seen: &Seen,
        client: Option<Client>,
        shard: Option<ShardId>,
        detail: &'static str,
    ) {
        self.all.add(Step {
            at: traces::now(),
            orders: seen.orders.clone(),
            kind,
            name: seen.name.map(|name| (name.trace, name.span)),
            topic: seen.topic.clone(),
            qos: seen.qos as u8,
            payload_bytes: seen.payload_bytes,
            publisher: seen.publisher.0,
            client,
            shard: shard.map(|shard| shard.0.into()),
            detail,
        });
    }
}

fn words(why: outside::Why) -> &'static str {
    match why {
        outside::Why::SlowReader => "QoS 0: the client does not read what waits for it",
        outside::Why::Expired => "it expired on its way to the client",
        outside::Why::TooLarge => "it is larger than the client takes",
        outside::Why::NotAllowed => "the policy does not let the client receive it",
        outside::Why::PublisherLeft => "QoS 0: its publisher left before there was room for it",
    }
}
