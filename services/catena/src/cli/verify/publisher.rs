//! One who publishes, and sends again what was not answered when the connection broke.

use std::sync::Arc;

use bytes::Bytes;
use catena_mqtt::{
    Packet, QoS,
    packet::{Ack, Publish},
};
use tokio::time::{Duration, Instant, sleep_until};

use super::{
    history::{Kind, Waiting},
    outbound::{Flight, Outbound},
    plan::Outlets,
    random::Random,
    run::{Phase, Run},
    visitor::{End, Visitor},
};
use crate::cli::{client::Client, stamp, stamp::Stamp};

/// One of so many retained messages takes away what the topic retains.
const CLEAR_EVERY: u64 = 8;

/// A publisher.
pub struct Publisher {
    visitor: Visitor,
    number: usize,
    outlets: Outlets,
    outbound: Outbound,
    /// Choices of messages, apart from those of moves, which depend on the time.
    random: Random,
    waiting: Waiting,
    interval: Duration,
    next: Instant,
    window: usize,
}

impl Publisher {
    /// Publisher `number`.
    pub fn new(run: &Arc<Run>, number: usize, session: usize, outlets: Outlets) -> Publisher {
        let plan = &run.plan;
        Publisher {
            visitor: Visitor::new(run, session),
            number,
            outlets,
            outbound: Outbound::default(),
            random: Random::of(!plan.seed, number as u64),
            waiting: Waiting::default(),
            interval: Duration::from_secs_f64(plan.publishers as f64 / plan.rate),
            next: Instant::now(),
            window: plan.window,
        }
    }

    /// Publishes until the load is over, and waits for answers until the run is.
    pub async fn run(mut self) {
        let run = Arc::clone(&self.visitor.run);
        let connect = run.plan.connect(&format!("pub{}", self.number), true);
        let mut announced = false;
        while self.visitor.phase_now() < Phase::Over {
            let Some(mut client) = self.visitor.connect(&connect).await else {
                // Not to be able to send is a wait for an answer too.
                self.waiting.begin(run.now());
                continue;
            };
            if !announced {
                announced = true;
                run.is_ready();
            }
            self.resume(&mut client);
            match self.stay(&mut client).await {
                End::Move => {
                    let away = self.visitor.leave(client).await;
                    self.waiting.leave_out(away);
                    self.waiting.begin(run.now());
                }
                End::Broken => {
                    self.waiting.begin(run.now());
                    self.visitor.broke();
                }
                End::Over => break,
            }
        }
        self.visitor.forget(&connect.client_id).await;
    }

    /// Sends again what has no answer, or gives it up if the broker does not know the session.
    fn resume(&mut self, client: &mut Client) {
        let run = Arc::clone(&self.visitor.run);
        let connack = &client.connack;
        let receive_maximum = connack
            .receive_maximum
            .map_or(u16::MAX, |maximum| maximum.get());
        self.window = run.plan.window.min(usize::from(receive_maximum));
        let mut history = run.history();
        if !connack.session_present {
            for flight in self.outbound.take() {
                let sent = &mut history.sent[flight.stream];
                // With PUBREC the broker has taken the message over.
                if flight.received {
                    sent.acknowledged.insert(flight.sequence);
                } else {
                    sent.abandoned.insert(flight.sequence);
                }
            }
            return;
        }
        for flight in self.outbound.iter() {
            if flight.received {
                client.queue(&Packet::Pubrel(Ack::success(flight.packet_id)));
            } else {
                let sent = &mut history.sent[flight.stream];
                sent.resent.insert(flight.sequence);
                client.queue(&Packet::Publish(publish(&run, &sent.topic, flight, true)));
            }
        }
        if !self.outbound.is_empty() {
            self.waiting.begin(run.now());
        }
    }

    async fn stay(&mut self, client: &mut Client) -> End {
        let mut moves_at = None;
        // What waited for a connection is not made up for.
        self.next = self.next.max(Instant::now());
        loop {
            let phase = self.visitor.phase_now();
            if phase == Phase::Load && moves_at.is_none() {
                moves_at = self.visitor.moves_at();
            }
            let may_send = phase == Phase::Load && self.outbound.len() < self.window;
            let may_move = phase == Phase::Load && moves_at.is_some();
            let move_at = moves_at.unwrap_or(self.next);
            tokio::select! {
                packet = client.receive() => match packet {
                    Ok(packet) => self.handle(packet, client),
                    Err(_) => return End::Broken,
                },
                () = sleep_until(self.next), if may_send => self.send(client),
                () = sleep_until(move_at), if may_move => return End::Move,
                _ = self.visitor.phase.changed() => {
                    self.next = self.next.max(Instant::now());
                    if self.visitor.phase_now() == Phase::Over {
                        return End::Over;
                    }
                }
            }
        }
    }

    fn send(&mut self, client: &mut Client) {
        let now = Instant::now();
        // What the window held up is sent late, but not all of it at once.
        self.next = (self.next + self.interval).max(now - 10 * self.interval);
        let run = Arc::clone(&self.visitor.run);
        if !run.take_message() {
            self.next = now + Duration::from_secs(3_600);
            return;
        }
        let packet_id = self.outbound.next_id();
        let retained = self
            .outlets
            .retained
            .filter(|_| self.random.below(run.plan.retain_every) == 0);
        let clears = retained.is_some() && self.random.below(CLEAR_EVERY) == 0;
        let mut history = run.history();
        let stream = match retained {
            Some((stream, _)) => stream,
            None => {
                let streams = self.random.choose(&self.outlets.streams);
                let qos = *self.random.choose(&run.plan.qos);
                let stream = streams.iter().find(|(of, _)| *of == qos);
                stream.expect("each QoS of the mix has a stream").1
            }
        };
        let sent = &mut history.sent[stream];
        let flight = Flight {
            packet_id,
            stream,
            sequence: sent.send(),
            qos: sent.qos,
            retained: retained.map(|(_, number)| number),
            clears,
            sent_ns: run.now().as_nanos() as u64,
            received: false,
        };
        client.queue(&Packet::Publish(publish(&run, &sent.topic, &flight, false)));
        if let Some(number) = flight.retained {
            history.retained[number].send(flight.sequence, clears);
        }
        self.outbound.push(flight);
        self.waiting.begin(run.now());
    }

    fn handle(&mut self, packet: Packet, client: &mut Client) {
        match packet {
            Packet::Puback(ack) => self.finish(&ack, ack.reason.is_error()),
            Packet::Pubrec(ack) if ack.reason.is_error() => self.finish(&ack, true),
            Packet::Pubrec(ack) => {
                self.outbound.receive(ack.packet_id);
                self.answered();
                client.queue(&Packet::Pubrel(Ack::success(ack.packet_id)));
            }
            // Whatever it says, PUBREC has said before that the broker has the message.
            Packet::Pubcomp(ack) => self.finish(&ack, false),
            packet => {
                let mut history = self.visitor.run.history();
                history.odd(format!("a publisher got {:?}", packet.kind()));
            }
        }
    }

    fn finish(&mut self, ack: &Ack, refused: bool) {
        // An answer may come twice: to the message, and to the message sent again.
        let Some(flight) = self.outbound.finish(ack.packet_id) else {
            return;
        };
        self.answered();
        let mut history = self.visitor.run.history();
        let sent = &mut history.sent[flight.stream];
        if refused {
            sent.refused.insert(flight.sequence);
        } else {
            sent.acknowledged.insert(flight.sequence);
        }
        if let Some(number) = flight.retained {
            let retained = &mut history.retained[number];
            if refused {
                retained.refuse(flight.sequence);
            } else {
                retained.acknowledge(flight.sequence);
            }
        }
    }

    fn answered(&mut self) {
        let run = &self.visitor.run;
        if let Some(gap) = self.waiting.next(run.now()) {
            run.waited(Kind::Publisher, self.number, gap);
        }
        if self.outbound.is_empty() {
            self.waiting.stop();
        }
    }
}

fn publish(run: &Run, topic: &str, flight: &Flight, dup: bool) -> Publish {
    let payload = if flight.clears {
        Bytes::new()
    } else {
        let stamp = Stamp {
            run: run.plan.run,
            publisher: u32::try_from(flight.stream).expect("there are not that many streams"),
            sequence: flight.sequence,
            sent_ns: flight.sent_ns,
        };
        let mut payload = vec![b'.'; run.plan.size.max(stamp::LEN)];
        stamp.write(&mut payload);
        payload.into()
    };
    Publish {
        dup,
        qos: flight.qos,
        retain: flight.retained.is_some(),
        packet_id: (flight.qos != QoS::AtMostOnce).then_some(flight.packet_id),
        ..Publish::new(topic, payload)
    }
}
