//! `catena delete`: resources, all of them or none.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use catena_proto::admin::v1 as proto;
use clap::Args;

use super::{Files, kind::Target, refusal, shown};
use crate::cli::control_plane::{Place, block_on, request};

/// Delete resources: all of them, or none
///
///   catena delete listener default
///   catena delete -f config/          # what the manifests name
///
/// What something else refers to stays: delete both at once, or change that first.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Of which kind, or KIND/NAME
    #[arg(value_name = "KIND", required_unless_present = "filename")]
    kind: Option<String>,

    /// Which ones
    #[arg(value_name = "NAME", conflicts_with = "filename")]
    names: Vec<String>,

    /// Those that the manifests in this file or directory name; - for standard input
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE",
        conflicts_with = "kind"
    )]
    filename: Vec<PathBuf>,

    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not mind those that are not there
    #[arg(long)]
    ignore_not_found: bool,

    #[command(flatten)]
    place: Place,
}

/// Runs `catena delete`.
///
/// # Errors
/// What is not there, or is referred to.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let ids = match &arguments.kind {
        Some(kind) => named(kind, &arguments.names)?,
        None => {
            let files = Files {
                filename: arguments.filename.clone(),
            };
            let files = files.read()?;
            let resources = files.iter().flat_map(|file| &file.resources);
            resources
                .map(|resource| proto::ResourceId {
                    kind: resource.kind().to_string(),
                    name: resource.metadata.name.clone(),
                })
                .collect()
        }
    };
    block_on(async move {
        let mut client = arguments.place.resources().await?;
        let asked = proto::DeleteResourcesRequest {
            ids,
            dry_run: arguments.dry_run,
            ignore_missing: arguments.ignore_not_found,
            expected: Vec::new(),
        };
        let deleted = match request(client.delete_resources(asked)).await? {
            Ok(answer) => answer.deleted,
            Err(refused) => bail!("{}", refusal::said(&refused, &[])),
        };
        let mark = if arguments.dry_run { " (dry run)" } else { "" };
        for id in deleted {
            println!("{} deleted{mark}", shown::name(&id));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn named(kind: &str, names: &[String]) -> anyhow::Result<Vec<proto::ResourceId>> {
    if names.is_empty() {
        return Ok(vec![Target::new(kind, None)?.one()?]);
    }
    names
        .iter()
        .map(|name| Target::new(kind, Some(name))?.one())
        .collect()
}
