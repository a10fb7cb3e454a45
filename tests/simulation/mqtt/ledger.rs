//! What was published and what arrived, written down by nobody whose code is tested.

use std::collections::BTreeMap;

use catena_mqtt::{Filter, QoS, packet::Publish};

use crate::{
    mqtt::device::{Device, State, Sub},
    workload::Violation,
};

/// Topics `t/0` and so on.
pub const TOPICS: usize = 6;

/// The topic that a group shares.
pub const SHARED: &str = "g/0";
pub const SHARED_FILTER: &str = "$share/group/g/0";

/// One publish of a device.
#[derive(Debug)]
pub struct Sent {
    by: usize,
    topic: String,
    qos: QoS,
    retain: bool,
    /// The socket on which it went first.
    socket: u64,
    /// How often it was written to a socket.
    sends: u32,
    first_at: u64,
    acked_at: Option<u64>,
}

/// What one device got of one publish.
#[derive(Debug, Default)]
struct Got {
    count: u32,
    /// Without DUP.
    fresh: u32,
}

/// Spans of time whose acknowledgements may be lost, as the only shard went on from a disk that was not synced: from, and until it
/// went on `[C-64]`.
#[derive(Debug, Default)]
pub struct Losses(pub Vec<(u64, u64)>);

impl Losses {
    /// Whether what was asked and answered then may be lost. Who still spoke to the generation before may be answered late.
    pub fn may_take(&self, asked_at: u64, answered_at: Option<u64>) -> bool {
        let is_in = |(from, at): &(u64, u64)| {
            asked_at <= *at && answered_at.is_none_or(|answered_at| answered_at >= *from)
        };
        self.0.iter().any(is_in)
    }

    /// Whether a loss came after `moment`: what began before may come to pass twice.
    pub fn is_before(&self, moment: u64) -> bool {
        self.0.iter().any(|(_, at)| moment <= *at)
    }

    /// Whether a subscription has held since before `moment`.
    fn holds(&self, sub: &Sub, moment: u64) -> bool {
        sub.since
            .is_some_and(|since| since <= moment && !self.may_take(sub.asked_at, Some(since)))
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// A shard has started empty, or may lack what others know of: what was promised is void `[F-25]`.
    pub is_void: bool,
    pub losses: Losses,
    next_id: u64,
    sent: BTreeMap<u64, Sent>,
    got: BTreeMap<(usize, u64), Got>,
    /// By device, publisher, topic and QoS: the last that came for the first time.
    last: BTreeMap<(usize, usize, String, QoS), u64>,
    /// The same over all QoS, for who takes everything at QoS 0, with the publisher's socket.
    last_in_lane: BTreeMap<(usize, usize, String), (u64, u64)>,
    /// What the first device heard last of each device's comings and goings: a publish, or a will.
    heard: BTreeMap<String, u64>,
    /// By device and topic: the highest that came at all.
    highest: BTreeMap<(usize, String), u64>,
    /// By topic: the last publish that an administrator may have taken away as a retained message.
    cleared: BTreeMap<String, u64>,
}

impl Ledger {
    pub fn publish(
        &mut self,
        by: usize,
        topic: &str,
        qos: QoS,
        retain: bool,
        socket: u64,
        now: u64,
    ) -> u64 {
        self.next_id += 1;
        let sent = Sent {
            by,
            topic: topic.to_owned(),
            qos,
            retain,
            socket,
            sends: 1,
            first_at: now,
            acked_at: None,
        };
        self.sent.insert(self.next_id, sent);
        self.next_id
    }

    pub fn sent_again(&mut self, id: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.sends += 1;
        }
    }

    pub fn acked(&mut self, id: u64, now: u64) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.acked_at.get_or_insert(now);
        }
    }

    /// A device got a publish that is news to it.
    pub fn delivered(
        &mut self,
        device: &Device,
        publish: &Publish,
        id: u64,
    ) -> Result<(), Violation> {
        let index = device.index;
        let Some(sent) = self.sent.get(&id) else {
            return Err(format!("client {index} got {id}, which nobody sent"));
        };
        if *publish.topic != *sent.topic {
            return Err(format!("client {index} got {id} as {}", publish.topic));
        }
        let Some(sub) = device.subs.iter().find(|sub| matches(sub, &sent.topic)) else {
            return Err(format!("client {index} got {id}, which it never asked for"));
        };
        if publish.qos != sub.qos.min(sent.qos) {
            return Err(format!("client {index} got {id} at {:?}", publish.qos));
        }
        let highest = self.highest.entry((index, sent.topic.clone())).or_default();
        *highest = id.max(*highest);
        let topic = sent.topic.clone();
        if self.is_void || publish.retain || sent.retain {
            self.heard(index, &topic, id);
            return Ok(());
        }
        let got = self.got.entry((index, id)).or_default();
        got.count += 1;
        got.fresh += u32::from(!publish.dup);
        let is_first = got.count == 1;
        if self.losses.is_before(sent.first_at) {
            return Ok(());
        }
        let most = match publish.qos {
            QoS::ExactlyOnce => 1,
            QoS::AtMostOnce => sent.sends,
            QoS::AtLeastOnce => u32::MAX,
        };
        let is_shared = sent.topic == SHARED;
        if got.count > most || (got.fresh > sent.sends && !is_shared) {
            return Err(format!(
                "client {index} got {id} twice at {:?}: {got:?} of {sent:?}",
                publish.qos
            ));
        }
        // Sent again, it may come late to who was not there, or did not want to be waited for, at the first time.
        let waits = publish.qos > QoS::AtMostOnce && self.losses.holds(sub, sent.first_at);
        if is_shared || !is_first || (sent.sends > 1 && !waits) {
            return Ok(());
        }
        let key = (index, sent.by, sent.topic.clone(), sent.qos);
        let last = self.last.entry(key).or_default();
        if id < std::mem::replace(last, id) {
            return Err(format!("client {index} got {id} out of order: {sent:?}"));
        }
        if sub.qos == QoS::AtMostOnce && sent.sends == 1 {
            let key = (index, sent.by, sent.topic.clone());
            let lane = self.last_in_lane.entry(key).or_default();
            let (last, socket) = std::mem::replace(lane, (id, sent.socket));
            if socket == sent.socket && id < last {
                return Err(format!(
                    "client {index} got {id} behind {last}, past the log out of order: {sent:?}"
                ));
            }
        }
        Ok(())
    }

    /// A device does not know what it got before.
    pub fn forgot(&mut self, device: usize) {
        self.got.retain(|(by, _), _| *by != device);
        self.last.retain(|(by, ..), _| *by != device);
        self.last_in_lane.retain(|(by, ..), _| *by != device);
    }

    /// A device heard of another's coming or going.
    pub fn heard(&mut self, device: usize, topic: &str, id: u64) {
        if device == 0 && topic.starts_with("s/") {
            self.heard.insert(topic.to_owned(), id);
        }
    }

    /// The last that was heard of a device that is there is that it is: no will overtakes that `[F-21]`.
    fn check_heard(&self, devices: &[Device]) -> Result<(), Violation> {
        for device in devices.iter().filter(|device| device.state == State::Live) {
            let topic = format!("s/{}", device.index);
            let mine = self.sent.iter().rev().find(|(_, sent)| sent.topic == topic);
            // It may have had too much to say to tell that it is there again.
            let is_said = |sent: &Sent| {
                let is_lost = self.losses.may_take(sent.first_at, sent.acked_at);
                sent.acked_at.is_some() && device.socket == Some(sent.socket) && !is_lost
            };
            let Some((id, sent)) = mine.filter(|(_, sent)| is_said(sent)) else {
                continue;
            };
            let heard = self.heard.get(&topic);
            if heard.is_some_and(|heard| heard != id) {
                return Err(format!(
                    "client {} is there, and what was heard last of it is {heard:x?}, not {id:x}: {sent:?}",
                    device.index
                ));
            }
        }
        Ok(())
    }

    /// An administrator takes the retained message of a topic away.
    pub fn cleared(&mut self, topic: &str) {
        self.cleared.insert(topic.to_owned(), self.next_id);
    }

    /// How many publishes to `topic` a device has got.
    pub fn count(&self, device: usize, topic: &str) -> usize {
        let is_it = |((by, id), _): &(&(usize, u64), &Got)| {
            *by == device && self.sent.get(id).is_some_and(|sent| sent.topic == topic)
        };
        self.got.iter().filter(is_it).count()
    }

    /// Everything that was promised has arrived.
    pub fn check(&self, devices: &[Device]) -> Result<(), Violation> {
        self.check_heard(devices)?;
        for (id, sent) in &self.sent {
            let Some(acked_at) = sent.acked_at else {
                continue;
            };
            if self.losses.may_take(sent.first_at, sent.acked_at) {
                continue;
            }
            if sent.retain {
                self.check_retained(devices, *id, sent, acked_at)?;
                continue;
            }
            if sent.topic == SHARED {
                self.check_shared(devices, *id, sent)?;
                continue;
            }
            for device in devices {
                let sub = device.subs.iter().find(|sub| matches(sub, &sent.topic));
                let Some(sub) = sub.filter(|sub| self.losses.holds(sub, sent.first_at)) else {
                    continue;
                };
                let is_owed = sub.qos > QoS::AtMostOnce && device.state == State::Live;
                if is_owed && !self.got.contains_key(&(device.index, *id)) {
                    return Err(format!(
                        "{id} was acknowledged, and client {} never got it: {sent:?}",
                        device.index
                    ));
                }
            }
        }
        Ok(())
    }

    /// Who subscribed after a retained message was acknowledged has got it, or a later one `[F-34]`.
    fn check_retained(
        &self,
        devices: &[Device],
        id: u64,
        sent: &Sent,
        acked_at: u64,
    ) -> Result<(), Violation> {
        // What a device says of itself is overtaken by its wills.
        if sent.topic.starts_with("s/") {
            return Ok(());
        }
        // An earlier publish that is sent again at QoS 1 is stored again, behind a later one that is known by its packet id.
        let mut earlier = self.sent.range(..id).map(|(_, earlier)| earlier);
        let is_overtaken = earlier.any(|earlier| {
            earlier.topic == sent.topic && earlier.qos == QoS::AtLeastOnce && earlier.sends > 1
        });
        if sent.qos == QoS::ExactlyOnce && is_overtaken {
            return Ok(());
        }
        let is_kept = self
            .cleared
            .get(&sent.topic)
            .is_none_or(|cleared| *cleared < id);
        for device in devices {
            let sub = device.subs.iter().find(|sub| matches(sub, &sent.topic));
            let is_owed = sub.is_some_and(|sub| {
                let comes_later = is_kept && sub.asked_at > acked_at;
                let is_there = !self.losses.may_take(sub.asked_at, sub.since);
                let held = self.losses.holds(sub, sent.first_at);
                sub.since.is_some() && is_there && (comes_later || held)
            });
            let highest = self.highest.get(&(device.index, sent.topic.clone()));
            if is_owed && highest.is_none_or(|highest| *highest < id) {
                return Err(format!(
                    "{id} is retained, and client {} never got it: {sent:?}",
                    device.index
                ));
            }
        }
        Ok(())
    }

    /// One of the group has got it, and of QoS 2 once in all.
    fn check_shared(&self, devices: &[Device], id: u64, sent: &Sent) -> Result<(), Violation> {
        let sub_of = |device: &'_ Device| {
            let sub = device.subs.iter().find(|sub| sub.filter == SHARED_FILTER);
            sub.cloned().map(|sub| (device.is_persistent, sub))
        };
        let members: Vec<_> = devices.iter().filter_map(sub_of).collect();
        // With a member that forgets its session goes what it had taken.
        let is_owed = members
            .iter()
            .all(|(is_persistent, sub)| *is_persistent && self.losses.holds(sub, sent.first_at));
        let got = |device: &Device| self.got.get(&(device.index, id)).map_or(0, |got| got.count);
        let count: u32 = devices.iter().map(got).sum();
        if !members.is_empty() && is_owed && count == 0 {
            return Err(format!(
                "{id} was acknowledged, and none of its group got it: {sent:?}"
            ));
        }
        let is_once = sent.qos == QoS::ExactlyOnce && !self.losses.is_before(sent.first_at);
        if is_once && is_owed && count > 1 {
            return Err(format!(
                "{id} was delivered twice at QoS 2, {count} times to its group: {sent:?}"
            ));
        }
        Ok(())
    }
}

fn matches(sub: &Sub, topic: &str) -> bool {
    let filter = Filter::parse(sub.filter.clone()).expect("devices ask for valid filters");
    filter.matches(topic)
}
