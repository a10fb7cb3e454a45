//! Threads for slow hashes: so many at once, and a bounded queue for them.

use std::{sync::Arc, thread};

use tokio::{sync::Semaphore, task};

/// The most hashes that are checked at once, on however many cores.
const HASHING_MAX: usize = 8;

/// The most that wait for their turn: some seconds of work.
pub const WAITING_MAX: usize = 256;

/// Threads for slow hashes. Half of the cores: the others carry messages.
#[derive(Debug)]
pub struct Hashing {
    turns: Arc<Semaphore>,
    places: Semaphore,
}

/// Why a hash was not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotChecked {
    /// Too many wait already.
    Busy,
    /// The process ends.
    Ended,
}

impl Hashing {
    pub fn new() -> Hashing {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Hashing::of((cores / 2).clamp(1, HASHING_MAX))
    }

    fn of(at_once: usize) -> Hashing {
        Hashing {
            turns: Arc::new(Semaphore::new(at_once)),
            places: Semaphore::new(at_once + WAITING_MAX),
        }
    }

    /// Does slow work on a thread of its own, when it has its turn.
    ///
    /// # Errors
    /// At once when too many wait already.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotChecked> {
        let _place = self.places.try_acquire().map_err(|_| NotChecked::Busy)?;
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| NotChecked::Ended)?;
        let done = task::spawn_blocking(move || {
            let done = work();
            // Held as long as the thread works, also when nobody waits for it any more.
            drop(turn);
            done
        });
        done.await.map_err(|_| NotChecked::Ended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    /// Ten thousand devices that connect at once take ten thousand threads, or wait for minutes.
    #[tokio::test]
    async fn so_many_work_and_so_many_wait() {
        let hashing = Arc::new(Hashing::of(2));
        let (begun, running, most) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (go, wait) = mpsc::sync_channel::<()>(1_000);
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let mut tasks = Vec::new();
        for _ in 0..500 {
            let (hashing, begun, running, most, wait) = (
                hashing.clone(),
                begun.clone(),
                running.clone(),
                most.clone(),
                wait.clone(),
            );
            tasks.push(tokio::spawn(async move {
                hashing
                    .run(move || {
                        begun.fetch_add(1, Ordering::SeqCst);
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        wait.lock().unwrap().recv().unwrap();
                        running.fetch_sub(1, Ordering::SeqCst);
                    })
                    .await
            }));
        }
        // All of them ask before the first is done: there is one thread for them, and each asks when it first has its turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        for _ in 0..500 {
            go.send(()).unwrap();
        }
        let mut refused = 0;
        for task in tasks {
            if task.await.unwrap() == Err(NotChecked::Busy) {
                refused += 1;
            }
        }
        assert_eq!(begun.load(Ordering::SeqCst) + refused, 500);
        assert_eq!(refused, 500 - 2 - WAITING_MAX);
        assert!(most.load(Ordering::SeqCst) <= 2);
    }
}
