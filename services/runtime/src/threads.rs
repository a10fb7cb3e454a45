//! Threads with a runtime of their own: a task that is spawned on one never leaves it.
//!
//! So connections and shards share state through `Rc` and `RefCell`, and a message that stays on one
//! thread takes no lock and crosses no cache.

use std::{future::Future, io, sync::mpsc, thread};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Tasks between two looks at the sockets while there are tasks to run. What gathers in between
/// travels in one batch; more of it would let a busy shard keep sockets waiting.
const TASKS_BETWEEN_POLLS: u32 = 61;

/// A running thread.
#[derive(Debug)]
pub struct Thread {
    handle: thread::JoinHandle<()>,
}

/// Starts a thread called `name`, which runs the future that `main` makes and then ends.
///
/// Whatever the future spawns with [`tokio::task::spawn_local`] runs on the thread as well, and is
/// dropped when the future ends.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn start<F, Main>(name: &str, main: Main) -> io::Result<Thread>
where
    F: Future<Output = ()> + 'static,
    Main: FnOnce() -> F + Send + 'static,
{
    let (started, outcome) = mpsc::sync_channel(1);
    let handle = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            runtime.block_on(async move { main().await });
        })?;
    outcome
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended at its start")))?;
    Ok(Thread { handle })
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(TASKS_BETWEEN_POLLS)
        .max_blocking_threads(4)
        .build_local(LocalOptions::default())
}

impl Thread {
    /// Waits until the thread has ended.
    pub fn join(self) {
        // A panic has ended the process already (`panics`).
        let _ = self.handle.join();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::mpsc};

    use super::*;

    // Tasks that could move would not compile with `Rc`, and tasks that nobody drives would hang.
    #[test]
    fn tasks_of_a_thread_share_what_cannot_be_sent() {
        let (tell, told) = mpsc::channel();
        let thread = start("test", move || async move {
            let shared = Rc::new(Cell::new(1));
            let other = shared.clone();
            tokio::task::spawn_local(async move { other.set(2) })
                .await
                .unwrap();
            tell.send(shared.get()).unwrap();
        })
        .unwrap();
        assert_eq!(told.recv().unwrap(), 2);
        thread.join();
    }
}
