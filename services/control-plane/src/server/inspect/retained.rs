//! Retained messages: listed, shown, deleted.

use std::{cmp::Ordering, collections::VecDeque};

use bytestring::ByteString;
use catena_mqtt::{Filter, property, topic};
use catena_proto::admin::v1 as proto;
use catena_shard::{
    Answer, Command, Query,
    query::{Retained, Summary},
};
use catena_slots::ShardId;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{Shards, missing, moment, page_size, reason, sessions::qos, shards::confused, wrong};
use crate::access::gate::about;

/// The most bytes of a payload that are shown.
const PAYLOAD_BYTES_MAX: u32 = 1 << 20;
/// How often a message that is replaced while it is deleted is looked for again.
const ATTEMPTS: usize = 3;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub shards: Shards,
}

#[tonic::async_trait]
impl proto::retained_server::Retained for Service {
    async fn list_retained(
        &self,
        request: Request<proto::ListRetainedRequest>,
    ) -> Result<Response<proto::ListRetainedResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().filter));
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let filter = match request.filter.as_str() {
            "" => "#",
            filter => filter,
        };
        let parsed = Filter::parse(filter.to_owned());
        let filter = parsed.map_err(|error| wrong("filter", error.to_string()))?;
        if filter.share().is_some() {
            let problem = "is that of a shared subscription, which gets no retained messages";
            return Err(wrong("filter", problem.to_owned()));
        }
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(topic_name("page_token", token)?),
        };
        let slots = self.shards.slots()?;
        let shards: Vec<ShardId> = match filter.has_wildcards() {
            true => slots.shards().collect(),
            false => vec![slots.topic(filter.filter())],
        };
        let mut walks: Vec<Walk> = shards
            .into_iter()
            .map(|shard| Walk::from(shard, after.clone()))
            .collect();
        let mut messages = Vec::new();
        while messages.len() < size {
            for walk in &mut walks {
                self.go_on(walk, &filter, size - messages.len()).await?;
            }
            let ahead = walks.iter_mut().filter(|walk| walk.front().is_some());
            let Some(first) = ahead.min_by(|a, b| a.compare(b)) else {
                break;
            };
            if let Some(found) = first.found.pop_front() {
                messages.push(message(first.shard, &found));
            }
        }
        let is_end = walks.iter().all(|walk| walk.is_over());
        let last = messages.last().filter(|_| !is_end);
        Ok(Response::new(proto::ListRetainedResponse {
            next_page_token: last.map(|last| last.topic.clone()).unwrap_or_default(),
            messages,
        }))
    }

    async fn get_retained(
        &self,
        request: Request<proto::GetRetainedRequest>,
    ) -> Result<Response<proto::GetRetainedResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().topic));
        let request = request.into_inner();
        let payload_bytes_max = match request.payload_bytes_max {
            0 => PAYLOAD_BYTES_MAX,
            bytes @ 1..=PAYLOAD_BYTES_MAX => bytes,
            _ => {
                let problem = format!("must be 1 to {PAYLOAD_BYTES_MAX}");
                return Err(wrong("payload_bytes_max", problem));
            }
        };
        let topic = topic_name("topic", &request.topic)?;
        let (shard, found) = self.find(&topic, payload_bytes_max).await?;
        let encoded = &found.properties;
        Ok(Response::new(proto::GetRetainedResponse {
            message: Some(message(shard, &found.summary)),
            content_type: property::content_type(encoded).map(str::to_owned),
            response_topic: property::response_topic(encoded).map(str::to_owned),
            correlation_data: property::correlation_data(encoded)
                .map(|data| encoded.slice_ref(data)),
            is_text: property::payload_format_is_utf8(encoded),
            user_properties: property::user_properties(encoded)
                .map(|(name, value)| proto::UserProperty {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .collect(),
            payload: found.payload,
        }))
    }

    async fn delete_retained(
        &self,
        request: Request<proto::DeleteRetainedRequest>,
    ) -> Result<Response<proto::DeleteRetainedResponse>, Status> {
        about(&request, format_args!("{:?}", request.get_ref().topic));
        let request = request.into_inner();
        let why = reason(&request.reason)?;
        let topic = topic_name("topic", &request.topic)?;
        for _ in 0..ATTEMPTS {
            let (shard, found) = self.find(&topic, 0).await?;
            let command = Command::ClearRetained {
                topic: topic.clone(),
                sequence: found.summary.sequence,
            };
            if self.shards.command(shard, command).await? {
                info!(
                    topic = &*topic,
                    reason = why,
                    "retained message deleted by an administrator"
                );
                return Ok(Response::new(proto::DeleteRetainedResponse {}));
            }
        }
        Err(Status::aborted(format!(
            "the retained message of {topic:?} is replaced all the time: try again when its publisher rests"
        )))
    }
}

impl Service {
    async fn find(&self, topic: &ByteString, bytes: u32) -> Result<(ShardId, Retained), Status> {
        let shard = self.shards.slots()?.topic(topic);
        let query = Query::Retained {
            topic: topic.clone(),
            payload_bytes_max: bytes,
        };
        match self.shards.query(shard, query).await?.answer {
            Answer::Retained(Some(found)) => Ok((shard, *found)),
            Answer::Retained(None) => {
                let message = format!("the topic {topic:?} has no retained message");
                Err(missing("retained message", topic, message))
            }
            other => Err(confused(shard, &other)),
        }
    }

    /// Looks for the next messages of a shard until there is one, or the end.
    async fn go_on(&self, walk: &mut Walk, filter: &Filter, limit: usize) -> Result<(), Status> {
        while walk.found.is_empty() && !walk.is_done {
            let query = Query::RetainedList {
                filter: filter.clone(),
                after: walk.after.clone(),
                limit: limit as u32,
            };
            match self.shards.query(walk.shard, query).await?.answer {
                Answer::RetainedList(list) => {
                    walk.found = list.messages.into();
                    walk.is_done = list.next.is_none();
                    walk.after = list.next;
                }
                other => return Err(confused(walk.shard, &other)),
            }
        }
        Ok(())
    }
}

/// The way through the retained messages of one shard.
#[derive(Debug)]
struct Walk {
    shard: ShardId,
    after: Option<ByteString>,
    found: VecDeque<Summary>,
    /// Nothing follows behind `found`.
    is_done: bool,
}

impl Walk {
    fn from(shard: ShardId, after: Option<ByteString>) -> Walk {
        Walk {
            shard,
            after,
            found: VecDeque::new(),
            is_done: false,
        }
    }

    fn front(&self) -> Option<&Summary> {
        self.found.front()
    }

    fn is_over(&self) -> bool {
        self.is_done && self.found.is_empty()
    }

    fn compare(&self, other: &Walk) -> Ordering {
        let topic = |walk: &Walk| walk.front().map(|found| found.topic.clone());
        match (topic(self), topic(other)) {
            (Some(ours), Some(theirs)) => by_level(&ours, &theirs),
            _ => Ordering::Equal,
        }
    }
}

/// The order in which shards list topics: level by level.
fn by_level(a: &str, b: &str) -> Ordering {
    topic::levels(a).cmp(topic::levels(b))
}

fn topic_name(field: &str, name: &str) -> Result<ByteString, Status> {
    match topic::validate(name) {
        Ok(()) => Ok(name.to_owned().into()),
        Err(error) => Err(wrong(field, error.to_string())),
    }
}

fn message(shard: ShardId, found: &Summary) -> proto::RetainedMessage {
    proto::RetainedMessage {
        topic: found.topic.to_string(),
        qos: qos(found.qos),
        payload_bytes: found.payload_bytes,
        expires_at: moment(found.expires_at),
        shard: shard.0.into(),
    }
}
