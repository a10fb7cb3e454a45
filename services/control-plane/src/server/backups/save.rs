//! What shards tell, as a file: all freeze at once, and then each waits for its turn.
//!
//! Shards tell sessions in the order of their clients' keys, so that those of one client are put together here without remembering the others.

use std::{
    collections::{BTreeMap, VecDeque},
    time::SystemTime,
};

use bytes::Bytes;
use catena_mqtt::Filter;
use catena_proto::{admin::v1 as proto, internal::v1 as wire};
use catena_shard::{ClientKey, Saved, SessionId};
use catena_slots::ShardId;
use catena_transport::{Saving, wire::Wire};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::Status;

use crate::{
    backup::{Record, Writer, count},
    server::{Context, inspect::Shards, status},
};

/// Bytes of things after which they become a record, and how many they may be.
const RECORD_BYTES: usize = 256 << 10;
const RECORD_THINGS: usize = 1_000;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

type Out = mpsc::Sender<Result<proto::CreateBackupResponse, Status>>;

/// A backup whose moment has come.
pub struct Begun {
    header: proto::BackupHeader,
    resources: proto::BackupResources,
    sources: Vec<Source>,
}

/// Reads resources, and freezes all shards.
pub async fn begin(context: &Context, shards: &Shards) -> Result<Begun, Status> {
    let known = context.catalogue.known().await;
    let known = known.map_err(|refused| status(&refused))?;
    let manifests = known.resources.iter();
    let manifests = manifests.map(|(_, stored)| serde_json::json!(&*stored.resource).to_string());
    let slots = shards.slots()?;
    let mut asked = JoinSet::new();
    for shard in slots.shards() {
        let shards = shards.clone();
        asked.spawn(async move {
            let saving = shards.save(shard).await?;
            Ok::<_, Status>(Source::new(shard, saving))
        });
    }
    let mut sources = Vec::new();
    while let Some(source) = asked.join_next().await {
        sources.push(source.map_err(|error| Status::internal(error.to_string()))??);
    }
    sources.sort_by_key(|source| source.shard);
    Ok(Begun {
        header: proto::BackupHeader {
            made_at: Some(SystemTime::now().into()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: context.cluster.clone(),
            shards: slots.shard_count() as u32,
            shard_key_levels: slots.key_levels().into(),
        },
        resources: proto::BackupResources {
            manifests: manifests.collect(),
        },
        sources,
    })
}

/// Tells the file to its end; `None` when nobody listens any more.
pub async fn run(begun: Begun, out: &Out) -> Result<Option<proto::BackupProgress>, Status> {
    let mut file = File {
        writer: Writer::default(),
        things: Vec::new(),
        bytes: 0,
        progress: proto::BackupProgress {
            shards: begun.header.shards,
            ..proto::BackupProgress::default()
        },
        out: out.clone(),
    };
    let told = tell(begun, &mut file).await;
    match told {
        Ok(()) => Ok(Some(file.progress)),
        Err(Stopped::Failed(status)) => Err(*status),
        Err(Stopped::Gone) => Ok(None),
    }
}

enum Stopped {
    Failed(Box<Status>),
    Gone,
}

impl From<Status> for Stopped {
    fn from(status: Status) -> Stopped {
        Stopped::Failed(Box::new(status))
    }
}

async fn tell(begun: Begun, file: &mut File) -> Result<(), Stopped> {
    let Begun {
        header,
        resources,
        mut sources,
    } = begun;
    file.put(Record::Header(header)).await?;
    file.put(Record::Resources(resources)).await?;
    for stage in [Stage::Messages, Stage::Retained] {
        file.take_all(&mut sources, stage).await?;
    }
    while let Some(client) = first_client(&mut sources).await? {
        file.take_client(&mut sources, client).await?;
    }
    for stage in [Stage::Groups, Stage::Wills] {
        file.take_all(&mut sources, stage).await?;
    }
    for source in &mut sources {
        if source.peek().await?.is_some() {
            let said = format!("shard {} tells things out of order", source.shard);
            return Err(Status::internal(said).into());
        }
    }
    file.progress.shards_done = file.progress.shards;
    file.flush().await?;
    let total = file.progress;
    file.put(Record::End(proto::BackupEnd { total: Some(total) }))
        .await?;
    file.answer(Bytes::new(), true).await
}

/// The order in which shards tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Messages,
    Retained,
    Sessions,
    Groups,
    Wills,
}

fn stage(thing: &Saved) -> Stage {
    match thing {
        Saved::Message { .. } => Stage::Messages,
        Saved::Retained(_) => Stage::Retained,
        Saved::Session(_)
        | Saved::Subscription { .. }
        | Saved::InFlight { .. }
        | Saved::Queued { .. }
        | Saved::Inbound { .. } => Stage::Sessions,
        Saved::Grouped { .. } => Stage::Groups,
        Saved::Will { .. } => Stage::Wills,
    }
}

/// What one shard tells.
struct Source {
    shard: ShardId,
    saving: Saving,
    waiting: VecDeque<Saved>,
    is_over: bool,
}

impl Source {
    fn new(shard: ShardId, saving: Saving) -> Source {
        Source {
            shard,
            saving,
            waiting: VecDeque::new(),
            is_over: false,
        }
    }

    /// The next thing; `None` at the end.
    async fn peek(&mut self) -> Result<Option<&Saved>, Status> {
        while self.waiting.is_empty() && !self.is_over {
            match self.saving.saved.recv().await {
                Some(Ok(things)) => self.waiting = things.into(),
                Some(Err(why)) => {
                    let said = format!("shard {}: {why}", self.shard);
                    return Err(Status::unavailable(said));
                }
                None => self.is_over = true,
            }
        }
        Ok(self.waiting.front())
    }

    /// The next thing, if it is of `client`.
    async fn next_of(&mut self, client: ClientKey) -> Result<Option<Saved>, Status> {
        let is_his = self.peek().await?.and_then(Saved::client) == Some(client);
        Ok(is_his.then(|| self.waiting.pop_front()).flatten())
    }
}

/// Whose things are next.
async fn first_client(sources: &mut [Source]) -> Result<Option<ClientKey>, Status> {
    let mut first: Option<ClientKey> = None;
    for source in sources {
        if let Some(client) = source.peek().await?.and_then(Saved::client) {
            first = Some(first.map_or(client, |first| first.min(client)));
        }
    }
    Ok(first)
}

/// The file as it is told.
struct File {
    writer: Writer,
    things: Vec<wire::Saved>,
    /// Of the things.
    bytes: usize,
    progress: proto::BackupProgress,
    out: Out,
}

impl File {
    async fn take_all(&mut self, sources: &mut [Source], wanted: Stage) -> Result<(), Stopped> {
        let mut done = 0;
        for source in sources {
            while let Some(thing) = source.peek().await?
                && stage(thing) == wanted
            {
                if let Some(thing) = source.waiting.pop_front() {
                    self.thing(&thing).await?;
                }
            }
            done += u32::from(source.is_over);
        }
        self.progress.shards_done = done;
        Ok(())
    }

    /// Takes what shards have of a session; of one that no home knows, or that another has taken the place of, nothing.
    async fn take_client(
        &mut self,
        sources: &mut [Source],
        client: ClientKey,
    ) -> Result<(), Stopped> {
        let mut session: Option<SessionId> = None;
        for source in &mut *sources {
            if let Some(Saved::Session(record)) = source.peek().await?
                && ClientKey::of(&record.client_id) == client
            {
                session = Some(record.id);
                if let Some(thing) = source.waiting.pop_front() {
                    self.thing(&thing).await?;
                }
                break;
            }
        }
        // A filter with wildcards is on every shard.
        let mut filters: BTreeMap<Filter, bool> = BTreeMap::new();
        for source in sources {
            while let Some(thing) = source.next_of(client).await? {
                let is_news = match &thing {
                    Saved::Session(_) => false,
                    Saved::Subscription {
                        of,
                        subscription,
                        is_owed,
                    } => {
                        let known = filters.get(&subscription.filter);
                        let is_new = known.is_none_or(|owed| *is_owed && !owed);
                        filters.insert(subscription.filter.clone(), *is_owed);
                        is_new && Some(of.session) == session
                    }
                    Saved::InFlight { of, .. }
                    | Saved::Queued { of, .. }
                    | Saved::Inbound { of, .. } => Some(of.session) == session,
                    _ => false,
                };
                if is_news {
                    self.thing(&thing).await?;
                }
            }
        }
        Ok(())
    }

    async fn thing(&mut self, thing: &Saved) -> Result<(), Stopped> {
        self.bytes += thing.weight();
        let thing = thing.to_proto();
        count(&mut self.progress, &thing);
        self.things.push(thing);
        if self.bytes >= RECORD_BYTES || self.things.len() >= RECORD_THINGS {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        if self.things.is_empty() {
            return Ok(());
        }
        let things = std::mem::take(&mut self.things);
        self.put(Record::Things(things)).await
    }

    async fn put(&mut self, record: Record) -> Result<(), Stopped> {
        let mut bytes = self.writer.put(record);
        self.progress.bytes = self.writer.bytes();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(ANSWER_BYTES_MAX));
            self.answer(piece, false).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, data: Bytes, done: bool) -> Result<(), Stopped> {
        let answer = proto::CreateBackupResponse {
            data,
            progress: Some(self.progress),
            done,
        };
        self.out.send(Ok(answer)).await.map_err(|_| Stopped::Gone)
    }
}
