//! `catena status`: the cluster at a glance.

mod health;
mod json;
mod table;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use catena_proto::admin::v1 as proto;
use clap::{Args, ValueEnum};

use super::control_plane::{Place, answer, block_on, words};
use health::Health;

/// Something is not as it should be.
const DEGRADED: u8 = 1;
/// The control plane cannot be asked.
const UNREACHABLE: u8 = 2;
/// Before a watch is begun again.
const RETRY: Duration = Duration::from_secs(1);
/// Clears a terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show a cluster at a glance: what is wrong and what to do first, then nodes, gateways and shards
///
/// Exit code: 0 healthy, 1 degraded, 2 the control plane cannot be reached.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,

    /// Show it again whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,

    /// As text, or as JSON for programs; with --watch one line for each change
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Shows the status.
///
/// # Errors
/// When it cannot be written; that the control plane is away is an exit code.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    block_on(async move {
        if arguments.watch {
            return watch(&arguments).await;
        }
        match ask(&arguments.place).await {
            Ok(status) => {
                let health = show(&status, arguments.output, false)?;
                Ok(health.exit_code())
            }
            Err(error) => {
                eprintln!("unreachable: {error:#}");
                Ok(ExitCode::from(UNREACHABLE))
            }
        }
    })
}

async fn ask(place: &Place) -> anyhow::Result<proto::Status> {
    let mut client = place.connect().await?;
    let response = answer(client.get_status(proto::GetStatusRequest {})).await?;
    Ok(response.status.unwrap_or_default())
}

async fn watch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    loop {
        if let Err(error) = follow(arguments).await? {
            eprintln!("unreachable: {error:#}");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Shows each status of one stream; the outer error is that it cannot be shown.
async fn follow(arguments: &Arguments) -> anyhow::Result<anyhow::Result<()>> {
    let mut client = match arguments.place.connect().await {
        Ok(client) => client,
        Err(error) => return Ok(Err(error)),
    };
    let watching = answer(client.watch_status(proto::WatchStatusRequest {})).await;
    let mut stream = match watching {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                show(&response.status.unwrap_or_default(), arguments.output, true)?;
            }
            Ok(None) => return Ok(Ok(())),
            Err(status) => return Ok(Err(anyhow::anyhow!("{}", words(&status)))),
        }
    }
}

fn show(status: &proto::Status, output: Output, again: bool) -> anyhow::Result<Health> {
    let health = Health::of(status);
    let mut out = io::stdout().lock();
    match output {
        Output::Text => {
            if again && out.is_terminal() {
                out.write_all(CLEAR.as_bytes())?;
            }
            out.write_all(table::page(status, &health).as_bytes())?;
            if again && !out.is_terminal() {
                writeln!(out)?;
            }
        }
        Output::Json => {
            let report = json::Report::new(status, &health);
            let text = if again {
                serde_json::to_string(&report)?
            } else {
                serde_json::to_string_pretty(&report)?
            };
            writeln!(out, "{text}")?;
        }
    }
    out.flush()?;
    Ok(health)
}

impl Health {
    fn exit_code(&self) -> ExitCode {
        if self.problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(DEGRADED)
        }
    }
}
