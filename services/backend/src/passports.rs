//! Passports, as a replica sees them: what its shard did with messages that somebody follows, once it is committed.

use std::{collections::VecDeque, sync::Arc};

use catena_membership::passports::wanted;
use catena_replicated::Replica;
use catena_shard::{
    trace,
    watch::{self, Watch, What, Why},
};
use catena_slots::ShardId;
use catena_telemetry::{
    passports::{Client, Kind, Passports as All, Step, front},
    traces,
};

/// Steps that wait for their commit.
const HELD_MAX: usize = 8_192;

/// The passports of one replica.
pub(crate) struct Passports {
    shard: ShardId,
    all: All,
    /// Of the orders that `watch` is made of.
    version: u64,
    watch: Arc<Watch>,
    /// Of a tail, by the index of which they are part.
    held: VecDeque<(u64, watch::Step)>,
}

impl Passports {
    pub fn new(shard: ShardId, all: All) -> Passports {
        Passports {
            shard,
            all,
            version: 0,
            watch: Arc::default(),
            held: VecDeque::new(),
        }
    }

    /// A turn begins: the shard is told what is wanted, also one that has just come.
    #[inline]
    pub fn turns(&mut self, replica: &Replica) {
        let is_new = self.all.version() != self.version;
        if is_new || !self.watch.wanted.is_empty() {
            self.tell_shard(replica, is_new);
        }
    }

    #[cold]
    fn tell_shard(&mut self, replica: &Replica, is_new: bool) {
        if is_new {
            self.version = self.all.version();
            self.watch = Arc::new(Watch {
                wanted: wanted(&self.all.orders()),
            });
        }
        if let Some(machine) = replica.machine() {
            machine.shard().watch(&self.watch);
        }
    }

    /// The turn is over.
    #[inline]
    pub fn turned(&mut self, replica: &Replica) {
        if !self.watch.wanted.is_empty() {
            self.tell(replica);
        } else if !self.held.is_empty() {
            self.held.clear();
        }
    }

    #[cold]
    fn tell(&mut self, replica: &Replica) {
        let (Some(machine), Some(status)) = (replica.machine(), replica.status()) else {
            return;
        };
        let role = replica.role();
        let (steps, dropped) = machine.shard().take_steps();
        if dropped > 0 {
            self.all.drop_some(dropped);
        }
        for step in steps {
            let is_publish = step.what == What::Applied;
            if step.is_direct {
                match is_publish {
                    true => self.say(&step, Kind::Accepted, "past the log: QoS 0"),
                    false => self.say_what(&step),
                }
                continue;
            }
            if is_publish && role.is_head {
                self.say(&step, Kind::Accepted, "");
            } else if is_publish && role.is_of_chain() && !role.is_tail {
                self.say(&step, Kind::Replicated, "");
            }
            if !role.is_tail {
                continue;
            }
            if self.held.len() >= HELD_MAX {
                self.all.drop_some(1);
            } else {
                self.held.push_back((status.end.index, step));
            }
        }
        if !role.is_tail {
            return self.held.clear();
        }
        while let Some((index, _)) = self.held.front()
            && *index <= status.commit
        {
            if let Some((_, step)) = self.held.pop_front() {
                self.say_what(&step);
            }
        }
    }

    fn say_what(&self, step: &watch::Step) {
        let (kind, detail) = match step.what {
            What::Applied => (Kind::Committed, ""),
            What::Retained if step.message.payload.is_empty() => {
                (Kind::Retained, "it clears the retained message")
            }
            What::Retained => (Kind::Retained, ""),
            What::Queued => (Kind::Queued, ""),
            What::Sent => (Kind::Dispatched, ""),
            What::Dropped(why) => (Kind::Dropped, words(why)),
        };
        self.say(step, kind, detail);
    }

    fn say(&self, step: &watch::Step, kind: Kind, detail: &'static str) {
        let message = &step.message;
        let name = trace::read(&message.properties).map(|mark| mark.context);
        self.all.add(Step {
            at: traces::now(),
            orders: step.orders.clone(),
            kind,
            name: name.map(|name| (name.trace, name.span)),
            topic: front(&message.topic),
            qos: message.qos as u8,
            payload_bytes: message.payload.len() as u64,
            publisher: message.publisher.0,
            client: step.reader.map(|reader| Client::Key(reader.0)),
            shard: Some(self.shard.0.into()),
            detail,
        });
    }
}

fn words(why: Why) -> &'static str {
    match why {
        Why::NoSubscriber => "no subscription matches",
        Why::Replaced => "the publisher's connection has been replaced by another",
        Why::Duplicate => "QoS 2: it came before",
        Why::Refused => "the shard's memory, or the room for retained messages, is used up",
        Why::NotConnected => {
            "the client is not connected, and nothing is kept for it: QoS 0, or a session that ends with its connection"
        }
        Why::Congested => "QoS 0: the client's gateway does not take what it is sent",
        Why::QueueLimit => "the queue has its limit: the oldest went",
        Why::Expired => "it expired while it waited",
        Why::SessionEnded => "the session for which it waited has ended",
    }
}
