//! Tracked deliveries that are not yet answered: ids, order and state as replicated facts `[F-51]`.

use std::{collections::BTreeMap, sync::Arc};

use catena_mqtt::QoS;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{group::GroupId, store::MessageId};

/// The highest packet identifier.
const PACKET_ID_MAX: u32 = 65_535;

/// How many stripes the packet ids are dealt into.
const STRIPES: u32 = 256;

/// Ids in each of them; the last stripe has one less, for 65,536 is none.
const IDS_PER_STRIPE: u32 = PACKET_ID_MAX.div_ceil(STRIPES);

/// How far a tracked delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// Handed to a gateway.
    Sent,
    /// PUBREC is here; only the PUBREL is left.
    Received,
}

/// One tracked delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// `None` once PUBREC has come.
    pub message: Option<MessageId>,
    pub packet_id: u16,
    /// The entry that published it.
    pub sequence: u64,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
    /// Bytes that it takes of the window.
    pub bytes: u32,
    /// The group that it is a delivery of, with the lane it came from.
    pub group: Option<(GroupId, u8)>,
    pub progress: Progress,
    /// The session epoch of the connection that it was first handed to: under a later one it may have been
    /// written, and is resent with DUP `[F-53]`.
    pub epoch: u64,
    /// The last effect for that gateway before the one that handed it over.
    pub after: u64,
}

/// A reader's tracked deliveries in the order of first sending `[MQTT-4.6.0-1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inflight {
    items: BTreeMap<u64, Item>,
    /// Place of each packet id; never iterated.
    #[serde(with = "crate::snapshot::sorted_map")]
    places: HashMap<u16, u64>,
    next_place: u64,
    /// Of all items.
    bytes: u64,
    /// Items of shared subscriptions.
    shared: u32,
    /// Counts ids given, so that an id rests as long as it can before it is used again.
    next_id: u32,
    /// Resending has come to this place; later items follow when the window is worked on `[F-60]`.
    pub resend_from: Option<u64>,
}

impl Inflight {
    /// A packet id of one of `stripes` that is not in use, or `None` when all are.
    pub fn free_id(&mut self, stripes: &[u8]) -> Option<u16> {
        let width = stripes.len() as u32;
        let count = width * IDS_PER_STRIPE;
        for _ in 0..count {
            let nth = self.next_id % count;
            self.next_id = (nth + 1) % count;
            let id = 1 + u32::from(stripes[(nth % width) as usize]) + STRIPES * (nth / width);
            if id <= PACKET_ID_MAX && !self.places.contains_key(&(id as u16)) {
                return Some(id as u16);
            }
        }
        None
    }

    pub fn push(&mut self, item: Item) {
        self.bytes += u64::from(item.bytes);
        self.shared += u32::from(item.group.is_some());
        self.places.insert(item.packet_id, self.next_place);
        self.items.insert(self.next_place, item);
        self.next_place += 1;
    }

    pub fn get(&self, packet_id: u16) -> Option<&Item> {
        self.items.get(self.places.get(&packet_id)?)
    }

    pub fn get_mut(&mut self, packet_id: u16) -> Option<&mut Item> {
        self.items.get_mut(self.places.get(&packet_id)?)
    }

    pub fn remove(&mut self, packet_id: u16) -> Option<Item> {
        let place = *self.places.get(&packet_id)?;
        self.remove_at(place)
    }

    /// Bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The packet ids of items of shared subscriptions, oldest first.
    pub fn shared_ids(&self) -> Vec<u16> {
        if self.shared == 0 {
            return Vec::new();
        }
        let shared = self.items.values().filter(|item| item.group.is_some());
        shared.map(|item| item.packet_id).collect()
    }

    /// The packet ids of items that left for the connection of `epoch` after effect `taken`, the latest first.
    pub fn sent_after(&self, taken: u64, epoch: u64) -> Vec<u16> {
        self.items
            .values()
            .rev()
            .take_while(|item| item.epoch == epoch && item.after >= taken)
            .map(|item| item.packet_id)
            .collect()
    }

    fn remove_at(&mut self, place: u64) -> Option<Item> {
        let item = self.items.remove(&place)?;
        self.places.remove(&item.packet_id);
        self.bytes -= u64::from(item.bytes);
        self.shared -= u32::from(item.group.is_some());
        Some(item)
    }

    /// The first item at or after `place`, with its place.
    pub fn at_or_after(&self, place: u64) -> Option<(u64, &Item)> {
        self.items
            .range(place..)
            .next()
            .map(|(place, item)| (*place, item))
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes the oldest item out.
    pub fn pop(&mut self) -> Option<Item> {
        let place = *self.items.first_key_value()?.0;
        self.remove_at(place)
    }
}

/// How many ids the stripes have.
pub(crate) fn ids_in(stripes: &[u8]) -> u32 {
    let short = stripes.contains(&u8::MAX);
    stripes.len() as u32 * IDS_PER_STRIPE - u32::from(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(packet_id: u16) -> Item {
        Item {
            message: None,
            packet_id,
            sequence: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: None,
            bytes: 0,
            group: None,
            progress: Progress::Sent,
            epoch: 1,
            after: 0,
        }
    }

    /// Two shards that gave the same id would confuse each other's acknowledgements [F-51].
    #[test]
    fn stripes_part_the_ids_without_a_gap() {
        let mut given = vec![];
        for shard in 0..3u8 {
            let stripes: Vec<u8> = (shard..=255).step_by(3).collect();
            let mut inflight = Inflight::default();
            while let Some(id) = inflight.free_id(&stripes) {
                inflight.push(item(id));
                given.push(id);
            }
            assert_eq!(inflight.len() as u32, ids_in(&stripes));
        }
        given.sort_unstable();
        assert_eq!(given, (1..=65_535).collect::<Vec<u16>>());
    }
}
