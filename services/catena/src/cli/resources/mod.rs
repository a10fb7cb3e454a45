//! `catena apply`, `get`, `describe`, `delete`, `edit`, `diff` and `explain`: resources, as users of kubectl expect it.

pub mod apply;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod edit;
pub mod explain;
pub mod get;
mod kind;
mod refusal;
mod shown;
pub use shown::value;
mod table;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::manifests::{self, File};

/// Manifests in files.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// A file of manifests, YAML or JSON; a directory of them; or - for standard input. May be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
}

impl Files {
    fn read(&self) -> anyhow::Result<Vec<File>> {
        let files = manifests::read(&self.filename)?;
        if files.iter().all(|file| file.resources.is_empty()) {
            bail!("there is no manifest in what -f names");
        }
        Ok(files)
    }
}
