//! `catena trace`: follows messages through the broker, step by step.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::bail;
use catena_proto::admin::v1::{
    self as proto, traces_client::TracesClient, watch_trace_request::Of,
    watch_trace_response::Event,
};
use clap::Args;
use serde::Serialize;

use super::{
    control_plane::{Place, answer, block_on, words},
    moment::moment,
    sessions::Output,
    table::shown,
};

/// Follow messages through the broker, from the publisher to each subscriber
///
/// Says at each process what happens to messages from now on: received and authorized by a gateway, accepted by the head of a chain
/// and committed by its tail, queued, delivered and acknowledged, or dropped and why. Never what is in them.
///
///   catena trace --client sensor-1                what it publishes, and what becomes of messages for it
///   catena trace --topic 'factory/#' --for 5m     messages of these topics, for five minutes
///   catena trace --trace-id 4bf92f3577b34da6a3ce929d0e0e4736
///                                                 messages of a trace, as publishers name it in traceparent
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    of: Which,

    /// For how long, up to 1h: as 90, 90s, 5m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = seconds)]
    time: u32,

    /// As text, or as JSON for programs: one line for each event
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Messages that this client publishes, and what becomes of messages for it
    #[arg(long, value_name = "CLIENT-ID")]
    client: Option<String>,
    /// Messages whose topic matches
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// Messages of this trace: 32 hexadecimal digits
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,
}

/// The longest, in seconds.
const SECONDS_MAX: u32 = 3_600;

fn seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        _ => (text, 1),
    };
    let number: Option<u32> = digits.parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| (1..=SECONDS_MAX).contains(seconds))
        .ok_or_else(|| "must be 1s to 1h, as 90s, 5m or 1h".to_owned())
}

/// Runs `catena trace`.
///
/// # Errors
/// What the control plane refuses, and that it is lost on the way.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let connection = arguments.place.connection().await?;
        let mut client = TracesClient::new(connection).max_decoding_message_size(usize::MAX);
        let Which {
            client: of_client,
            topic,
            trace_id,
        } = arguments.of;
        let of = (of_client.map(Of::ClientId))
            .or(topic.map(Of::TopicFilter))
            .or(trace_id.map(|id| Of::TraceId(id.to_ascii_lowercase())));
        let request = proto::WatchTraceRequest {
            of,
            seconds: arguments.time,
        };
        let mut events = answer(client.watch_trace(request)).await?;
        loop {
            match events.message().await {
                Ok(Some(told)) => {
                    if let Some(event) = told.event {
                        show(&event, arguments.output)?;
                    }
                }
                Ok(None) => return Ok(ExitCode::SUCCESS),
                Err(status) => bail!("{}", words(&status)),
            }
        }
    })
}

fn show(event: &Event, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, &Line::of(event))?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        Output::Text => match event {
            Event::Joined(joined) => eprintln!("following at {}", shown(&joined.process)),
            Event::Missed(missed) => eprintln!(
                "{} steps are missing here: {}",
                missed.steps,
                match missed.process.as_str() {
                    "" => "the network is too slow for them".to_owned(),
                    process => format!("there were too many at {}", shown(process)),
                }
            ),
            Event::Step(step) => {
                let mut out = io::stdout().lock();
                writeln!(out, "{}", text(step))?;
                out.flush()?;
            }
        },
    }
    Ok(())
}

/// Of its name as many digits as tell messages apart on a screen.
fn text(step: &proto::Step) -> String {
    let at = step.at.as_ref().map(moment).unwrap_or_default();
    let name = match step.message_id.as_str() {
        "" => "--------",
        id => &id[..id.len().min(8)],
    };
    let mut text = format!(
        "{at}  {name}  {:<12} {:<20} {} QoS {}, {} bytes",
        kind(step.kind),
        shown(&step.process),
        shown(&step.topic),
        step.qos,
        step.payload_bytes,
    );
    if !step.publisher.is_empty() {
        text += &format!(", from {}", shown(&step.publisher));
    }
    if !step.client_id.is_empty() {
        text += &format!(", for {}", shown(&step.client_id));
    }
    if let Some(shard) = step.shard {
        text += &format!(", shard {shard}");
    }
    if !step.detail.is_empty() {
        text += &format!(": {}", shown(&step.detail));
    }
    text
}

fn kind(kind: i32) -> &'static str {
    match proto::StepKind::try_from(kind).unwrap_or_default() {
        proto::StepKind::Unspecified => "unknown",
        proto::StepKind::Received => "received",
        proto::StepKind::Authorized => "authorized",
        proto::StepKind::Denied => "denied",
        proto::StepKind::Waiting => "waiting",
        proto::StepKind::Sent => "sent",
        proto::StepKind::Accepted => "accepted",
        proto::StepKind::Replicated => "replicated",
        proto::StepKind::Committed => "committed",
        proto::StepKind::Answered => "answered",
        proto::StepKind::Retained => "retained",
        proto::StepKind::Queued => "queued",
        proto::StepKind::Dispatched => "dispatched",
        proto::StepKind::Delivered => "delivered",
        proto::StepKind::Acknowledged => "acknowledged",
        proto::StepKind::Dropped => "dropped",
    }
}

/// An event as JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Joined {
        process: &'a str,
    },
    Missed {
        process: &'a str,
        steps: u64,
    },
    Step {
        at: Option<String>,
        kind: &'static str,
        process: &'a str,
        trace_id: Option<&'a str>,
        message_id: Option<&'a str>,
        topic: &'a str,
        qos: u32,
        payload_bytes: u64,
        publisher: Option<&'a str>,
        client_id: Option<&'a str>,
        shard: Option<u32>,
        detail: Option<&'a str>,
    },
}

impl Line<'_> {
    fn of(event: &Event) -> Line<'_> {
        match event {
            Event::Joined(joined) => Line::Joined {
                process: &joined.process,
            },
            Event::Missed(missed) => Line::Missed {
                process: &missed.process,
                steps: missed.steps,
            },
            Event::Step(step) => Line::Step {
                at: step.at.as_ref().map(moment),
                kind: kind(step.kind),
                process: &step.process,
                trace_id: said(&step.trace_id),
                message_id: said(&step.message_id),
                topic: &step.topic,
                qos: step.qos,
                payload_bytes: step.payload_bytes,
                publisher: said(&step.publisher),
                client_id: said(&step.client_id),
                shard: step.shard,
                detail: said(&step.detail),
            },
        }
    }
}

/// `None` for what is not known.
fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A trace that never ends costs for ever, and one of no time shows nothing.
    #[test]
    fn times_are_bounded() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3_600));
        for wrong in ["", "0", "2h", "-1s", "s", "1d", "99999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
