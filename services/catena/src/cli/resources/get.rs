//! `catena get`: resources in columns, as YAML, or as JSON.

use std::process::ExitCode;

use catena_proto::admin::v1 as proto;
use catena_resources::{Kind, write::document};
use clap::{Args, ValueEnum};

use super::{kind::Target, shown, table};
use crate::cli::control_plane::{Place, answer, block_on};

/// Show resources: broker, listener, authentication (authn), authorization (authz), or all
///
///   catena get all
///   catena get listener default -o yaml
///   catena get all -o yaml > backup.yaml   # may be applied again as it is
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Of which kind, or KIND/NAME
    #[arg(value_name = "KIND")]
    kind: String,

    /// Which one; without a name all of the kind
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// As a table, or in full as YAML or JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Yaml,
    Json,
}

/// Runs `catena get`.
///
/// # Errors
/// When there is none of that name.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = Target::new(&arguments.kind, arguments.name.as_deref())?;
    block_on(async move {
        let is_one = target.name.is_some();
        let resources = fetch(&arguments.place, &target).await?;
        match arguments.output {
            Output::Table => print_tables(&target, &resources)?,
            Output::Yaml => {
                let documents: Vec<String> = resources
                    .iter()
                    .map(|resource| Ok(document(&shown::value(resource)?)))
                    .collect::<anyhow::Result<_>>()?;
                print!("{}", documents.join("---\n"));
            }
            Output::Json => {
                let values: Vec<serde_json::Value> = resources
                    .iter()
                    .map(shown::value)
                    .collect::<anyhow::Result<_>>()?;
                let text = match values.first() {
                    Some(only) if is_one => serde_json::to_string_pretty(only)?,
                    _ => serde_json::to_string_pretty(&values)?,
                };
                println!("{text}");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The resources that are asked for.
///
/// # Errors
/// When there is none of that name.
pub async fn fetch(place: &Place, target: &Target) -> anyhow::Result<Vec<proto::Resource>> {
    let mut client = place.resources().await?;
    if target.name.is_some() {
        let request = proto::GetResourceRequest {
            id: Some(target.one()?),
        };
        let resource = answer(client.get_resource(request)).await?.resource;
        return Ok(resource.into_iter().collect());
    }
    let kind = target.kind.map(|kind| kind.to_string());
    let request = proto::ListResourcesRequest {
        kind: kind.unwrap_or_default(),
    };
    Ok(answer(client.list_resources(request)).await?.resources)
}

fn print_tables(target: &Target, resources: &[proto::Resource]) -> anyhow::Result<()> {
    let mut tables = Vec::new();
    for (word, kind) in Kind::ALL {
        let of_kind: Vec<&proto::Resource> = resources
            .iter()
            .filter(|resource| resource.id.as_ref().is_some_and(|id| id.kind == *word))
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        let head = match target.kind {
            Some(_) => String::new(),
            None => format!("{word}\n"),
        };
        tables.push(head + &table::table(*kind, &of_kind)?);
    }
    if tables.is_empty() {
        eprintln!("there is none");
    }
    print!("{}", tables.join("\n"));
    Ok(())
}
