//! Reads parts back: ahead of time where that is asked for, else when they are wanted.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed, mpsc::Receiver,
};

use bytes::Bytes;
use catena_shard::segment::Away;

use super::{
    AHEAD_MAX, State,
    files::{Done, Opened},
};

/// What is done beside the threads of shards.
#[derive(Debug)]
pub(super) enum Task {
    /// A part is read ahead, if it is still wanted then.
    Fetch(Weak<Inner>),
    Delete(Done),
}

/// Where a part stands.
#[derive(Debug)]
pub(super) struct Written {
    pub file: Arc<Opened>,
    pub at: u64,
    /// In the file.
    pub len: usize,
    pub nonce: [u8; 12],
}

/// A part that is in a file.
#[derive(Debug)]
pub(super) struct Kept(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    written: Written,
    state: Arc<State>,
    ahead: Mutex<Ahead>,
}

#[derive(Debug)]
enum Ahead {
    Not,
    /// Asked for.
    Soon,
    Here(Bytes),
}

impl Kept {
    pub fn new(written: Written, state: Arc<State>) -> Kept {
        Kept(Arc::new(Inner {
            written,
            state,
            ahead: Mutex::new(Ahead::Not),
        }))
    }
}

impl Away for Kept {
    fn read(&self) -> Bytes {
        let mut ahead = self.0.ahead();
        if let Ahead::Here(bytes) = &*ahead {
            let bytes = bytes.clone();
            // It is read once: the copy that a snapshot takes does not ask for it before.
            self.0.give_up(&mut ahead);
            return bytes;
        }
        drop(ahead);
        self.0.read()
    }

    fn fetch(&self) {
        let mut ahead = self.0.ahead();
        let len = self.0.written.len as u64;
        let state = &self.0.state;
        if !matches!(*ahead, Ahead::Not) || state.ahead.load(Relaxed) + len > AHEAD_MAX {
            return;
        }
        if state
            .to_read
            .try_send(Task::Fetch(Arc::downgrade(&self.0)))
            .is_ok()
        {
            state.ahead.fetch_add(len, Relaxed);
            *ahead = Ahead::Soon;
        }
    }
}

impl Inner {
    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Bytes {
        let Written {
            file,
            at,
            len,
            nonce,
        } = &self.written;
        file.read(*at, *len, nonce)
    }

    fn give_up(&self, ahead: &mut Ahead) {
        if !matches!(ahead, Ahead::Not) {
            *ahead = Ahead::Not;
            let len = self.written.len as u64;
            self.state.ahead.fetch_sub(len, Relaxed);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut ahead = std::mem::replace(
            self.ahead.get_mut().unwrap_or_else(PoisonError::into_inner),
            Ahead::Not,
        );
        self.give_up(&mut ahead);
    }
}

/// Does what is asked for until nobody can ask any more.
pub(super) fn read_ahead(tasks: &Receiver<Task>) {
    while let Ok(task) = tasks.recv() {
        let wanted = match task {
            Task::Fetch(wanted) => wanted,
            Task::Delete(done) => {
                done.delete();
                continue;
            }
        };
        let Some(inner) = wanted.upgrade() else {
            continue;
        };
        // Held while it reads: whoever wants the part meanwhile waits for this one read, and does not read it too.
        let mut ahead = inner.ahead();
        if matches!(*ahead, Ahead::Soon) {
            *ahead = Ahead::Here(inner.read());
        }
    }
}
