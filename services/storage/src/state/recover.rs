//! Opens a state that is there: everything is read and checked, what is torn is cut, and what is left is made durable.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use catena_chain::Position;
use catena_slots::ShardId;

use super::{Closed, Open, State, segment_path};
use crate::{
    disk::File,
    error::{Reason, Unusable},
    frame::{Draft, Record},
    key::KeyId,
    meta::{self, Meta, Sync},
    scan::{End, Scan},
    seal::{self, Kind, Sealer},
    shared::Shared,
    snapshot::{self, SnapshotReader},
    switches::Rule,
};

impl State {
    /// Reads back what is in `directory`.
    ///
    /// # Errors
    /// Everything is left as it was then.
    pub(crate) fn open(
        shared: Arc<Shared>,
        shard: ShardId,
        directory: PathBuf,
    ) -> Result<State, Unusable> {
        let meta_path = directory.join(meta::NAME);
        let disk = shared.disk.clone();
        let mut meta = Meta::read(&*disk, &directory).map_err(|reason| reason.at(&meta_path))?;
        if meta.has_failed {
            return Err(Reason::Failed.at(&meta_path));
        }
        let snapshot = check_snapshot(&shared, &directory, &meta)?;
        let mut end = meta.base;
        if snapshot.is_some() && meta.first_segment > meta.last_segment {
            end = meta.snapshot.1;
        }
        let mut closed = VecDeque::new();
        let mut cut = None;
        for number in meta.first_segment..=meta.last_segment {
            let path = segment_path(&directory, number);
            let file = snapshot::open(&shared, &path)?;
            let (header, sealer) = seal::resume(&*file, &path, &shared.keys(), Kind::Log)?;
            let damaged = |what| Reason::Damaged { offset: 0, what }.at(&path);
            if header.number != number || header.shard != shard {
                return Err(damaged("it is another segment"));
            }
            let is_first = number == meta.first_segment;
            let covered = meta.base.index.max(meta.snapshot.1.index);
            if (is_first && header.base.index > covered) || (!is_first && header.base != end) {
                return Err(damaged("entries before it are missing"));
            }
            let found = check_segment(&shared, &*file, &sealer, header.base)
                .map_err(|reason| reason.at(&path))?;
            let is_last = number == meta.last_segment;
            if found.is_torn && (!is_last || meta.is_closed) {
                let (offset, what) = (found.offset, "its end is missing");
                return Err(Reason::Damaged { offset, what }.at(&path));
            }
            end = found.position;
            closed.push_back(Closed {
                number,
                base: header.base,
                last: end.index,
                bytes: found.offset,
                key: header.key,
            });
            cut = Some((file, found.offset));
        }
        if end.index < meta.durable || (meta.is_closed && end.index != meta.durable) {
            let what = "entries are missing that were durable";
            let path = segment_path(&directory, meta.last_segment);
            return Err(Reason::Damaged { offset: 0, what }.at(path));
        }
        let failed = |error: std::io::Error| Reason::from(error).at(&directory);
        if let Some((file, offset)) = cut {
            if file.length().map_err(failed)? > offset {
                file.truncate(offset).map_err(failed)?;
            }
            // It may be there because a process wrote it, and not because the disk has it.
            if shared.switches.keep(Rule::SyncFound) {
                file.sync().map_err(failed)?;
            }
        }
        if shared.switches.keep(Rule::SyncFound) {
            disk.sync_directory(&directory).map_err(failed)?;
        }
        let is_other_boot = disk.boot().is_none_or(|boot| boot != meta.boot);
        meta.may_lack |= meta.sync == Sync::Interval && !meta.is_closed && is_other_boot;
        // What is there is durable now, and meta is written before anything is appended: from here on this boot counts.
        meta.boot = disk.boot().unwrap_or_default();
        remove_others(&shared, &directory, &meta).map_err(failed)?;
        let state = State {
            keys: Arc::default(),
            next_snapshot: Arc::new(AtomicU64::new(meta.snapshot.0 + 1)),
            snapshot,
            shared,
            shard,
            directory,
            synced: end.index,
            end,
            meta,
            closed,
            open: None,
            draft: Draft::default(),
            failure: None,
        };
        state.note_keys();
        Ok(state)
    }

    /// Reads the entries that are in the log, those below the snapshot too as far as they are still there.
    pub fn entries(&self) -> Entries {
        let open = self.open.as_ref();
        let open = open.map(|open: &Open| (open.number, open.base));
        let closed = self
            .closed
            .iter()
            .map(|closed| (closed.number, closed.base));
        let segments: VecDeque<_> = closed.chain(open).collect();
        Entries {
            shared: self.shared.clone(),
            directory: self.directory.clone(),
            segments,
            current: None,
            through: self.end.index,
        }
    }
}

/// Reads a snapshot through; `None` when there is none.
fn check_snapshot(
    shared: &Shared,
    directory: &std::path::Path,
    meta: &Meta,
) -> Result<Option<(KeyId, u64)>, Unusable> {
    let (number, at) = meta.snapshot;
    if number == 0 {
        return Ok(None);
    }
    let (mut reader, key) = SnapshotReader::open(shared, directory, number)?;
    if reader.position() != at {
        let what = "it is another snapshot";
        return Err(Reason::Damaged { offset: 0, what }.at(snapshot::path(directory, number)));
    }
    while reader.read()?.is_some() {}
    Ok(Some((key, reader.offset())))
}

fn check_segment(
    shared: &Shared,
    file: &dyn File,
    sealer: &Sealer,
    base: Position,
) -> Result<End, Reason> {
    let mut scan = Scan::new(file, sealer, base, shared.switches.keep(Rule::TellDamage))?;
    while scan.next()?.is_some() {}
    Ok(scan.end())
}

/// Removes what a crash left behind: files that meta does not name.
fn remove_others(shared: &Shared, directory: &std::path::Path, meta: &Meta) -> std::io::Result<()> {
    let mut ours = vec![directory.join(meta::NAME)];
    ours.extend((meta.first_segment..=meta.last_segment).map(|n| segment_path(directory, n)));
    ours.push(snapshot::path(directory, meta.snapshot.0));
    for listed in shared.disk.list(directory)? {
        let path = directory.join(&listed.name);
        if !ours.contains(&path) {
            shared.disk.remove(&path)?;
            if listed.name != "meta.new" {
                shared.used.fetch_sub(listed.bytes, Relaxed);
            }
        }
    }
    Ok(())
}

/// Entries of a log, in order; frame by frame, so that never more than one of them is in memory.
#[derive(Debug)]
pub struct Entries {
    shared: Arc<Shared>,
    directory: PathBuf,
    segments: VecDeque<(u64, Position)>,
    current: Option<Segment>,
    through: u64,
}

/// The one that is being read.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Box<dyn File>,
    sealer: Sealer,
    base: Position,
    end: Option<End>,
}

impl Entries {
    /// The entries of the next frame; `None` after the last.
    ///
    /// # Errors
    /// Damage since it was checked, and what the disk says.
    pub fn read(&mut self) -> Result<Option<Vec<Record>>, Unusable> {
        loop {
            let Some(segment) = &mut self.current else {
                let Some((number, base)) = self.segments.pop_front() else {
                    return Ok(None);
                };
                let path = segment_path(&self.directory, number);
                let file = snapshot::open(&self.shared, &path)?;
                let (_, sealer) = seal::resume(&*file, &path, &self.shared.keys(), Kind::Log)?;
                self.current = Some(Segment {
                    path,
                    file,
                    sealer,
                    base,
                    end: None,
                });
                continue;
            };
            let tells = self.shared.switches.keep(Rule::TellDamage);
            let failed = |reason: Reason| reason.at(&segment.path);
            let (file, sealer) = (&*segment.file, &segment.sealer);
            let mut scan = Scan::new(file, sealer, segment.base, tells).map_err(failed)?;
            if let Some(end) = segment.end {
                scan = scan.resume(end);
            }
            let read = scan.next().map_err(failed)?;
            segment.end = Some(scan.end());
            match read {
                Some(mut records) => {
                    records.retain(|record| record.position.index <= self.through);
                    if !records.is_empty() {
                        return Ok(Some(records));
                    }
                }
                None => self.current = None,
            }
        }
    }
}
