//! Shared subscriptions: one queue per group and filter, parted into lanes by who may take from them `[F-70]`.

use std::collections::BTreeMap;

use catena_mqtt::{Filter, QoS, property};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    entry::SharedStrategy,
    id::{ClientKey, Time},
    message::Message,
    op::SubscriptionOptions,
    queue::{Queue, Queued},
    reader::ReaderId,
    slab::Slab,
};

/// A group's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct GroupId(pub u64);

/// Lanes whose messages all go to one member, chosen by consistent hashing of the lane.
pub(crate) const HASHED_LANES: u8 = 64;

/// The lane whose messages go to the members by turn.
pub(crate) const TURN_LANE: u8 = 254;

/// The lane whose messages go to the member with the fewest unanswered ones.
pub(crate) const LEAST_LANE: u8 = 255;

/// One `$share` group on one filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// With the group's name.
    pub filter: Filter,
    pub members: BTreeMap<ReaderId, SubscriptionOptions>,
    /// Those in which messages wait, each in the order of their sequence.
    pub lanes: BTreeMap<u8, Queue>,
    /// Whose turn was last.
    pub turn: Option<ReaderId>,
    /// A job that serves it is under way `[F-60]`.
    pub has_job: bool,
    /// Derived, made when it is asked for.
    #[serde(skip)]
    pub picks: Option<Picks>,
}

/// The attached members by hashed lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picks {
    pub members: Box<[Option<ReaderId>]>,
    /// How many links had been dropped: with one more, some may be attached no longer.
    pub links_dropped: u64,
}

impl Group {
    pub fn new(filter: Filter) -> Group {
        Group {
            filter,
            members: BTreeMap::new(),
            lanes: BTreeMap::new(),
            turn: None,
            has_job: false,
            picks: None,
        }
    }

    /// The lane of a message above QoS 0.
    pub fn lane(&self, message: &Message, strategy: SharedStrategy) -> u8 {
        if let Some(partition) = property::find_user_property(&message.properties, "$partition") {
            return hashed_lane(xxh3_64(partition.as_bytes()));
        }
        match strategy {
            SharedStrategy::RoundRobin if !self.filter.has_wildcards() => TURN_LANE,
            SharedStrategy::LeastInflight => LEAST_LANE,
            SharedStrategy::RoundRobin | SharedStrategy::TopicHash => {
                hashed_lane(xxh3_64(message.topic.as_bytes()))
            }
        }
    }

    /// Messages in all lanes.
    pub fn queued(&self) -> u64 {
        self.lanes.values().map(Queue::len).sum()
    }

    /// Puts a message at its place in a lane: at the end, unless it comes back from a member `[F-72]`.
    pub fn wait(&mut self, lane: u8, queued: Queued, expires_at: Time) {
        let queue = self.lanes.entry(lane).or_default();
        queue.insert(queued, expires_at);
    }

    /// Puts a message at the end of a lane.
    pub fn wait_last(&mut self, lane: u8, queued: Queued) {
        self.lanes.entry(lane).or_default().push_back(queued);
    }

    /// Takes the first message of a lane, of those in memory.
    pub fn take(&mut self, lane: u8) -> Option<Queued> {
        self.take_at(lane, 0)
    }

    /// Takes the message at `place` of a lane, of those in memory at the front.
    pub fn take_at(&mut self, lane: u8, place: usize) -> Option<Queued> {
        let queued = self.lanes.get_mut(&lane)?.remove(place)?;
        self.tidy(lane);
        Some(queued)
    }

    /// Forgets a lane in which nothing waits.
    pub fn tidy(&mut self, lane: u8) {
        if self.lanes.get(&lane).is_some_and(Queue::is_empty) {
            self.lanes.remove(&lane);
        }
    }

    /// The lane whose front has waited longest.
    pub fn oldest_lane(&self) -> Option<u8> {
        let fronts = self.lanes.iter();
        let fronts = fronts.filter_map(|(lane, queue)| Some((queue.first_sequence()?, *lane)));
        fronts.min().map(|(_, lane)| lane)
    }
}

/// Who takes a hashed lane: the member with the highest hash of lane and client, so that a member that comes or goes
/// moves only its own lanes.
pub(crate) fn picks(attached: &[(ReaderId, ClientKey)]) -> Box<[Option<ReaderId>]> {
    let pick = |lane: u8| {
        let weight = |(_, client): &&(ReaderId, ClientKey)| {
            xxh3_64_with_seed(&client.0.to_le_bytes(), u64::from(lane))
        };
        attached
            .iter()
            .max_by_key(weight)
            .map(|(reader, _)| *reader)
    };
    (0..HASHED_LANES).map(pick).collect()
}

/// The lane of a QoS 0 message, which is chosen without state `[F-41]` `[C-51]`.
pub(crate) fn stateless_lane(message: &Message) -> u8 {
    if let Some(partition) = property::find_user_property(&message.properties, "$partition") {
        return hashed_lane(xxh3_64(partition.as_bytes()));
    }
    hashed_lane(xxh3_64_with_seed(
        message.topic.as_bytes(),
        u64::from(message.counter),
    ))
}

fn hashed_lane(hash: u64) -> u8 {
    (hash % u64::from(HASHED_LANES)) as u8
}

/// The QoS of a delivery to a member.
pub(crate) fn delivery_qos(message: &Message, options: &SubscriptionOptions) -> QoS {
    message.qos.min(options.qos)
}

/// All groups of the shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups {
    rows: Slab<Group>,
    by_filter: BTreeMap<Filter, GroupId>,
}

impl Groups {
    pub fn find(&self, filter: &Filter) -> Option<GroupId> {
        self.by_filter.get(filter).copied()
    }

    pub fn insert(&mut self, filter: Filter) -> GroupId {
        let id = GroupId(self.rows.insert(Group::new(filter.clone())));
        self.by_filter.insert(filter, id);
        id
    }

    pub fn remove(&mut self, id: GroupId) -> Option<Group> {
        let group = self.rows.remove(id.0)?;
        self.by_filter.remove(&group.filter);
        Some(group)
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.rows.get(id.0)
    }

    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.rows.get_mut(id.0)
    }

    /// The ids of those at `place` and the `count - 1` places behind it; `None` when there are no places left.
    pub fn ids_at(&self, place: u32, count: u32) -> Option<Vec<GroupId>> {
        let keys = self.rows.keys_at(place, count)?;
        Some(keys.into_iter().map(GroupId).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.rows
            .iter()
            .map(|(number, group)| (GroupId(number), group))
    }
}
