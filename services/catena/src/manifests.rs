//! Manifests in files: what `--resources` and `-f` name.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use catena_resources::{Invalid, Problem, Resource};

/// Standard input, by name.
const STDIN: &str = "-";
/// Files of one directory.
const FILES_MAX: usize = 1_000;
/// Larger files are no manifests.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file with what it holds.
#[derive(Debug)]
pub struct File {
    /// As it is shown.
    pub name: String,
    pub text: String,
    pub resources: Vec<Resource>,
    /// What is noticed of them.
    pub warnings: Vec<Problem>,
    /// Whether a Broker among them says nothing of the number of shards.
    pub leaves_out_workers: bool,
}

/// Reads files, directories (all `.yaml`, `.yml` and `.json` in them), and `-`.
///
/// # Errors
/// All that is wrong with any of them, each with its file and field.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for (name, text) in texts(paths)? {
        match catena_resources::read(&text) {
            Ok(read) => files.push(File {
                name,
                text,
                resources: read.resources,
                warnings: read.warnings,
                leaves_out_workers: read.leaves_out_workers,
            }),
            Err(Invalid(found)) => {
                problems.extend(found.iter().map(|problem| format!("{name}: {problem}")));
            }
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(files)
}

/// The file that a problem is in, when that can be told.
pub fn place<'a>(files: &'a [File], problem: &Problem) -> Option<&'a str> {
    let holds = |file: &&File| {
        let mut resources = file.resources.iter();
        resources.any(|resource| problem.resource == resource.id().to_string())
    };
    files.iter().find(holds).map(|file| file.name.as_str())
}

fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == STDIN {
            let mut text = String::new();
            std::io::stdin()
                .take(FILE_BYTES_MAX)
                .read_to_string(&mut text)
                .context("standard input")?;
            texts.push(("standard input".to_owned(), text));
        } else if path.is_dir() {
            let files = files_of(path)?;
            if files.is_empty() {
                bail!("{}: has no .yaml, .yml or .json file", path.display());
            }
            for file in files {
                texts.push(text(&file)?);
            }
        } else {
            texts.push(text(path)?);
        }
    }
    Ok(texts)
}

fn text(file: &Path) -> anyhow::Result<(String, String)> {
    let name = file.display().to_string();
    let length = fs::metadata(file).with_context(|| name.clone())?.len();
    if length > FILE_BYTES_MAX {
        bail!("{name}: has more than {FILE_BYTES_MAX} bytes: it is no manifest");
    }
    let text = fs::read_to_string(file).with_context(|| name.clone())?;
    Ok((name, text))
}

fn files_of(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let named = || directory.display().to_string();
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(named)? {
        let path = entry.with_context(named)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            bail!("{}: has more than {FILES_MAX} files", named());
        }
    }
    files.sort();
    Ok(files)
}
