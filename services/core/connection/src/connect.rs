//! CONNECT: who comes, what is agreed with it, and the home shard's answer `[F-10]`.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;
use catena_link::Class;
use catena_mqtt::{
    Packet, QoS, ReasonCode, Version,
    encode::PACKET_SIZE_MAX,
    packet::{Connack, Connect, Kind},
};
use catena_shard::{
    ClientKey, Op, Who,
    effect::{Accepted, Connected},
    op::{self, Attachment, Disconnect},
    unkept::Keeps,
};
use catena_slots::SlotTable;

use crate::{
    Connection, Identity, Outside,
    alias::AliasesOut,
    bounds::{
        ABANDONED_MS, ALIASES_OUT_MAX, CONNACK_MS, PREFETCH_MESSAGES, SHARD_TIME_MS,
        UNACKNOWLEDGED_MAX, WINDOW_BYTES_MIN, WINDOW_MESSAGES, WINDOW_MESSAGES_MIN,
    },
    connection::Phase,
    input::Now,
    outside::{Action, AuthRequest, Event},
    peers::Attach,
    publish_in::is_forbidden,
    timers::Timer,
    will,
};

/// A client that has sent CONNECT and was not answered yet.
#[derive(Debug)]
pub(crate) struct Entering {
    pub connect: Box<Connect>,
    /// Its client id is one of ours.
    pub assigned: bool,
    pub principal: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
}

impl Connection {
    pub(crate) fn on_connect<O: Outside>(
        &mut self,
        mut connect: Box<Connect>,
        now: Now,
        outside: &mut O,
    ) {
        self.version = Some(connect.version);
        self.timers.set(Timer::Phase, now.plus_millis(CONNACK_MS));
        self.packet_size_max = connect
            .maximum_packet_size
            .map_or(usize::MAX, |maximum| maximum as usize);
        if let Err(reason) = check(&connect, self.settings.maximum_qos) {
            return self.refuse(reason, now, outside);
        }
        let assigned = connect.client_id.is_empty();
        if assigned {
            // v5 [MQTT-3.1.3-6], v3.1.1 [MQTT-3.1.3-6]
            connect.client_id = ByteString::from(format!("catena-{:032x}", self.entropy));
        }
        // A copy: the received bytes must not live as long as the connection [F-45].
        self.client_id = ByteString::from(&*connect.client_id);
        self.client = ClientKey::of(&self.client_id);
        self.home = outside.slots().home(&self.client_id);
        self.authentication_method = connect
            .authentication_method
            .as_ref()
            .map(|method| ByteString::from(&**method));
        let outcome = outside.authenticate(AuthRequest::Connect(&connect));
        let entering = Box::new(Entering {
            connect,
            assigned,
            principal: None,
            authentication_data: None,
        });
        self.phase = Phase::Authenticating {
            entering,
            waiting: true,
        };
        if let Some(outcome) = outcome {
            self.on_outcome(outcome, now, outside);
        }
    }

    /// The client is who it says: comes in, if the policy allows it, and its will `[F-20]`.
    pub(crate) fn come_in<O: Outside>(
        &mut self,
        entering: Box<Entering>,
        identity: Identity,
        now: Now,
        outside: &mut O,
    ) {
        if identity.is_expired(now) {
            return self.refuse(ReasonCode::NotAuthorized, now, outside);
        }
        self.identify(identity);
        let will = entering.connect.will.as_ref();
        // A copy: the received bytes must not live as long as the connection [F-45].
        self.will_topic = will.map(|will| Box::new(ByteString::from(&*will.topic)));
        if !self.allows(Action::Connect, "", outside) {
            return self.refuse(ReasonCode::NotAuthorized, now, outside);
        }
        if will.is_some_and(|will| !self.allows(Action::Publish, &will.topic, outside)) {
            return self.refuse(ReasonCode::NotAuthorized, now, outside);
        }
        self.enter(entering, now, outside);
    }

    /// Agrees on the session's terms, and asks the home shard.
    fn enter<O: Outside>(&mut self, entering: Box<Entering>, now: Now, outside: &mut O) {
        let connect = &entering.connect;
        self.expiry = self.session_expiry(connect);
        self.keeps = self.keeps(connect);
        let receive_maximum = connect.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        self.receive_maximum = receive_maximum
            .min(self.settings.client_receive_maximum_max)
            .clamp(1, UNACKNOWLEDGED_MAX);
        let aliases = connect.topic_alias_maximum.min(ALIASES_OUT_MAX);
        self.aliases_out = (aliases > 0).then(|| Box::new(AliasesOut::new(aliases)));
        self.phase = Phase::Asking(entering);
        self.ask_home(now, outside);
    }

    /// Sends Connect as soon as the home shard's time is known: an old one is refused by it `[F-15]`.
    pub(crate) fn ask_home<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let Some(asked_at) = outside.shard_time(self.home) else {
            let home = self.peers.place(self.home);
            self.peers.at_mut(home).await_progress(outside);
            self.timers
                .set(Timer::Request, now.plus_millis(SHARD_TIME_MS));
            return;
        };
        let Phase::Asking(entering) = std::mem::replace(&mut self.phase, Phase::Gone) else {
            unreachable!("called in the phase Asking alone")
        };
        self.timers.stop(Timer::Request);
        let connect = &entering.connect;
        let op = op::Connect {
            client_id: self.client_id.clone(),
            clean_start: connect.clean_start,
            expiry: self.expiry,
            will: connect
                .will
                .as_ref()
                .map(|will| will::will(will, self.client)),
            principal: entering.principal.clone(),
            asked_at,
            protocol: connect.version.level(),
            attachment: self.attachment(outside.slots()),
        };
        self.send_control(self.home, Op::Connect(Box::new(op)), outside);
        self.phase = Phase::Connecting(entering);
    }

    pub(crate) fn on_connected<O: Outside>(
        &mut self,
        connected: Connected,
        now: Now,
        outside: &mut O,
    ) {
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Connecting(entering) => match connected.outcome {
                Ok(accepted) => self.go_live(&entering, accepted, now, outside),
                Err(reason) => {
                    // A word of CONNACK; for instance, another connection overtook this one.
                    let valid = reason.is_valid_in(Kind::Connack);
                    let reason = if valid {
                        reason
                    } else {
                        ReasonCode::ServerBusy
                    };
                    self.refuse(reason, now, outside);
                }
            },
            Phase::Abandoned => {
                if let Ok(accepted) = connected.outcome {
                    self.undo(&accepted, outside);
                }
                self.timers.stop(Timer::Phase);
            }
            other => self.phase = other,
        }
    }

    /// The session was given, and nobody is there to have it: as if CONNECT had never come `[F-15]`.
    fn undo<O: Outside>(&mut self, accepted: &Accepted, outside: &mut O) {
        let who = self.who_of(accepted);
        let op = Disconnect {
            who,
            will: false,
            expiry: None,
        };
        self.send_control(self.home, Op::Disconnect(op), outside);
    }

    fn who_of(&self, accepted: &Accepted) -> Who {
        Who {
            client: self.client,
            session: accepted.session,
            epoch: accepted.epoch,
        }
    }

    fn go_live<O: Outside>(
        &mut self,
        entering: &Entering,
        accepted: Accepted,
        now: Now,
        outside: &mut O,
    ) {
        self.session = Some(self.who_of(&accepted));
        self.resumed = accepted.session_present;
        self.phase = Phase::Live;
        self.timers.stop(Timer::Phase);
        let connack = self.connack(entering, accepted.session_present);
        self.start_keep_alive(
            connack
                .server_keep_alive
                .unwrap_or(entering.connect.keep_alive),
            now,
        );
        self.write(&Packet::Connack(Box::new(connack)), outside);
        outside.count(Event::Connected {
            session_present: accepted.session_present,
        });
        let home = self.peers.place(self.home);
        self.peers.at_mut(home).attach = Attach::Yes;
        self.hold_inbound(self.home, &accepted.held, outside);
        self.take_held(self.home, &accepted.held, now, outside);
        for shard in accepted.shards {
            // Also if it must leave already: what is no longer granted there goes too.
            self.attach(shard, true, outside);
        }
    }

    /// What was agreed. v5 3.2.2.3
    fn connack(&self, entering: &Entering, session_present: bool) -> Connack {
        let (settings, connect) = (&self.settings, &entering.connect);
        let mut connack = Connack {
            session_present,
            ..Connack::default()
        };
        connack.server_keep_alive = lowered_keep_alive(connect.keep_alive, settings.keep_alive_max)
            .filter(|_| self.is_v5());
        if self.is_v5() {
            let asked = connect.session_expiry.unwrap_or(0);
            connack.session_expiry = (self.expiry != asked).then_some(self.expiry);
            connack.receive_maximum = NonZeroU16::new(settings.receive_maximum);
            connack.maximum_qos =
                Some(settings.maximum_qos).filter(|maximum| *maximum < QoS::ExactlyOnce);
            connack.subscription_ids_available = settings.subscription_ids;
            connack.maximum_packet_size = Some(settings.maximum_packet_size)
                .filter(|maximum| *maximum > 0 && *maximum < PACKET_SIZE_MAX);
            connack.topic_alias_maximum = settings.topic_alias_maximum;
            connack.assigned_client_id = entering.assigned.then(|| self.client_id.clone());
            connack.authentication_method = self.authentication_method.clone();
            connack.authentication_data = entering
                .authentication_data
                .clone()
                .filter(|_| self.authentication_method.is_some());
        }
        connack
    }

    /// Tells the client no, and closes.
    pub(crate) fn refuse<O: Outside>(&mut self, reason: ReasonCode, now: Now, outside: &mut O) {
        let valid = reason.is_valid_in(Kind::Connack);
        let reason = if valid {
            reason
        } else {
            ReasonCode::UnspecifiedError
        };
        outside.count(Event::Refused(reason));
        let mut connack = Connack::refused(reason);
        if matches!(
            reason,
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved
        ) {
            connack.server_reference = self.settings.server_reference.clone();
        }
        self.write(&Packet::Connack(Box::new(connack)), outside);
        self.close_socket(outside);
        self.leave(true, None, now, outside);
    }

    /// The phase has taken too long.
    pub(crate) fn on_phase_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        match self.phase {
            Phase::Authenticating { .. } | Phase::Asking(_) | Phase::Connecting(_) => {
                self.refuse(ReasonCode::ServerUnavailable, now, outside);
            }
            Phase::Leaving => self.detach(now, outside),
            Phase::Detaching => self.tell_kicked(outside),
            Phase::Abandoned => self.phase = Phase::Gone,
            Phase::AwaitConnect | Phase::Live | Phase::Gone => {}
        }
    }

    /// The client is gone while the home shard is asked.
    pub(crate) fn abandon(&mut self, now: Now) {
        self.phase = Phase::Abandoned;
        self.timers.set(Timer::Phase, now.plus_millis(ABANDONED_MS));
    }

    /// Seconds `[F-16]`.
    fn session_expiry(&self, connect: &Connect) -> u32 {
        let maximum = self.settings.session_expiry_max;
        match (connect.version, connect.clean_start) {
            (Version::V5, _) => connect.session_expiry.unwrap_or(0).min(maximum),
            (_, true) => 0,
            (_, false) => maximum,
        }
    }

    /// Why the session's queues may be some of those that outlive a start from disk `[C-59]`.
    fn keeps(&self, connect: &Connect) -> Keeps {
        let settings = &self.settings;
        let (name, value) = &settings.keep_property;
        let mut patterns = settings.kept_clients.iter();
        Keeps {
            named: patterns.any(|pattern| pattern.matches(&self.client_id)),
            asked: !name.is_empty() && connect.user_properties.get(name) == Some(value),
        }
    }

    /// What the session's reader on a shard is told of this connection.
    pub(crate) fn attachment(&self, slots: &SlotTable) -> Attachment {
        let receive_maximum = self.receive_maximum;
        let shards = slots.shard_count().max(1) as u32;
        let window_messages = if self.is_persistent() {
            u32::from(receive_maximum) + PREFETCH_MESSAGES
        } else {
            (WINDOW_MESSAGES / shards).max(WINDOW_MESSAGES_MIN)
        };
        Attachment {
            conn: self.conn,
            persistent: self.is_persistent(),
            receive_maximum,
            window_messages,
            window_bytes: self.window_bytes(slots),
            keeps: self.keeps,
        }
    }

    /// A shard's part of what may be on its way to the client.
    pub(crate) fn window_bytes(&self, slots: &SlotTable) -> u32 {
        let shards = slots.shard_count().max(1) as u32;
        (self.settings.window_bytes / shards).max(WINDOW_BYTES_MIN)
    }

    /// Sends an op that is always taken `[F-61]`.
    pub(crate) fn send_control<O: Outside>(
        &mut self,
        shard: catena_slots::ShardId,
        op: Op,
        outside: &mut O,
    ) -> u64 {
        outside
            .send(shard, Class::Control, op)
            .expect("a link takes every control op [F-61]")
    }
}

fn check(connect: &Connect, maximum_qos: QoS) -> Result<(), ReasonCode> {
    if connect.client_id.is_empty() {
        let allowed = match connect.version {
            // 3.1 asks for 1 to 23 characters; longer ones do no harm.
            Version::V3 => false,
            // v3.1.1 [MQTT-3.1.3-7], [MQTT-3.1.3-8]
            Version::V4 => connect.clean_start,
            Version::V5 => true,
        };
        if !allowed {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
    }
    match &connect.will {
        Some(will) if is_forbidden(&will.topic) => Err(ReasonCode::TopicNameInvalid),
        // v5 [MQTT-3.2.2-12]
        Some(will) if connect.version.is_v5() && will.qos > maximum_qos => {
            Err(ReasonCode::QosNotSupported)
        }
        _ => Ok(()),
    }
}

/// Seconds, where the client's wish is above the maximum. v5 `[MQTT-3.2.2-21]`
fn lowered_keep_alive(asked: u16, maximum: u16) -> Option<u16> {
    let unlimited = maximum == 0 || maximum == u16::MAX;
    (!unlimited && (asked == 0 || asked > maximum)).then_some(maximum)
}
