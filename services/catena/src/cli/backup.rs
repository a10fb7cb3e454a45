//! `catena backup`: everything that lasts in one file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use catena_control_plane::backup::Reader;
use catena_proto::admin::v1::{self as proto, backups_client::BackupsClient};
use clap::Args;

use super::control_plane::{Place, block_on, words};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Back up everything that lasts, of a cluster that runs, to one file
///
///   catena backup today.catena
///   catena backup - | ssh elsewhere 'cat > today.catena'
///   catena restore today.catena
///
/// In it are resources; sessions that outlive their connection, with their subscriptions, what waits for them and what is in flight;
/// messages of shared subscriptions; retained messages; wills. Each shard is saved as it is at one moment after the command began, so
/// everything that was acknowledged before is there. Clients notice nothing. Secrets are not in it: resources name them only.
///
/// The file is for its owner alone (0600): it has what clients say, in plain text. It is written under another name first, and takes the
/// place of an older one when it is whole. Shards hold on to what is saved until it is written: up to twice their memory.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The file; - for the standard output
    file: PathBuf,

    /// Tell no progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    place: Place,
}

/// Runs `catena backup`.
///
/// # Errors
/// What the control plane refuses, and what cannot be written.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut out = Out::open(&arguments.file)?;
    block_on(async move {
        let connection = arguments.place.connection().await?;
        let mut client = BackupsClient::new(connection).max_decoding_message_size(usize::MAX);
        let told = client.create_backup(proto::CreateBackupRequest {}).await;
        let mut told = told
            .map_err(|status| anyhow::anyhow!("{}", words(&status)))?
            .into_inner();
        let mut teller = Teller::new("saved", arguments.quiet);
        // What was written is read as a restore would.
        let mut reader = Reader::default();
        loop {
            let part = told.message().await;
            let part = part.map_err(|status| anyhow::anyhow!("{}", words(&status)))?;
            let Some(part) = part else {
                bail!("the control plane went away before the end: there is no backup");
            };
            out.write(&part.data)?;
            reader.push(&part.data);
            while reader.record()?.is_some() {}
            let progress = part.progress.unwrap_or_default();
            if part.done {
                reader.finish()?;
                out.finish()?;
                teller.end(&progress);
                return Ok(ExitCode::SUCCESS);
            }
            teller.tell(&progress);
        }
    })
}

/// Where the file goes.
enum Out {
    Standard,
    File {
        file: File,
        name: PathBuf,
        partial: Partial,
    },
}

/// The file under its other name, which is gone when nothing comes of it.
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            // It may be gone; if not, its name says what it is.
            let _ = fs::remove_file(name);
        }
    }
}

impl Out {
    fn open(name: &Path) -> anyhow::Result<Out> {
        if name == Path::new("-") {
            if io::stdout().is_terminal() {
                bail!("a backup is not for terminals: name a file, or send it elsewhere");
            }
            return Ok(Out::Standard);
        }
        let Some(last) = name.file_name() else {
            bail!("{}: is no name of a file", name.display());
        };
        let mut partial = last.to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = name.with_file_name(partial);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| partial.display().to_string())?;
        Ok(Out::File {
            file,
            name: name.to_owned(),
            partial: Partial(Some(partial)),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Out::Standard => io::stdout().write_all(bytes).context("standard output"),
            Out::File { file, name, .. } => file
                .write_all(bytes)
                .with_context(|| name.display().to_string()),
        }
    }

    /// It is whole: from here on it has its name, also after a power cut.
    fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Out::Standard => io::stdout().flush().context("standard output"),
            Out::File {
                file,
                name,
                partial,
            } => {
                let named = || name.display().to_string();
                file.sync_all().with_context(named)?;
                if let Some(from) = &partial.0 {
                    fs::rename(from, &*name).with_context(named)?;
                }
                partial.0 = None;
                let parent = name.parent().filter(|parent| *parent != Path::new(""));
                let parent = parent.unwrap_or(Path::new("."));
                File::open(parent)
                    .and_then(|directory| directory.sync_all())
                    .with_context(|| parent.display().to_string())
            }
        }
    }
}

/// Tells on the standard error how far it is.
pub struct Teller {
    done: &'static str,
    is_quiet: bool,
    told: Instant,
}

impl Teller {
    pub fn new(done: &'static str, is_quiet: bool) -> Teller {
        Teller {
            done,
            is_quiet,
            told: Instant::now(),
        }
    }

    pub fn tell(&mut self, progress: &proto::BackupProgress) {
        if !self.is_quiet && self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            eprintln!("{} ...", said(progress));
        }
    }

    pub fn end(&self, progress: &proto::BackupProgress) {
        if !self.is_quiet {
            eprintln!("{}: {}", self.done, said(progress));
        }
    }
}

/// How far it is, for people.
pub fn said(progress: &proto::BackupProgress) -> String {
    format!(
        "{} sessions, {} subscriptions, {} messages, {} retained, {} of {} shards, {} bytes",
        progress.sessions,
        progress.subscriptions,
        progress.messages,
        progress.retained,
        progress.shards_done,
        progress.shards,
        progress.bytes,
    )
}
