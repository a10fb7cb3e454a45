//! Work that one entry may not finish, and that Ticks go on with `[F-60]`.

use bytestring::ByteString;
use catena_slots::ShardId;
use serde::{Deserialize, Serialize};

use crate::{
    group::{Group, GroupId},
    home::HomeId,
    id::Time,
    links::LinkId,
    reader::{Reader, ReaderId},
    shard::Shard,
    timer::Timer,
    unkept::Unkept,
};

/// How many places of a table one unit of work looks at.
const PLACES_PER_STEP: u32 = 64;

/// Something to go on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// A reader is owed more than one entry could send.
    Serve(ReaderId),
    /// A group has messages that a member could take.
    ServeGroup(GroupId),
    /// Messages of a topic have not reached all their readers.
    FanOut(ByteString),
    /// A reader is gone; what it held is to be given back.
    Dispose(ReaderId, Box<Reader>),
    /// A group is gone; its messages are to be given back.
    DiscardGroup(Box<Group>),
    /// A gateway drains again: its readers that waited for that are served `[F-64]`.
    Relieve(LinkId),
    /// Gateways are gone: what was attached through their links is detached, as of `at` `[F-24]`.
    GatewaysGone {
        homes_done: u32,
        readers_done: u32,
        at: Time,
    },
    /// Shards lost what they held: sessions that touched them end, and sessions of theirs go `[F-25]`.
    ShardsLost {
        lost: Vec<(ShardId, u32)>,
        homes_done: u32,
        readers_done: u32,
    },
    /// Parts of long queues are to leave memory, though no queue grows.
    Spill,
    /// A restore takes the place of all that is there.
    Clear { homes_done: u32 },
    /// After a start from disk, what the settings do not keep goes `[C-59]`.
    DropUnkept(Box<Unkept>),
}

impl Shard {
    /// Lets due timers fire and goes on with jobs, as far as one entry's work reaches.
    pub(crate) fn tick(&mut self) {
        while self.work > 0 {
            let Some(timer) = self.timers.pop(self.now) else {
                break;
            };
            self.work -= 1;
            match timer {
                Timer::Home(home) => self.tend_home(home),
                Timer::Reader(reader) => self.tend_reader(reader),
                Timer::Retained(message) => self.expire_retained(message),
            }
        }
        // Each job once, so that a Tick ends even if a job asks for more at once.
        for _ in 0..self.jobs.len() {
            if self.work == 0 {
                break;
            }
            if let Some(job) = self.jobs.pop_front() {
                self.go_on(job);
            }
        }
    }

    fn go_on(&mut self, job: Job) {
        self.work -= 1;
        match job {
            Job::Serve(reader) => {
                if let Some(row) = self.readers.get_mut(reader) {
                    row.has_job = false;
                    self.serve(reader);
                }
            }
            Job::ServeGroup(group) => {
                if let Some(row) = self.groups.get_mut(group) {
                    row.has_job = false;
                    self.serve_group(group);
                }
            }
            Job::Relieve(link) => self.relieve(link),
            Job::FanOut(topic) => {
                if !self.fan_out(&topic) {
                    self.jobs.push_back(Job::FanOut(topic));
                }
            }
            Job::Dispose(id, reader) => self.dispose(id, reader),
            Job::DiscardGroup(group) => self.discard_group(group),
            Job::Spill => self.spill_more(),
            Job::Clear { homes_done } => self.clear_all(homes_done),
            Job::DropUnkept(unkept) => self.drop_more_unkept(unkept),
            Job::GatewaysGone {
                homes_done,
                readers_done,
                at,
            } => {
                self.gateways_gone(homes_done, readers_done, at);
            }
            Job::ShardsLost {
                lost,
                homes_done,
                readers_done,
            } => {
                self.shards_lost(lost, homes_done, readers_done);
            }
        }
    }

    /// The homes of the next places of the table, behind `done` of them: work of this entry. `None` at its end.
    pub(crate) fn next_homes(&mut self, done: &mut u32) -> Option<Vec<HomeId>> {
        let homes = self.homes.ids_at(*done, PLACES_PER_STEP)?;
        self.count_step(done, homes.len());
        Some(homes)
    }

    /// The same of readers.
    fn next_readers(&mut self, done: &mut u32) -> Option<Vec<ReaderId>> {
        let readers = self.readers.ids_at(*done, PLACES_PER_STEP)?;
        self.count_step(done, readers.len());
        Some(readers)
    }

    fn count_step(&mut self, done: &mut u32, found: usize) {
        *done += PLACES_PER_STEP;
        self.work = self.work.saturating_sub(1 + found as u32);
    }

    /// Detaches what was attached through links that are gone, table by table.
    fn gateways_gone(&mut self, mut homes_done: u32, mut readers_done: u32, at: Time) {
        while self.work > 0 {
            let Some(homes) = self.next_homes(&mut homes_done) else {
                break;
            };
            for home in homes {
                self.lose_connection(home, at);
            }
        }
        while self.work > 0 {
            let Some(readers) = self.next_readers(&mut readers_done) else {
                return;
            };
            for reader in readers {
                let attached = self.readers.get(reader).and_then(|row| row.attached);
                if attached.is_some_and(|at| self.links.get(at.link).is_none()) {
                    self.detach_reader(reader, &[], u64::MAX);
                }
            }
        }
        self.jobs.push_back(Job::GatewaysGone {
            homes_done,
            readers_done,
            at,
        });
    }

    fn shards_lost(
        &mut self,
        lost: Vec<(ShardId, u32)>,
        mut homes_done: u32,
        mut readers_done: u32,
    ) {
        while self.work > 0 {
            let Some(homes) = self.next_homes(&mut homes_done) else {
                break;
            };
            for home in homes {
                self.end_if_it_touched(home, &lost);
            }
        }
        while self.work > 0 {
            let Some(readers) = self.next_readers(&mut readers_done) else {
                return;
            };
            for reader in readers {
                let session = self.readers.get(reader).map(|row| row.who.session);
                let is_lost = |s: crate::SessionId| {
                    lost.iter()
                        .any(|(shard, generation)| s.home == *shard && s.generation < *generation)
                };
                if session.is_some_and(is_lost) {
                    self.end_reader(reader);
                }
            }
        }
        self.jobs.push_back(Job::ShardsLost {
            lost,
            homes_done,
            readers_done,
        });
    }
}
