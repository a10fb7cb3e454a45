//! The one binary: arguments, and what they start.

mod admin;
mod backend;
mod buffer;
mod cli;
mod control_plane;
mod diagnostics;
mod first;
mod gateway;
mod internal_tls;
mod issuing;
mod kubernetes;
mod manifests;
mod relay;
mod self_check;
mod standalone;
mod storage;

use std::{env, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// Catena, an open MQTT broker: MQTT 3.1, 3.1.1 and 5
///
/// Without a command it runs a broker for this machine: `catena` listens on 127.0.0.1:1883.
/// Try it from another terminal: `catena sub -t 'demo/#'`, then `catena pub -t demo/hello -m hi`.
#[derive(Debug, Parser)]
#[command(name = "catena", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    standalone: standalone::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Standalone(standalone::Arguments),
    ControlPlane(control_plane::Arguments),
    Backend(backend::Arguments),
    Gateway(gateway::Arguments),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let mut program = Arguments::command();
        program.build();
        let words: Vec<_> = env::args_os().skip(1).collect();
        cli::mistaken::explain(error, &program, &words).exit()
    });
    let outcome = match arguments.command {
        None => standalone::run(arguments.standalone),
        Some(Command::Standalone(arguments)) => standalone::run(arguments),
        Some(Command::ControlPlane(arguments)) => control_plane::run(arguments),
        Some(Command::Backend(arguments)) => backend::run(arguments),
        Some(Command::Gateway(arguments)) => gateway::run(arguments),
        Some(Command::Client(command)) => command.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    // Options of commands that share an id with one of the broker's would panic, or be taken for it.
    #[test]
    fn commands_find_the_admin_api_by_its_url() {
        use clap::Parser;
        for words in ["catena status", "catena node drain a", "catena get all"] {
            let words = format!("{words} --admin https://a:1,https://b:2");
            let parsed = super::Arguments::try_parse_from(words.split(' '));
            assert!(parsed.is_ok(), "{words}: {parsed:?}");
        }
    }

    // Every command would panic in a debug build.
    #[test]
    fn the_arguments_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
