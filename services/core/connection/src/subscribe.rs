//! SUBSCRIBE and UNSUBSCRIBE: one at a time, from the filters' shards to one answer `[F-31]`.

use catena_mqtt::{
    Filter, Packet, QoS, ReasonCode,
    packet::{self, RetainHandling, Suback, Unsuback},
};
use catena_shard::{
    Op,
    effect::{Attached, SubscribeResult, Subscribed, Unsubscribed},
    op::{
        Attach as AttachOp, FILTERS_PER_OP_MAX, Replay, Subscribe, Subscription,
        SubscriptionOptions, Unsubscribe,
    },
};
use catena_slots::{Placement, ShardId};

use crate::{
    Connection, Outside,
    bounds::{LATE_MAX, SUBSCRIBE_MS},
    connection::packet_id,
    input::Now,
    peers::Attach,
    requests::{Body, Late, Part, Request, Round, Wanted},
    timers::Timer,
};

impl Connection {
    pub(crate) fn on_subscribe<O: Outside>(
        &mut self,
        subscribe: packet::Subscribe,
        now: Now,
        outside: &mut O,
    ) {
        // v5 [MQTT-3.8.3-4]
        if subscribe
            .filters
            .iter()
            .any(|wanted| wanted.no_local && is_shared(&wanted.filter))
        {
            let text = "No Local on a shared subscription";
            return self.fail(ReasonCode::ProtocolError, text, now, outside);
        }
        let id = subscribe.subscription_id.filter(|id| *id > 0);
        // v5 3.2.2.3.12
        if id.is_some() && !self.settings.subscription_ids {
            let reason = ReasonCode::SubscriptionIdentifiersNotSupported;
            return self.fail(reason, "", now, outside);
        }
        // v5 [MQTT-3.2.2-9]
        let qos_max = if self.is_v5() {
            self.settings.maximum_qos
        } else {
            QoS::ExactlyOnce
        };
        let filters = subscribe.filters.into_iter().map(|wanted| {
            let options = SubscriptionOptions {
                qos: wanted.qos.min(qos_max),
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
                retain_handling: wanted.retain_handling,
                id,
            };
            (wanted.filter, options)
        });
        let body = Body::Subscribe(filters.collect());
        self.add_request(subscribe.packet_id.get(), body, now, outside);
    }

    pub(crate) fn on_unsubscribe<O: Outside>(
        &mut self,
        unsubscribe: packet::Unsubscribe,
        now: Now,
        outside: &mut O,
    ) {
        let body = Body::Unsubscribe(unsubscribe.filters);
        self.add_request(unsubscribe.packet_id.get(), body, now, outside);
    }

    /// How many requests came so far `[F-32]`.
    pub(crate) fn requests_received(&self) -> u32 {
        self.requests
            .as_ref()
            .map_or(0, |requests| requests.received)
    }

    /// How many of them are answered.
    pub(crate) fn requests_completed(&self) -> u32 {
        self.requests
            .as_ref()
            .map_or(0, |requests| requests.completed)
    }

    /// Whether shards still owe answers.
    pub(crate) fn awaits_requests(&self) -> bool {
        self.requests
            .as_ref()
            .is_some_and(|r| r.round.is_some() || !r.late.is_empty())
    }

    /// Forgets requests that no shard was asked about: the client is gone.
    pub(crate) fn drop_requests(&mut self) {
        if let Some(requests) = &mut self.requests {
            let keep = usize::from(requests.round.is_some());
            requests.queue.truncate(keep);
            requests.completed = requests.received - keep as u32;
        }
    }

    fn add_request<O: Outside>(&mut self, packet_id: u16, body: Body, now: Now, outside: &mut O) {
        let requests = self.requests.get_or_insert_default();
        let in_use = self.inbound.contains(packet_id)
            || self.acknowledging_ids.contains(packet_id)
            || requests
                .queue
                .iter()
                .any(|request| request.packet_id == packet_id);
        let codes = if in_use && self.version.is_some_and(|version| version.is_v5()) {
            // Answered in its turn, without being done. v5 3.9.3, 3.11.3
            vec![ReasonCode::PacketIdentifierInUse; body.len()]
        } else {
            Vec::new()
        };
        requests.received += 1;
        requests.queue.push_back(Request {
            packet_id,
            body,
            codes,
        });
        self.go_on_with_requests(now, outside);
    }

    /// Begins rounds and answers requests until a shard has to answer.
    pub(crate) fn go_on_with_requests<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let mut answered = false;
        loop {
            let Some(requests) = &mut self.requests else {
                return;
            };
            if requests.round.is_some() {
                break;
            }
            let Some(request) = requests.queue.front() else {
                break;
            };
            if request.codes.len() < request.body.len() {
                if self.awaits_direct(outside) {
                    break;
                }
                self.begin_round(now, outside);
                continue;
            }
            let request = requests.queue.pop_front();
            requests.completed += 1;
            answered = true;
            if let Some(request) = request {
                self.answer_request(request, outside);
            }
        }
        if answered {
            self.drain_all_parked(now, outside);
        }
    }

    fn answer_request<O: Outside>(&mut self, request: Request, outside: &mut O) {
        let Some(id) = packet_id(request.packet_id) else {
            return;
        };
        let packet = match request.body {
            Body::Subscribe(_) => Packet::Suback(Suback::new(id, request.codes)),
            Body::Unsubscribe(_) => Packet::Unsuback(Unsuback::new(id, request.codes)),
        };
        self.write(&packet, outside);
    }

    /// Asks the shards about the next filters of the front request.
    fn begin_round<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let Some(requests) = &mut self.requests else {
            return;
        };
        let Some(request) = requests.queue.front() else {
            return;
        };
        let from = request.codes.len();
        let to = request.body.len().min(from + FILTERS_PER_OP_MAX);
        let mut filters: Vec<Wanted> = match &request.body {
            Body::Subscribe(filters) => filters[from..to]
                .iter()
                .map(|(filter, options)| Wanted::new(filter, Some(*options)))
                .collect(),
            Body::Unsubscribe(filters) => filters[from..to]
                .iter()
                .map(|filter| Wanted::new(filter, None))
                .collect(),
        };
        let subscribes = matches!(request.body, Body::Subscribe(_));
        let token = requests.next_token();
        if subscribes && self.guard.is_some() {
            self.judge_filters(&mut filters, outside);
        }
        let parts = self.parts(&filters, outside);
        for part in &parts {
            if subscribes {
                self.attach(part.shard, false, outside);
            }
            self.send_part(token, &filters, part, outside);
        }
        let asked = !parts.is_empty();
        if let Some(requests) = &mut self.requests {
            requests.round = Some(Round {
                token,
                filters,
                parts,
            });
        }
        if !asked {
            return self.end_round(outside);
        }
        if subscribes {
            self.timers
                .set(Timer::Request, now.plus_millis(SUBSCRIBE_MS));
        }
    }

    /// Which shards have to do with which filters `[F-30]`.
    fn parts<O: Outside>(&self, filters: &[Wanted], outside: &mut O) -> Vec<Part> {
        let slots = outside.slots();
        let mut places = vec![Vec::new(); slots.shard_count()];
        for (place, wanted) in filters.iter().enumerate() {
            let Some(filter) = wanted.filter.as_ref().filter(|_| !wanted.is_denied) else {
                continue;
            };
            let place = place as u16;
            match slots.filter(filter.filter()) {
                Placement::One(shard) => places[shard.index()].push(place),
                Placement::All => places.iter_mut().for_each(|places| places.push(place)),
            }
        }
        let shards = slots
            .shards()
            .zip(places)
            .filter(|(_, places)| !places.is_empty());
        shards
            .map(|(shard, places)| Part {
                shard,
                places,
                answer: None,
            })
            .collect()
    }

    fn send_part<O: Outside>(
        &mut self,
        token: u32,
        filters: &[Wanted],
        part: &Part,
        outside: &mut O,
    ) {
        let Some(who) = self.session else { return };
        let mut subscriptions = Vec::new();
        let mut names = Vec::new();
        for place in &part.places {
            let wanted = &filters[usize::from(*place)];
            let Some(filter) = wanted.filter.clone() else {
                continue;
            };
            match wanted.options {
                Some(options) => subscriptions.push(Subscription { filter, options }),
                None => names.push(filter),
            }
        }
        let op = if names.is_empty() {
            Op::Subscribe(Box::new(Subscribe {
                who,
                token,
                subscriptions,
            }))
        } else {
            Op::Unsubscribe(Box::new(Unsubscribe {
                who,
                conn: self.conn,
                token,
                filters: names,
            }))
        };
        self.send_control(part.shard, op, outside);
    }

    pub(crate) fn on_subscribed<O: Outside>(
        &mut self,
        shard: ShardId,
        subscribed: &Subscribed,
        now: Now,
        outside: &mut O,
    ) {
        if self.take_answer(shard, subscribed.token, subscribed.results.clone()) {
            return self.end_round_when_answered(now, outside);
        }
        self.take_back_late(shard, subscribed, outside);
    }

    pub(crate) fn on_unsubscribed<O: Outside>(
        &mut self,
        shard: ShardId,
        unsubscribed: &Unsubscribed,
        now: Now,
        outside: &mut O,
    ) {
        let result = |existed: &bool| SubscribeResult {
            reason: ReasonCode::Success,
            existed: *existed,
        };
        let results = unsubscribed.existed.iter().map(result).collect();
        if self.take_answer(shard, unsubscribed.token, results) {
            self.end_round_when_answered(now, outside);
        }
    }

    /// Whether the answer is one that the round waits for.
    fn take_answer(&mut self, shard: ShardId, token: u32, results: Vec<SubscribeResult>) -> bool {
        let Some(round) = self.requests.as_mut().and_then(|r| r.round.as_mut()) else {
            return false;
        };
        let part = round.parts.iter_mut().find(|part| part.shard == shard);
        match part {
            Some(part) if round.token == token && part.answer.is_none() => {
                part.answer = Some(results);
                true
            }
            _ => false,
        }
    }

    fn end_round_when_answered<O: Outside>(&mut self, now: Now, outside: &mut O) {
        let round = self
            .requests
            .as_ref()
            .and_then(|requests| requests.round.as_ref());
        if round.is_some_and(|round| round.parts.iter().all(|part| part.answer.is_some())) {
            self.end_round(outside);
            self.go_on_with_requests(now, outside);
        }
    }

    /// A shard did not answer Subscribe in time `[F-33]`.
    pub(crate) fn on_request_time<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if self.session.is_none() {
            return self.ask_again(now, outside);
        }
        self.end_round(outside);
        self.go_on_with_requests(now, outside);
    }

    fn ask_again<O: Outside>(&mut self, now: Now, outside: &mut O) {
        if matches!(self.phase, crate::connection::Phase::Asking(_)) {
            self.ask_home(now, outside);
        }
    }

    /// Makes reason codes of what the shards said.
    fn end_round<O: Outside>(&mut self, outside: &mut O) {
        self.timers.stop(Timer::Request);
        let v5 = self.is_v5();
        let Some(requests) = &mut self.requests else {
            return;
        };
        let Some(round) = requests.round.take() else {
            return;
        };
        let mut follow_up = FollowUp::default();
        let mut codes = Vec::with_capacity(round.filters.len());
        for (place, wanted) in round.filters.iter().enumerate() {
            let code = follow_up.combine(&round, place as u16, wanted);
            codes.push(if code.is_error() && !v5 {
                ReasonCode::UnspecifiedError
            } else {
                code
            });
        }
        for part in &round.parts {
            if part.answer.is_none() && round.filters.iter().any(|w| w.options.is_some()) {
                if requests.late.len() >= LATE_MAX {
                    requests.late.remove(0);
                }
                let (shard, token) = (part.shard, round.token);
                let names = part
                    .places
                    .iter()
                    .filter_map(|p| round.filters[usize::from(*p)].filter.clone());
                requests.late.push(Late {
                    shard,
                    token,
                    filters: names.collect(),
                });
            }
        }
        let granted: Vec<bool> = codes.iter().map(|code| !code.is_error()).collect();
        if let Some(request) = requests.queue.front_mut() {
            request.codes.extend(codes);
        }
        if self.guard.is_some() {
            self.note_filters(&round.filters, &granted);
        }
        let Some(who) = self.session else { return };
        for (shard, filters) in follow_up.replay {
            self.send_control(
                shard,
                Op::Replay(Box::new(Replay { who, filters })),
                outside,
            );
        }
        for (shard, filters) in follow_up.take_back {
            self.send_take_back(shard, filters, outside);
        }
    }

    pub(crate) fn send_take_back<O: Outside>(
        &mut self,
        shard: ShardId,
        filters: Vec<Filter>,
        outside: &mut O,
    ) {
        let Some(who) = self.session else { return };
        let op = Unsubscribe {
            who,
            conn: self.conn,
            token: 0,
            filters,
        };
        self.send_control(shard, Op::Unsubscribe(Box::new(op)), outside);
    }

    /// A Subscribe is answered after its client was told 0x80: what is new there must not stay.
    fn take_back_late<O: Outside>(
        &mut self,
        shard: ShardId,
        subscribed: &Subscribed,
        outside: &mut O,
    ) {
        let Some(requests) = &mut self.requests else {
            return;
        };
        let found = requests
            .late
            .iter()
            .position(|late| late.shard == shard && late.token == subscribed.token);
        let Some(found) = found else { return };
        let late = requests.late.remove(found);
        let new = late.filters.into_iter().zip(&subscribed.results);
        let new = new.filter(|(_, result)| !result.existed && !result.reason.is_error());
        let filters: Vec<Filter> = new.map(|(filter, _)| filter).collect();
        if !filters.is_empty() {
            self.send_take_back(shard, filters, outside);
        }
    }

    /// Tells a shard of this connection, once. `resume`: it may hold inbound QoS 2 ids.
    pub(crate) fn attach<O: Outside>(&mut self, shard: ShardId, resume: bool, outside: &mut O) {
        let place = self.peers.place(shard);
        let Some(who) = self.session else { return };
        if self.peers.at(place).attach != Attach::No {
            return;
        }
        self.peers.at_mut(place).attach = Attach::Sent { resume };
        self.attaching += 1;
        self.resuming += u32::from(resume);
        let attachment = self.attachment(outside.slots());
        self.send_control(shard, Op::Attach(AttachOp { who, attachment }), outside);
    }

    pub(crate) fn on_attached<O: Outside>(
        &mut self,
        shard: ShardId,
        attached: &Attached,
        now: Now,
        outside: &mut O,
    ) {
        let Some(place) = self.peers.find(shard) else {
            return;
        };
        let Attach::Sent { resume } = self.peers.at(place).attach else {
            return self.on_held_told(shard, &attached.held, now, outside);
        };
        self.peers.at_mut(place).attach = Attach::Yes;
        self.attaching -= 1;
        self.hold_inbound(shard, &attached.held, outside);
        self.take_held(shard, &attached.held, now, outside);
        if resume {
            self.resuming -= 1;
            if self.resuming == 0 {
                self.release_waiting(now, outside);
                self.drain_all_parked(now, outside);
            }
        }
    }
}

/// What is to be done after a round.
#[derive(Debug, Default)]
struct FollowUp {
    /// Retained messages that a shard held back `[F-35]`.
    replay: Vec<(ShardId, Vec<Filter>)>,
    /// New subscriptions of filters that failed elsewhere `[F-33]`.
    take_back: Vec<(ShardId, Vec<Filter>)>,
}

impl FollowUp {
    /// The reason code of one filter.
    fn combine(&mut self, round: &Round, place: u16, wanted: &Wanted) -> ReasonCode {
        let Some(filter) = &wanted.filter else {
            return ReasonCode::TopicFilterInvalid;
        };
        if wanted.is_denied {
            return ReasonCode::NotAuthorized;
        }
        let answers = || {
            round.parts.iter().filter_map(move |part| {
                let index = part.places.binary_search(&place).ok()?;
                let result = part
                    .answer
                    .as_ref()
                    .and_then(|results| results.get(index).copied());
                Some((part.shard, result))
            })
        };
        let known = || answers().filter_map(|(shard, result)| Some((shard, result?)));
        let existed = |result: &SubscribeResult| result.existed;
        let Some(options) = wanted.options else {
            let existed = known().any(|(_, result)| existed(&result));
            let none = ReasonCode::NoSubscriptionExisted;
            return if existed { ReasonCode::Success } else { none };
        };
        let silent = answers().any(|(_, result)| result.is_none());
        let refusal = known()
            .map(|(_, result)| result.reason)
            .filter(|reason| reason.is_error());
        let refusal = refusal
            .max()
            .or(silent.then_some(ReasonCode::UnspecifiedError));
        if let Some(reason) = refusal {
            for (shard, result) in known() {
                if !result.existed && !result.reason.is_error() {
                    add(&mut self.take_back, shard, filter);
                }
            }
            return reason;
        }
        let everywhere = known().all(|(_, result)| existed(&result));
        if options.retain_handling == RetainHandling::SendIfNew && !everywhere {
            for (shard, _) in known().filter(|(_, result)| existed(result)) {
                add(&mut self.replay, shard, filter);
            }
        }
        known()
            .map(|(_, result)| result.reason)
            .max()
            .unwrap_or(ReasonCode::UnspecifiedError)
    }
}

fn add(list: &mut Vec<(ShardId, Vec<Filter>)>, shard: ShardId, filter: &Filter) {
    match list.iter_mut().find(|(known, _)| *known == shard) {
        Some((_, filters)) => filters.push(filter.clone()),
        None => list.push((shard, vec![filter.clone()])),
    }
}

fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}
