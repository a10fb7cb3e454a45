//! What happens to a replica, one line each: never one per message.

use std::time::Instant;

use catena_chain::{Beginning, Epoch, Generation, ReplicaId, Role};
use catena_replicated::Replica;
use catena_slots::ShardId;
use tracing::{debug, error, info, warn};

use crate::pulse::role_name;

/// A shard that begins in a later one than this has lost what it held [C-2].
const FIRST: Generation = Generation(1);

/// What was told last.
#[derive(Debug)]
pub(crate) struct Chronicle {
    shard: ShardId,
    epoch: Epoch,
    seat: Option<ReplicaId>,
    role: &'static str,
    has_state: bool,
    /// The snapshot that is arriving: since when, and how many bytes of it have come.
    snapshot: Option<(Instant, usize)>,
}

impl Chronicle {
    pub fn new(shard: ShardId) -> Chronicle {
        Chronicle {
            shard,
            epoch: Epoch(0),
            seat: None,
            role: "none",
            has_state: false,
            snapshot: None,
        }
    }

    /// A part of a snapshot has come.
    pub fn part(&mut self, is_first: bool, bytes: usize) {
        match &mut self.snapshot {
            Some((_, total)) if !is_first => *total += bytes,
            snapshot => *snapshot = Some((Instant::now(), bytes)),
        }
    }

    /// Tells what has changed; whether it is of another epoch than before.
    pub fn look(&mut self, replica: &Replica) -> bool {
        let Some(configuration) = replica.configuration() else {
            return false;
        };
        let has_state = replica.machine().is_some();
        let is_new_epoch = self.epoch != configuration.epoch;
        if !is_new_epoch && self.has_state == has_state {
            return false;
        }
        self.epoch = configuration.epoch;
        if is_new_epoch {
            self.tell_role(replica);
        }
        if self.has_state != has_state {
            self.has_state = has_state;
            let is_from_disk = matches!(configuration.began, Beginning::Disk(_));
            self.tell_state(has_state, configuration.generation, is_from_disk);
        }
        is_new_epoch
    }

    fn tell_role(&mut self, replica: &Replica) {
        let (seat, role) = (replica.seat(), name(replica.role()));
        let (shard, epoch) = (self.shard, self.epoch.0);
        let before = (
            std::mem::replace(&mut self.seat, seat),
            std::mem::replace(&mut self.role, role),
        );
        match (before, seat) {
            ((Some(old), _), seat) if seat != Some(old) => {
                info!(%shard, epoch, replica = old.0, role = before.1, "evicted");
                if let Some(seat) = seat {
                    info!(%shard, epoch, replica = seat.0, role, "joined");
                }
            }
            ((None, _), Some(seat)) => info!(%shard, epoch, replica = seat.0, role, "joined"),
            ((_, old), Some(seat)) if old != role => {
                info!(%shard, epoch, replica = seat.0, role, before = old, "changed its role");
            }
            _ => debug!(%shard, epoch, role, "took another configuration"),
        }
    }

    fn tell_state(&mut self, has_state: bool, generation: Generation, is_from_disk: bool) {
        let (shard, epoch, role) = (self.shard, self.epoch.0, self.role);
        let replica = self.seat.map_or(0, |seat| seat.0);
        match (has_state, self.snapshot.take()) {
            (true, Some((since, bytes))) => {
                let ms = since.elapsed().as_millis() as u64;
                info!(%shard, epoch, replica, role, bytes, ms, "installed a snapshot");
            }
            (true, None) if is_from_disk => {
                info!(%shard, epoch, replica, role, "goes on from its disk");
            }
            (true, None) if generation > FIRST => error!(
                %shard, epoch, replica, role, generation = generation.0,
                "all replicas were lost: began empty. What the shard held is gone, and sessions that touched it end"
            ),
            (true, None) => info!(%shard, epoch, replica, role, "began empty"),
            (false, _) if self.seat.is_some() => {
                warn!(%shard, epoch, replica, role, "dropped its state");
            }
            (false, _) => debug!(%shard, epoch, "dropped its state"),
        }
    }
}

fn name(role: Role) -> &'static str {
    match role_name(role) {
        "alone" => "head and tail",
        name => name,
    }
}
