//! Connect, Disconnect and what becomes of session records: takeover, resume, wills, expiry `[F-10]` to `[F-25]`.

use catena_mqtt::ReasonCode;

use crate::{
    account::{FULL_PERCENT, SESSION_BYTES},
    effect::{Accepted, AlsoAttach, Connected, Effect, Kick},
    home::{
        CONNECT_AGE_MS_MAX, Home, HomeId, KICK_TIMEOUT_MS, Pending, Session, TAKEOVER_DELAY_MS,
        TAKEOVER_SPAN_MS, TAKEOVERS_MAX,
    },
    id::{ClientKey, ConnId, SessionId, Time, Who},
    links::LinkId,
    message::Will,
    op::{Connect, Disconnect, EndSession, Op, Touched},
    reader::Attached,
    shard::Shard,
    switches::Rule,
    timer::Timer,
};
use catena_slots::ShardId;

impl Shard {
    pub(crate) fn connect(&mut self, link: LinkId, connect: &Connect) {
        let conn = connect.attachment.conn;
        if connect.asked_at.plus_millis(CONNECT_AGE_MS_MAX) < self.now {
            return self.refuse(link, conn, ReasonCode::ServerUnavailable);
        }
        let client = ClientKey::of(&connect.client_id);
        let id = match self.homes.find(client) {
            Some(id) => id,
            None => self.homes.insert(&connect.client_id, client),
        };
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        let owner = home.session.as_ref().map(|session| &session.principal);
        if owner.is_some_and(|owner| *owner != connect.principal) {
            return self.refuse(link, conn, ReasonCode::NotAuthorized);
        }
        let overtaken = home.pending.take();
        let mut kick_until = overtaken.as_ref().and_then(|pending| pending.kick_until);
        let attached = home
            .session
            .as_ref()
            .and_then(|s| Some((s.attached?, s.epoch)));
        let takes_over = overtaken.is_some() || attached.is_some();
        if takes_over {
            self.stats.takeovers += 1;
            home.takeovers.push_back(self.now);
        }
        let not_before = home.hold_reply_until(self.now);
        if let Some((at, epoch)) = attached.filter(|_| kick_until.is_none()) {
            kick_until = Some(self.now.plus_millis(KICK_TIMEOUT_MS));
            let reason = ReasonCode::SessionTakenOver;
            self.emit(
                at.link,
                Effect::Kick(Kick {
                    conn: at.conn,
                    epoch,
                    reason,
                }),
            );
        }
        if let Some(overtaken) = overtaken {
            let conn = overtaken.connect.attachment.conn;
            self.refuse(overtaken.link, conn, ReasonCode::SessionTakenOver);
        }
        if let Some(home) = self.homes.get_mut(id) {
            let pending = Pending {
                connect: own(connect),
                link,
                kick_until,
                not_before,
            };
            home.pending = Some(Box::new(pending));
        }
        self.tend_home(id);
    }

    fn refuse(&mut self, link: LinkId, conn: ConnId, reason: ReasonCode) {
        let connected = Connected {
            conn,
            outcome: Err(reason),
        };
        self.emit(link, Effect::Connected(Box::new(connected)));
    }

    pub(crate) fn disconnect(&mut self, disconnect: &Disconnect) {
        let Some(id) = self.homes.find(disconnect.who.client) else {
            return;
        };
        let session = self.homes.get(id).and_then(|home| home.session.as_ref());
        let is_current = session.is_some_and(|session| {
            session.id == disconnect.who.session
                && session.epoch == disconnect.who.epoch
                && session.attached.is_some()
        });
        if !is_current {
            self.stats.stale += 1;
            return;
        }
        self.leave(id, disconnect.will, disconnect.expiry, self.now);
        self.tend_home(id);
    }

    /// The connection of a session ended at `at`: the will and the expiry begin to run `[F-20]`.
    fn leave(&mut self, id: HomeId, publish_will: bool, expiry: Option<u32>, at: Time) {
        let Some(session) = self
            .homes
            .get_mut(id)
            .and_then(|home| home.session.as_mut())
        else {
            return;
        };
        session.attached = None;
        session.since = at;
        // A session that ends with its connection cannot be made to last by then `[F-14]`.
        if session.expiry > 0 {
            session.expiry = expiry.unwrap_or(session.expiry);
        }
        let (expiry, who) = (session.expiry, (session.id, session.epoch));
        if !publish_will {
            let will = session.will.take();
            self.account.remove(will_weight(&will));
        }
        if expiry == 0 {
            return self.end_session(id);
        }
        // The gateway has said so itself, unless it is gone or does not answer.
        let client = self.homes.get(id).map(|home| home.client);
        let reader = client.and_then(|client| self.readers.find(client));
        if let Some(reader) =
            reader.filter(|r| self.readers.get(*r).map(|r| r.who.age()) == Some(who))
        {
            self.detach_reader(reader, &[], u64::MAX);
        }
        let Some(session) = self
            .homes
            .get_mut(id)
            .and_then(|home| home.session.as_mut())
        else {
            return;
        };
        session.ends_at = at.plus_seconds(session.expiry);
        let delay = session.will.as_ref().map(|will| will.delay);
        match delay {
            Some(0) => self.publish_will_of(id),
            Some(delay) => {
                let due = at.plus_seconds(delay).min(session.ends_at);
                session.will_due = Some(due);
                self.timers.set(due, Timer::Home(id));
            }
            None => {}
        }
        if let Some(session) = self.homes.get(id).and_then(|home| home.session.as_ref()) {
            self.timers.set(session.ends_at, Timer::Home(id));
        }
    }

    /// A gateway is gone as of `at`; if the session was attached there, it counts as detached since then `[F-24]`.
    pub(crate) fn lose_connection(&mut self, id: HomeId, at: Time) {
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        let is_gone = |link: LinkId| self.links.get(link).is_none();
        if home
            .pending
            .as_ref()
            .is_some_and(|pending| is_gone(pending.link))
        {
            home.pending = None;
        }
        let attached = home.session.as_ref().and_then(|session| session.attached);
        if attached.is_some_and(|attached| is_gone(attached.link)) {
            self.leave(id, true, None, at);
        }
        self.tend_home(id);
    }

    /// Looks at everything of a session record whose time may have come.
    pub(crate) fn tend_home(&mut self, id: HomeId) {
        let Some(home) = self.homes.get(id) else {
            return;
        };
        if let Some(session) = &home.session {
            if session
                .attached
                .is_some_and(|at| self.links.get(at.link).is_none())
            {
                self.leave(id, true, None, self.now);
                return self.tend_home(id);
            }
            if session.ends_at <= self.now {
                self.end_session(id);
            } else if session.will_due.is_some_and(|due| due <= self.now) {
                self.publish_will_of(id);
            }
        }
        self.try_pending(id);
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        home.forget_old_takeovers(self.now);
        let is_idle =
            home.session.is_none() && home.pending.is_none() && home.will_in_flight.is_none();
        if is_idle && home.takeovers.is_empty() {
            self.homes.remove(id);
        } else if is_idle {
            self.timers
                .set(self.now.plus_millis(TAKEOVER_SPAN_MS), Timer::Home(id));
        }
    }

    /// Goes on with a CONNECT that waits, if it can `[F-12]` `[F-19]` `[F-21]`.
    fn try_pending(&mut self, id: HomeId) {
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        let Some(pending) = &home.pending else { return };
        let (kick_until, not_before) = (pending.kick_until, pending.not_before);
        let clean_start = pending.connect.clean_start;
        if home
            .session
            .as_ref()
            .is_some_and(|session| session.attached.is_some())
        {
            let waits = self.switches.keep(Rule::F12);
            if let Some(until) = kick_until.filter(|until| waits && *until > self.now) {
                self.timers.set(until, Timer::Home(id));
                return;
            }
            // The old gateway does not answer: its connection counts as broken.
            self.leave(id, true, None, self.now);
        }
        if clean_start {
            self.end_session(id);
        }
        if not_before > self.now {
            self.timers.set(not_before, Timer::Home(id));
            return;
        }
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        if home.will_in_flight.is_some() && self.switches.keep(Rule::F21) {
            return;
        }
        if let Some(pending) = home.pending.take() {
            self.accept(id, *pending);
        }
    }

    /// Gives the session, or a new one, to a CONNECT.
    fn accept(&mut self, id: HomeId, pending: Pending) {
        let Pending { connect, link, .. } = pending;
        let conn = connect.attachment.conn;
        if self.links.get(link).is_none() {
            return;
        }
        let Some(home) = self.homes.get(id) else {
            return;
        };
        let session_present = home.session.is_some();
        let is_full = self
            .account
            .is_above(FULL_PERCENT, self.settings.buffer_bytes);
        if !session_present && is_full {
            return self.refuse(link, conn, ReasonCode::QuotaExceeded);
        }
        let who = self.begin_connection(id, &connect, link);
        let Some(who) = who else { return };
        let Some(reader) = self.admit(&who) else {
            return;
        };
        let held = self.attach_reader(reader, link, &connect.attachment);
        let touched = self.homes.get(id).and_then(|home| home.session.as_ref());
        let mut shards: Vec<ShardId> = touched
            .iter()
            .flat_map(|session| session.touched.iter().map(|(shard, _)| *shard))
            .collect();
        shards.dedup();
        let accepted = Accepted {
            session: who.session,
            epoch: who.epoch,
            session_present,
            shards,
            held,
        };
        let connected = Connected {
            conn,
            outcome: Ok(accepted),
        };
        self.emit(link, Effect::Connected(Box::new(connected)));
        self.serve_all(reader);
    }

    fn begin_connection(&mut self, id: HomeId, connect: &Connect, link: LinkId) -> Option<Who> {
        let next = SessionId {
            generation: self.generation,
            counter: self.sessions_begun + 1,
            home: self.id,
        };
        let home = self.homes.get_mut(id)?;
        if home.session.is_none() {
            self.sessions_begun += 1;
            self.account.add(SESSION_BYTES);
        }
        let client = home.client;
        let session = home.session.get_or_insert_with(|| Session {
            id: next,
            epoch: 0,
            principal: connect.principal.clone(),
            expiry: 0,
            attached: None,
            protocol: connect.protocol,
            since: self.now,
            will: None,
            will_due: None,
            ends_at: Time::NEVER,
            touched: Default::default(),
            exactly_once: Default::default(),
        });
        session.epoch += 1;
        session.expiry = connect.expiry;
        session.protocol = connect.protocol;
        session.since = self.now;
        session.attached = Some(Attached {
            link,
            conn: connect.attachment.conn,
        });
        let will = std::mem::replace(&mut session.will, connect.will.clone());
        self.account.remove(will_weight(&will));
        self.account.add(will_weight(&session.will));
        let timers = [session.will_due.take(), Some(session.ends_at)];
        session.ends_at = Time::NEVER;
        for at in timers.into_iter().flatten() {
            self.timers.cancel(at, Timer::Home(id));
        }
        Some(Who {
            client,
            session: session.id,
            epoch: session.epoch,
        })
    }

    /// Ends a session everywhere; its will, if it waited, is published `[F-20]` `[F-23]`.
    pub(crate) fn end_session(&mut self, id: HomeId) {
        self.publish_will_of(id);
        let Some(home) = self.homes.get_mut(id) else {
            return;
        };
        let client = home.client;
        let Some(session) = home.session.take() else {
            return;
        };
        self.account.remove(SESSION_BYTES);
        self.timers.cancel(session.ends_at, Timer::Home(id));
        let end = EndSession {
            client,
            session: session.id,
        };
        self.end_session_here(&end);
        for (shard, generation) in session.touched {
            if self.settings.generations.get(shard.index()) == Some(&generation) {
                self.emit_to_shard(shard, Op::EndSession(end));
            }
        }
    }

    /// The session has no will any more.
    pub(crate) fn forget_will(&mut self, id: HomeId) {
        let home = self.homes.get_mut(id);
        let Some(session) = home.and_then(|home| home.session.as_mut()) else {
            return;
        };
        if let Some(due) = session.will_due.take() {
            self.timers.cancel(due, Timer::Home(id));
        }
        let will = session.will.take();
        self.account.remove(will_weight(&will));
    }

    fn publish_will_of(&mut self, id: HomeId) {
        let Some(session) = self
            .homes
            .get_mut(id)
            .and_then(|home| home.session.as_mut())
        else {
            return;
        };
        if let Some(due) = session.will_due.take() {
            self.timers.cancel(due, Timer::Home(id));
        }
        let Some(will) = session.will.take() else {
            return;
        };
        self.account.remove(will.message.weight() as u64);
        if let Some(flight) = self.publish_will(&will) {
            self.wills_in_flight.insert(flight, id);
            if let Some(home) = self.homes.get_mut(id) {
                home.will_in_flight = Some(flight);
            }
        }
    }

    /// A shard holds something for a session of this home `[F-22]`.
    pub(crate) fn touched(&mut self, touched: &Touched) {
        let Touched {
            who,
            shard,
            generation,
        } = *touched;
        let present = self.settings.generations.get(shard.index()).copied();
        if present.is_none_or(|present| present < generation) {
            return;
        }
        let id = self.homes.find(who.client);
        let home = id.and_then(|id| self.homes.get_mut(id));
        let session = home
            .and_then(|home| home.session.as_mut())
            .filter(|s| s.id == who.session);
        if present > Some(generation) {
            // That shard has lost it since [F-25] [C-64].
            if let Some(id) = id.filter(|_| session.is_some()) {
                self.end_session_loudly(id);
            }
            return;
        }
        let Some(session) = session else {
            let end = EndSession {
                client: who.client,
                session: who.session,
            };
            self.emit_to_shard(shard, Op::EndSession(end));
            return;
        };
        let is_news = session.touched.insert((shard, generation));
        if let Some(at) = session
            .attached
            .filter(|_| is_news && who.epoch < session.epoch)
        {
            self.emit(
                at.link,
                Effect::AlsoAttach(AlsoAttach {
                    conn: at.conn,
                    shard,
                }),
            );
        }
    }

    /// Ends the session if it touched a shard that lost what it held `[F-25]`.
    pub(crate) fn end_if_it_touched(&mut self, id: HomeId, lost: &[(ShardId, u32)]) {
        let Some(session) = self.homes.get(id).and_then(|home| home.session.as_ref()) else {
            return;
        };
        let is_hit = session.touched.iter().any(|(shard, generation)| {
            lost.iter()
                .any(|(other, new)| other == shard && generation < new)
        });
        if is_hit {
            self.end_session_loudly(id);
        }
    }

    /// Ends a session of which something is missing: its client hears of it.
    pub(crate) fn end_session_loudly(&mut self, id: HomeId) {
        let Some(session) = self.homes.get(id).and_then(|home| home.session.as_ref()) else {
            return;
        };
        if let Some(at) = session.attached {
            let reason = ReasonCode::ImplementationSpecificError;
            self.emit(
                at.link,
                Effect::Kick(Kick {
                    conn: at.conn,
                    epoch: session.epoch,
                    reason,
                }),
            );
        }
        self.end_session(id);
        self.tend_home(id);
    }
}

impl Home {
    /// When two devices fight for the client id, the reply is held `[F-19]`.
    fn hold_reply_until(&mut self, now: Time) -> Time {
        self.forget_old_takeovers(now);
        if self.takeovers.len() > TAKEOVERS_MAX {
            now.plus_millis(TAKEOVER_DELAY_MS)
        } else {
            now
        }
    }

    fn forget_old_takeovers(&mut self, now: Time) {
        while self
            .takeovers
            .front()
            .is_some_and(|at| at.plus_millis(TAKEOVER_SPAN_MS) <= now)
        {
            self.takeovers.pop_front();
        }
        while self.takeovers.len() > TAKEOVERS_MAX + 1 {
            self.takeovers.pop_front();
        }
    }
}

/// What a session's will weighs.
fn will_weight(will: &Option<Will>) -> u64 {
    will.as_ref().map_or(0, |will| will.message.weight() as u64)
}

/// The Connect with a will in memory of its own: a slice of what came from the network would pin all of that `[F-45]`.
fn own(connect: &Connect) -> Connect {
    let mut own = connect.clone();
    if let Some(will) = &mut own.will {
        will.message = crate::message::compact(&will.message);
    }
    own.principal = connect
        .principal
        .as_ref()
        .map(|p| String::from(&**p).into());
    own
}
