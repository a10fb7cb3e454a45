//! Sessions: listed, shown, disconnected, deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use catena_mqtt::{Filter, QoS, packet::RetainHandling};
use catena_proto::admin::v1 as proto;
use catena_shard::{
    Answer, ClientKey, Command, Query,
    op::{EndSession, SubscriptionOptions},
    query::{Named, Pattern, ROWS_MAX, Reader, Session, SessionFilter},
};
use catena_slots::ShardId;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::info;

use super::{
    super::Context, LOOK, Shards, missing, moment, page_size, reason, shards::confused, wrong,
};
use crate::access::gate::about;

/// The longest client id, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 65_535;
/// Subscriptions of one session in an answer, unless another number is asked for, and the most.
const SUBSCRIPTIONS: u32 = 1_000;
const SUBSCRIPTIONS_MAX: u32 = 10_000;
/// How long is waited for all shards to give up a session that was deleted.
const DELETED: Duration = Duration::from_secs(3);

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub context: Context,
    pub shards: Shards,
}

#[tonic::async_trait]
impl proto::sessions_server::Sessions for Service {
    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        about(&request, "sessions");
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let filter = self.filter(&request)?;
        let count = self.shards.slots()?.shard_count();
        let mut at = Place::parse(&request.page_token)?;
        let mut found = Vec::new();
        while found.len() < size && usize::from(at.shard) < count {
            let shard = ShardId(at.shard);
            let query = Query::Sessions {
                filter: filter.clone(),
                from: at.place,
                limit: (size - found.len()) as u32,
            };
            let answered = self.shards.query(shard, query).await?;
            if at.place > 0 && at.generation != answered.generation {
                return Err(began_anew(shard));
            }
            let Answer::Sessions(page) = answered.answer else {
                return Err(confused(shard, &answered.answer));
            };
            found.extend(page.sessions);
            at = match page.next {
                Some(place) => Place {
                    place,
                    generation: answered.generation,
                    ..at
                },
                None => Place::beginning(at.shard + 1),
            };
        }
        let is_end = usize::from(at.shard) >= count;
        let mut sums = self.sums(&found).await?;
        let names = self.gateways();
        let sessions = found.iter().map(|session| {
            let sum = sums.remove(&session.client).unwrap_or_default();
            message(session, &names, &sum)
        });
        Ok(Response::new(proto::ListSessionsResponse {
            sessions: sessions.collect(),
            next_page_token: if is_end { String::new() } else { at.token() },
        }))
    }

    async fn get_session(
        &self,
        request: Request<proto::GetSessionRequest>,
    ) -> Result<Response<proto::GetSessionResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().client_id));
        let request = request.into_inner();
        let limit = match request.subscriptions_max {
            0 => SUBSCRIPTIONS,
            limit @ 1..=SUBSCRIPTIONS_MAX => limit,
            _ => {
                let problem = format!("must be 1 to {SUBSCRIPTIONS_MAX}");
                return Err(wrong("subscriptions_max", problem));
            }
        } as usize;
        let session = self.find(&request.client_id).await?;
        let of = named(&session);
        let (mut shards, mut sum) = (Vec::new(), Sum::default());
        let mut subscriptions = BTreeMap::<Filter, (SubscriptionOptions, Vec<u32>)>::new();
        let mut is_more = false;
        for shard in places(&session) {
            let Some(reader) = self.readers(shard, vec![of]).await?.pop() else {
                continue;
            };
            sum.add(&reader);
            shards.push(self.describe(shard, &reader).await?);
            is_more |= self
                .subscriptions(shard, of, limit, &mut subscriptions)
                .await?;
        }
        is_more |= subscriptions.len() > limit;
        let shown = subscriptions.into_iter().take(limit);
        Ok(Response::new(proto::GetSessionResponse {
            session: Some(message(&session, &self.gateways(), &sum)),
            shards,
            subscriptions: shown
                .map(|(filter, (options, shards))| subscription(&filter, options, shards))
                .collect(),
            more_subscriptions: is_more,
        }))
    }

    async fn disconnect_session(
        &self,
        request: Request<proto::DisconnectSessionRequest>,
    ) -> Result<Response<proto::DisconnectSessionResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().client_id));
        let proto::DisconnectSessionRequest {
            client_id,
            reason: why,
        } = request.into_inner();
        let why = reason(&why)?;
        let session = self.find(&client_id).await?;
        if session.connection.is_none() {
            return Err(not_connected(&client_id));
        }
        let command = Command::Disconnect {
            client: session.client,
            session: session.id,
            epoch: session.epoch,
        };
        if !self.shards.command(session.id.home, command).await? {
            // It has left by itself meanwhile.
            return Err(not_connected(&client_id));
        }
        info!(client_id, reason = why, "disconnected by an administrator");
        Ok(Response::new(proto::DisconnectSessionResponse {}))
    }

    async fn delete_session(
        &self,
        request: Request<proto::DeleteSessionRequest>,
    ) -> Result<Response<proto::DeleteSessionResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().client_id));
        let proto::DeleteSessionRequest {
            client_id,
            reason: why,
        } = request.into_inner();
        let why = reason(&why)?;
        let session = self.find(&client_id).await?;
        let command = Command::EndSession(EndSession {
            client: session.client,
            session: session.id,
        });
        if !self.shards.command(session.id.home, command).await? {
            return Err(no_session(&client_id));
        }
        info!(
            client_id,
            reason = why,
            "session deleted by an administrator"
        );
        let pending = self.deleted(&session).await;
        Ok(Response::new(proto::DeleteSessionResponse {
            pending_shards: pending.iter().map(|shard| shard.0.into()).collect(),
        }))
    }
}

impl Service {
    fn filter(&self, request: &proto::ListSessionsRequest) -> Result<SessionFilter, Status> {
        let pattern = match request.pattern.as_str() {
            "" => None,
            pattern => {
                let pattern = Pattern::parse(pattern.to_owned().into());
                Some(pattern.map_err(|long| wrong("pattern", long.to_string()))?)
            }
        };
        let gateways = match request.gateway.as_str() {
            "" => Vec::new(),
            name => {
                let gateways: Vec<u64> = (self.gateways().into_iter())
                    .filter(|(_, known)| known == name)
                    .map(|(incarnation, _)| incarnation)
                    .take(ROWS_MAX)
                    .collect();
                if gateways.is_empty() {
                    let message = format!("there is no gateway called {name:?}");
                    return Err(missing("gateway", name, message));
                }
                gateways
            }
        };
        Ok(SessionFilter {
            pattern,
            connected: request.connected,
            gateways,
        })
    }

    /// The names of gateways by incarnation.
    fn gateways(&self) -> BTreeMap<u64, String> {
        let view = self.context.following.view.borrow().clone();
        let present = view.gateways().present.into_iter();
        let live = view.topology.gateways.live.clone();
        present
            .chain(live)
            .map(|(gateway, name)| (gateway.0, name.0))
            .collect()
    }

    /// A client's session, as its home has it.
    async fn find(&self, client_id: &str) -> Result<Session, Status> {
        if client_id.is_empty() {
            return Err(wrong("client_id", "is missing".to_owned()));
        }
        if client_id.len() > CLIENT_ID_BYTES_MAX {
            let problem = format!("has more than {CLIENT_ID_BYTES_MAX} bytes");
            return Err(wrong("client_id", problem));
        }
        let home = self.shards.slots()?.home(client_id);
        let client = ClientKey::of(client_id);
        let answered = self.shards.query(home, Query::Session { client }).await?;
        match answered.answer {
            Answer::Session(Some(session)) => Ok(*session),
            Answer::Session(None) => Err(no_session(client_id)),
            other => Err(confused(home, &other)),
        }
    }

    /// What a shard holds for some sessions.
    async fn readers(&self, shard: ShardId, sessions: Vec<Named>) -> Result<Vec<Reader>, Status> {
        let query = Query::Readers { sessions };
        match self.shards.query(shard, query).await?.answer {
            Answer::Readers(readers) => Ok(readers),
            other => Err(confused(shard, &other)),
        }
    }

    /// What all shards hold for these sessions, by client.
    async fn sums(&self, sessions: &[Session]) -> Result<BTreeMap<ClientKey, Sum>, Status> {
        let mut asked = BTreeMap::<ShardId, Vec<Named>>::new();
        for session in sessions {
            for shard in places(session) {
                asked.entry(shard).or_default().push(named(session));
            }
        }
        let mut sums = BTreeMap::<ClientKey, Sum>::new();
        for (shard, of) in asked {
            for reader in self.readers(shard, of).await? {
                sums.entry(reader.of.client).or_default().add(&reader);
            }
        }
        Ok(sums)
    }

    /// Adds a shard's subscriptions, one more than `limit` at most; whether it has more.
    async fn subscriptions(
        &self,
        shard: ShardId,
        of: Named,
        limit: usize,
        found: &mut BTreeMap<Filter, (SubscriptionOptions, Vec<u32>)>,
    ) -> Result<bool, Status> {
        let (mut after, mut count) = (None, 0);
        while count <= limit {
            let query = Query::Subscriptions {
                of,
                after: after.take(),
                limit: (limit + 1 - count) as u32,
            };
            let page = match self.shards.query(shard, query).await?.answer {
                Answer::Subscriptions(page) => page,
                other => return Err(confused(shard, &other)),
            };
            count += page.subscriptions.len();
            after = page.subscriptions.last().map(|(filter, _)| filter.clone());
            for (filter, options) in page.subscriptions {
                let (_, shards) = found.entry(filter).or_insert_with(|| (options, Vec::new()));
                shards.push(shard.0.into());
            }
            if !page.is_more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn describe(
        &self,
        shard: ShardId,
        reader: &Reader,
    ) -> Result<proto::SessionShard, Status> {
        let (mut from, mut queued_bytes) = (Some(0), 0);
        while let Some(place) = from {
            let query = Query::Queue {
                of: reader.of,
                from: place,
            };
            match self.shards.query(shard, query).await?.answer {
                Answer::Queue(slice) => {
                    queued_bytes += slice.bytes;
                    // It shrinks while it is weighed, and never goes back.
                    from = slice.next.filter(|next| *next > place);
                }
                other => return Err(confused(shard, &other)),
            }
        }
        Ok(proto::SessionShard {
            shard: shard.0.into(),
            attached: reader.is_attached,
            subscriptions: reader.subscriptions,
            queued: reader.queued,
            queued_bytes,
            in_flight: reader.in_flight,
            in_flight_bytes: reader.in_flight_bytes,
            inbound: reader.inbound,
        })
    }

    /// Waits until no shard holds anything of a session that was deleted; those that may still when the time is over.
    async fn deleted(&self, session: &Session) -> BTreeSet<ShardId> {
        let deadline = Instant::now() + DELETED;
        let mut pending: BTreeSet<ShardId> = places(session).collect();
        loop {
            for shard in pending.clone() {
                let asking = self.readers(shard, vec![named(session)]);
                let asked = tokio::time::timeout_at(deadline, asking).await;
                if asked.is_ok_and(|held| held.is_ok_and(|held| held.is_empty())) {
                    pending.remove(&shard);
                }
            }
            if pending.is_empty() || Instant::now() >= deadline {
                return pending;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The shards that may hold something of a session, its home first.
fn places(session: &Session) -> impl Iterator<Item = ShardId> {
    let home = session.id.home;
    let others = session.shards.iter().copied();
    std::iter::once(home).chain(others.filter(move |shard| *shard != home))
}

fn named(session: &Session) -> Named {
    Named {
        client: session.client,
        session: session.id,
    }
}

fn no_session(client_id: &str) -> Status {
    let message = format!("the client id {client_id:?} has no session");
    missing("session", client_id, message)
}

fn not_connected(client_id: &str) -> Status {
    let message = format!(
        "the client {client_id:?} is not connected; to end its session, delete it (`catena sessions delete`)"
    );
    let details = ErrorDetails::with_precondition_failure_violation(
        "CONNECTED",
        client_id,
        "it is not connected",
    );
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

fn began_anew(shard: ShardId) -> Status {
    let message = format!(
        "shard {shard} has started empty since the page before: its sessions are gone; list again from the start"
    );
    let of = [("shard".to_owned(), shard.0.to_string())];
    let details = ErrorDetails::with_error_info("SHARD_STARTED_EMPTY", "catena.dev", of);
    Status::with_error_details(Code::Aborted, message, details)
}

/// What shards hold for a session, in sum.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    subscriptions: u64,
    queued: u64,
    in_flight: u64,
}

impl Sum {
    fn add(&mut self, reader: &Reader) {
        self.subscriptions += reader.subscriptions;
        self.queued += reader.queued;
        self.in_flight += reader.in_flight;
    }
}

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    shard: u16,
    generation: u32,
    place: u32,
}

impl Place {
    fn beginning(shard: u16) -> Place {
        Place {
            shard,
            ..Place::default()
        }
    }

    fn token(self) -> String {
        format!("{}.{}.{}", self.shard, self.generation, self.place)
    }

    fn parse(token: &str) -> Result<Place, Status> {
        if token.is_empty() {
            return Ok(Place::default());
        }
        let mut parts = token.split('.');
        let place = (|| {
            Some(Place {
                shard: parts.next()?.parse().ok()?,
                generation: parts.next()?.parse().ok()?,
                place: parts.next()?.parse().ok()?,
            })
        })();
        let is_whole = parts.next().is_none();
        let problem = || wrong("page_token", "is none that an answer gave".to_owned());
        place.filter(|_| is_whole).ok_or_else(problem)
    }
}

fn message(session: &Session, gateways: &BTreeMap<u64, String>, sum: &Sum) -> proto::Session {
    let gateway = session.connection.map(|at| {
        let name = gateways.get(&at.gateway).cloned();
        name.unwrap_or_else(|| at.gateway.to_string())
    });
    let id = session.id;
    proto::Session {
        client_id: session.client_id.to_string(),
        id: format!("{}-{}-{}", id.home.0, id.generation, id.counter),
        connections: session.epoch,
        connected: session.connection.is_some(),
        gateway: gateway.unwrap_or_default(),
        worker: session.connection.map_or(0, |at| at.worker.into()),
        username: session.principal.as_ref().map(ToString::to_string),
        protocol: session.protocol.into(),
        since: moment(session.since),
        expiry_seconds: session.expiry,
        ends_at: moment(session.ends_at),
        will_topic: session.will.as_ref().map(|will| will.topic.to_string()),
        will_delay_seconds: session.will.as_ref().map_or(0, |will| will.delay),
        home: id.home.0.into(),
        subscriptions: sum.subscriptions,
        queued: sum.queued,
        in_flight: sum.in_flight,
    }
}

fn subscription(
    filter: &Filter,
    options: SubscriptionOptions,
    shards: Vec<u32>,
) -> proto::SessionSubscription {
    proto::SessionSubscription {
        filter: filter.full().to_string(),
        qos: qos(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        },
        id: options.id.unwrap_or(0),
        shards,
    }
}

pub(super) fn qos(qos: QoS) -> u32 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A token that was cut would begin a listing anew, or end it early, and nobody would know.
    #[test]
    fn a_token_is_what_an_answer_gave_or_it_is_refused() {
        let place = Place {
            shard: 3,
            generation: 2,
            place: 4_711,
        };
        assert_eq!(Place::parse(&place.token()).unwrap(), place);
        assert_eq!(Place::parse("").unwrap(), Place::default());
        for token in ["3", "3.2", "3.2.1.0", "x", "3.2.-1", "70000.1.1", " "] {
            let refused = Place::parse(token).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
            assert!(refused.get_details_bad_request().is_some());
        }
    }
}
