//! Writes parts, one after the other, and lets their memory go.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use catena_shard::segment::Segment;
use tracing::{error, info};

use super::{
    files::Files,
    reader::{Kept, Written},
};

/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_millis(500);

/// How often a failure that goes on is told of.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Writes what comes until nobody can send any more.
pub(super) fn write_all(writes: &Receiver<Arc<Segment>>, mut files: Files) {
    let mut waiting = VecDeque::new();
    let mut told_at: Option<Instant> = None;
    loop {
        let next = if waiting.is_empty() {
            writes.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            writes.recv_timeout(RETRY)
        };
        match next {
            Ok(segment) => waiting.push_back(segment),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.extend(writes.try_iter());
        while let Some(segment) = waiting.pop_front() {
            let len = segment.len() as u64;
            match write(&segment, &mut files) {
                Ok(()) => {
                    files.state().waiting.fetch_sub(len, Relaxed);
                    files.state().written.fetch_add(1, Relaxed);
                    if files.state().is_full.swap(false, Relaxed) {
                        told_at = None;
                        info!("the disk-backed message buffer takes parts of queues again");
                    }
                }
                Err(error) => {
                    waiting.push_front(segment);
                    // Parts that nobody wants any more need no room; the last reference here lets go of them.
                    waiting.retain(|segment| is_wanted(segment, &files));
                    files.state().is_full.store(true, Relaxed);
                    files.state().failed.fetch_add(1, Relaxed);
                    if told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                        told_at = Some(Instant::now());
                        error!(%error, "the disk-backed message buffer is full or fails: queues stay in memory, and publishes are refused when that is full");
                    }
                    break;
                }
            }
        }
    }
}

fn is_wanted(segment: &Arc<Segment>, files: &Files) -> bool {
    let is_wanted = Arc::strong_count(segment) > 1;
    if !is_wanted {
        files
            .state()
            .waiting
            .fetch_sub(segment.len() as u64, Relaxed);
    }
    is_wanted
}

fn write(segment: &Arc<Segment>, files: &mut Files) -> std::io::Result<()> {
    // Nobody else puts it away, or wants it: its reader was quicker than the disk.
    let Some(bytes) = segment.here().filter(|_| Arc::strong_count(segment) > 1) else {
        return Ok(());
    };
    let (sealed, nonce) = files.state().seal.seal(&bytes)?;
    let (file, at) = files.append(&sealed)?;
    let written = Written {
        file,
        at,
        len: sealed.len(),
        nonce: *nonce.as_ref(),
    };
    segment.put_away(Box::new(Kept::new(written, files.state().clone())));
    Ok(())
}
