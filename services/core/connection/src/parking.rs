//! Publishes that cannot go yet `[F-62]`: the link's window is full, the lane changes, a SUBSCRIBE is in front, or
//! the client is faster than it may be.
//!
//! Only publishes to the same shard wait behind one that is parked.

use std::{collections::VecDeque, sync::Arc};

use catena_shard::Message;
use catena_slots::ShardId;

use crate::{
    Connection, Outside,
    bounds::{BARRIER_MS, KEPT_CAPACITY},
    input::Now,
    outside::Step,
    timers::Timer,
};

/// A publish on its way to a shard.
#[derive(Debug)]
pub(crate) struct Parked {
    pub message: Arc<Message>,
    pub token: u32,
    /// See `op::Publish::packet_id`.
    pub packet_id: u16,
    pub dup: bool,
    pub high_priority: bool,
    /// The SUBSCRIBEs and UNSUBSCRIBEs that came before it `[F-32]`.
    pub behind: u32,
    pub since: Now,
}

impl Connection {
    pub(crate) fn send_or_park<O: Outside>(
        &mut self,
        shard: ShardId,
        publish: Parked,
        now: Now,
        outside: &mut O,
    ) {
        let place = self.peers.place(shard);
        if self.peers.at(place).parked.is_empty()
            && self.may_pass(&publish, now, outside)
            && self.send_publish(place, &publish, outside)
        {
            return self.count_in_rates(&publish, now);
        }
        outside.stepped(&self.client_id, &publish.message, Step::Waits);
        self.parked += 1;
        self.parked_bytes += publish.message.weight();
        self.peers.at_mut(place).parked.push_back(publish);
    }

    /// Whether nothing in this connection holds the publish back.
    fn may_pass<O: Outside>(&mut self, publish: &Parked, now: Now, outside: &mut O) -> bool {
        if publish.packet_id != 0 && !self.may_be_remembered(publish.packet_id) {
            return false;
        }
        let until = publish.since.plus_millis(BARRIER_MS);
        if self.requests_completed() >= publish.behind || now >= until {
            return self.is_within_rates(now, outside);
        }
        self.timers.start(Timer::Barrier, until);
        false
    }

    /// Sends parked publishes to one shard, as far as that goes.
    pub(crate) fn drain_parked<O: Outside>(&mut self, place: usize, now: Now, outside: &mut O) {
        while let Some(mut publish) = self.peers.at_mut(place).parked.pop_front() {
            let weight = publish.message.weight();
            if !self.may_pass(&publish, now, outside) {
                return self.peers.at_mut(place).parked.push_front(publish);
            }
            publish.behind = 0;
            count_wait(&mut publish, now);
            if !self.send_publish(place, &publish, outside) {
                return self.peers.at_mut(place).parked.push_front(publish);
            }
            self.count_in_rates(&publish, now);
            self.parked -= 1;
            self.parked_bytes -= weight;
        }
        let parked = &mut self.peers.at_mut(place).parked;
        if parked.capacity() > KEPT_CAPACITY {
            *parked = VecDeque::new();
        }
    }

    pub(crate) fn drain_all_parked<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if self.parked == 0 {
            return;
        }
        for place in 0..self.peers.len() {
            self.drain_parked(place, now, outside);
        }
    }
}

/// Time spent here counts against the message's expiry `[F-80]`. v5 `[MQTT-3.3.2-6]`
fn count_wait(publish: &mut Parked, now: Now) {
    let seconds = now.0.saturating_sub(publish.since.0) / 1000;
    if seconds == 0 {
        return;
    }
    // Whole seconds only: the rest goes on counting.
    publish.since = publish.since.plus_millis(seconds * 1000);
    if let Some(expiry) = publish.message.expiry {
        let left = u64::from(expiry).saturating_sub(seconds);
        Arc::make_mut(&mut publish.message).expiry = Some(left as u32);
    }
}
