//! One session: a page, or JSON.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use catena_proto::admin::v1 as proto;
use serde::Serialize;

use super::{ANONYMOUS, Line, Output, expiry, protocol, state};
use crate::cli::{
    moment::{age, moment},
    table::{NOTHING, Table, shown},
};

#[derive(Debug, Serialize)]
struct Report<'a> {
    session: Line<'a>,
    shards: Vec<Shard>,
    subscriptions: Vec<Subscription<'a>>,
    more_subscriptions: bool,
}

#[derive(Debug, Serialize)]
struct Shard {
    shard: u32,
    attached: bool,
    subscriptions: u64,
    queued: u64,
    queued_bytes: u64,
    in_flight: u64,
    in_flight_bytes: u64,
    inbound: u64,
}

#[derive(Debug, Serialize)]
struct Subscription<'a> {
    filter: &'a str,
    qos: u32,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u32,
    #[serde(skip_serializing_if = "is_zero")]
    id: u32,
    shards: &'a [u32],
}

fn is_zero(id: &u32) -> bool {
    *id == 0
}

/// Writes it to the standard output.
pub fn write(found: &proto::GetSessionResponse, output: Output) -> anyhow::Result<()> {
    let session = found.session.clone().unwrap_or_default();
    let mut out = io::stdout().lock();
    match output {
        Output::Text => out.write_all(page(&session, found).as_bytes())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &report(&session, found))?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn page(session: &proto::Session, found: &proto::GetSessionResponse) -> String {
    let since = session.since.as_ref();
    let since = since.map_or(String::new(), |at| {
        format!(" for {} (since {})", age(at), moment(at))
    });
    let state = match session.gateway.as_str() {
        "" => state(session).to_owned(),
        gateway => format!("{} to {gateway}, worker {}", state(session), session.worker),
    };
    let mut lines = vec![
        ("client id", shown(&session.client_id)),
        (
            "session",
            format!("{}, connection {}", session.id, session.connections),
        ),
        ("state", format!("{state}{since}")),
        ("protocol", format!("MQTT {}", protocol(session.protocol))),
        (
            "username",
            session
                .username
                .as_deref()
                .map_or(ANONYMOUS.to_owned(), shown),
        ),
        ("expiry", expiry(session.expiry_seconds)),
    ];
    if let Some(ends_at) = &session.ends_at {
        lines.push(("ends at", moment(ends_at)));
    }
    if let Some(topic) = &session.will_topic {
        let delay = session.will_delay_seconds;
        lines.push((
            "will",
            format!("to {}, {delay} s after the end", shown(topic)),
        ));
    }
    let mut page = String::new();
    for (name, value) in lines {
        let _ = writeln!(page, "{name:<10} {value}");
    }
    let bytes = found
        .shards
        .iter()
        .map(|shard| shard.queued_bytes)
        .sum::<u64>();
    let _ = writeln!(
        page,
        "{:<10} {} messages, {bytes} bytes; {} in flight",
        "queued", session.queued, session.in_flight
    );
    let _ = write!(page, "\n{}", shards(session.home, &found.shards).text());
    let _ = write!(page, "\n{}", subscriptions(&found.subscriptions).text());
    if found.more_subscriptions {
        page.push_str("... and more: ask for them by --subscriptions COUNT\n");
    }
    page
}

fn shards(home: u32, shards: &[proto::SessionShard]) -> Table {
    let mut table = Table::new(&[
        "SHARD",
        "ATTACHED",
        "SUBSCRIPTIONS",
        "QUEUED",
        "BYTES",
        "IN FLIGHT",
        "BYTES",
        "INBOUND QOS 2",
    ]);
    for shard in shards {
        table.row([
            match shard.shard == home {
                true => format!("{} (home)", shard.shard),
                false => shard.shard.to_string(),
            },
            if shard.attached { "yes" } else { "no" }.to_owned(),
            shard.subscriptions.to_string(),
            shard.queued.to_string(),
            shard.queued_bytes.to_string(),
            shard.in_flight.to_string(),
            shard.in_flight_bytes.to_string(),
            shard.inbound.to_string(),
        ]);
    }
    table
}

fn subscriptions(subscriptions: &[proto::SessionSubscription]) -> Table {
    let mut table = Table::new(&["FILTER", "QOS", "OPTIONS", "SHARDS"]);
    for subscription in subscriptions {
        let mut options = Vec::new();
        if subscription.no_local {
            options.push("no local".to_owned());
        }
        if subscription.retain_as_published {
            options.push("retain as published".to_owned());
        }
        if subscription.retain_handling > 0 {
            options.push(format!("retain handling {}", subscription.retain_handling));
        }
        if subscription.id > 0 {
            options.push(format!("id {}", subscription.id));
        }
        let shards = subscription.shards.iter().map(u32::to_string);
        table.row([
            shown(&subscription.filter),
            subscription.qos.to_string(),
            match options.is_empty() {
                true => NOTHING.to_owned(),
                false => options.join(", "),
            },
            shards.collect::<Vec<_>>().join(","),
        ]);
    }
    table
}

fn report<'a>(session: &'a proto::Session, found: &'a proto::GetSessionResponse) -> Report<'a> {
    let shard = |shard: &proto::SessionShard| Shard {
        shard: shard.shard,
        attached: shard.attached,
        subscriptions: shard.subscriptions,
        queued: shard.queued,
        queued_bytes: shard.queued_bytes,
        in_flight: shard.in_flight,
        in_flight_bytes: shard.in_flight_bytes,
        inbound: shard.inbound,
    };
    let subscription = |subscription: &'a proto::SessionSubscription| Subscription {
        filter: &subscription.filter,
        qos: subscription.qos,
        no_local: subscription.no_local,
        retain_as_published: subscription.retain_as_published,
        retain_handling: subscription.retain_handling,
        id: subscription.id,
        shards: &subscription.shards,
    };
    Report {
        session: Line::of(session),
        shards: found.shards.iter().map(shard).collect(),
        subscriptions: found.subscriptions.iter().map(subscription).collect(),
        more_subscriptions: found.more_subscriptions,
    }
}
