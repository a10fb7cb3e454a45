//! `catena restore`: a backup goes into a cluster that runs.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use catena_control_plane::backup::{Reader, Record};
use catena_proto::admin::v1::{
    self as proto, backups_client::BackupsClient, restore_backup_request::Part,
};
use clap::Args;
use futures_util::stream;

use super::{
    backup::{Teller, said},
    control_plane::{Place, answer, block_on, words},
};

/// Bytes of one request.
const PIECE_BYTES: usize = 256 << 10;
/// Resources of one apply.
const RESOURCES_MAX: usize = 100;
/// The kind of the one resource that says how many shards there are.
const BROKER: &str = "Broker";

/// Put a backup back, into a cluster that runs
///
///   catena restore today.catena
///   catena restore --check today.catena      # reads it, and changes nothing
///   catena restore --replace today.catena    # what is there goes first
///
/// The whole file is read and checked first: one that is cut or damaged changes nothing. The cluster has to be empty - no session that
/// outlives its connection, and no retained message - unless --replace is given: then all sessions end, clients are disconnected, and
/// retained messages go, before anything comes. It may have another number of shards, nodes and replicas than the one that was saved.
///
/// Everything goes through the shards' logs: all replicas have it when the command ends. What clients do meanwhile is newer and stays: a
/// session begun or a retained message published before its turn came is not overwritten. Keep clients away for a restore that leaves
/// nothing out. Should it end half-way, begin it again with --replace.
///
/// The time since the backup counts against messages: what expired meanwhile is gone. It does not count against sessions: they have as long
/// to come back as they had. Messages that were sent and not acknowledged are sent again: those of QoS 2 under their packet ids. Wills of
/// clients that were connected run from the end of the restore.
///
/// Resources come last: those of the same names are overwritten, others stay. The Broker keeps the cluster's own cardinality. Secrets are not
/// in a backup: bring them first.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The file, which is read twice: save the standard input to a file first
    file: PathBuf,

    /// End all sessions and forget all retained messages of the cluster first
    #[arg(long)]
    replace: bool,

    /// Leave resources as they are
    #[arg(long)]
    no_resources: bool,

    /// Only read the file, and say whether it is whole and what is in it
    #[arg(long, conflicts_with = "replace")]
    check: bool,

    /// Tell no progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    place: Place,
}

/// What is known of a file that is whole.
struct Known {
    header: proto::BackupHeader,
    manifests: Vec<String>,
    total: proto::BackupProgress,
}

/// Runs `catena restore`.
///
/// # Errors
/// What is wrong with the file, and what the control plane refuses.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let name = arguments.file.display().to_string();
    let mut file = File::open(&arguments.file).with_context(|| name.clone())?;
    let known = look(&mut file).with_context(|| format!("{name}: nothing was changed"))?;
    if arguments.check {
        println!(
            "{name} is whole: {}; of the cluster {:?}, made by catena {}",
            said(&known.total),
            known.header.cluster,
            known.header.version,
        );
        return Ok(ExitCode::SUCCESS);
    }
    file.seek(SeekFrom::Start(0)).with_context(|| name)?;
    block_on(async move {
        let mut teller = Teller::new("restored", arguments.quiet);
        restore(&arguments, file, &mut teller).await?;
        if !arguments.no_resources {
            apply(&arguments.place, known.manifests).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads the whole file, a piece at a time.
fn look(file: &mut File) -> anyhow::Result<Known> {
    let mut known = Known {
        header: proto::BackupHeader::default(),
        manifests: Vec::new(),
        total: proto::BackupProgress::default(),
    };
    let (mut reader, mut piece) = (Reader::default(), vec![0; PIECE_BYTES]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            reader.finish()?;
            return Ok(known);
        }
        reader.push(&piece[..count]);
        while let Some(record) = reader.record()? {
            match record {
                Record::Header(header) => known.header = header,
                Record::Resources(resources) => known.manifests = resources.manifests,
                Record::Things(_) => {}
                Record::End(end) => known.total = end.total.unwrap_or_default(),
            }
        }
    }
}

async fn restore(arguments: &Arguments, file: File, teller: &mut Teller) -> anyhow::Result<()> {
    let connection = arguments.place.connection().await?;
    let mut client = BackupsClient::new(connection);
    let options = proto::RestoreOptions {
        replace: arguments.replace,
    };
    // A file that cannot be read any more is a stream that is cut, which the control plane refuses; this says why.
    let (failed, mut failure) = tokio::sync::mpsc::channel(1);
    let parts = stream::unfold(
        (file, Some(options), failed),
        |(mut file, options, failed)| async move {
            let part = match options {
                Some(options) => Part::Options(options),
                None => {
                    let mut piece = vec![0; PIECE_BYTES];
                    match file.read(&mut piece) {
                        Ok(0) => return None,
                        Ok(count) => {
                            piece.truncate(count);
                            Part::Data(Bytes::from(piece))
                        }
                        Err(error) => {
                            let _ = failed.send(error).await;
                            return None;
                        }
                    }
                }
            };
            let request = proto::RestoreBackupRequest { part: Some(part) };
            Some((request, (file, None, failed)))
        },
    );
    let said = |status: tonic::Status| anyhow!("{}", words(&status));
    let told = client.restore_backup(parts).await;
    let mut told = told.map_err(said)?.into_inner();
    loop {
        let part = told.message().await.map_err(said);
        if let Ok(error) = failure.try_recv() {
            return Err(error).context("the file; restore again with --replace");
        }
        let Some(part) = part.context("restore again with --replace")? else {
            bail!("the control plane went away before the end: restore again with --replace");
        };
        let progress = part.progress.unwrap_or_default();
        if part.done {
            teller.end(&progress);
            return Ok(());
        }
        teller.tell(&progress);
    }
}

/// Applies the resources, with this cluster's own cardinality.
async fn apply(place: &Place, manifests: Vec<String>) -> anyhow::Result<()> {
    let mut client = place.resources().await?;
    let request = proto::ListResourcesRequest {
        kind: BROKER.to_owned(),
    };
    let brokers = answer(client.list_resources(request)).await?.resources;
    let ours = match brokers.first() {
        Some(broker) => Some(super::resources::value(broker)?["spec"]["cardinality"].clone()),
        None => None,
    };
    let mut ready = Vec::new();
    for manifest in manifests {
        let mut value: serde_json::Value =
            serde_json::from_str(&manifest).context("a resource of the backup")?;
        let kind = value["kind"].as_str().unwrap_or_default().to_owned();
        if let (BROKER, Some(ours)) = (kind.as_str(), &ours) {
            value["spec"]["cardinality"] = ours.clone();
        }
        ready.push((kind, value.to_string()));
    }
    // Listeners come last: they refer to the others, and let clients in.
    ready.sort();
    for some in ready.chunks(RESOURCES_MAX) {
        let asked = proto::ApplyResourcesRequest {
            manifests: some.iter().map(|(_, manifest)| manifest.clone()).collect(),
            dry_run: false,
            expected: Vec::new(),
        };
        let applied = answer(client.apply_resources(asked)).await;
        applied.context("sessions and messages are restored, resources are not")?;
    }
    Ok(())
}
