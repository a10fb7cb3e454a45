//! `catena apply`: manifests, all of them or none.

use std::process::ExitCode;

use anyhow::bail;
use catena_proto::admin::v1::{self as proto, applied_resource::Outcome};
use clap::Args;

use super::{Files, refusal};
use crate::{
    cli::control_plane::{Place, block_on, request},
    manifests::File,
};

/// Configure the cluster by manifests: all of them are applied, or none
///
///   catena apply -f listener.yaml
///   catena apply -f config/ --dry-run      # checks everything, and changes nothing
///   catena get all -o yaml > backup.yaml   # and back: catena apply -f backup.yaml
///
/// A manifest takes the place of the whole resource: what it leaves out has its default.
/// Everything that is wrong is said at once. What may be in a manifest: `catena explain
/// listener`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    /// Check everything and say what would happen, but change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    place: Place,
}

/// Runs `catena apply`.
///
/// # Errors
/// All that is wrong, each with its file and field.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let files = arguments.files.read()?;
    block_on(async move {
        let applied = apply(&arguments.place, &files, arguments.dry_run).await?;
        let mark = if arguments.dry_run { " (dry run)" } else { "" };
        for applied in applied {
            let id = applied
                .after
                .clone()
                .unwrap_or_default()
                .id
                .unwrap_or_default();
            let outcome = match applied.outcome() {
                Outcome::Created => "created",
                Outcome::Configured => "configured",
                Outcome::Unchanged | Outcome::Unspecified => "unchanged",
            };
            println!("{}/{} {outcome}{mark}", id.kind, id.name);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Applies the files, or only checks them.
///
/// # Errors
/// All that is wrong, each with its file and field.
pub async fn apply(
    place: &Place,
    files: &[File],
    dry_run: bool,
) -> anyhow::Result<Vec<proto::AppliedResource>> {
    let mut client = place.resources().await?;
    let asked = proto::ApplyResourcesRequest {
        manifests: files.iter().map(|file| file.text.clone()).collect(),
        dry_run,
        expected: Vec::new(),
    };
    match request(client.apply_resources(asked)).await? {
        Ok(answer) => {
            for warning in answer.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(answer.resources)
        }
        Err(refused) => bail!("{}", refusal::said(&refused, files)),
    }
}
