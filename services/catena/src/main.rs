//! The one binary.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Catena, an MQTT broker
#[derive(Debug, Parser)]
#[command(name = "catena", version)]
struct Arguments {
    #[command(subcommand)]
    command: cli::Command,
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
