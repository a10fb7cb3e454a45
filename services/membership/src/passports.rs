//! Carries passports between a process and the control plane: orders in, steps out.

use std::time::Duration;

use bytes::Bytes;
use catena_proto::internal::v1 as proto;
use catena_shard::{
    ClientKey,
    watch::{self, Wanted},
};
use catena_telemetry::passports::{Client, Kind, Order, Passports, Step, Which};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use crate::endpoints::{Endpoints, Turn};

/// Messages that wait for the network.
const OUTGOING_MAX: usize = 4;
/// Steps of one message.
const STEPS_PER_MESSAGE: usize = 512;
/// Steps gather for so long, so that a busy topic is not a message for each.
const GATHER: Duration = Duration::from_millis(20);

/// Carries for ever, through one replica after another.
pub(crate) async fn run(
    endpoints: Endpoints,
    role: &'static str,
    name: String,
    passports: Passports,
) {
    let mut turn = endpoints.turn();
    loop {
        if let Err(error) = carry(&mut turn, role, &name, &passports).await {
            debug!(address = turn.address(), %error, "passports are not carried");
        }
        // Whoever gave them is not reached any more; the next replica says what there is.
        passports.set(&[]);
        turn.failed().await;
    }
}

async fn carry(
    turn: &mut Turn,
    role: &'static str,
    name: &str,
    passports: &Passports,
) -> Result<(), String> {
    let said = |status: tonic::Status| status.to_string();
    let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
    let first = proto::CarryRequest {
        role: role.to_owned(),
        name: name.to_owned(),
        ..proto::CarryRequest::default()
    };
    // There is room: it is the first.
    let _ = out.try_send(first);
    let asked = turn.passports().carry(ReceiverStream::new(outgoing)).await;
    let mut orders = asked.map_err(said)?.into_inner();
    loop {
        let (is_told, told) = tokio::select! {
            told = orders.message() => {
                let Some(told) = told.map_err(said)? else { return Ok(()) };
                turn.succeeded();
                let known: Vec<Order> = told.orders.into_iter().filter_map(order).collect();
                passports.set(&known);
                (true, known)
            }
            () = passports.came() => {
                sleep(GATHER).await;
                (false, passports.orders().to_vec())
            }
        };
        let taken: Vec<u64> = told.iter().map(|order| order.id).collect();
        let (steps, dropped) = passports.take();
        if steps.is_empty() && dropped == 0 && !is_told {
            continue;
        }
        let mut dropped = Some(dropped);
        let mut steps = steps.into_iter().map(message).peekable();
        loop {
            let request = proto::CarryRequest {
                taken: taken.clone(),
                steps: steps.by_ref().take(STEPS_PER_MESSAGE).collect(),
                dropped: dropped.take().unwrap_or(0),
                ..proto::CarryRequest::default()
            };
            if out.send(request).await.is_err() {
                return Ok(());
            }
            if steps.peek().is_none() {
                break;
            }
        }
    }
}

/// `None` for what a newer control plane asks for.
fn order(order: proto::PassportOrder) -> Option<Order> {
    let of = match order.of? {
        proto::passport_order::Of::ClientId(client) => Which::Client(client),
        proto::passport_order::Of::TopicFilter(filter) => Which::Topic(filter),
        proto::passport_order::Of::Trace(bytes) => {
            Which::Trace(u128::from_be_bytes(bytes.as_ref().try_into().ok()?))
        }
    };
    Some(Order { id: order.id, of })
}

/// Orders as gateways and shards look for them; one whose filter is none is nobody's.
pub fn wanted(orders: &[Order]) -> Vec<Wanted> {
    let wanted = orders.iter().filter_map(|order| {
        let of = match &order.of {
            Which::Client(client) => watch::Which::Client(ClientKey::of(client)),
            Which::Topic(filter) => watch::Which::topic(filter)?,
            Which::Trace(trace) => watch::Which::Trace(*trace),
        };
        Some(Wanted {
            order: order.id,
            of,
        })
    });
    wanted.collect()
}

fn message(step: Step) -> proto::PassportStep {
    let key = |key: u128| Bytes::copy_from_slice(&key.to_be_bytes());
    proto::PassportStep {
        at: step.at,
        orders: step.orders,
        kind: kind(step.kind).into(),
        trace: step.name.map(|(trace, _)| key(trace)).unwrap_or_default(),
        span: step.name.map_or(0, |(_, span)| span),
        topic: step.topic,
        qos: step.qos.into(),
        payload_bytes: step.payload_bytes,
        publisher: key(step.publisher),
        client: step.client.map(|client| match client {
            Client::Id(id) => proto::passport_step::Client::ClientId(id),
            Client::Key(hash) => proto::passport_step::Client::ClientKey(key(hash)),
        }),
        shard: step.shard,
        detail: step.detail.to_owned(),
    }
}

fn kind(kind: Kind) -> proto::PassportKind {
    match kind {
        Kind::Received => proto::PassportKind::Received,
        Kind::Authorized => proto::PassportKind::Authorized,
        Kind::Denied => proto::PassportKind::Denied,
        Kind::Waiting => proto::PassportKind::Waiting,
        Kind::Sent => proto::PassportKind::Sent,
        Kind::Accepted => proto::PassportKind::Accepted,
        Kind::Replicated => proto::PassportKind::Replicated,
        Kind::Committed => proto::PassportKind::Committed,
        Kind::Answered => proto::PassportKind::Answered,
        Kind::Retained => proto::PassportKind::Retained,
        Kind::Queued => proto::PassportKind::Queued,
        Kind::Dispatched => proto::PassportKind::Dispatched,
        Kind::Delivered => proto::PassportKind::Delivered,
        Kind::Acknowledged => proto::PassportKind::Acknowledged,
        Kind::Dropped => proto::PassportKind::Dropped,
    }
}
