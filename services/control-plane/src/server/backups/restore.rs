//! A file's things go to the shards of this cluster, which may be others than it was made of.
//!
//! Things are gathered for all shards, and put in in two steps: sessions first, for other shards tell a session's home when they hold
//! something for it, and a home that does not know it would end it there.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use catena_mqtt::{Filter, QoS};
use catena_proto::admin::v1 as proto;
use catena_shard::{
    Answer, ClientKey, Command, Query, Restore, Saved, SessionId,
    query::{Named, SessionFilter},
    saved::THINGS_MAX,
};
use catena_slots::{Placement, ShardId, SlotTable};
use catena_transport::wire::Wire;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    backup::{Reader, Record, count},
    server::inspect::Shards,
};

/// Bytes that one shard is given at once.
const BATCH_BYTES: usize = 256 << 10;
/// How long a shard may take no more, because what was there is still going, or its memory is full and parts of queues have to leave.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after a refusal it is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Restores are numbered by time, in milliseconds since 2020, and sessions by that and their count below.
const EPOCH_MS: u128 = 1_577_836_800_000;
const SESSIONS_BITS: u32 = 24;

type Parts = Streaming<proto::RestoreBackupRequest>;
type Out = mpsc::Sender<Result<proto::RestoreBackupResponse, Status>>;

/// A restore that may go on.
pub struct Begun {
    into: Into,
}

/// Looks whether the cluster is empty, or clears it.
pub async fn begin(shards: &Shards, parts: &mut Parts) -> Result<Begun, Status> {
    let first = parts.message().await?.and_then(|first| first.part);
    let Some(proto::restore_backup_request::Part::Options(options)) = first else {
        return Err(Status::invalid_argument(
            "options: they must be in the first request",
        ));
    };
    let slots = shards.slots()?;
    let mut generations = Vec::new();
    for shard in slots.shards() {
        let (generation, found) = look(shards, shard).await?;
        generations.push(generation);
        if let (Some(found), false) = (found, options.replace) {
            let message = format!(
                "the cluster is not empty: it has {found}. With --replace all of that goes first"
            );
            let details =
                ErrorDetails::with_precondition_failure_violation("EMPTY", "cluster", &message);
            return Err(Status::with_error_details(
                Code::FailedPrecondition,
                message,
                details,
            ));
        }
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_millis());
    let count = slots.shard_count();
    Ok(Begun {
        into: Into {
            shards: shards.clone(),
            id: u64::try_from(since.saturating_sub(EPOCH_MS)).unwrap_or_default(),
            is_replacing: options.replace,
            generations,
            sessions: vec![0; count],
            numbers: vec![0; count],
            homes: Batches::new(count),
            things: Batches::new(count),
            current: None,
            is_refused: false,
            has_same_layout: false,
            slots,
        },
    })
}

/// A shard's generation, and what it has that lasts.
async fn look(shards: &Shards, shard: ShardId) -> Result<(u32, Option<String>), Status> {
    let mut from = 0;
    let generation = loop {
        let query = Query::Sessions {
            filter: SessionFilter::default(),
            from,
            limit: 1_000,
        };
        let answered = shards.query(shard, query).await?;
        let Answer::Sessions(found) = answered.answer else {
            return Err(Status::internal("a shard has answered something else"));
        };
        if let Some(session) = found.sessions.iter().find(|session| session.expiry > 0) {
            let said = format!("the session {:?}", session.client_id);
            return Ok((answered.generation, Some(said)));
        }
        match found.next {
            Some(next) => from = next,
            None => break answered.generation,
        }
    };
    let everything = Filter::parse("#".to_owned());
    let query = Query::RetainedList {
        filter: everything.map_err(|_| Status::internal("# is a filter"))?,
        after: None,
        limit: 1,
    };
    let Answer::RetainedList(found) = shards.query(shard, query).await?.answer else {
        return Err(Status::internal("a shard has answered something else"));
    };
    let said = found.messages.first();
    Ok((
        generation,
        said.map(|message| format!("the retained message of {:?}", message.topic)),
    ))
}

/// Puts everything in.
pub async fn run(
    begun: Begun,
    mut parts: Parts,
    out: &Out,
) -> Result<proto::BackupProgress, Status> {
    let mut into = begun.into;
    let mut progress = proto::BackupProgress {
        shards: into.slots.shard_count() as u32,
        ..proto::BackupProgress::default()
    };
    let mut reader = Reader::default();
    into.open().await?;
    while let Some(part) = parts.message().await? {
        let Some(proto::restore_backup_request::Part::Data(data)) = part.part else {
            return Err(Status::invalid_argument("options: they must come once"));
        };
        reader.push(&data);
        progress.bytes += data.len() as u64;
        while let Some(record) = reader.record().map_err(damaged)? {
            match record {
                Record::Header(header) => into.has_same_layout(&header),
                Record::Things(things) => {
                    for thing in things {
                        count(&mut progress, &thing);
                        let thing = Saved::from_proto(thing)
                            .map_err(|wrong| Status::invalid_argument(wrong.to_string()))?;
                        into.put(thing).await?;
                    }
                }
                Record::Resources(_) | Record::End(_) => {}
            }
        }
        answer(out, progress, false).await?;
    }
    reader.finish().map_err(damaged)?;
    into.close().await?;
    progress.shards_done = progress.shards;
    answer(out, progress, true).await?;
    Ok(progress)
}

async fn answer(out: &Out, progress: proto::BackupProgress, done: bool) -> Result<(), Status> {
    let answer = proto::RestoreBackupResponse {
        progress: Some(progress),
        done,
    };
    let gone = |_| Status::cancelled("whoever restored went away");
    out.send(Ok(answer)).await.map_err(gone)
}

fn damaged(why: crate::backup::Damaged) -> Status {
    Status::data_loss(format!("the file is of no use: {why}"))
}

/// Things by shard.
struct Batches {
    of: Vec<Vec<Saved>>,
    bytes: Vec<usize>,
}

impl Batches {
    fn new(shards: usize) -> Batches {
        Batches {
            of: vec![Vec::new(); shards],
            bytes: vec![0; shards],
        }
    }

    /// Adds a thing; whether that shard has its batch full now.
    fn add(&mut self, shard: ShardId, thing: Saved) -> bool {
        let at = shard.index();
        self.bytes[at] += thing.weight();
        self.of[at].push(thing);
        self.of[at].len() >= THINGS_MAX || self.bytes[at] >= BATCH_BYTES
    }

    fn take(&mut self) -> Vec<(ShardId, Vec<Saved>)> {
        self.bytes.fill(0);
        let full = self.of.iter_mut().enumerate();
        full.filter(|(_, things)| !things.is_empty())
            .map(|(at, things)| (ShardId(at as u16), std::mem::take(things)))
            .collect()
    }
}

/// The cluster that things go into.
struct Into {
    shards: Shards,
    slots: SlotTable,
    id: u64,
    is_replacing: bool,
    generations: Vec<u32>,
    /// Sessions that each home was given.
    sessions: Vec<u64>,
    /// The last command of each shard.
    numbers: Vec<u64>,
    homes: Batches,
    things: Batches,
    /// The session whose things are coming: as it was called, and as it is called here.
    current: Option<(Named, SessionId)>,
    /// Its home has not taken it.
    is_refused: bool,
    /// Shards hold the same topics as those that were saved.
    has_same_layout: bool,
}

impl Into {
    fn has_same_layout(&mut self, header: &proto::BackupHeader) {
        self.has_same_layout = header.shards as usize == self.slots.shard_count()
            && header.shard_key_levels == u32::from(self.slots.key_levels());
    }

    /// Begins on all shards, and waits until they are empty.
    async fn open(&mut self) -> Result<(), Status> {
        let all = || self.slots.shards().map(|shard| (shard, Vec::new()));
        let (first, second): (Vec<_>, Vec<_>) = (all().collect(), all().collect());
        self.send(first, false).await?;
        match self.is_replacing {
            true => self.send(second, false).await,
            false => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), Status> {
        self.flush().await?;
        let all = self.slots.shards().map(|shard| (shard, Vec::new()));
        self.send(all.collect(), true).await?;
        for shard in self.slots.shards() {
            let query = Query::Session {
                client: ClientKey(0),
            };
            let now = self.shards.query(shard, query).await?.generation;
            if now != self.generations[shard.index()] {
                return Err(Status::aborted(format!(
                    "shard {shard} has lost what it held meanwhile: restore again with --replace"
                )));
            }
        }
        Ok(())
    }

    async fn put(&mut self, thing: Saved) -> Result<(), Status> {
        let thing = match thing {
            Saved::Session(session) => return self.put_session(*session).await,
            thing => thing,
        };
        if self.is_refused && session(&thing).is_some() {
            return Ok(());
        }
        let (shards, thing) = self.place(thing)?;
        let mut is_full = false;
        let last = shards.len().saturating_sub(1);
        for shard in &shards[..last] {
            is_full |= self.things.add(*shard, thing.clone());
        }
        if let Some(shard) = shards.last() {
            is_full |= self.things.add(*shard, thing);
        }
        match is_full {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn put_session(
        &mut self,
        mut session: catena_shard::saved::SavedSession,
    ) -> Result<(), Status> {
        let home = self.slots.home(&session.client_id);
        let count = &mut self.sessions[home.index()];
        *count += 1;
        if *count >= 1 << SESSIONS_BITS {
            return Err(Status::out_of_range(format!(
                "shard {home} would have more than {} sessions",
                1 << SESSIONS_BITS
            )));
        }
        let id = SessionId {
            generation: self.generations[home.index()],
            counter: (self.id << SESSIONS_BITS) + *count,
            home,
        };
        let was = Named {
            client: ClientKey::of(&session.client_id),
            session: session.id,
        };
        self.current = Some((was, id));
        self.is_refused = false;
        session.id = id;
        match self.homes.add(home, Saved::Session(Box::new(session))) {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Where a thing belongs here, and what it is there.
    fn place(&self, thing: Saved) -> Result<(Vec<ShardId>, Saved), Status> {
        let here = |of: Named| match self.current {
            Some((was, session)) if was == of => Ok(Named {
                client: of.client,
                session,
            }),
            _ => Err(Status::data_loss(
                "the file has things of a session that is not in it",
            )),
        };
        Ok(match thing {
            Saved::Message { ref message, .. } => (vec![self.slots.topic(&message.topic)], thing),
            Saved::Retained(ref body) | Saved::Grouped { ref body, .. } => {
                (vec![self.slots.topic(body.topic())], thing)
            }
            Saved::Session(_) => (Vec::new(), thing),
            Saved::Subscription {
                of,
                subscription,
                is_owed,
            } => {
                let shards = match self.slots.filter(subscription.filter.filter()) {
                    Placement::One(shard) => vec![shard],
                    Placement::All => self.slots.shards().collect(),
                };
                let of = here(of)?;
                let thing = Saved::Subscription {
                    of,
                    subscription,
                    is_owed,
                };
                (shards, thing)
            }
            Saved::Queued { of, delivery } => {
                let shard = self.slots.topic(delivery.body.topic());
                let of = here(of)?;
                (vec![shard], Saved::Queued { of, delivery })
            }
            Saved::InFlight {
                of,
                packet_id,
                delivery,
            } => {
                let of = here(of)?;
                let by_id = self.stripe(packet_id);
                let by_topic = delivery
                    .as_ref()
                    .map(|delivery| (self.slots.topic(delivery.body.topic()), delivery.qos));
                match (by_topic, delivery) {
                    // In its order behind what is queued there: its packet id is another shard's.
                    (Some((shard, QoS::AtLeastOnce)), Some(delivery)) if shard != by_id => {
                        (vec![shard], Saved::Queued { of, delivery })
                    }
                    (_, delivery) => {
                        let thing = Saved::InFlight {
                            of,
                            packet_id,
                            delivery,
                        };
                        (vec![by_id], thing)
                    }
                }
            }
            Saved::Inbound {
                of,
                shard,
                packet_id,
            } => {
                let of = here(of)?;
                let shard = match self.has_same_layout {
                    true => shard,
                    false => of.session.home,
                };
                let thing = Saved::Inbound {
                    of,
                    shard,
                    packet_id,
                };
                (vec![shard], thing)
            }
            Saved::Will { ref client_id, .. } => (vec![self.slots.home(client_id)], thing),
        })
    }

    /// The shard that gives this packet id `[F-51]`.
    fn stripe(&self, packet_id: u16) -> ShardId {
        let stripe = usize::from(packet_id.wrapping_sub(1)) % 256;
        ShardId((stripe % self.slots.shard_count()) as u16)
    }

    /// Sessions go first. Where a client has begun another one meanwhile, that stays, and what belongs to the older one is left out: on other
    /// shards it would take the place of what the client has there now.
    async fn flush(&mut self) -> Result<(), Status> {
        let homes = self.homes.take();
        let begun: Vec<(ShardId, Vec<Named>)> = homes
            .iter()
            .map(|(shard, sessions)| (*shard, sessions.iter().filter_map(session).collect()))
            .collect();
        self.send(homes, false).await?;
        let refused = self.refused(begun).await?;
        let mut things = self.things.take();
        if !refused.is_empty() {
            for (_, things) in &mut things {
                things
                    .retain(|thing| session(thing).is_none_or(|of| !refused.contains(&of.session)));
            }
            things.retain(|(_, things)| !things.is_empty());
            if self.current.is_some_and(|(_, now)| refused.contains(&now)) {
                self.is_refused = true;
            }
        }
        self.send(things, false).await
    }

    /// Those of the sessions that their homes have not taken.
    async fn refused(
        &self,
        begun: Vec<(ShardId, Vec<Named>)>,
    ) -> Result<BTreeSet<SessionId>, Status> {
        let mut asked = JoinSet::new();
        for (home, sessions) in begun {
            let shards = self.shards.clone();
            asked.spawn(async move {
                let mut refused = Vec::new();
                for Named { client, session } in sessions {
                    let answered = shards.query(home, Query::Session { client }).await?;
                    let found = match answered.answer {
                        Answer::Session(found) => found.map(|found| found.id),
                        _ => None,
                    };
                    if found != Some(session) {
                        refused.push(session);
                    }
                }
                Ok::<_, Status>(refused)
            });
        }
        let mut refused = BTreeSet::new();
        while let Some(some) = asked.join_next().await {
            refused.extend(some.map_err(|error| Status::internal(error.to_string()))??);
        }
        Ok(refused)
    }

    /// Gives shards what is theirs, all at once, and waits until it is committed.
    async fn send(
        &mut self,
        batches: Vec<(ShardId, Vec<Saved>)>,
        is_last: bool,
    ) -> Result<(), Status> {
        let mut sent = JoinSet::new();
        let mut seen = BTreeSet::new();
        for (shard, things) in batches {
            if !seen.insert(shard) {
                return Err(Status::internal("a shard was given two batches at once"));
            }
            let number = &mut self.numbers[shard.index()];
            *number += 1;
            let restore = Restore {
                id: self.id,
                number: *number,
                is_clearing: self.is_replacing && *number == 1,
                is_last,
                things,
            };
            let shards = self.shards.clone();
            sent.spawn(async move { give(&shards, shard, restore).await });
        }
        while let Some(done) = sent.join_next().await {
            done.map_err(|error| Status::internal(error.to_string()))??;
        }
        Ok(())
    }
}

/// Whose a thing is.
fn session(thing: &Saved) -> Option<Named> {
    match thing {
        Saved::Session(session) => Some(Named {
            client: ClientKey::of(&session.client_id),
            session: session.id,
        }),
        Saved::Subscription { of, .. }
        | Saved::InFlight { of, .. }
        | Saved::Queued { of, .. }
        | Saved::Inbound { of, .. } => Some(*of),
        Saved::Message { .. } | Saved::Retained(_) | Saved::Grouped { .. } | Saved::Will { .. } => {
            None
        }
    }
}

async fn give(shards: &Shards, shard: ShardId, restore: Restore) -> Result<(), Status> {
    let command = Command::Restore(Box::new(restore));
    let deadline = Instant::now() + PATIENCE;
    while !shards.command(shard, command.clone()).await? {
        if Instant::now() >= deadline {
            return Err(Status::resource_exhausted(format!(
                "shard {shard} takes no more: its memory is full, or another restore has begun"
            )));
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}
