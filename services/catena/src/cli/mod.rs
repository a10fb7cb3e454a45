//! The command line beyond running a broker. Start reading at [`Command`].

pub mod bench;
mod value;
mod words;

use std::process::ExitCode;

/// The commands of a client, for the binary to list beside its own.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Bench(bench::Arguments),
}

impl Command {
    /// Runs the command to its end.
    ///
    /// Commands bring the runtime that they need: do not call this from within one.
    ///
    /// # Errors
    ///
    /// What to tell the user before exiting with 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Bench(arguments) => bench::run(arguments),
        }
    }
}
