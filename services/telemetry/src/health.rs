//! Whether the process lives, and whether it is ready: for probes of containers and balancers.
//!
//! A process that answers *lives*: whatever breaks an invariant ends it. It is *ready* while nothing that it needs is
//! missing; each part says what that is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The health of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    missing: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Why the process should stay for now, though it is told to end.
    needed: Arc<Mutex<Option<String>>>,
}

impl Health {
    /// `part` is not ready: it says what is missing.
    pub fn misses(&self, part: &'static str, what: impl Into<String>) {
        self.lock().insert(part, what.into());
    }

    /// `part` is ready.
    pub fn has(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// `Ok` or what is missing, one line for each part.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), String> {
        let missing = self.lock();
        if missing.is_empty() {
            return Ok(());
        }
        let lines = missing.iter().map(|(part, what)| format!("{part}: {what}"));
        Err(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Others lack something as long as this process stays: `None` for nothing.
    pub fn needed_for(&self, what: Option<String>) {
        *self.needed.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// `Ok` when the process may end without others being short of something.
    ///
    /// # Errors
    /// What it is needed for.
    pub fn may_leave(&self) -> Result<(), String> {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        needed.clone().map_or(Ok(()), Err)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A balancer would send clients to a gateway that cannot serve them.
    #[test]
    fn ready_is_what_misses_nothing() {
        let health = Health::default();
        assert_eq!(health.ready(), Ok(()));
        health.misses("shards", "2 of 4");
        health.misses("registration", "none yet");
        assert_eq!(
            health.ready(),
            Err("registration: none yet\nshards: 2 of 4".to_owned())
        );
        health.has("registration");
        health.misses("shards", "1 of 4");
        assert_eq!(health.ready(), Err("shards: 1 of 4".to_owned()));
        health.has("shards");
        assert_eq!(health.ready(), Ok(()));
    }
}
