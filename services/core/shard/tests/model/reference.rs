//! A broker in plain loops over plain lists, which knows what every client is owed and checks what it gets.
//!
//! When a window opens is the shards' affair: the reference follows what they send, and finds fault with what is sent
//! to the wrong client, twice, too early, with other flags - or, at the end, not at all.

use std::collections::VecDeque;

use crate::script::{CLIENTS, FILTERS, SHARED};

#[derive(Debug, Clone, PartialEq)]
pub struct Msg {
    /// What tells it from all others; part of the payload.
    pub number: u32,
    pub topic: String,
    pub publisher: usize,
    pub qos: u8,
    pub retain: bool,
    pub empty: bool,
    /// Milliseconds.
    pub expires_at: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Sub {
    pub filter: usize,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
}

/// How a delivery looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    pub number: u32,
    pub qos: u8,
    pub retain: bool,
    pub ids: Vec<u32>,
}

/// Something that a session is owed.
#[derive(Debug, Clone)]
struct Owed {
    order: u64,
    msg: Msg,
    look: Look,
    /// QoS 0: in this step or never.
    now_or_never: bool,
    /// It answers a SUBSCRIBE to this filter, and goes with it until something has pulled it into the queue.
    cursor: Option<usize>,
    /// It was retained when the client subscribed.
    is_retained: bool,
}

/// Something that a client has and has not acknowledged.
#[derive(Debug, Clone)]
struct Flight {
    shard: usize,
    id: u16,
    owed: Owed,
    /// Index of the shared filter, and which life of the group.
    group: Option<(usize, u32)>,
    received: bool,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Session {
    expiry: u32,
    epoch: u64,
    attached: bool,
    subs: Vec<Sub>,
    owed: Vec<Owed>,
    flights: Vec<Flight>,
    /// Packet ids that must come again before anything else, by shard.
    resend: Vec<VecDeque<u16>>,
    will: Option<(Msg, u32)>,
    will_due: Option<u64>,
    ends_at: Option<u64>,
}

#[derive(Debug, Default)]
struct Group {
    life: u32,
    members: Vec<(usize, Sub)>,
    waiting: Vec<Owed>,
}

#[derive(Debug)]
pub struct Reference {
    pub now: u64,
    shards: usize,
    sessions: Vec<Option<Session>>,
    groups: Vec<Group>,
    retained: Vec<Msg>,
    next_order: u64,
    /// Members of groups are lost, one after the other: what the first one had may be sent before the next one's is back.
    pub is_losing: bool,
    /// What groups have sent since the last look at their order: what goes to several gateways is not seen in the order of sending.
    sent: Vec<Sent>,
}

/// A delivery of a group, of a message above QoS 0.
#[derive(Debug)]
struct Sent {
    client: usize,
    filter: usize,
    topic: String,
    order: u64,
}

impl Sent {
    /// Without wildcards members take turns, with them each topic has one of them.
    fn is_before(&self, filter: usize, topic: &str, order: u64) -> bool {
        let is_same = self.filter == filter && (filter == SHARED || self.topic == topic);
        is_same && self.order < order
    }
}

/// A delivery that arrived.
#[derive(Debug)]
pub struct Arrived {
    pub shard: usize,
    pub look: Look,
    pub id: u16,
    pub dup: bool,
}

/// The Subscription Identifier that marks deliveries of a shared filter.
pub fn shared_id(filter: usize) -> u32 {
    90 + filter as u32
}

fn matches(filter: &str, topic: &str) -> bool {
    let filter = filter.strip_prefix("$share/g/").unwrap_or(filter);
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let (filter, topic): (Vec<&str>, Vec<&str>) =
        (filter.split('/').collect(), topic.split('/').collect());
    for (n, level) in filter.iter().enumerate() {
        if *level == "#" {
            return true;
        }
        if topic.get(n).is_none_or(|t| *level != "+" && level != t) {
            return false;
        }
    }
    filter.len() == topic.len()
}

impl Reference {
    pub fn new(shards: usize, now: u64) -> Reference {
        Reference {
            now,
            shards,
            sessions: CLIENTS.iter().map(|_| None).collect(),
            groups: FILTERS[SHARED..].iter().map(|_| Group::default()).collect(),
            retained: vec![],
            next_order: 0,
            is_losing: false,
            sent: vec![],
        }
    }

    pub fn is_attached(&self, client: usize) -> bool {
        self.sessions[client]
            .as_ref()
            .is_some_and(|session| session.attached)
    }

    pub fn retained_topics(&self) -> Vec<String> {
        self.retained.iter().map(|msg| msg.topic.clone()).collect()
    }

    /// Packet ids that the client has not acknowledged, in the order of sending: shard, id, QoS, whether PUBREC went.
    pub fn flights(&self, client: usize) -> Vec<(usize, u16, u8, bool, bool)> {
        let Some(session) = &self.sessions[client] else {
            return vec![];
        };
        let flights = session.flights.iter();
        flights
            .map(|f| {
                (
                    f.shard,
                    f.id,
                    f.owed.look.qos,
                    f.received,
                    f.group.is_some(),
                )
            })
            .collect()
    }

    /// Returns whether a session was present.
    pub fn connect(&mut self, client: usize, expiry: u32, will: Option<(Msg, u32)>) -> bool {
        let present = self.sessions[client].is_some();
        let shards = self.shards;
        let session = self.sessions[client].get_or_insert_default();
        session.epoch += 1;
        session.expiry = expiry;
        session.attached = true;
        session.will = will;
        (session.will_due, session.ends_at) = (None, None);
        session.resend = (0..shards)
            .map(|shard| {
                session
                    .flights
                    .iter()
                    .filter(|f| f.shard == shard)
                    .map(|f| f.id)
                    .collect()
            })
            .collect();
        present
    }

    /// A connection is gone, and with it what was on its way to it; `unsent` was never written.
    pub fn detach(&mut self, client: usize, unsent: &[u16]) {
        let Some(session) = self.sessions[client]
            .as_mut()
            .filter(|session| session.attached)
        else {
            return;
        };
        session.attached = false;
        session.resend = vec![];
        let (mut kept, mut back) = (vec![], vec![]);
        for flight in session.flights.drain(..) {
            let unwritten =
                unsent.contains(&flight.id) && flight.epoch == session.epoch && !flight.received;
            let returns = flight.group.is_some() && flight.owed.look.qos == 1;
            if unwritten || returns {
                back.push(flight);
            } else {
                kept.push(flight);
            }
        }
        session.flights = kept;
        for mut flight in back {
            match flight.group {
                Some(group) => self.back_to_group(group, flight.owed),
                None => {
                    flight.owed.cursor = None;
                    let session = self.sessions[client].as_mut().unwrap();
                    session.owed.push(flight.owed);
                    session.owed.sort_by_key(|owed| owed.order);
                }
            }
        }
    }

    fn back_to_group(&mut self, (filter, life): (usize, u32), mut owed: Owed) {
        // The next member may have other options.
        (owed.look.qos, owed.look.retain) = (owed.msg.qos, owed.msg.retain);
        let group = &mut self.groups[filter - SHARED];
        if group.life == life && !group.members.is_empty() {
            group.waiting.push(owed);
        }
    }

    /// The end of a connection that was detached before.
    pub fn leave(&mut self, client: usize, publish_will: bool) {
        let now = self.now;
        let Some(session) = self.sessions[client].as_mut() else {
            return;
        };
        if !publish_will {
            session.will = None;
        }
        if session.expiry == 0 {
            return self.end(client);
        }
        let ends_at = now + u64::from(session.expiry) * 1000;
        session.ends_at = Some(ends_at);
        if let Some((_, delay)) = session.will {
            session.will_due = Some((now + u64::from(delay) * 1000).min(ends_at));
        }
        self.tick();
    }

    pub fn end(&mut self, client: usize) {
        let Some(session) = self.sessions[client].take() else {
            return;
        };
        assert!(!session.attached);
        for filter in SHARED..FILTERS.len() {
            self.leave_group(client, filter);
        }
        if let Some((will, _)) = session.will {
            self.publish(will, false);
        }
    }

    /// What is due at `now`.
    pub fn tick(&mut self) {
        for client in 0..CLIENTS.len() {
            let Some(session) = &mut self.sessions[client] else {
                continue;
            };
            if session.ends_at.is_some_and(|at| at <= self.now) {
                self.end(client);
            } else if session.will_due.is_some_and(|at| at <= self.now) {
                session.will_due = None;
                if let Some((will, _)) = session.will.take() {
                    self.publish(will, false);
                }
            }
        }
    }

    pub fn subscribe(&mut self, client: usize, sub: Sub, handling: u8) {
        let session = self.sessions[client].as_mut().unwrap();
        let existed = session.subs.iter().any(|old| old.filter == sub.filter);
        session.subs.retain(|old| old.filter != sub.filter);
        session.subs.push(sub);
        if sub.filter >= SHARED {
            let group = &mut self.groups[sub.filter - SHARED];
            if group.members.is_empty() {
                group.life += 1;
            }
            group.members.retain(|(member, _)| *member != client);
            group.members.push((client, sub));
            return;
        }
        if !(handling == 0 || handling == 1 && !existed) {
            return;
        }
        session.owed.retain(|owed| owed.cursor != Some(sub.filter));
        for msg in &self.retained {
            let own = sub.no_local && msg.publisher == client;
            if msg.expires_at <= self.now || own || !matches(FILTERS[sub.filter], &msg.topic) {
                continue;
            }
            self.next_order += 1;
            session.owed.push(Owed {
                order: self.next_order,
                msg: msg.clone(),
                look: Look {
                    number: msg.number,
                    qos: sub.qos.min(msg.qos),
                    retain: true,
                    ids: sub.id.into_iter().collect(),
                },
                now_or_never: false,
                cursor: Some(sub.filter),
                is_retained: true,
            });
        }
    }

    pub fn unsubscribe(&mut self, client: usize, filter: usize) {
        let session = self.sessions[client].as_mut().unwrap();
        session.subs.retain(|sub| sub.filter != filter);
        session.owed.retain(|owed| owed.cursor != Some(filter));
        if filter >= SHARED {
            self.leave_group(client, filter);
        }
    }

    fn leave_group(&mut self, client: usize, filter: usize) {
        let group = &mut self.groups[filter - SHARED];
        group.members.retain(|(member, _)| *member != client);
        if group.members.is_empty() {
            group.waiting.clear();
        }
    }

    /// `direct`: past the log, where nothing is changed.
    pub fn publish(&mut self, msg: Msg, direct: bool) {
        self.next_order += 1;
        let order = self.next_order;
        for client in 0..CLIENTS.len() {
            let Some(session) = &mut self.sessions[client] else {
                continue;
            };
            let matching: Vec<Sub> = session
                .subs
                .iter()
                .filter(|sub| sub.filter < SHARED && matches(FILTERS[sub.filter], &msg.topic))
                .copied()
                .collect();
            if !direct {
                for owed in &mut session.owed {
                    if owed.is_retained && owed.msg.topic == msg.topic {
                        owed.cursor = None;
                    }
                }
            }
            let wanted: Vec<Sub> = matching
                .into_iter()
                .filter(|sub| !(sub.no_local && msg.publisher == client))
                .collect();
            let Some(qos) = wanted.iter().map(|sub| sub.qos.min(msg.qos)).max() else {
                continue;
            };
            let mut ids: Vec<u32> = wanted.iter().filter_map(|sub| sub.id).collect();
            ids.sort();
            ids.dedup();
            if qos == 0 && !session.attached {
                continue;
            }
            session.owed.push(Owed {
                order,
                look: Look {
                    number: msg.number,
                    qos,
                    retain: msg.retain && wanted.iter().any(|sub| sub.retain_as_published),
                    ids,
                },
                msg: msg.clone(),
                now_or_never: qos == 0,
                cursor: None,
                is_retained: false,
            });
        }
        for (filter, text) in FILTERS.iter().enumerate().skip(SHARED) {
            let group = &self.groups[filter - SHARED];
            let attached = group
                .members
                .iter()
                .any(|(member, _)| self.is_attached(*member));
            if !matches(text, &msg.topic) || group.members.is_empty() || msg.qos == 0 && !attached {
                continue;
            }
            let look = Look {
                number: msg.number,
                qos: msg.qos,
                retain: msg.retain,
                ids: vec![shared_id(filter)],
            };
            self.groups[filter - SHARED].waiting.push(Owed {
                order,
                msg: msg.clone(),
                look,
                now_or_never: msg.qos == 0,
                cursor: None,
                is_retained: false,
            });
        }
        if msg.retain {
            self.retained.retain(|old| old.topic != msg.topic);
            if !msg.empty {
                self.retained.push(msg);
            }
        }
    }

    /// Checks a delivery against what is owed.
    pub fn arrived(&mut self, client: usize, arrived: &Arrived) {
        let now = self.now;
        let Arrived {
            shard,
            look,
            id,
            dup,
        } = arrived;
        let session = self.sessions[client]
            .as_mut()
            .expect("deliveries go to sessions");
        assert!(
            session.attached,
            "{} is away, and got {arrived:?}",
            CLIENTS[client]
        );
        if let Some(again) = session.resend.get(*shard).and_then(|queue| queue.front()) {
            let flight = session.flights.iter().find(|f| f.id == *again).unwrap();
            assert_eq!(
                (*again, &flight.owed.look),
                (*id, look),
                "resent in order and unchanged"
            );
            assert!(dup & !flight.received);
            session.resend[*shard].pop_front();
            return;
        }
        assert!(!dup, "{arrived:?} was not sent before");
        assert!(session.flights.iter().all(|f| f.id != *id), "{id} is taken");
        let shared = (SHARED..FILTERS.len()).find(|filter| look.ids == [shared_id(*filter)]);
        let (owed, group) = match shared {
            None => {
                let place = session.owed.iter().position(|owed| owed.look == *look);
                let place =
                    place.unwrap_or_else(|| panic!("{} is not owed {arrived:?}", CLIENTS[client]));
                let owed = session.owed.remove(place);
                for earlier in &session.owed[..place] {
                    let same_topic = earlier.msg.topic == owed.msg.topic;
                    let queued = earlier.look.qos > 0 && owed.look.qos > 0 && !earlier.is_retained;
                    let overtaken = queued && earlier.msg.publisher == owed.msg.publisher
                        || earlier.is_retained && owed.look.qos > 0;
                    assert!(
                        !(same_topic
                            && overtaken
                            && !owed.is_retained
                            && earlier.msg.expires_at > now),
                        "{owed:?} overtook {earlier:?}"
                    );
                }
                (owed, None)
            }
            Some(filter) => {
                let group = &mut self.groups[filter - SHARED];
                let member = group.members.iter().find(|(member, _)| *member == client);
                let sub = member.expect("a member").1;
                let place = group
                    .waiting
                    .iter()
                    .position(|owed| owed.look.number == look.number);
                let mut owed = group.waiting.remove(place.expect("once in all"));
                if owed.msg.qos > 0 {
                    let sent = Sent {
                        client,
                        filter,
                        topic: owed.msg.topic.clone(),
                        order: owed.order,
                    };
                    let later = self.sent.iter().find(|other| {
                        other.client == client
                            && sent.is_before(other.filter, &other.topic, other.order)
                    });
                    let is_kept = later.is_none() || self.is_losing;
                    assert!(is_kept, "{later:?} overtook {sent:?}");
                    self.sent.push(sent);
                }
                let own = owed.look.clone();
                owed.look.qos = own.qos.min(sub.qos);
                owed.look.retain = own.retain && sub.retain_as_published;
                assert_eq!(owed.look, *look);
                (owed, Some((filter, group.life)))
            }
        };
        assert!(
            owed.now_or_never || owed.msg.expires_at > now,
            "{owed:?} had expired"
        );
        if *id != 0 {
            let session = self.sessions[client].as_mut().unwrap();
            session.flights.push(Flight {
                shard: *shard,
                id: *id,
                owed,
                group,
                received: false,
                epoch: session.epoch,
            });
        }
    }

    /// Of what groups have sent together, nothing may have overtaken what still waits.
    pub fn check_groups(&mut self) {
        for sent in std::mem::take(&mut self.sent) {
            let group = &self.groups[sent.filter - SHARED];
            let earlier = group.waiting.iter().find(|earlier| {
                let (topic, order) = (&earlier.msg.topic, earlier.order);
                let is_same = sent.filter == SHARED || sent.topic == *topic;
                is_same
                    && order < sent.order
                    && earlier.msg.qos > 0
                    && earlier.msg.expires_at > self.now
            });
            let is_kept = earlier.is_none() || self.is_losing;
            assert!(is_kept, "{sent:?} overtook {earlier:?}");
        }
    }

    /// A PUBREL is resent.
    pub fn pubrel(&mut self, client: usize, id: u16) {
        let session = self.sessions[client].as_mut().unwrap();
        let flight = session
            .flights
            .iter()
            .find(|f| f.id == id)
            .expect("in flight");
        assert!(flight.received);
        assert_eq!(session.resend[flight.shard].pop_front(), Some(id));
    }

    /// The client answers: PUBREC, something final, or the gateway gives a shared one back.
    pub fn ack(&mut self, client: usize, id: u16, received: bool, returned: bool) {
        let session = self.sessions[client].as_mut().unwrap();
        let place = session.flights.iter().position(|f| f.id == id).unwrap();
        if received {
            session.flights[place].received = true;
            return;
        }
        let flight = session.flights.remove(place);
        if let Some(group) = flight.group.filter(|_| returned) {
            self.back_to_group(group, flight.owed);
        }
    }

    /// What had to come in this step has come.
    pub fn check_step(&mut self) {
        for (client, session) in self.sessions.iter().enumerate() {
            let Some(session) = session else { continue };
            let late = session.owed.iter().find(|owed| owed.now_or_never);
            assert!(late.is_none(), "{} did not get {late:?}", CLIENTS[client]);
            assert!(
                session.resend.iter().all(|queue| queue.is_empty()),
                "not resent: {session:?}"
            );
        }
        for group in &self.groups {
            assert!(
                group.waiting.iter().all(|owed| !owed.now_or_never),
                "lost: {group:?}"
            );
        }
    }

    /// Whoever is connected, with a window that opened again and again, has everything.
    pub fn check_end(&self) {
        for (client, session) in self.sessions.iter().enumerate() {
            let Some(session) = session.as_ref().filter(|session| session.attached) else {
                continue;
            };
            let left = session
                .owed
                .iter()
                .find(|owed| owed.msg.expires_at > self.now);
            assert!(left.is_none(), "{} never got {left:?}", CLIENTS[client]);
        }
        for group in &self.groups {
            let attached = group
                .members
                .iter()
                .any(|(member, _)| self.is_attached(*member));
            let left = group
                .waiting
                .iter()
                .find(|owed| owed.msg.expires_at > self.now);
            assert!(!attached || left.is_none(), "no member got {left:?}");
        }
    }
}
