//! The client's acknowledgements of deliveries `[F-50]` `[F-51]` `[F-57]`.

use catena_mqtt::{
    ReasonCode,
    packet::{Ack, ack},
};
use catena_shard::{
    Op,
    effect::Recorded,
    op::{self, AckKind},
};

use crate::{
    Connection, Outside,
    deliver::{Flight, FlightState},
    input::Now,
    switches::Rule,
};

impl Connection {
    pub(crate) fn on_puback<O: Outside>(&mut self, ack: &Ack, now: Now, outside: &mut O) {
        let id = ack.packet_id.get();
        match self.flights.get(id).map(|flight| flight.state) {
            Some(FlightState::Qos1) => self.finish(id, outside),
            Some(_) => self.fail_wrong_ack("PUBACK", now, outside),
            None => {}
        }
    }

    pub(crate) fn on_pubrec<O: Outside>(&mut self, ack: &Ack, now: Now, outside: &mut O) {
        let id = ack.packet_id.get();
        let Some(flight) = self.flights.get_mut(id) else {
            // v5 3.5.2.1
            let reason = ReasonCode::PacketIdentifierNotFound;
            return self.write_ack(ack::Kind::Pubrel, id, reason, outside);
        };
        match flight.state {
            FlightState::Qos1 => self.fail_wrong_ack("PUBREC", now, outside),
            // v5 [MQTT-4.3.3-4]: a refusal ends it.
            FlightState::Qos2 if ack.reason.is_error() => self.finish(id, outside),
            FlightState::Qos2 if flight.shard_id != 0 => {
                flight.state = FlightState::Recording;
                let (place, shard_id) = (usize::from(flight.place), flight.shard_id);
                if !self.switches.keep(Rule::F56) {
                    flight.state = FlightState::Released;
                    self.write_ack(ack::Kind::Pubrel, id, ReasonCode::Success, outside);
                }
                self.add_ack(place, shard_id, AckKind::Received, outside);
            }
            FlightState::Qos2 => {
                flight.state = FlightState::Released;
                self.write_ack(ack::Kind::Pubrel, id, ReasonCode::Success, outside);
            }
            // PUBREL comes once the shard has recorded the first one.
            FlightState::Recording => {}
            FlightState::Released => {
                self.write_ack(ack::Kind::Pubrel, id, ReasonCode::Success, outside);
            }
        }
    }

    /// The shard has recorded a PUBREC `[F-56]`.
    pub(crate) fn on_recorded<O: Outside>(&mut self, recorded: &Recorded, outside: &mut O) {
        let id = if self.is_tracked() {
            recorded.packet_id
        } else {
            let Some(id) = self.tracked.get(recorded.packet_id) else {
                return;
            };
            *id
        };
        let Some(flight) = self.flights.get_mut(id) else {
            return;
        };
        if flight.state == FlightState::Recording {
            flight.state = FlightState::Released;
            self.write_ack(ack::Kind::Pubrel, id, ReasonCode::Success, outside);
        }
    }

    pub(crate) fn on_pubcomp<O: Outside>(&mut self, ack: &Ack, now: Now, outside: &mut O) {
        let id = ack.packet_id.get();
        match self.flights.get(id).map(|flight| flight.state) {
            Some(FlightState::Released) => self.finish(id, outside),
            Some(_) => self.fail_wrong_ack("PUBCOMP", now, outside),
            None => {}
        }
    }

    /// The client has taken a delivery, or refused it, for good.
    fn finish<O: Outside>(&mut self, id: u16, outside: &mut O) {
        let Some(Flight {
            place,
            shard_id,
            counted,
            ..
        }) = self.flights.remove(id)
        else {
            return;
        };
        if counted {
            self.unacknowledged -= 1;
        }
        if shard_id != 0 {
            if !self.is_tracked() {
                self.tracked.remove(shard_id);
            }
            self.add_ack(usize::from(place), shard_id, AckKind::Done, outside);
        }
    }

    fn fail_wrong_ack<O: Outside>(&mut self, kind: &str, now: Now, outside: &mut O) {
        let text = format!("{kind} does not fit the packet identifier");
        self.fail(ReasonCode::ProtocolError, &text, now, outside);
    }

    /// Sends the acknowledgements that have gathered, one op per shard `[F-55]`.
    pub(crate) fn send_acks<O: Outside>(&mut self, outside: &mut O) {
        self.dirty = false;
        let Some(who) = self.session else { return };
        for place in 0..self.peers.len() {
            let peer = self.peers.at_mut(place);
            if peer.acks.is_empty() {
                continue;
            }
            let (shard, items) = (peer.shard, std::mem::take(&mut peer.acks));
            self.send_control(shard, Op::Ack(op::Ack { who, items }), outside);
        }
    }
}
