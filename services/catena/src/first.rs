//! What a cluster begins with: the Broker that options describe, and the manifests of `--resources`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use catena_control_plane::{Catalogue, Change, Happened, Refused};
use catena_resources::{BROKER_NAME, Broker, Invalid, Resource, Spec};
use tracing::{info, warn};

use crate::manifests::{self, File};

/// How long after an error of the store it is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// The manifests of a directory; read before anything is started.
#[derive(Debug, Default)]
pub struct Manifests(Vec<File>);

impl Manifests {
    /// # Errors
    /// All that is wrong with any of them, each with its file and field.
    pub fn read(directory: Option<&Path>) -> anyhow::Result<Manifests> {
        let Some(directory) = directory else {
            return Ok(Manifests::default());
        };
        if !directory.is_dir() {
            bail!("--resources {}: is no directory", directory.display());
        }
        let paths: [PathBuf; 1] = [directory.to_owned()];
        Ok(Manifests(manifests::read(&paths)?))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Broker among them: a cluster that begins now begins with it.
    pub fn broker(&self) -> Option<&Broker> {
        let mut resources = self.0.iter().flat_map(|file| &file.resources);
        resources.find_map(|resource| match &resource.spec {
            Spec::Broker(broker) => Some(&**broker),
            _ => None,
        })
    }

    /// Whether the Broker among them says nothing of the number of shards.
    pub fn leaves_out_workers(&self) -> bool {
        self.0.iter().any(|file| file.leaves_out_workers)
    }

    /// Sees to it that there is a Broker, then applies the manifests, all or none. Waits for the store.
    ///
    /// # Errors
    /// What is wrong with them among all resources, with file and field.
    pub async fn apply(&self, catalogue: &Catalogue, first: &Broker) -> anyhow::Result<()> {
        loop {
            match self.try_apply(catalogue, first).await {
                Ok(()) => return Ok(()),
                Err(Refused::Store(error)) if error.is_retryable() => {
                    warn!(%error, "the resources of --resources wait for the store");
                    tokio::time::sleep(RETRY).await;
                }
                Err(Refused::Invalid(Invalid(problems))) => {
                    let said: Vec<String> = problems
                        .iter()
                        .map(|problem| match manifests::place(&self.0, problem) {
                            Some(file) => format!("{file}: {problem}"),
                            None => problem.to_string(),
                        })
                        .collect();
                    bail!("{}", said.join("\n"));
                }
                Err(refused) => return Err(refused).context("the resources of --resources"),
            }
        }
    }

    async fn try_apply(&self, catalogue: &Catalogue, first: &Broker) -> Result<(), Refused> {
        let broker = Spec::Broker(Box::new(first.clone()));
        catalogue.found(Resource::new(BROKER_NAME, broker)).await?;
        let resources = self.0.iter().flat_map(|file| file.resources.clone());
        let change = Change {
            put: resources.collect(),
            leaves_out_workers: self.leaves_out_workers(),
            ..Change::default()
        };
        if change.put.is_empty() {
            return Ok(());
        }
        for file in &self.0 {
            for warning in &file.warnings {
                warn!(file = file.name, %warning, "a manifest may not say what was meant");
            }
        }
        for changed in catalogue.change(&change).await? {
            match changed.happened() {
                Happened::Unchanged => {}
                happened => info!(resource = %changed.id, ?happened, "applied at the start"),
            }
        }
        Ok(())
    }
}
