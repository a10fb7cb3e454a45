//! `catena explain-access`: may a client do this, and why.

use std::{fs, io::Read, path::PathBuf, process::ExitCode};

use anyhow::Context;
use catena_proto::admin::v1::{
    self as proto,
    authorization_client::AuthorizationClient,
    explain_request::{Action as Asked, Connect, Policy},
    explain_response::Entry,
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{
    control_plane::{Place, answer, block_on},
    table::shown,
};

/// What the client may not do.
const DENIED: u8 = 1;

/// Explain whether a client may connect, publish or subscribe under a BrokerAuthorization, and by which of its rules
///
///   catena explain-access --as sensor-1 --policy my-policy publish site/1/status
///   catena explain-access --as sensor-1 --username bob --attribute site=1 -f policy.yaml subscribe 'site/1/#'
///
/// The client need not exist: it has the username and the attributes that are given here. With -f
/// nothing is stored, so that a change can be tried before it is applied.
///
/// Exit code: 0 allowed, 1 denied, 2 the question is wrong.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// The client's id
    #[arg(
        long = "as",
        value_name = "CLIENT_ID",
        global = true,
        default_value = ""
    )]
    client_id: String,

    /// Its username; without it it is anonymous
    #[arg(long, value_name = "NAME", global = true)]
    username: Option<String>,

    /// An attribute that authentication gave it; may be given more than once
    #[arg(long = "attribute", value_name = "NAME=VALUE", global = true, value_parser = pair)]
    attributes: Vec<(String, String)>,

    /// The name of a BrokerAuthorization that is applied
    #[arg(long, value_name = "NAME", global = true, conflicts_with = "file")]
    policy: Option<String>,

    /// A file with the manifest of a BrokerAuthorization; - for the standard input
    #[arg(short, long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,

    /// As text, or as JSON for programs
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "text"
    )]
    output: Output,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// May it connect?
    Connect,
    /// May it publish to this topic?
    Publish { topic: String },
    /// May it subscribe to this filter?
    Subscribe { filter: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs `catena explain-access`.
///
/// # Errors
/// Never: what is wrong is told, and is an exit code of its own.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    match block_on(ask(arguments)) {
        Ok(told) => {
            match output {
                Output::Text => print!("{}", page(&told)),
                Output::Json => println!("{}", serde_json::to_string_pretty(&Report::of(&told))?),
            }
            Ok(match told.allowed {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(DENIED),
            })
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

async fn ask(arguments: Arguments) -> anyhow::Result<proto::ExplainResponse> {
    if arguments.client_id.is_empty() {
        anyhow::bail!("say which client, with --as CLIENT_ID");
    }
    let policy = match (arguments.policy, arguments.file) {
        (Some(name), _) => Policy::Name(name),
        (None, Some(file)) => Policy::Manifests(read(&file)?),
        (None, None) => anyhow::bail!(
            "say under which BrokerAuthorization: --policy NAME for one that is applied, or -f FILE"
        ),
    };
    let request = proto::ExplainRequest {
        client_id: arguments.client_id,
        username: arguments.username,
        attributes: arguments.attributes.into_iter().collect(),
        action: Some(match arguments.action {
            Action::Connect => Asked::Connect(Connect {}),
            Action::Publish { topic } => Asked::Publish(topic),
            Action::Subscribe { filter } => Asked::Subscribe(filter),
        }),
        policy: Some(policy),
    };
    let mut client = AuthorizationClient::new(arguments.place.connection().await?);
    answer(client.explain(request)).await
}

fn read(file: &PathBuf) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

fn page(told: &proto::ExplainResponse) -> String {
    let mut page = String::new();
    if let Some(grant) = &told.grant {
        let entry = grant.entry.clone().unwrap_or_default();
        page.push_str(&format!(
            "allowed by {}\n  {}\n  the rule is about this client by its {}\n",
            told.policy,
            place(&entry),
            shown(&grant.principal)
        ));
        return page;
    }
    page.push_str(&format!("denied by {}: no rule allows it\n", told.policy));
    for miss in &told.near_misses {
        let entry = miss.entry.clone().unwrap_or_default();
        page.push_str(&format!(
            "  {}\n    does not: {}\n",
            place(&entry),
            miss.why
        ));
    }
    if told.near_misses_left_out > 0 {
        page.push_str(&format!("  and {} more\n", told.near_misses_left_out));
    }
    page
}

fn place(entry: &Entry) -> String {
    let mut text = entry.path.clone();
    if let Some(pattern) = &entry.pattern {
        text.push_str(&format!(": {}", shown(pattern)));
    }
    if let Some(substituted) = &entry.substituted {
        text.push_str(&format!(
            ", which is {} for this client",
            shown(substituted)
        ));
    }
    text
}

/// The answer as JSON: the names of the admin API.
#[derive(Debug, Serialize)]
struct Report<'a> {
    allowed: bool,
    policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<Grant<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    near_misses: Vec<Miss<'a>>,
    near_misses_left_out: u32,
}

#[derive(Debug, Serialize)]
struct Grant<'a> {
    #[serde(flatten)]
    entry: Pattern<'a>,
    principal: &'a str,
}

#[derive(Debug, Serialize)]
struct Miss<'a> {
    #[serde(flatten)]
    entry: Pattern<'a>,
    why: &'a str,
}

#[derive(Debug, Default, Serialize)]
struct Pattern<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    substituted: Option<&'a str>,
}

impl Report<'_> {
    fn of(told: &proto::ExplainResponse) -> Report<'_> {
        Report {
            allowed: told.allowed,
            policy: &told.policy,
            grant: told.grant.as_ref().map(|grant| Grant {
                entry: Pattern::of(grant.entry.as_ref()),
                principal: &grant.principal,
            }),
            near_misses: (told.near_misses.iter())
                .map(|miss| Miss {
                    entry: Pattern::of(miss.entry.as_ref()),
                    why: &miss.why,
                })
                .collect(),
            near_misses_left_out: told.near_misses_left_out,
        }
    }
}

impl Pattern<'_> {
    fn of(entry: Option<&Entry>) -> Pattern<'_> {
        entry.map_or(Pattern::default(), |entry| Pattern {
            path: &entry.path,
            pattern: entry.pattern.as_deref(),
            substituted: entry.substituted.as_deref(),
        })
    }
}
