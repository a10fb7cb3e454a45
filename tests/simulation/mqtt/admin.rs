//! What an administrator asks of the shards of clients: of whom he sees there, a connection, a session or a retained message.

use catena_mqtt::{Filter, Version};
use catena_shard::{
    Answer, Command, Query, Shard,
    op::EndSession,
    query::{SessionFilter, Sessions},
};

use super::Clients;
use crate::random::Random;

/// As many as there are in a simulation, and more.
const LIMIT: u32 = 100;

impl Clients {
    pub fn administer(&mut self, shard: &Shard, random: &mut Random, now: u64) -> Option<Command> {
        match random.below(4) {
            0 => self.clear_any(shard, random),
            1 => {
                let (device, found) = self.any_session(shard, random)?;
                // The one that hears of all wills never forgets, and an old client cannot begin anew and stay.
                let known = &self.devices[device];
                if device == 0 || (known.is_persistent && known.version != Version::V5) {
                    return None;
                }
                self.devices[device].doomed_at = Some(now);
                for socket in self.sockets.values_mut() {
                    socket.is_doomed |= socket.device == device;
                }
                self.wills.administered(device);
                Some(Command::EndSession(EndSession {
                    client: found.client,
                    session: found.id,
                }))
            }
            _ => {
                let (device, found) = self.any_session(shard, random)?;
                self.wills.administered(device);
                Some(Command::Disconnect {
                    client: found.client,
                    session: found.id,
                    epoch: found.epoch,
                })
            }
        }
    }

    fn any_session(
        &self,
        shard: &Shard,
        random: &mut Random,
    ) -> Option<(usize, catena_shard::query::Session)> {
        let all = Query::Sessions {
            filter: SessionFilter::default(),
            from: 0,
            limit: LIMIT,
        };
        let Answer::Sessions(Sessions { sessions, .. }) = shard.query(&all) else {
            return None;
        };
        let found = random.pick(&sessions)?.clone();
        let device = found.client_id.strip_prefix("device-")?.parse().ok()?;
        Some((device, found))
    }

    fn clear_any(&mut self, shard: &Shard, random: &mut Random) -> Option<Command> {
        let all = Query::RetainedList {
            filter: Filter::parse("r/+").expect("a filter"),
            after: None,
            limit: LIMIT,
        };
        let Answer::RetainedList(found) = shard.query(&all) else {
            return None;
        };
        let found = random.pick(&found.messages)?;
        self.ledger.cleared(&found.topic);
        Some(Command::ClearRetained {
            topic: found.topic.clone(),
            sequence: found.sequence,
        })
    }
}
