//! One who subscribes, acknowledges what comes, and writes it down.

use std::sync::Arc;

use catena_mqtt::{
    Packet, QoS,
    packet::{Ack, PacketId, Publish, RetainHandling, Subscribe, SubscribeFilter},
};
use tokio::time::{Instant, sleep_until};

use super::{
    history::{Arrival, Kind, Waiting},
    inbound::{First, Inbound},
    plan,
    run::{Phase, Problem, Run},
    visitor::{End, Visitor},
};
use crate::cli::{client::Client, stamp::Stamp, words};

/// A subscriber, or a member of a shared group.
pub struct Subscriber {
    visitor: Visitor,
    role: plan::Subscriber,
    inbound: Inbound,
    waiting: Waiting,
    /// The broker has granted the subscription, and has kept it as far as it says.
    subscribed: bool,
    announced: bool,
}

impl Subscriber {
    /// One of the cast.
    pub fn new(run: &Arc<Run>, role: plan::Subscriber) -> Subscriber {
        Subscriber {
            visitor: Visitor::new(run, role.session),
            role,
            inbound: Inbound::default(),
            waiting: Waiting::default(),
            subscribed: false,
            announced: false,
        }
    }

    /// Subscribes and receives until the run is over.
    pub async fn run(mut self) {
        let run = Arc::clone(&self.visitor.run);
        let persistent = self.role.kind != Kind::Ephemeral;
        let connect = run.plan.connect(&self.role.name, persistent);
        while self.visitor.phase_now() < Phase::Over {
            let Some(mut client) = self.visitor.connect(&connect).await else {
                self.wait();
                continue;
            };
            if !client.connack.session_present {
                self.inbound.clear();
                self.subscribed = false;
            }
            if !self.subscribed {
                self.subscribe(&mut client);
            }
            let end = self.stay(&mut client).await;
            // At the end of the run the subscription still stands: what is missing is lost.
            if !persistent && end != End::Over {
                let mut history = run.history();
                if let Some(number) = self.role.subscription {
                    history.subscriptions[number].ended();
                }
            }
            match end {
                End::Move => {
                    let away = self.visitor.leave(client).await;
                    self.waiting.leave_out(away);
                }
                End::Broken => self.visitor.broke(),
                End::Over => break,
            }
        }
        if persistent {
            self.visitor.forget(&connect.client_id).await;
        }
    }

    fn subscribe(&self, client: &mut Client) {
        let filter = SubscribeFilter {
            retain_handling: RetainHandling::Send,
            ..SubscribeFilter::new(self.role.filter.as_str(), QoS::ExactlyOnce)
        };
        let subscribe = Subscribe::new(PacketId::MIN, vec![filter]);
        client.queue(&Packet::Subscribe(subscribe));
    }

    async fn stay(&mut self, client: &mut Client) -> End {
        self.wait();
        let mut moves_at = None;
        loop {
            let phase = self.visitor.phase_now();
            if phase == Phase::Load && moves_at.is_none() {
                moves_at = self.visitor.moves_at();
            }
            let may_move = phase == Phase::Load && moves_at.is_some();
            let move_at = moves_at.unwrap_or_else(Instant::now);
            tokio::select! {
                packet = client.receive() => match packet {
                    Ok(packet) => self.handle(packet, client),
                    Err(_) => return End::Broken,
                },
                () = sleep_until(move_at), if may_move => return End::Move,
                _ = self.visitor.phase.changed() => {
                    if self.visitor.phase_now() == Phase::Over {
                        return End::Over;
                    }
                }
            }
        }
    }

    /// While there is load, the time without a delivery counts.
    fn wait(&mut self) {
        if self.visitor.phase_now() == Phase::Load {
            self.waiting.begin(self.visitor.run.now());
        }
    }

    fn handle(&mut self, packet: Packet, client: &mut Client) {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, client),
            Packet::Pubrel(ack) => {
                self.inbound.release(ack.packet_id);
                client.queue(&Packet::Pubcomp(Ack::success(ack.packet_id)));
            }
            Packet::Suback(suback) => match suback.codes.as_slice() {
                [code] if !code.is_error() => self.granted(),
                codes => {
                    let said = codes.first().map(|code| words::reason(*code));
                    let said = said.unwrap_or_else(|| "nothing".to_owned());
                    let text = format!("subscribing to {} was refused: {said}", self.role.filter);
                    self.visitor.run.history().odd(text.as_str());
                    let may_pass = false;
                    self.visitor.run.complain(Problem { text, may_pass });
                }
            },
            packet => {
                let mut history = self.visitor.run.history();
                history.odd(format!("a subscriber got {:?}", packet.kind()));
            }
        }
    }

    fn granted(&mut self) {
        self.subscribed = true;
        let mut history = self.visitor.run.history();
        let history = &mut *history;
        if let Some(number) = self.role.subscription {
            history.subscriptions[number].granted(&history.sent);
        }
        if !self.announced {
            self.announced = true;
            self.visitor.run.is_ready();
        }
    }

    fn publish(&mut self, publish: &Publish, client: &mut Client) {
        let stamp = Stamp::read(&publish.payload);
        let message = stamp.map_or((u32::MAX, 0), |stamp| (stamp.publisher, stamp.sequence));
        let first = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                client.queue(&Packet::Puback(Ack::success(id)));
                First::Yes
            }
            (QoS::ExactlyOnce, Some(id)) => {
                client.queue(&Packet::Pubrec(Ack::success(id)));
                self.inbound.take(id, message)
            }
            _ => First::Yes,
        };
        match first {
            First::Yes => self.take(publish, stamp),
            First::No => {}
            First::Clash => self.visitor.run.history().odd(
                "a new message came under a packet id whose QoS 2 exchange was not over; \
                 the subscriber must ignore it",
            ),
        }
    }

    fn take(&mut self, publish: &Publish, stamp: Option<Stamp>) {
        let run = Arc::clone(&self.visitor.run);
        let stamp = stamp
            .filter(|stamp| stamp.run == run.plan.run && publish.payload.len() == run.plan.size);
        let mut history = run.history();
        let history = &mut *history;
        let Some(number) = self.role.subscription else {
            let of = |stamp: &Stamp| stamp.publisher as usize;
            let wills = stamp.and_then(|stamp| Some((history.wills.get_mut(of(&stamp))?, stamp)));
            match wills {
                Some((wills, stamp)) if wills.topic == *publish.topic => {
                    wills.take(stamp.sequence, publish.qos);
                }
                _ => history.odd("a will came that nobody left"),
            }
            return;
        };
        let subscription = &mut history.subscriptions[number];
        let ours = stamp.filter(|stamp| {
            let sent = history.sent.get(stamp.publisher as usize);
            sent.is_some_and(|sent| sent.topic == *publish.topic)
        });
        let Some(stamp) = ours else {
            subscription.foreign += 1;
            return;
        };
        let arrival = Arrival {
            stream: stamp.publisher as usize,
            sequence: stamp.sequence,
            qos: publish.qos,
            dup: publish.dup,
        };
        subscription.take(arrival, &history.sent);
        if let Some(length) = self.waiting.next(run.now()) {
            let (client, at) = (subscription.number, run.now());
            let gap = super::history::Gap { client, length, at };
            history.waited(self.role.kind, gap);
        }
    }
}
