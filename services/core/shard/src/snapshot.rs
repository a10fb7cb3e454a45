//! The whole state at one entry as bytes, and back `[C-30]`.
//!
//! They come in pieces, for a disk and for a replica that joins, and what the parts of long queues hold comes behind all else
//! (`pieces.rs`): so a state that is larger than memory for its parts is written and read within it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    index::Index,
    pieces::{Gather, Scatter},
    segment::Segment,
    shard::{Effects, Shard},
    stats::Stats,
    watch::Watching,
};

/// What a snapshot holds, and what entries do to it, is of this level. Replicas of two levels are never in one chain: one would misread the
/// state of the other, or do another thing with the same entry `[C-50]`. It rises with each release in which the state has another
/// form or `apply` does another thing; such a release has to read what is of the level before. 3: parts of
/// long queues of groups leave memory.
pub const LEVEL: u32 = 3;

/// Bytes that are no snapshot of this version.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot cannot be read: {0}")]
pub struct Unreadable(#[from] postcard::Error);

/// The state at one entry, while the shard goes on. It shares the messages with it.
#[derive(Debug)]
pub struct Frozen(pub(crate) Shard);

impl Frozen {
    /// The state in pieces, as [`Shard::read`] takes them, until `out` wants no more. One part of a long queue at a time is in
    /// memory for it.
    pub fn write(self, out: &mut dyn FnMut(&[u8]) -> bool) {
        let Frozen(mut shard) = self;
        let segments = shard.hollow_out();
        let mut scatter = Scatter::new(out);
        let mut serializer = postcard::Serializer {
            output: &mut scatter,
        };
        if shard.serialize(&mut serializer).is_err() {
            // Only what takes the pieces fails: it wants no more.
            return;
        }
        for segment in segments {
            let bytes = segment.read();
            let length = (bytes.len() as u32).to_le_bytes();
            if !scatter.put(&length) || !scatter.put(&bytes) {
                return;
            }
        }
        scatter.finish();
    }
}

impl Shard {
    /// The state as bytes, at once: equal on all replicas that applied the same entries.
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
            dropped_through: self.dropped_through,
            segments: Default::default(),
            wills_in_flight: self.wills_in_flight.clone(),
            restoring: self.restoring.clone(),
            index: Index::default(),
            work: 0,
            grown: Effects::default(),
            stats: Stats::default(),
            switches: self.switches,
            watching: Watching::default(),
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

    /// The shard that [`Frozen::write`] wrote, but for its parts, which come next. `pieces` gives one after the other, and `None` at
    /// the end; they need not be cut as they were.
    ///
    /// # Errors
    /// [`Unreadable`] for anything else.
    pub fn read(
        pieces: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> Result<(Shard, Parts<'_>), Unreadable> {
        let mut gather = postcard::Deserializer::from_flavor(Gather::new(pieces));
        let mut shard = Shard::deserialize(&mut gather)?;
        let gather = gather.finalize()?;
        shard.readers.reindex();
        shard.homes.reindex();
        shard.reindex();
        let segments: Vec<_> = shard.parts().map(|part| part.segment.clone()).collect();
        let segments = segments.into_iter();
        Ok((shard, Parts { gather, segments }))
    }

    /// Takes what parts of queues hold out of the state, in the order of the queues.
    fn hollow_out(&mut self) -> Vec<Arc<Segment>> {
        self.exchange_segments(|| Segment::new(Bytes::new()))
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

/// What the parts of long queues hold, while it is read.
pub struct Parts<'a> {
    gather: Gather<'a>,
    segments: std::vec::IntoIter<Arc<Segment>>,
}

impl Parts<'_> {
    /// Gives the next part of `shard` what it holds: whoever would put it elsewhere is to look now. `false` after the last.
    ///
    /// # Errors
    /// [`Unreadable`]: the pieces end before.
    pub fn fill_next(&mut self, shard: &Shard) -> Result<bool, Unreadable> {
        let Some(segment) = self.segments.next() else {
            return Ok(false);
        };
        let length = self.gather.take(size_of::<u32>())?;
        let length = length.try_into().map(u32::from_le_bytes);
        let length = length.map_err(|_| postcard::Error::DeserializeUnexpectedEnd)?;
        let bytes = self.gather.take(length as usize)?;
        segment.fill(Bytes::copy_from_slice(bytes));
        shard.note_segment(&segment);
        Ok(true)
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
