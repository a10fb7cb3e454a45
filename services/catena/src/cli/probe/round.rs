//! What happens on one route: all that a client does, once.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catena_mqtt::{
    ByteString, Packet, QoS, ReasonCode, Version,
    packet::{Connect, Publish, Subscribe, SubscribeFilter, Unsubscribe},
    property,
};
use tokio::time::timeout;

use catena_gateway::Gateway;

use crate::cli::{client::Client, way::Way};

/// The category that the probe's messages are counted in.
const CATEGORY: &str = "broker_selftest";

/// Through a gateway to a shard.
#[derive(Debug, Clone)]
pub struct Route {
    /// As it was named.
    pub gateway: String,
    pub door: Door,
    pub shard: u16,
    /// A topic of that shard.
    pub topic: String,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// How the probe comes in.
#[derive(Debug, Clone)]
pub enum Door {
    /// As every client.
    Network(Way),
    /// From within the gateway's process.
    Own(Gateway),
}

/// Something that a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Connect,
    Ping,
    Subscribe,
    Publish,
    /// From PUBLISH until the message is back and is what was sent.
    PayloadCheck,
    Unsubscribe,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Ping => "ping",
            Step::Subscribe => "subscribe",
            Step::Publish => "publish",
            Step::PayloadCheck => "payload check",
            Step::Unsubscribe => "unsubscribe",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What went well, and how long it took.
    pub steps: Vec<(Step, Duration)>,
    /// What did not, and why; nothing was tried after it.
    pub failure: Option<(Step, String)>,
}

/// Does it all, within that time.
///
/// `is_traced`: what the message says of itself, where the broker has somewhere to send traces.
pub async fn run(route: &Route, within: Duration, is_traced: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut step = Step::Connect;
    let done = timeout(
        within,
        walk(route, is_traced, &mut step, &mut outcome.steps),
    )
    .await;
    let why = match done {
        Ok(Ok(())) => return outcome,
        Ok(Err(why)) => why,
        Err(_) => format!("nothing within {} s", within.as_secs()),
    };
    outcome.failure = Some((step, why));
    outcome
}

async fn walk(
    route: &Route,
    is_traced: bool,
    step: &mut Step,
    steps: &mut Vec<(Step, Duration)>,
) -> Result<(), String> {
    let random = RandomState::new();
    let nonce = format!("{:016x}{:016x}", random.hash_one(1), random.hash_one(2));
    let mut begun = Instant::now();
    let mut next = |done: Step, following: Step, step: &mut Step| {
        steps.push((done, begun.elapsed()));
        *step = following;
        begun = Instant::now();
    };
    let mut opened = open(route, &connect(route, &nonce)).await?;
    let client = &mut opened;
    next(Step::Connect, Step::Ping, step);
    client.ping().await.map_err(|error| error.to_string())?;
    next(Step::Ping, Step::Subscribe, step);

    let (first, second, third) = (id(1), id(2), id(3));
    let topic = ByteString::from(route.topic.as_str());
    let filter = SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce);
    client.queue(&Packet::Subscribe(Subscribe::new(first, vec![filter])));
    loop {
        match receive(client).await? {
            Packet::Suback(suback) => match suback.codes.first() {
                Some(reason) if !reason.is_error() => break,
                reason => return Err(format!("refused: {reason:?}")),
            },
            _ => continue,
        }
    }
    next(Step::Subscribe, Step::Publish, step);

    let mut publish = Publish::new(topic.clone(), Bytes::from(nonce.clone()));
    (publish.qos, publish.packet_id) = (QoS::AtLeastOnce, Some(second));
    let flags = u8::from(is_traced);
    let context = format!("00-{nonce}-{:016x}-{flags:02x}", random.hash_one(3) | 1);
    let properties = property::Builder::new()
        .user("traceparent", &context)
        .build();
    publish.properties = properties.map_err(|error| error.to_string())?;
    client.queue(&Packet::Publish(publish));
    let sent = Instant::now();
    let (mut is_acked, mut came) = (None, None);
    while is_acked.is_none() || came.is_none() {
        match receive(client).await? {
            Packet::Puback(ack) if ack.reason.is_error() => {
                return Err(format!("refused: {:?}", ack.reason));
            }
            Packet::Puback(_) => is_acked = Some(sent.elapsed()),
            Packet::Publish(got) => {
                if let Some(id) = got.packet_id {
                    client.queue(&Packet::Puback(catena_mqtt::packet::Ack::new(
                        id,
                        ReasonCode::Success,
                    )));
                }
                if got.payload != nonce.as_bytes() || got.topic != topic {
                    *step = Step::PayloadCheck;
                    return Err("what came back is not what was sent".to_owned());
                }
                came = Some(sent.elapsed());
            }
            _ => {}
        }
        if is_acked.is_some() {
            *step = Step::PayloadCheck;
        }
    }
    steps.extend(is_acked.map(|took| (Step::Publish, took)));
    steps.extend(came.map(|took| (Step::PayloadCheck, took)));
    *step = Step::Unsubscribe;
    let begun = Instant::now();
    client.queue(&Packet::Unsubscribe(Unsubscribe::new(third, vec![topic])));
    loop {
        match receive(client).await? {
            Packet::Unsuback(_) => break,
            _ => continue,
        }
    }
    steps.push((Step::Unsubscribe, begun.elapsed()));
    // All went well: a broker that does not close in time has our word all the same.
    let _ = opened.close().await;
    Ok(())
}

async fn open(route: &Route, connect: &Connect) -> Result<Client, String> {
    let opened = match &route.door {
        Door::Network(way) => Client::open(way, connect).await,
        Door::Own(gateway) => {
            let stream = gateway.enter().ok_or("the gateway takes no more clients")?;
            Client::over(Box::new(stream), route.gateway.clone(), connect).await
        }
    };
    opened.map_err(|error| error.to_string())
}

async fn receive(client: &mut Client) -> Result<Packet, String> {
    client.receive().await.map_err(|error| error.to_string())
}

fn connect(route: &Route, nonce: &str) -> Connect {
    let mut connect = Connect::new(Version::V5, format!("catena-probe-{nonce}"));
    connect.clean_start = true;
    connect.keep_alive = 60;
    connect.username = route.username.as_deref().map(ByteString::from);
    connect.password = route.password.clone().map(Bytes::from);
    connect.user_properties.push("metriccategory", CATEGORY);
    connect
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN)
}
