//! `catena describe`: all about one resource, with who refers to it.

use std::{process::ExitCode, sync::Arc};

use catena_proto::admin::v1 as proto;
use catena_resources::{Resource, Resources, write::document};
use clap::Args;

use super::{get, kind::Target, shown, table};
use crate::cli::control_plane::{Place, block_on};

/// Show all about a resource: its spec, how it is, what it refers to and who refers to it
///
///   catena describe listener default
///   catena describe authn/passwords
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Of which kind, or KIND/NAME
    #[arg(value_name = "KIND")]
    kind: String,

    /// Which one
    #[arg(value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    place: Place,
}

/// Runs `catena describe`.
///
/// # Errors
/// When there is none of that name.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = Target::new(&arguments.kind, arguments.name.as_deref())?;
    let id = target.one()?;
    block_on(async move {
        let found = get::fetch(&arguments.place, &target).await?;
        let all = Target {
            kind: None,
            name: None,
        };
        let all = get::fetch(&arguments.place, &all).await?;
        for resource in &found {
            print!("{}", page(&id, resource, &all)?);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn page(
    id: &proto::ResourceId,
    resource: &proto::Resource,
    all: &[proto::Resource],
) -> anyhow::Result<String> {
    let value = shown::value(resource)?;
    let mut page = format!("{}\nversion: {}\n", shown::name(id), resource.version);
    for part in ["labels", "annotations"] {
        if let Some(map) = value["metadata"].get(part) {
            page += &format!("{part}:\n{}", indented(&document(map)));
        }
    }
    page += &format!("spec:\n{}", indented(&document(&value["spec"])));
    if !resource.ports.is_empty() {
        page.push_str("ports:\n");
        for port in &resource.ports {
            page += &format!("  {}\n", table::port(port));
        }
    }
    let known = resources(all)?;
    let own = shown::name(id);
    let (mut to, mut from) = (Vec::new(), Vec::new());
    for reference in known.references() {
        if reference.from.to_string() == own {
            to.push(format!("  {} ({})\n", reference.to, reference.path));
        }
        if reference.to.to_string() == own {
            from.push(format!("  {} ({})\n", reference.from, reference.path));
        }
    }
    for (head, lines) in [("refers to", to), ("referred to by", from)] {
        if !lines.is_empty() {
            page += &format!("{head}:\n{}", lines.concat());
        }
    }
    Ok(page)
}

fn resources(all: &[proto::Resource]) -> anyhow::Result<Resources> {
    let mut resources = Resources::default();
    for resource in all {
        let read: Resource = serde_json::from_str(&resource.manifest)?;
        resources.put(resource.version, Arc::new(read));
    }
    Ok(resources)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
