//! `catena sessions`: looks at sessions, and ends them.

mod show;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use catena_proto::admin::v1::{self as proto, sessions_client::SessionsClient};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{
    control_plane::{Connection, Place, answer, block_on},
    moment::{age, moment},
    table::{NOTHING, Table, shown},
};

/// Sessions that are asked for at once.
const PAGE: u32 = 1_000;
/// A client without a username.
const ANONYMOUS: &str = "(anonymous)";

/// Look at the sessions of MQTT clients, and end them
///
///   catena sessions list                          all of them, connected or not
///   catena sessions list 'sensor-*' --connected   those of connected clients whose id begins with sensor-
///   catena sessions show sensor-1                 one, with its subscriptions and what waits for it
///   catena sessions disconnect sensor-1           close its connection; the session goes on as its expiry says
///   catena sessions delete sensor-1               end it: subscriptions and queued messages go
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
    /// List sessions
    List(List),
    /// Show one session: where its client is, its subscriptions, and what each shard holds for it
    Show {
        client_id: String,
        /// The most subscriptions that are shown, up to 10,000
        #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
        subscriptions: u32,
        /// As text, or as JSON for programs
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Close a client's connection, with DISCONNECT 0x98 (administrative action)
    ///
    /// Its will is published, and its session goes on as its expiry says. Nothing keeps it from connecting again: for that
    /// change what authorizes it.
    Disconnect {
        client_id: String,
        /// Why, for the broker's log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// End a session: its subscriptions and queued messages are gone on all shards, and its client is disconnected
    Delete {
        client_id: String,
        /// Why, for the broker's log
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Client ids, where * stands for any characters and ? for one (quote it: shells know them too)
    #[arg(default_value = "")]
    pattern: String,
    /// Only those whose client is connected
    #[arg(long, conflicts_with = "disconnected")]
    connected: bool,
    /// Only those whose client is not connected
    #[arg(long)]
    disconnected: bool,
    /// Only those whose client is connected to this gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// List at most so many; without it all
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// As text, or as JSON for programs: one line for each session
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

/// Runs `catena sessions`.
///
/// # Errors
/// What the control plane refuses, and why.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let connection = arguments.place.connection().await?;
        let mut client = SessionsClient::new(connection).max_decoding_message_size(usize::MAX);
        match arguments.action {
            Action::List(list) => list.run(&mut client).await?,
            Action::Show {
                client_id,
                subscriptions,
                output,
            } => {
                let request = proto::GetSessionRequest {
                    client_id,
                    subscriptions_max: subscriptions,
                };
                let found = answer(client.get_session(request)).await?;
                show::write(&found, output)?;
            }
            Action::Disconnect { client_id, reason } => {
                let request = proto::DisconnectSessionRequest {
                    client_id: client_id.clone(),
                    reason,
                };
                answer(client.disconnect_session(request)).await?;
                println!("{} is disconnected", shown(&client_id));
            }
            Action::Delete { client_id, reason } => {
                let request = proto::DeleteSessionRequest {
                    client_id: client_id.clone(),
                    reason,
                };
                let deleted = answer(client.delete_session(request)).await?;
                println!("the session of {} is deleted", shown(&client_id));
                if !deleted.pending_shards.is_empty() {
                    let shards: Vec<_> =
                        deleted.pending_shards.iter().map(u32::to_string).collect();
                    println!(
                        "shards that have not confirmed it yet, and will as soon as they are reached: {}",
                        shards.join(", ")
                    );
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl List {
    async fn run(self, client: &mut SessionsClient<Connection>) -> anyhow::Result<()> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut request = proto::ListSessionsRequest {
            pattern: self.pattern.clone(),
            connected: match (self.connected, self.disconnected) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            gateway: self.gateway.clone().unwrap_or_default(),
            ..proto::ListSessionsRequest::default()
        };
        let mut all = Vec::new();
        while left > 0 {
            request.page_size = left.min(u64::from(PAGE)) as u32;
            let page = answer(client.list_sessions(request.clone())).await?;
            left = left.saturating_sub(page.sessions.len() as u64);
            match self.output {
                Output::Json => lines(&page.sessions)?,
                Output::Text => all.extend(page.sessions),
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        if self.output == Output::Text {
            all.sort_by(|a, b| a.client_id.cmp(&b.client_id));
            let text = table(&all).text();
            io::stdout().lock().write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

fn lines(sessions: &[proto::Session]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for session in sessions {
        serde_json::to_writer(&mut out, &Line::of(session))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn table(sessions: &[proto::Session]) -> Table {
    let mut table = Table::new(&[
        "CLIENT ID",
        "STATE",
        "SINCE",
        "GATEWAY",
        "PROTOCOL",
        "USERNAME",
        "EXPIRY",
        "SUBSCRIPTIONS",
        "QUEUED",
        "IN FLIGHT",
    ]);
    for session in sessions {
        table.row([
            shown(&session.client_id),
            state(session).to_owned(),
            session.since.as_ref().map_or(NOTHING.to_owned(), age),
            match session.gateway.as_str() {
                "" => NOTHING.to_owned(),
                name => name.to_owned(),
            },
            protocol(session.protocol),
            session
                .username
                .as_deref()
                .map_or(ANONYMOUS.to_owned(), shown),
            expiry(session.expiry_seconds),
            session.subscriptions.to_string(),
            session.queued.to_string(),
            session.in_flight.to_string(),
        ]);
    }
    table
}

fn state(session: &proto::Session) -> &'static str {
    match session.connected {
        true => "connected",
        false => "away",
    }
}

fn protocol(level: u32) -> String {
    match level {
        3 => "3.1".to_owned(),
        4 => "3.1.1".to_owned(),
        other => other.to_string(),
    }
}

fn expiry(seconds: u32) -> String {
    match seconds {
        0 => "with connection".to_owned(),
        u32::MAX => "never".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

/// A session as JSON: the names of the admin API.
#[derive(Debug, Serialize)]
struct Line<'a> {
    client_id: &'a str,
    id: &'a str,
    connections: u64,
    connected: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    gateway: &'a str,
    worker: u32,
    username: Option<&'a str>,
    protocol: u32,
    since: Option<String>,
    expiry_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    will_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    will_delay_seconds: Option<u32>,
    home: u32,
    subscriptions: u64,
    queued: u64,
    in_flight: u64,
}

impl Line<'_> {
    fn of(session: &proto::Session) -> Line<'_> {
        Line {
            client_id: &session.client_id,
            id: &session.id,
            connections: session.connections,
            connected: session.connected,
            gateway: &session.gateway,
            worker: session.worker,
            username: session.username.as_deref(),
            protocol: session.protocol,
            since: session.since.as_ref().map(moment),
            expiry_seconds: session.expiry_seconds,
            ends_at: session.ends_at.as_ref().map(moment),
            will_topic: session.will_topic.as_deref(),
            will_delay_seconds: session
                .will_topic
                .as_ref()
                .map(|_| session.will_delay_seconds),
            home: session.home,
            subscriptions: session.subscriptions,
            queued: session.queued,
            in_flight: session.in_flight,
        }
    }
}
