//! Logs: to standard error, as text for people or as JSON for collectors; how much, may change while the process runs.

use std::{io::IsTerminal, str::FromStr};

use serde::Deserialize;
use tracing::{info, warn};
use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// What is logged where nobody says anything else.
const DEFAULT: &str = "info";

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
    #[error("`{filter}` is no log filter ({reason}); try info, or info,gateway=debug")]
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

/// What changes how much is logged.
#[derive(Debug, Clone)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    /// The process's own settings say it, and go before what a cluster says.
    is_own: bool,
    /// As it was said last.
    said: String,
}

/// Sets up the logs of the process. `filter` is what its own settings say, which then stays; without it, it is for
/// [`Logs::follow`] to say.
///
/// # Errors
/// See [`Error`].
pub fn start(filter: Option<&str>, format: Format) -> Result<Logs, Error> {
    let said = filter.unwrap_or(DEFAULT);
    let (filtered, handle) = reload::Layer::new(parse(said)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filtered);
    let set = match format {
        Format::Text => {
            let is_terminal = std::io::stderr().is_terminal();
            registry.with(lines.with_ansi(is_terminal)).try_init()
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    set.map_err(|_| Error::Twice)?;
    Ok(Logs {
        filter: handle,
        is_own: filter.is_some(),
        said: said.to_owned(),
    })
}

impl Logs {
    /// The cluster says what is logged from now on. What does not parse changes nothing.
    pub fn follow(&mut self, filter: &str) {
        if self.is_own || self.said == filter {
            return;
        }
        self.said = filter.to_owned();
        match parse(filter) {
            Ok(parsed) => {
                // It fails only when the process has no logs any more.
                let _ = self.filter.reload(parsed);
                info!(filter, "what is logged has changed");
            }
            Err(error) => warn!(%error, "what is logged stays as it was"),
        }
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(with_full_names(filter)).map_err(|error| Error::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

/// Parts of ours that have a name of one word, or of two with a dash, in a filter.
const PARTS: [&str; 12] = [
    "authentication",
    "backend",
    "control_plane",
    "gateway",
    "membership",
    "pki",
    "policy",
    "runtime",
    "secrets",
    "storage",
    "telemetry",
    "transport",
];

/// The filter with the names of our parts as the logs have them: `gateway=debug` is `catena_gateway=debug`.
fn with_full_names(filter: &str) -> String {
    let directives = filter.split(',').map(|directive| {
        let directive = directive.trim();
        let (part, rest) =
            directive.split_at(directive.find(['=', '[', ':']).unwrap_or(directive.len()));
        let name = part.replace('-', "_");
        match PARTS.contains(&name.as_str()) {
            true => format!("catena_{name}{rest}"),
            false => directive.to_owned(),
        }
    });
    directives.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    // A filter that names nothing logs nothing, without a word.
    #[test]
    fn parts_may_be_named_as_the_documentation_names_them() {
        for (said, meant) in [
            ("info", "info"),
            ("info,gateway=debug", "info,catena_gateway=debug"),
            (
                "warn, control-plane::leader=trace",
                "warn,catena_control_plane::leader=trace",
            ),
            ("catena_backend=debug,h2=off", "catena_backend=debug,h2=off"),
            ("backend", "catena_backend"),
        ] {
            assert_eq!(with_full_names(said), meant);
            assert!(parse(said).is_ok());
        }
        let error = parse("gateway=loud").unwrap_err().to_string();
        assert!(error.contains("gateway=loud"), "{error}");
    }
}
