//! Deliveries of shared subscriptions: who of the group takes a message, and what returns to it `[F-70]` to `[F-73]`.

use std::sync::Arc;

use catena_mqtt::QoS;
use smallvec::smallvec;

use crate::{
    deliver::{Merged, Publication, Targets, in_flight, tracked, untracked},
    effect::{Deliver, Effect},
    group::{self, GroupId, HASHED_LANES, LEAST_LANE, Picks, TURN_LANE},
    id::ClientKey,
    inflight::Item,
    job::Job,
    message::Message,
    op::SubscriptionOptions,
    queue::{Queue, QueueId, Queued},
    reader::{Attached, ReaderId},
    shard::Shard,
    store::MessageId,
    watch::{What, Why},
};

impl Shard {
    /// Brings a message to one member of a group, or to its queue. Returns whether the group has members.
    pub(crate) fn offer_group(
        &mut self,
        id: GroupId,
        publication: &mut Publication,
        targets: &mut Targets,
    ) -> bool {
        let message = publication.message.clone();
        if message.qos == QoS::AtMostOnce {
            let chosen = self.choose_stateless(id, &message);
            let client = chosen
                .as_ref()
                .and_then(|(_, member, _)| self.client_of(*member));
            let what = match chosen {
                Some((at, _, merged)) if self.link_is_open(at) => {
                    targets.push(at.link, untracked(at, merged, false));
                    What::Sent
                }
                other => self.stats.drop_qos0(other.is_some()),
            };
            self.watching.note(&message, client, what);
            return true;
        }
        let strategy = self.settings.shared_strategy;
        let Some(group) = self.groups.get(id) else {
            return false;
        };
        let lane = group.lane(&message, strategy);
        let is_first = !group.lanes.contains_key(&lane);
        let member = if is_first {
            self.choose(id, lane, message.weight())
        } else {
            None
        };
        let Some(member) = member else {
            self.watching.note(&message, None, What::Queued);
            let stored = self.keep(publication);
            let waiting = self.waiting(stored, publication.sequence);
            self.wait_in_group(id, lane, waiting);
            self.starve_lane(id, lane);
            return true;
        };
        let stored = self.keep(publication);
        let waiting = self.waiting(stored, publication.sequence);
        if let Some((at, target)) = self.track_shared(id, lane, member, waiting) {
            let client = self.client_of(member);
            self.watching.note(&message, client, What::Sent);
            targets.push(at.link, target);
        }
        true
    }

    /// A message as it waits for a member: how it is delivered depends on who that is.
    pub(crate) fn waiting(&self, message: MessageId, sequence: u64) -> Queued {
        let body = self.store.message(message);
        Queued {
            message,
            sequence,
            qos: body.qos,
            retain: body.retain,
            weight: self.store.weight(message),
            subscription_ids: None,
        }
    }

    /// Sends what waits in a group to members that have room.
    pub(crate) fn serve_group(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let lanes: Vec<u8> = group.lanes.keys().copied().collect();
        for lane in lanes {
            let queue = QueueId::Lane(id, lane);
            while let Some(is_out) = self.queue(queue).map(Queue::is_out) {
                if self.work == 0 {
                    return self.serve_group_later(id);
                }
                self.work -= 1;
                // Nothing comes back to memory for nobody.
                if is_out && self.choose(id, lane, 0).is_none() {
                    self.starve_lane(id, lane);
                    break;
                }
                self.refill(queue);
                let front = self.queue(queue).and_then(|queue| queue.front().cloned());
                let Some(front) = front else {
                    break;
                };
                let message = self.store.message(front.message).clone();
                let expires_at = self.store.expires_at(front.message);
                if expires_at <= self.now {
                    self.take_from_group(id, lane);
                    let what = What::Dropped(Why::Expired);
                    self.watching.note(&message, None, what);
                    self.store.release(front.message, &mut self.account);
                    self.stats.expired += 1;
                    continue;
                }
                let Some(member) = self.choose(id, lane, message.weight()) else {
                    self.starve_lane(id, lane);
                    break;
                };
                self.take_from_group(id, lane);
                let Some((at, target)) = self.track_shared(id, lane, member, front) else {
                    break;
                };
                let client = self.client_of(member);
                self.watching.note(&message, client, What::Sent);
                let targets = smallvec![target];
                self.emit(
                    at.link,
                    Effect::Deliver(Deliver {
                        message,
                        expires_at,
                        targets,
                    }),
                );
            }
        }
    }

    pub(crate) fn serve_group_later(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(id).filter(|group| !group.has_job) {
            group.has_job = true;
            self.jobs.push_back(Job::ServeGroup(id));
        }
    }

    /// Members that might take a lane's messages, but for a gateway that does not drain, ask again when it does.
    fn starve_lane(&mut self, id: GroupId, lane: u8) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        if !self.links.iter().any(|(_, link)| link.is_congested) {
            return;
        }
        let picked = group
            .picks
            .as_ref()
            .and_then(|picks| *picks.members.get(usize::from(lane))?);
        match picked {
            Some(member) => self.starve(member),
            None => {
                for member in group.members.keys().copied().collect::<Vec<_>>() {
                    self.starve(member);
                }
            }
        }
    }

    /// Serves every group of a reader whose window moved.
    pub(crate) fn serve_groups_of(&mut self, reader: ReaderId) {
        let Some(row) = self
            .readers
            .get(reader)
            .filter(|row| !row.groups.is_empty())
        else {
            return;
        };
        for group in row.groups.clone() {
            self.serve_group(group);
        }
    }

    /// A delivery that its member will not finish returns to its lane `[F-72]`.
    pub(crate) fn return_to_group(&mut self, item: Item) {
        let (Some((id, lane)), Some(message)) = (item.group, item.message) else {
            return;
        };
        if self.groups.get(id).is_none() {
            self.store.release(message, &mut self.account);
            return;
        }
        let waiting = self.waiting(message, item.sequence);
        self.wait_in_group(id, lane, waiting);
        // Whose delivery it was may have left the group: then nothing else makes the group look.
        self.serve_group_later(id);
    }

    /// Members came or went: who takes which lane is found anew.
    pub(crate) fn members_changed(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(id) {
            group.picks = None;
        }
    }

    /// The member that gets a QoS 0 message, with how: chosen by hash alone.
    pub(crate) fn choose_stateless(
        &self,
        id: GroupId,
        message: &Message,
    ) -> Option<(Attached, ReaderId, Merged)> {
        let group = self.groups.get(id)?;
        let lane = group::stateless_lane(message);
        let made;
        let picks = match self.current_picks(id) {
            Some(picks) => picks,
            None => {
                made = self.picks(id)?;
                &made
            }
        };
        let member = (*picks.members.get(usize::from(lane))?)?;
        let at = self.readers.get(member)?.attached?;
        let merged = merged_for_member(message, group.members.get(&member)?);
        Some((at, member, merged))
    }

    /// Whose reader it is.
    pub(crate) fn client_of(&self, reader: ReaderId) -> Option<ClientKey> {
        self.readers.get(reader).map(|reader| reader.who.client)
    }

    fn link_is_open(&self, at: Attached) -> bool {
        self.links
            .get(at.link)
            .is_some_and(|link| !link.is_congested)
    }

    fn wait_in_group(&mut self, id: GroupId, lane: u8, waiting: Queued) {
        let limit = self
            .settings
            .queue_length_max
            .filter(|_| self.settings.queue_drop_oldest);
        let expires_at = self.store.expires_at(waiting.message);
        let Some(group) = self.groups.get_mut(id) else {
            self.store.release(waiting.message, &mut self.account);
            return;
        };
        group.wait(lane, waiting, expires_at);
        if limit.is_some_and(|limit| group.queued() > limit) {
            self.drop_oldest_of_group(id);
        }
        self.queue_has_grown(QueueId::Lane(id, lane));
    }

    /// Drops the oldest message of a group, or one that has expired, if that is found.
    fn drop_oldest_of_group(&mut self, id: GroupId) {
        let oldest = |shard: &Shard| shard.groups.get(id)?.oldest_lane();
        if let Some(lane) = oldest(self) {
            self.refill(QueueId::Lane(id, lane));
        }
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        // Expired ones go first.
        let waiting = group.lanes.iter().flat_map(|(lane, queue)| {
            let places = queue.front_messages().enumerate();
            places.map(|(place, waiting)| (*lane, place, waiting.message))
        });
        let mut looked_at = 0;
        let expired = waiting
            .take(self.work as usize)
            .inspect(|_| looked_at += 1)
            .find(|(_, _, message)| self.store.expires_at(*message) <= self.now);
        self.work = self.work.saturating_sub(looked_at);
        let why = if expired.is_some() {
            Why::Expired
        } else {
            Why::QueueLimit
        };
        let dropped = match expired {
            Some((lane, place, _)) => group.take_at(lane, place),
            None => group.oldest_lane().and_then(|lane| group.take(lane)),
        };
        if let Some(dropped) = dropped {
            match why {
                Why::Expired => self.stats.expired += 1,
                _ => self.stats.queue_dropped += 1,
            }
            let message = self.store.message(dropped.message);
            self.watching.note(message, None, What::Dropped(why));
            self.store.release(dropped.message, &mut self.account);
        }
    }

    fn take_from_group(&mut self, id: GroupId, lane: u8) {
        if let Some(group) = self.groups.get_mut(id) {
            group.take(lane);
        }
    }

    /// Puts a stored message in flight to a member. A member that was granted QoS 0 gets it untracked.
    fn track_shared(
        &mut self,
        id: GroupId,
        lane: u8,
        member: ReaderId,
        waiting: Queued,
    ) -> Option<(Attached, crate::effect::Target)> {
        let message = self.store.message(waiting.message).clone();
        let options = self.groups.get(id)?.members.get(&member).copied()?;
        let merged = merged_for_member(&message, &options);
        let reader = self.readers.get_mut(member)?;
        let at = reader.attached?;
        let weight = message.weight();
        if let Some(group) = self.groups.get_mut(id).filter(|_| lane == TURN_LANE) {
            group.turn = Some(member);
        }
        if merged.qos == QoS::AtMostOnce {
            self.store.release(waiting.message, &mut self.account);
            return Some((at, untracked(at, merged, false)));
        }
        let Some(packet_id) = reader.inflight.free_id(&self.settings.stripes) else {
            self.wait_in_group(id, lane, waiting);
            return None;
        };
        let after = self.links.get(at.link).map_or(0, |link| link.outbox.last());
        reader.window.take(weight);
        let target = tracked(at, packet_id, &merged, true);
        let item = in_flight(
            packet_id,
            waiting.message,
            waiting.sequence,
            weight,
            merged,
            reader.who.epoch,
            after,
        );
        reader.inflight.push(Item {
            group: Some((id, lane)),
            ..item
        });
        Some((at, target))
    }

    /// The member that takes the next message of a lane, if one can.
    fn choose(&mut self, id: GroupId, lane: u8, weight: usize) -> Option<ReaderId> {
        if lane < HASHED_LANES {
            if self.current_picks(id).is_none() {
                let picks = self.picks(id)?;
                self.groups.get_mut(id)?.picks = Some(picks);
            }
            let picks = self.current_picks(id)?;
            let member = (*picks.members.get(usize::from(lane))?)?;
            // A full one makes only its own messages wait.
            return self.can_take(member, weight).then_some(member);
        }
        let group = self.groups.get(id)?;
        let members = group.members.keys().copied();
        let mut able = members.filter(|member| self.can_take(*member, weight));
        debug_assert!(
            lane == TURN_LANE || lane == LEAST_LANE,
            "lane {lane} is none"
        );
        if lane == TURN_LANE {
            let after = group.turn.and_then(|turn| {
                let later = group
                    .members
                    .range((std::ops::Bound::Excluded(turn), std::ops::Bound::Unbounded));
                later
                    .map(|(member, _)| *member)
                    .find(|member| self.can_take(*member, weight))
            });
            return after.or_else(|| able.next());
        }
        able.min_by_key(|member| {
            (
                self.readers.get(*member).map_or(0, |r| r.window.messages),
                *member,
            )
        })
    }

    fn can_take(&self, member: ReaderId, weight: usize) -> bool {
        self.open_attachment(member).is_some()
            && self.readers.get(member).is_some_and(|reader| {
                reader.window.has_shared_room(weight)
                    && !reader.passed_over
                    && reader.inflight.resend_from.is_none()
            })
    }

    fn current_picks(&self, id: GroupId) -> Option<&Picks> {
        let picks = self.groups.get(id)?.picks.as_ref()?;
        (picks.links_dropped == self.links.dropped()).then_some(picks)
    }

    /// Who takes which hashed lane: among the attached members.
    fn picks(&self, id: GroupId) -> Option<Picks> {
        let group = self.groups.get(id)?;
        let attached: Vec<_> = group
            .members
            .keys()
            .filter_map(|member| {
                let reader = self.readers.get(*member)?;
                let at = reader.attached?;
                self.links.get(at.link)?;
                Some((*member, reader.who.client))
            })
            .collect();
        Some(Picks {
            members: group::picks(&attached),
            links_dropped: self.links.dropped(),
        })
    }
}

fn merged_for_member(message: &Message, options: &SubscriptionOptions) -> Merged {
    Merged {
        qos: group::delivery_qos(message, options),
        retain: message.retain && options.retain_as_published,
        subscription_ids: options.id.map(|id| Arc::from([id].as_slice())),
    }
}
