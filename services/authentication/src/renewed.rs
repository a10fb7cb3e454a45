//! What is made of secrets, and made again when they change.

use std::sync::{Arc, Mutex, PoisonError};

use catena_secrets::Secrets;
use tokio::sync::watch;
use tracing::{info, warn};

/// Something that is made of secrets when it is first wanted, and again when secrets have changed. Where that fails, the last
/// good one stays, and the log says why.
#[derive(Debug)]
pub(crate) struct Renewed<T> {
    /// For the log: what it is, of which resource.
    what: String,
    changes: watch::Receiver<u64>,
    state: Mutex<State<T>>,
}

/// What was made of secrets.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub value: Arc<T>,
    /// A part of it could not be made new and is as it was.
    pub problem: Option<String>,
}

impl<T> Made<T> {
    /// All of it is new.
    pub fn whole(value: T) -> Made<T> {
        Made {
            value: Arc::new(value),
            problem: None,
        }
    }
}

#[derive(Debug)]
struct State<T> {
    /// The changes that it was made of.
    at: Option<u64>,
    value: Option<Arc<T>>,
    problem: Option<String>,
}

impl<T> Renewed<T> {
    pub fn new(what: String, secrets: &Secrets) -> Renewed<T> {
        let state = State {
            at: None,
            value: None,
            problem: None,
        };
        Renewed {
            what,
            changes: secrets.changed(),
            state: Mutex::new(state),
        }
    }

    /// What it is now. `make` gets what it was, and tells what of the new one is not as it should be.
    ///
    /// # Errors
    /// Why there is none, and never was.
    pub fn get(
        &self,
        make: impl FnOnce(Option<&Arc<T>>) -> Result<Made<T>, String>,
    ) -> Result<Arc<T>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = *self.changes.borrow();
        if state.at != Some(now) {
            state.at = Some(now);
            let made = make(state.value.as_ref());
            self.take(&mut state, made);
        }
        let problem = || state.problem.clone().unwrap_or_default();
        state.value.clone().ok_or_else(problem)
    }

    /// Why it is not what the secrets say; for who looks after it.
    pub fn problem(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .problem
            .as_ref()
            .map(|problem| format!("{}: {problem}", self.what))
    }

    fn take(&self, state: &mut State<T>, made: Result<Made<T>, String>) {
        let problem = match made {
            Ok(Made { value, problem }) => {
                state.value = Some(value);
                problem
            }
            Err(problem) => Some(problem),
        };
        match &problem {
            Some(problem) if state.problem.as_ref() != Some(problem) => {
                warn!(
                    what = self.what,
                    problem, "is not as its secrets say: what was good before stays"
                );
            }
            None if state.problem.is_some() => {
                info!(what = self.what, "is as its secrets say again")
            }
            _ => {}
        }
        state.problem = problem;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broken file that takes away from clients what was good before; or one that is tried again for each client.
    #[test]
    fn the_last_good_stays() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(Some(directory.path().to_owned()));
        let renewed = Renewed::new("number".to_owned(), &secrets);
        let made = std::cell::Cell::new(0);
        let get = || {
            renewed.get(|_| {
                made.set(made.get() + 1);
                let secret = secrets.get("a", "number").ok_or("missing")?;
                secret
                    .as_text()
                    .unwrap()
                    .parse::<u8>()
                    .map(Made::whole)
                    .map_err(|error| error.to_string())
            })
        };
        assert_eq!(get(), Err("missing".to_owned()));
        assert_eq!(get(), Err("missing".to_owned()));
        secrets.put("a", "number", b"7").unwrap();
        assert_eq!(get(), Ok(Arc::new(7)));
        secrets.put("a", "number", b"seven").unwrap();
        assert_eq!(get(), Ok(Arc::new(7)));
        assert!(renewed.problem().unwrap().starts_with("number: "));
        secrets.put("a", "number", b"8").unwrap();
        assert_eq!(get(), Ok(Arc::new(8)));
        assert_eq!(renewed.problem(), None);
        assert_eq!(made.get(), 4, "once for each change");
    }
}
