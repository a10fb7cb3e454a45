//! What connections ask of their worker: its links to the shards, and the few things beside.

use std::{rc::Weak, sync::Arc};

use catena_connection::{
    Output, Outside,
    input::Now,
    output::HIGH_WATER_BYTES,
    outside::{AuthOutcome, AuthRequest, Denial, Event, Step},
};
use catena_link::{Class, Full};
use catena_mqtt::packet;
use catena_shard::{ClientKey, ConnId, Message, Op, Origin, Time, op::Publish};
use catena_slots::{ShardId, SlotTable};
use catena_telemetry::traces::sampler::Tracing;

use crate::{
    authenticate::{Asking, Call, authenticate},
    backoff::Backoffs,
    buffers::Buffers,
    clients::Came,
    counters::Counters,
    denials::Denials,
    limits::{AUTHENTICATIONS_MAX, OUTPUT_SHORT_BYTES},
    link::Link,
    memory::Memory,
    passports::Passports,
    room::Room,
    tracer::Tracer,
    traffic::Meter,
    worker::Shared,
};

/// A worker's links, one per shard.
#[derive(Debug)]
pub(crate) struct Router {
    pub slots: SlotTable,
    pub links: Vec<Link>,
    pub buffers: Buffers,
    pub counters: Arc<Counters>,
    pub denials: Denials,
    /// Clients that are to stay away for a while.
    pub backoffs: Arc<Backoffs>,
    /// Authentications that are not answered yet.
    pub calls: Arc<Room>,
    pub memory: Memory,
    pub worker: Weak<Shared>,
    pub tracer: Tracer,
    pub passports: Passports,
}

impl Router {
    pub fn new(
        origin: Origin,
        slots: SlotTable,
        counters: Arc<Counters>,
        backoffs: Arc<Backoffs>,
        worker: Weak<Shared>,
        tracing: Tracing,
    ) -> Router {
        let links = slots.shards().map(|_| Link::new(origin)).collect();
        Router {
            slots,
            links,
            buffers: Buffers::default(),
            counters,
            denials: Denials::default(),
            backoffs,
            calls: Room::new(AUTHENTICATIONS_MAX),
            memory: Memory::default(),
            worker,
            tracer: Tracer::new(tracing.clone()),
            passports: Passports::new(tracing),
        }
    }

    pub fn link(&mut self, shard: ShardId) -> &mut Link {
        &mut self.links[shard.index()]
    }

    /// The connection is over.
    pub fn forget(&mut self, conn: ConnId) {
        self.links.iter_mut().for_each(|link| link.forget(conn));
        self.passports.forget(conn);
    }
}

/// The gateway as one connection sees it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub conn: ConnId,
    pub now: Now,
    pub came: &'a Came,
    pub call: &'a mut Option<Call>,
    pub router: &'a mut Router,
    pub output: &'a mut Output,
    pub meter: &'a mut Meter,
}

impl View<'_> {
    /// The message, if anybody may follow it.
    #[inline]
    fn followed(&mut self, publish: &Publish) -> Option<Arc<Message>> {
        let is_wanted = self.router.passports.are_wanted();
        is_wanted.then(|| publish.message.clone())
    }
}

impl Outside for View<'_> {
    fn slots(&self) -> &SlotTable {
        &self.router.slots
    }

    fn send(&mut self, shard: ShardId, class: Class, op: Op) -> Result<u64, Full> {
        let (is_publish, followed) = match &op {
            Op::Publish(publish) => (true, self.followed(publish)),
            _ => (false, None),
        };
        let number = self.router.link(shard).push(class, op)?;
        if is_publish {
            self.router.tracer.pushed(shard, number);
        }
        if let Some(message) = followed {
            self.router.passports.sent(shard, Some(number), &message);
        }
        Ok(number)
    }

    fn committed_through(&self, shard: ShardId) -> u64 {
        self.router.links[shard.index()].committed_through()
    }

    fn effects_through(&self, shard: ShardId) -> u64 {
        self.router.links[shard.index()].handed_through
    }

    fn send_direct(&mut self, shard: ShardId, publish: Publish) -> Result<u64, Full> {
        let followed = self.followed(&publish);
        let place = self.router.link(shard).push_direct(publish)?;
        if let Some(message) = followed {
            self.router.passports.sent(shard, None, &message);
        }
        Ok(place)
    }

    fn direct_through(&self, shard: ShardId) -> u64 {
        self.router.links[shard.index()].direct_through()
    }

    fn await_progress(&mut self, shard: ShardId) {
        let conn = self.conn;
        self.router.link(shard).await_progress(conn);
    }

    fn shard_time(&self, shard: ShardId) -> Option<Time> {
        self.router.links[shard.index()].time(self.now)
    }

    fn authenticate(&mut self, request: AuthRequest<'_>) -> Option<AuthOutcome> {
        let asking = Asking {
            conn: self.conn,
            came: self.came,
            call: self.call,
        };
        authenticate(asking, self.router, &request)
    }

    fn count(&mut self, event: Event) {
        self.router.counters.count(event, self.meter);
        self.router.passports.happened(event);
        match event {
            Event::Sent {
                payload,
                trace: Some(context),
            } => self.router.tracer.delivered(context, self.conn, payload),
            Event::Denied(_) => self.router.tracer.refused("not allowed"),
            Event::PublishRefused(_) => self.router.tracer.refused("refused"),
            Event::DroppedIncoming => self.router.tracer.refused("dropped: no room"),
            _ => {}
        }
        if let Event::Connected { .. } | Event::Disconnected(_) | Event::Refused(_) = event {
            self.meter.happened = Some(event);
        }
    }

    fn publishing(&mut self, publish: &mut packet::Publish, client_id: &str, client: ClientKey) {
        self.router.tracer.received(publish, client_id);
        if self.router.passports.are_wanted() {
            (self.router.passports).received(publish, client_id, client);
        }
    }

    fn stepped(&mut self, client_id: &str, message: &Message, step: Step) {
        let passports = &mut self.router.passports;
        if passports.are_wanted() {
            passports.stepped(self.conn, client_id, message, step);
        }
    }

    fn denied(&mut self, denial: Denial<'_>) {
        self.router.denials.log(&denial, self.conn, self.now);
    }

    fn output_max(&self) -> usize {
        match self.router.memory.is_short() {
            true => OUTPUT_SHORT_BYTES,
            false => HIGH_WATER_BYTES,
        }
    }

    fn output(&mut self) -> &mut Output {
        self.router.buffers.lend(self.output);
        self.output
    }
}
