//! Logs: to standard error, as text for people or as JSON for collectors.

use std::{io::IsTerminal, str::FromStr};

use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt};

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A format that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no log format; use text or json")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Format, UnknownFormat> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("`{filter}` is no log filter ({reason}); try info, or info,catena_gateway=debug")]
    Filter {
        /// As it was given.
        filter: String,
        /// What the parser says.
        reason: String,
    },
    /// Somebody set up logs before.
    #[error("logs are set up twice")]
    Twice,
}

/// Sets up the logs of the process.
///
/// # Errors
/// See [`Error`].
pub fn start(filter: &str, format: Format) -> Result<(), Error> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| Error::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })?;
    let lines = fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let set = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| Error::Twice)
}
