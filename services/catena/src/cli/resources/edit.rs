//! `catena edit`: a resource in an editor.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use catena_proto::admin::v1 as proto;
use catena_resources::Invalid;
use clap::Args;
use tonic::Code;

use super::{get, kind::Target, refusal, shown};
use crate::cli::control_plane::{Place, block_on, request};

/// What stands before what we say in the file.
const MARK: &str = "#! ";
const EDITOR: &str = "vi";

/// Edit a resource in $EDITOR, and apply it
///
///   EDITOR=nano catena edit listener default
///
/// What is wrong comes back into the editor, in comments at the top. Nothing is applied when the
/// file is left as it was, or when someone else has changed the resource meanwhile.
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

/// Runs `catena edit`.
///
/// # Errors
/// When there is none of that name, no editor can be run, or someone else was faster.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = Target::new(&arguments.kind, arguments.name.as_deref())?;
    let id = target.one()?;
    let found = block_on(get::fetch(&arguments.place, &target))?;
    let resource = found.first().context("it is not there")?;
    let before = shown::written(resource)?;
    let file = Scratch::new(&id)?;
    let mut text = before.clone();
    let mut said = Vec::new();
    loop {
        let shown = with_problems(&text, &said);
        file.write(&shown)?;
        edit(&file.0)?;
        let edited = without_comments(&file.read()?);
        if edited == before {
            println!("{} is as it was: nothing is applied", shown::name(&id));
            return Ok(ExitCode::SUCCESS);
        }
        if !said.is_empty() && edited == text {
            bail!(
                "nothing is applied: what is wrong is as it was\n{}",
                said.join("\n")
            );
        }
        text = edited;
        said = match apply(&arguments.place, &id, resource.version, &text)? {
            Ok(()) => {
                println!("{} configured", shown::name(&id));
                return Ok(ExitCode::SUCCESS);
            }
            Err(problems) => problems,
        };
    }
}

/// The inner error is what is to be mended in the editor.
fn apply(
    place: &Place,
    id: &proto::ResourceId,
    version: u64,
    text: &str,
) -> anyhow::Result<Result<(), Vec<String>>> {
    let resources = match catena_resources::parse(text) {
        Ok(resources) => resources,
        Err(Invalid(problems)) => {
            return Ok(Err(problems.iter().map(ToString::to_string).collect()));
        }
    };
    let is_it =
        |resource: &catena_resources::Resource| resource.id().to_string() == shown::name(id);
    if resources.len() != 1 || !resources.iter().all(is_it) {
        let problem = format!("must be {}, and nothing else", shown::name(id));
        return Ok(Err(vec![problem]));
    }
    block_on(async {
        let mut client = place.resources().await?;
        let asked = proto::ApplyResourcesRequest {
            manifests: vec![text.to_owned()],
            dry_run: false,
            expected: vec![proto::ExpectedVersion {
                id: Some(id.clone()),
                version,
            }],
        };
        match request(client.apply_resources(asked)).await? {
            Ok(answer) => {
                for warning in answer.warnings {
                    eprintln!("warning: {warning}");
                }
                Ok(Ok(()))
            }
            Err(refused) if refused.code() == Code::InvalidArgument => {
                let mut problems = refusal::problems(&refused, &[]);
                if problems.is_empty() {
                    problems.push(refused.message().to_owned());
                }
                Ok(Err(problems))
            }
            Err(refused) => bail!("{}", refusal::said(&refused, &[])),
        }
    })
}

fn edit(file: &Path) -> anyhow::Result<()> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.trim().is_empty()));
    let editor = editor.unwrap_or_else(|| EDITOR.to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or(EDITOR);
    let ended = Command::new(program).args(words).arg(file).status();
    let ended = ended.with_context(|| format!("{program} cannot be run: set EDITOR to another"))?;
    if !ended.success() {
        bail!("{program} ended with {ended}: nothing is applied");
    }
    Ok(())
}

fn with_problems(text: &str, said: &[String]) -> String {
    let mut shown = String::new();
    if !said.is_empty() {
        shown += &format!("{MARK}This cannot be applied:\n");
    }
    for line in said.iter().flat_map(|problem| problem.lines()) {
        shown += &format!("{MARK}  {line}\n");
    }
    shown + text
}

fn without_comments(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with(MARK.trim_end()))
        .collect()
}

/// A file of our own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(id: &proto::ResourceId) -> anyhow::Result<Scratch> {
        let name = format!("catena-{}-{}-{}.yaml", id.kind, id.name, std::process::id());
        let path = std::env::temp_dir().join(name);
        // Somebody else's file of that name is not followed.
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            // What headers hold is for nobody else's eyes.
            .mode(0o600)
            .open(&path);
        file.with_context(|| path.display().to_string())?;
        Ok(Scratch(path))
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        let mut file = fs::File::create(&self.0)?;
        Ok(file.write_all(text.as_bytes())?)
    }

    fn read(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.0).with_context(|| self.0.display().to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in a directory that is emptied anyway.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What we wrote into the file must not be taken for what the user wrote, nor his comments be lost.
    #[test]
    fn problems_come_and_go_as_comments() {
        let text = "# mine\nspec: {}\n";
        let said = ["spec.ports: is missing".to_owned()];
        let shown = with_problems(text, &said);
        assert!(shown.starts_with("#! This cannot be applied:\n#!   spec.ports: is missing\n"));
        assert_eq!(without_comments(&shown), text);
        assert_eq!(with_problems(text, &[]), text);
    }
}
