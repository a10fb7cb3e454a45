//! `catena diff`: what an apply would change.

use std::process::ExitCode;

use clap::Args;
use similar::TextDiff;

use super::{Files, apply, shown};
use crate::cli::control_plane::{Place, block_on};

/// It could not be found out.
const FAILED: u8 = 2;
/// Lines around each difference.
const CONTEXT: usize = 3;

/// Show what applying manifests would change, and change nothing
///
///   catena diff -f config/ && echo 'all as it should be'
///
/// Exit code: 0 nothing would change, 1 something would, 2 that cannot be said.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    place: Place,
}

/// Runs `catena diff`.
///
/// # Errors
/// None: that it cannot be said is an exit code.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match differences(&arguments) {
        Ok(text) if text.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(text) => {
            print!("{text}");
            Ok(ExitCode::from(1))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn differences(arguments: &Arguments) -> anyhow::Result<String> {
    let files = arguments.files.read()?;
    block_on(async {
        let mut text = String::new();
        for applied in apply::apply(&arguments.place, &files, true).await? {
            let written = |resource: &Option<_>| match resource {
                Some(resource) => shown::written(resource),
                None => Ok(String::new()),
            };
            let (before, after) = (written(&applied.before)?, written(&applied.after)?);
            let name = applied.after.and_then(|after| after.id);
            let name = shown::name(&name.unwrap_or_default());
            text += &unified(&name, &before, &after);
        }
        Ok(text)
    })
}

fn unified(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(before, after);
    let mut unified = diff.unified_diff();
    unified.context_radius(CONTEXT);
    unified
        .header(&format!("live/{name}"), &format!("file/{name}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scripts read it, and patch.
    #[test]
    fn a_difference_is_unified() {
        assert_eq!(unified("Broker/default", "a\n", "a\n"), "");
        let text = unified("Broker/default", "a\nb\n", "a\nc\n");
        assert_eq!(
            text,
            "--- live/Broker/default\n+++ file/Broker/default\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
    }
}
