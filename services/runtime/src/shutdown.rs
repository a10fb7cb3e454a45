//! Signals: the first asks for a drain, the second ends the process at once.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Tells everybody that the process is to drain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: watch::Receiver<bool>,
}

/// Begins the drain.
#[derive(Debug)]
pub struct Trigger {
    begin: watch::Sender<bool>,
}

/// A drain that has not begun, and what begins it.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (begin, begun) = watch::channel(false);
    (Trigger { begin }, Shutdown { begun })
}

impl Trigger {
    /// Begins the drain.
    pub fn begin(&self) {
        self.begin.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Waits until the drain begins. Never ends when whatever could begin it is gone. Cancel-safe.
    pub async fn begun(&mut self) {
        if self.begun.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system's default, which is to end at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Both only wait; a signal that came stays noted.
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
