//! What the control plane and the clocks tell a shard: settings, live gateways, peers' acknowledgements.

use catena_slots::ShardId;

use crate::{entry::Settings, id::Origin, job::Job, shard::Shard};

impl Shard {
    /// Takes newer settings. A shard whose generation rose has lost what it held `[F-25]`.
    pub(crate) fn configure(&mut self, settings: &Settings) {
        if settings.version <= self.settings.version {
            return;
        }
        let before = std::mem::replace(&mut self.settings, settings.clone());
        if before.spill_bytes_max == 0 && settings.spill_bytes_max > 0 {
            self.list_long_queues();
        }
        let mut lost = Vec::new();
        for (shard, (old, new)) in before
            .generations
            .iter()
            .zip(&settings.generations)
            .enumerate()
        {
            let shard = ShardId(shard as u16);
            if new > old && shard != self.id && before.version > 0 {
                lost.push((shard, *new));
                self.move_link(shard, *old, *new);
            }
        }
        if !lost.is_empty() {
            self.jobs.push_back(Job::ShardsLost {
                lost,
                homes_done: 0,
                readers_done: 0,
            });
        }
    }

    /// The version of the settings that hold; 0 before the first.
    pub fn settings_version(&self) -> u64 {
        self.settings.version
    }

    /// The incoming publish buffer, in bytes `[F-63]`.
    pub fn buffer_bytes(&self) -> u64 {
        self.settings.buffer_bytes
    }

    /// The version of the list of live gateways; 0 before the first.
    pub fn gateways_version(&self) -> u64 {
        self.gateways.version
    }

    /// The version of the list of live gateways, and whether `incarnation` is on it `[C-43]`.
    pub fn gateway(&self, incarnation: u64) -> (u64, bool) {
        let is_live = self.gateways.live.contains(&incarnation);
        (self.gateways.version, is_live)
    }

    /// The latest generation of a shard that the settings tell of.
    pub fn generation_of(&self, shard: ShardId) -> Option<u32> {
        let generations = &self.settings.generations;
        let known = generations.get(shard.index()).copied();
        known.filter(|_| self.settings.version > 0)
    }

    /// Our ops to a shard go on with their numbers in its new generation; its own begin anew `[C-2]`.
    fn move_link(&mut self, shard: ShardId, old: u32, new: u32) {
        let Some(link) = self.links.find(&Origin::Shard {
            shard,
            generation: old,
        }) else {
            return;
        };
        let Some(row) = self.links.drop_link(link) else {
            return;
        };
        let link = self.links.open(
            Origin::Shard {
                shard,
                generation: new,
            },
            1,
        );
        if let Some(opened) = self.links.get_mut(link) {
            opened.outbox = row.outbox;
        }
    }

    /// Takes a newer list of live gateways; links of others are dropped `[C-43]` `[F-24]`.
    pub(crate) fn set_gateways(&mut self, version: u64, live: &[u64]) {
        if version <= self.gateways.version {
            return;
        }
        self.gateways.version = version;
        self.gateways.live = live.iter().copied().collect();
        let is_gone = |origin: &Origin| match origin {
            Origin::Gateway { incarnation, .. } => !self.gateways.live.contains(incarnation),
            Origin::Shard { .. } => false,
        };
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| is_gone(&link.origin))
            .map(|(id, _)| id)
            .collect();
        if gone.is_empty() {
            return;
        }
        for link in gone {
            if let Some(row) = self.links.drop_link(link) {
                self.account.remove(row.outbox.bytes());
            }
        }
        self.jobs.push_back(Job::GatewaysGone {
            homes_done: 0,
            readers_done: 0,
            at: self.now,
        });
    }

    /// A peer has committed our ops through `through` `[C-42]`: they are forgotten, and wills among them are
    /// published `[F-21]`.
    pub(crate) fn peer_ack(&mut self, shard: ShardId, generation: u32, through: u64) {
        // What an earlier generation had taken is lost and goes out again.
        let Some(link) = self.links.find(&Origin::Shard { shard, generation }) else {
            return;
        };
        self.acknowledge(link, through);
        while let Some((&(to, number), &home)) = self.wills_in_flight.range((shard, 0)..).next() {
            if to != shard || number > through {
                break;
            }
            self.wills_in_flight.remove(&(to, number));
            if let Some(row) = self.homes.get_mut(home) {
                row.will_in_flight = row.will_in_flight.filter(|flight| *flight != (to, number));
                self.tend_home(home);
            }
        }
    }
}
