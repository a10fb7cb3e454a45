//! Following messages, for administrators: through all replicas, with the names of clients.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use catena_mqtt::Filter;
use catena_proto::{
    admin::v1::{self as proto, traces_server::Traces},
    internal::v1::{self as internal, passports_client::PassportsClient},
};
use catena_shard::{Answer, ClientKey, Query};
use prost_types::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Channel};

use super::{Shards, wrong};
use crate::{
    access::gate::about,
    passports::{Reading, Said},
    server::{
        Context, ended,
        membership::Answers,
        passports::{TIME_MAX, said, too_many},
    },
};

/// How long messages are followed when nobody says.
const SECONDS: u32 = 60;
/// Events that wait for the network.
const OUTGOING_MAX: usize = 256;
/// What other replicas have said and is not read yet.
const SAID_MAX: usize = 16;
/// Before a replica that was lost is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Names of clients that are remembered, and how long it may take to find one.
const NAMES_MAX: usize = 10_000;
const NAME_TIME: Duration = Duration::from_secs(1);
const CLIENT_ID_BYTES_MAX: usize = 65_535;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub context: Context,
    pub shards: Shards,
}

#[tonic::async_trait]
impl Traces for Service {
    type WatchTraceStream = Answers<proto::WatchTraceResponse>;

    async fn watch_trace(
        &self,
        request: Request<proto::WatchTraceRequest>,
    ) -> Result<Response<Self::WatchTraceStream>, Status> {
        let of = wanted(request.get_ref())?;
        let seconds = match request.get_ref().seconds {
            0 => SECONDS,
            seconds if u64::from(seconds) <= TIME_MAX.as_secs() => seconds,
            _ => return Err(wrong("seconds", "must be 1 to 3,600".to_owned())),
        };
        about(&request, words(&of));
        let reading = self.context.desk.open(of.clone()).ok_or_else(too_many)?;
        let until = Instant::now() + Duration::from_secs(seconds.into());
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let (service, ending) = (self.clone(), self.context.ending.clone());
        tokio::spawn(async move {
            let followed = service.follow(of, reading, until, &out);
            tokio::select! {
                _ = followed => {}
                () = tokio::time::sleep_until(until) => {}
                () = out.closed() => {}
                () = ended(ending) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

type Out = mpsc::Sender<Result<proto::WatchTraceResponse, Status>>;

impl Service {
    /// Tells what is seen, here and at the other replicas; `None` at the end.
    async fn follow(
        &self,
        of: internal::passport_order::Of,
        mut reading: Reading,
        until: Instant,
        out: &Out,
    ) -> Option<()> {
        let (tell, mut elsewhere) = mpsc::channel(SAID_MAX);
        let mut others = JoinSet::new();
        let replicas = self.context.following.view.borrow().replicas.clone();
        for channel in self.context.routes.others(&replicas) {
            others.spawn(ask(channel, of.clone(), until, tell.clone()));
        }
        let mut names = Names::default();
        loop {
            let said = tokio::select! {
                said = reading.said.recv() => said?,
                said = elsewhere.recv() => said?,
            };
            self.tell(said, &mut names, out).await?;
        }
    }

    async fn tell(&self, said: Said, names: &mut Names, out: &Out) -> Option<()> {
        use proto::watch_trace_response::{Event, Joined, Missed};
        let process = said.process;
        let send = async |event| {
            let response = proto::WatchTraceResponse { event: Some(event) };
            out.send(Ok(response)).await.ok()
        };
        if said.joined {
            let process = process.clone();
            send(Event::Joined(Joined { process })).await?;
        }
        if said.missed > 0 {
            let (process, steps) = (process.clone(), said.missed);
            send(Event::Missed(Missed { process, steps })).await?;
        }
        for step in said.steps {
            let step = self.step(step, &process, names).await;
            send(Event::Step(step)).await?;
        }
        Some(())
    }

    async fn step(
        &self,
        step: internal::PassportStep,
        process: &str,
        names: &mut Names,
    ) -> proto::Step {
        use internal::passport_step::Client;
        let client_id = match step.client {
            None => String::new(),
            Some(Client::ClientId(id)) => {
                names.learn(&id);
                id
            }
            Some(Client::ClientKey(key)) => self.name(&key, names).await,
        };
        let is_received = step.kind == i32::from(internal::PassportKind::Received);
        let publisher = match is_received {
            true => client_id.clone(),
            false => self.name(&step.publisher, names).await,
        };
        let (trace_id, message_id) = match step.trace.is_empty() {
            true => (String::new(), String::new()),
            false => (hex(&step.trace), format!("{:016x}", step.span)),
        };
        proto::Step {
            at: Some(Timestamp {
                seconds: (step.at / 1_000_000_000) as i64,
                nanos: (step.at % 1_000_000_000) as i32,
            }),
            // The same numbers, as the agreement has it.
            kind: step.kind,
            process: process.to_owned(),
            trace_id,
            message_id,
            topic: step.topic,
            qos: step.qos,
            payload_bytes: step.payload_bytes,
            publisher,
            client_id: if is_received {
                String::new()
            } else {
                client_id
            },
            shard: step.shard,
            detail: step.detail,
        }
    }

    /// The id of a client, from what was seen of it or from its session.
    async fn name(&self, key: &Bytes, names: &mut Names) -> String {
        let Ok(bytes) = <[u8; 16]>::try_from(key.as_ref()) else {
            return String::new();
        };
        let client = ClientKey(u128::from_be_bytes(bytes));
        if let Some(known) = names.0.get(&client.0) {
            return known.clone();
        }
        let found = tokio::time::timeout(NAME_TIME, self.find(client)).await;
        let name = found.ok().flatten().unwrap_or_default();
        names.put(client, &name);
        name
    }

    async fn find(&self, client: ClientKey) -> Option<String> {
        for shard in self.shards.slots().ok()?.shards() {
            let answered = self.shards.query(shard, Query::Session { client }).await;
            if let Answer::Session(Some(session)) = answered.ok()?.answer {
                return Some(session.client_id.to_string());
            }
        }
        None
    }
}

/// Ids of clients by their hash; an empty one was looked for and not found.
#[derive(Debug, Default)]
struct Names(HashMap<u128, String>);

impl Names {
    fn learn(&mut self, id: &str) {
        self.put(ClientKey::of(id), id);
    }

    fn put(&mut self, client: ClientKey, id: &str) {
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(client.0, id.to_owned());
    }
}

/// Asks another replica for what its members carry there, for as long as it is wanted.
async fn ask(
    channel: Channel,
    of: internal::passport_order::Of,
    until: Instant,
    tell: mpsc::Sender<Said>,
) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let order = internal::PassportOrder {
            id: 0,
            of: Some(of.clone()),
        };
        let request = internal::FollowRequest {
            order: Some(order),
            milliseconds: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
        };
        let asked = PassportsClient::new(channel.clone()).follow(request).await;
        if let Ok(answers) = asked {
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await {
                if tell.send(said(answer)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn wanted(request: &proto::WatchTraceRequest) -> Result<internal::passport_order::Of, Status> {
    use internal::passport_order::Of as Order;
    use proto::watch_trace_request::Of;
    match request.of.clone() {
        Some(Of::ClientId(id)) if id.is_empty() || id.len() > CLIENT_ID_BYTES_MAX => {
            Err(wrong("client_id", "is empty or too long".to_owned()))
        }
        Some(Of::ClientId(id)) => Ok(Order::ClientId(id)),
        Some(Of::TopicFilter(filter)) => match Filter::parse(filter.as_str()) {
            Ok(parsed) if parsed.share().is_none() => Ok(Order::TopicFilter(filter)),
            Ok(_) => Err(wrong(
                "topic_filter",
                "is of a shared subscription: leave $share/GROUP/ out".to_owned(),
            )),
            Err(error) => Err(wrong("topic_filter", error.to_string())),
        },
        Some(Of::TraceId(id)) => {
            let is_hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
            let trace = u128::from_str_radix(&id, 16).ok();
            match trace.filter(|trace| is_hex && *trace != 0) {
                Some(trace) => Ok(Order::Trace(Bytes::copy_from_slice(&trace.to_be_bytes()))),
                None => Err(wrong(
                    "trace_id",
                    "must be 32 hexadecimal digits, not all 0".to_owned(),
                )),
            }
        }
        None => Err(wrong(
            "of",
            "say a client id, a topic filter or a trace id".to_owned(),
        )),
    }
}

/// For the audit.
fn words(of: &internal::passport_order::Of) -> String {
    use internal::passport_order::Of;
    match of {
        Of::ClientId(id) => format!("client {id}"),
        Of::TopicFilter(filter) => format!("topics {filter}"),
        Of::Trace(trace) => format!("trace {}", hex(trace)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
