//! The whole state at one entry as bytes, and back `[C-30]`.

use crate::{
    index::Index,
    shard::{Effects, Shard},
    stats::Stats,
};

/// Bytes that are no snapshot of this version.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot cannot be read: {0}")]
pub struct Unreadable(#[from] postcard::Error);

/// The state at one entry, while the shard goes on. It shares the messages with it.
#[derive(Debug)]
pub struct Frozen(Shard);

impl Frozen {
    /// The state as bytes: equal on all replicas that applied the same entries.
    pub fn encode(&self) -> Vec<u8> {
        self.0.snapshot()
    }
}

impl Shard {
    /// The state as bytes: equal on all replicas that applied the same entries.
    pub fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("the state has no part that cannot be encoded")
    }

    /// The state as it is now, to be made bytes elsewhere. What can be built again from the rest is left out.
    pub fn freeze(&self) -> Frozen {
        Frozen(Shard {
            id: self.id,
            generation: self.generation,
            now: self.now,
            sequence: self.sequence,
            settings: self.settings.clone(),
            gateways: self.gateways.clone(),
            links: self.links.clone(),
            homes: self.homes.clone(),
            sessions_begun: self.sessions_begun,
            readers: self.readers.clone(),
            groups: self.groups.clone(),
            store: self.store.clone(),
            retained: self.retained.clone(),
            cursors: self.cursors,
            timers: self.timers.clone(),
            jobs: self.jobs.clone(),
            fan_outs: self.fan_outs.clone(),
            account: self.account,
            long_queues: self.long_queues.clone(),
            spilled_last: self.spilled_last,
            spilled_bytes: self.spilled_bytes,
            spill_paused: self.spill_paused,
            spill_has_job: self.spill_has_job,
            segments: Default::default(),
            wills_in_flight: self.wills_in_flight.clone(),
            index: Index::default(),
            work: 0,
            grown: Effects::default(),
            stats: Stats::default(),
            switches: self.switches,
        })
    }

    /// The shard whose [`Shard::snapshot`] these bytes are.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else.
    pub fn restore(bytes: &[u8]) -> Result<Shard, Unreadable> {
        let mut shard: Shard = postcard::from_bytes(bytes)?;
        shard.readers.reindex();
        shard.homes.reindex();
        shard.reindex();
        shard.note_all_segments();
        Ok(shard)
    }

    /// Builds the subscription index from the readers' subscriptions and the groups.
    fn reindex(&mut self) {
        for (id, reader) in self.readers.iter() {
            for (filter, options) in reader
                .subscriptions
                .iter()
                .filter(|(f, _)| f.share().is_none())
            {
                self.index.subscribe(filter, id, *options);
            }
        }
        for (id, group) in self.groups.iter() {
            self.index.add_group(&group.filter, id);
        }
    }
}

/// Hash maps in snapshots: sorted, so that equal states are equal bytes.
pub(crate) mod sorted_map {
    use std::{collections::BTreeMap, hash::Hash};

    use hashbrown::HashMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K, V, S>(map: &HashMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Ord + Hash + Serialize,
        V: Serialize,
        S: Serializer,
    {
        map.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
    where
        K: Ord + Hash + Eq + Deserialize<'de>,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}
