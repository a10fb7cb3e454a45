//! What a gateway counts. One set per worker: no two threads write to one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use catena_connection::outside::{Action, Event};
use catena_mqtt::ReasonCode;
use tracing::{info, warn};

use crate::{
    gauges::{Gaps, Links},
    traffic::{Meter, Traffics},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)+
            /// What clients sent and were sent.
            pub traffic: Traffics,
            /// How the links to shards stand.
            pub links: Links,
            /// For how long links were not whole.
            pub gaps: Gaps,
            /// Clients that were told no, by reason.
            pub refused_by: Reasons,
            /// Connections that ended, by reason.
            pub ended_by: Reasons,
        }

        /// The counts at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Adds what was counted here to `sum`.
            pub fn add_to(&self, sum: &mut Counts) {
                $(sum.$name += self.$name.get();)+
            }
        }

        impl Counts {
            /// What was counted since `before`.
            pub fn since(&self, before: &Counts) -> Counts {
                Counts { $($name: self.$name - before.$name,)+ }
            }
        }
    };
}

counters! {
    /// Sockets that were accepted.
    accepted,
    /// Sockets closed at once because there were too many.
    over_limit,
    /// Sockets closed at once because too many came in a second.
    over_rate,
    /// Sockets closed at once because too many of their port were not yet so far that MQTT could begin.
    over_openings,
    /// Sockets whose PROXY header, TLS handshake or request for a WebSocket failed.
    openings_failed,
    /// Clients refused because too many waited to hear who they are.
    authentications_full,
    /// Times that the system gave no socket.
    accept_errors,
    /// Clients that were told yes.
    connected,
    /// Clients that were told no.
    refused,
    /// Sockets whose CONNECT did not come in time.
    connect_timeouts,
    /// Connections that ended by DISCONNECT.
    disconnected,
    /// Connections that ended by an error, or without a word.
    lost,
    /// Clients closed because they took nothing for too long.
    stalled,
    /// QoS 0 deliveries without room.
    dropped_outgoing,
    /// QoS 0 publishes without room.
    dropped_incoming,
    /// Deliveries too large for the client, or expired.
    discarded,
    /// Publishes that were refused.
    publishes_refused,
    /// Clients that the policy did not let connect.
    connects_denied,
    /// Publishes that the policy did not allow, wills among them.
    publishes_denied,
    /// Filters that the policy did not allow.
    subscribes_denied,
    /// Clients closed because what proved who they are has expired.
    expired,
    /// Times that what connections of a worker hold in memory came to its bound.
    memory_short,
    /// Clients closed because they did not bring a large packet in time while memory was short.
    over_memory,
    /// Clients of MQTT 3.1.1 closed because there was no memory for what they publish.
    held_and_closed,
    /// Those that came back too soon, and were told that the server is not available.
    kept_away,
    /// Times that a client's publishes had to wait because it was faster than it may be.
    slowed,
    /// Links that broke.
    links_broken,
}

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn add(&self) {
        self.add_by(1);
    }

    /// Counts `amount` more. Only one thread writes, so that nothing needs to be locked.
    pub fn add_by(&self, amount: usize) {
        self.0
            .store(self.get().wrapping_add(amount as u64), Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts by MQTT 5's reasons.
#[derive(Debug)]
pub struct Reasons([Counter; REASONS]);

/// One more than the highest reason.
const REASONS: usize = ReasonCode::WildcardSubscriptionsNotSupported as usize + 1;

impl Default for Reasons {
    fn default() -> Reasons {
        Reasons(std::array::from_fn(|_| Counter::default()))
    }
}

impl Reasons {
    fn add(&self, reason: ReasonCode) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.add();
        }
    }

    /// The reasons that were counted, and how often.
    pub fn each(&self) -> impl Iterator<Item = (ReasonCode, u64)> {
        let counted = self.0.iter().enumerate().filter_map(|(reason, counter)| {
            let reason = ReasonCode::from_u8(u8::try_from(reason).ok()?)?;
            Some((reason, counter.get()))
        });
        counted.filter(|(_, count)| *count > 0)
    }
}

impl Counters {
    /// Counts what a connection tells.
    pub(crate) fn count(&self, event: Event, meter: &mut Meter) {
        match event {
            Event::Connected { .. } => {
                self.connected.add();
                meter.connected();
            }
            Event::Disconnected(reason) => {
                self.ended_by.add(reason);
                if reason.is_error() {
                    self.lost.add();
                } else {
                    self.disconnected.add();
                }
            }
            Event::Refused(reason) => {
                self.refused.add();
                self.refused_by.add(reason);
            }
            Event::Sent { payload, .. } => {
                meter.traffic.publishes_sent.add();
                meter.traffic.payload_sent.add_by(payload);
            }
            Event::DroppedOutgoing => {
                self.dropped_outgoing.add();
                meter.traffic.dropped_outgoing.add();
            }
            Event::DroppedIncoming => {
                self.dropped_incoming.add();
                meter.traffic.dropped_incoming.add();
            }
            Event::Discarded => self.discarded.add(),
            Event::PublishRefused(_) => self.publishes_refused.add(),
            Event::Allowed(_) => meter.traffic.allowed.add(),
            Event::Denied(action) => {
                meter.traffic.denied.add();
                match action {
                    Action::Connect => self.connects_denied.add(),
                    Action::Publish => self.publishes_denied.add(),
                    Action::Subscribe => self.subscribes_denied.add(),
                }
            }
            Event::Expired => self.expired.add(),
            Event::Slowed => self.slowed.add(),
        }
    }
}

impl Counts {
    /// Logs what happened in a while of `seconds`: nothing if nothing did, a warning if something was lost or refused.
    pub fn log(&self, seconds: u64) {
        if self.connected + self.disconnected + self.lost > 0 {
            info!(
                connected = self.connected,
                disconnected = self.disconnected,
                lost = self.lost,
                "clients in the last {seconds} s"
            );
        }
        if self.dropped_outgoing + self.dropped_incoming + self.discarded + self.publishes_refused
            > 0
        {
            warn!(
                dropped_outgoing = self.dropped_outgoing,
                dropped_incoming = self.dropped_incoming,
                discarded = self.discarded,
                publishes_refused = self.publishes_refused,
                "messages not delivered in the last {seconds} s"
            );
        }
        if self.refused
            + self.over_limit
            + self.over_rate
            + self.over_openings
            + self.openings_failed
            + self.authentications_full
            + self.accept_errors
            + self.connect_timeouts
            + self.stalled
            + self.over_memory
            + self.held_and_closed
            > 0
        {
            warn!(
                refused = self.refused,
                over_limit = self.over_limit,
                over_rate = self.over_rate,
                over_openings = self.over_openings,
                openings_failed = self.openings_failed,
                authentications_full = self.authentications_full,
                accept_errors = self.accept_errors,
                connect_timeouts = self.connect_timeouts,
                stalled = self.stalled,
                over_memory = self.over_memory,
                held_and_closed = self.held_and_closed,
                kept_away = self.kept_away,
                "clients turned away in the last {seconds} s"
            );
        }
        if self.connects_denied + self.publishes_denied + self.subscribes_denied + self.expired > 0
        {
            warn!(
                connects = self.connects_denied,
                publishes = self.publishes_denied,
                subscribes = self.subscribes_denied,
                expired = self.expired,
                "not allowed in the last {seconds} s"
            );
        }
        if self.memory_short > 0 {
            warn!(
                times = self.memory_short,
                "memory for connections was short in the last {seconds} s: clients that do not read are dropped sooner"
            );
        }
        if self.slowed > 0 {
            info!(
                times = self.slowed,
                "clients that published faster than they may had to wait in the last {seconds} s"
            );
        }
        if self.links_broken > 0 {
            warn!(
                links_broken = self.links_broken,
                "links to shards in the last {seconds} s"
            );
        }
    }
}
