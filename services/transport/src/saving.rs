//! A frozen shard is told beside the shard, by a thread of its own that waits for whoever listens.

use std::{mem, ops::ControlFlow, thread};

use catena_shard::Saved;
use tokio::sync::mpsc;

use crate::inspect::{Frozen, NotAnswered};

/// Batches that wait for whoever listens.
pub const BATCHES: usize = 4;

/// Bytes after which a batch is told; one thing may have more.
const BATCH_BYTES: usize = 256 * 1024;

/// Things of a batch.
const BATCH_THINGS: usize = 1_000;

/// What a shard tells of itself: all that lasts, as it was at one moment.
#[derive(Debug)]
pub struct Saving {
    /// How often it had started empty.
    pub generation: u32,
    /// The moment, in milliseconds of shard time.
    pub now: u64,
    /// Ends when all was told; an error is the last.
    pub saved: mpsc::Receiver<Result<Vec<Saved>, NotAnswered>>,
}

/// Begins to tell.
///
/// # Errors
/// When the machine has no thread left.
pub fn begin(frozen: Frozen) -> Result<Saving, NotAnswered> {
    let Frozen { state, held } = frozen;
    let (generation, now) = (state.generation(), state.now().0);
    let (things, saved) = mpsc::channel(BATCHES);
    let tell = move || {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let told = state.save(&mut |thing| {
            bytes += thing.weight();
            batch.push(thing);
            if bytes < BATCH_BYTES && batch.len() < BATCH_THINGS {
                return ControlFlow::Continue(());
            }
            bytes = 0;
            match things.blocking_send(Ok(mem::take(&mut batch))) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if told.is_continue() && !batch.is_empty() {
            // Who listened may have gone.
            let _ = things.blocking_send(Ok(batch));
        }
        drop(held);
    };
    let thread = thread::Builder::new().name("saving".to_owned()).spawn(tell);
    thread.map_err(|error| NotAnswered::NotReached(format!("no thread: {error}")))?;
    Ok(Saving {
        generation,
        now,
        saved,
    })
}
