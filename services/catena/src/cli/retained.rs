//! `catena retained`: looks at retained messages, and deletes them.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use catena_proto::admin::v1::{self as proto, retained_client::RetainedClient};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    control_plane::{Connection, Place, answer, block_on},
    moment::moment,
    sessions::Output,
    table::{NOTHING, Table, shown},
};

/// Messages that are asked for at once.
const PAGE: u32 = 1_000;

/// Look at retained messages, and delete them
///
///   catena retained list                     all of them
///   catena retained list 'site/+/status'     those that a topic filter matches
///   catena retained show site/1/status       one, with its payload
///   catena retained show -o raw t > file     its payload alone
///   catena retained delete site/1/status     delete it
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List retained messages in the order of their topics
    List {
        /// A topic filter (quote it: shells know # and + too); as for a subscription, # does not reach topics that begin
        /// with $
        #[arg(default_value = "#")]
        filter: String,
        /// List at most so many; without it all
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// As text, or as JSON for programs: one line for each message
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Show a topic's retained message with its payload, up to 1 MiB of it
    Show {
        topic: String,
        /// As text, as JSON for programs, or the bytes of the payload alone
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Show,
    },
    /// Delete a topic's retained message; its subscribers are not told
    Delete {
        topic: String,
        /// Why, for the broker's log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Show {
    Text,
    Json,
    Raw,
}

/// Runs `catena retained`.
///
/// # Errors
/// What the control plane refuses, and why.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let connection = arguments.place.connection().await?;
        let mut client = RetainedClient::new(connection).max_decoding_message_size(usize::MAX);
        match arguments.action {
            Action::List {
                filter,
                limit,
                output,
            } => list(&mut client, filter, limit, output).await?,
            Action::Show { topic, output } => {
                let request = proto::GetRetainedRequest {
                    topic,
                    payload_bytes_max: 0,
                };
                show(&answer(client.get_retained(request)).await?, output)?;
            }
            Action::Delete { topic, reason } => {
                let request = proto::DeleteRetainedRequest {
                    topic: topic.clone(),
                    reason,
                };
                answer(client.delete_retained(request)).await?;
                println!("the retained message of {} is deleted", shown(&topic));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn list(
    client: &mut RetainedClient<Connection>,
    filter: String,
    limit: Option<u64>,
    output: Output,
) -> anyhow::Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut request = proto::ListRetainedRequest {
        filter,
        ..proto::ListRetainedRequest::default()
    };
    let mut table = Table::new(&["TOPIC", "QOS", "BYTES", "EXPIRES AT", "SHARD"]);
    let mut out = io::stdout().lock();
    while left > 0 {
        request.page_size = left.min(u64::from(PAGE)) as u32;
        let page = answer(client.list_retained(request.clone())).await?;
        left = left.saturating_sub(page.messages.len() as u64);
        for message in &page.messages {
            match output {
                Output::Json => {
                    serde_json::to_writer(&mut out, &Line::of(message))?;
                    out.write_all(b"\n")?;
                }
                Output::Text => table.row([
                    shown(&message.topic),
                    message.qos.to_string(),
                    message.payload_bytes.to_string(),
                    message
                        .expires_at
                        .as_ref()
                        .map_or(NOTHING.to_owned(), moment),
                    message.shard.to_string(),
                ]),
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if output == Output::Text {
        out.write_all(table.text().as_bytes())?;
    }
    Ok(())
}

/// A retained message as JSON: the names of the admin API.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    qos: u32,
    payload_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    shard: u32,
}

impl Line<'_> {
    fn of(message: &proto::RetainedMessage) -> Line<'_> {
        Line {
            topic: &message.topic,
            qos: message.qos,
            payload_bytes: message.payload_bytes,
            expires_at: message.expires_at.as_ref().map(moment),
            shard: message.shard,
        }
    }
}

/// A retained message with its payload as JSON.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    payload: String,
    /// How `payload` is written: `utf8` as it is, or `base64` where it is not text.
    encoding: &'static str,
    /// The payload is longer than what is shown.
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(&'a str, &'a str)>,
}

fn show(found: &proto::GetRetainedResponse, output: Show) -> anyhow::Result<()> {
    let message = found.message.clone().unwrap_or_default();
    let is_truncated = message.payload_bytes > found.payload.len() as u64;
    let user = found.user_properties.iter();
    let user = user.map(|pair| (pair.name.as_str(), pair.value.as_str()));
    let mut out = io::stdout().lock();
    match output {
        Show::Raw => out.write_all(&found.payload)?,
        Show::Json => {
            let (payload, encoding) = match std::str::from_utf8(&found.payload) {
                Ok(text) => (text.to_owned(), "utf8"),
                Err(_) => (BASE64_STANDARD.encode(&found.payload), "base64"),
            };
            let whole = Whole {
                line: Line::of(&message),
                payload,
                encoding,
                truncated: is_truncated,
                content_type: found.content_type.as_deref(),
                response_topic: found.response_topic.as_deref(),
                correlation_data: (found.correlation_data.as_ref())
                    .map(|data| BASE64_STANDARD.encode(data)),
                user_properties: user.collect(),
            };
            serde_json::to_writer_pretty(&mut out, &whole)?;
            out.write_all(b"\n")?;
        }
        Show::Text => {
            let mut line = |name: &str, value: &str| writeln!(out, "{name:<16} {value}");
            line("topic", &shown(&message.topic))?;
            line("qos", &message.qos.to_string())?;
            line("shard", &message.shard.to_string())?;
            if let Some(at) = &message.expires_at {
                line("expires at", &moment(at))?;
            }
            for (name, value) in [
                ("content type", &found.content_type),
                ("response topic", &found.response_topic),
            ] {
                if let Some(value) = value {
                    line(name, &shown(value))?;
                }
            }
            for (name, value) in user {
                line(
                    "user property",
                    &format!("{}={}", shown(name), shown(value)),
                )?;
            }
            line("payload bytes", &message.payload_bytes.to_string())?;
            out.write_all(b"\n")?;
            match std::str::from_utf8(&found.payload) {
                // For a terminal what commands it is shown, for others the payload is as it is.
                Ok(text) if io::stdout().is_terminal() => {
                    let lines = text.lines().map(shown);
                    writeln!(out, "{}", lines.collect::<Vec<_>>().join("\n"))?;
                }
                Ok(text) => writeln!(out, "{text}")?,
                Err(_) => writeln!(
                    out,
                    "(not text; `catena retained show -o raw` writes the bytes)"
                )?,
            }
            if is_truncated {
                writeln!(out, "(only the first {} bytes)", found.payload.len())?;
            }
        }
    }
    Ok(())
}
