//! A certificate that somebody else renews: in files, or in a secret.
//!
//! A bad new one never takes the place of a good one, and an end that comes near is told in time.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::JoinHandle};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{
    certified::{Certified, certified_key_at},
    served::Served,
    when,
    write::read,
};

/// How often the source is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// An end is warned of so long before it at most, ...
const WARN_BEFORE_MAX: Duration = Duration::from_secs(14 * DAY.as_secs());
/// ... and in this last part of a shorter life, ...
const WARN_DIVISOR: u32 = 5;
/// ... once in this time.
const WARN_EVERY: Duration = DAY;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A chain and its key, both PEM. The key is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub chain: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
}

/// How it stands with a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What is wrong, for people. With a certificate that is shown nevertheless, if there ever was a good one.
    pub problem: Option<String>,
    /// When what is shown expires; `None`: nothing is shown.
    pub until: Option<SystemTime>,
}

/// A certificate that is kept fresh until this is dropped.
#[derive(Debug)]
pub struct Following {
    served: Arc<Served>,
    state: watch::Receiver<State>,
    _task: Task,
}

#[derive(Debug)]
pub(crate) struct Task(pub(crate) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Following {
    /// What is shown.
    pub fn served(&self) -> Arc<Served> {
        self.served.clone()
    }

    /// How it stands.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

/// Follows what `read` gives: it is asked at once, and then every two seconds. `label` says in the log what it is.
/// Must be called inside a tokio runtime.
pub fn follow(
    label: impl Into<String>,
    mut read: impl FnMut() -> Result<Pair, String> + Send + 'static,
) -> Following {
    let served = Served::new();
    let mut keeper = Keeper::new(label.into(), served.clone());
    let first = keeper.offer(read(), SystemTime::now());
    let (told, state) = watch::channel(first);
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = keeper.offer(read(), SystemTime::now());
            told.send_if_modified(|known| {
                let is_news = *known != now;
                *known = now;
                is_news
            });
        }
    });
    Following {
        served,
        state,
        _task: Task(task),
    }
}

/// Follows two PEM files.
pub fn follow_files(label: impl Into<String>, chain: PathBuf, key: PathBuf) -> Following {
    follow(label, move || {
        let content = |path: &PathBuf| {
            read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        Ok(Pair {
            chain: content(&chain)?,
            key: Zeroizing::new(content(&key)?),
        })
    })
}

/// What is shown, and what is known of the source.
struct Keeper {
    label: String,
    served: Arc<Served>,
    shown: Option<(Pair, Certified)>,
    /// A new pair that cannot be used. It may be half written: only when it is seen again, something is said.
    suspect: Option<Result<Pair, String>>,
    problem: Option<String>,
    warned: Option<SystemTime>,
}

impl Keeper {
    fn new(label: String, served: Arc<Served>) -> Keeper {
        Keeper {
            label,
            served,
            shown: None,
            suspect: None,
            problem: None,
            warned: None,
        }
    }

    /// Takes what the source has at `now`.
    fn offer(&mut self, offered: Result<Pair, String>, now: SystemTime) -> State {
        let is_shown = matches!((&offered, &self.shown), (Ok(new), Some((old, _))) if new == old);
        if is_shown {
            self.suspect = None;
            self.problem = None;
        } else {
            self.take(offered, now);
        }
        self.look(now);
        let until = self.shown.as_ref().map(|(_, shown)| shown.until());
        let expired = until.filter(|until| *until < now).map(expired);
        State {
            problem: self.problem.clone().or(expired),
            until,
        }
    }

    fn take(&mut self, offered: Result<Pair, String>, now: SystemTime) {
        let certified = match &offered {
            Ok(pair) => {
                certified_key_at(&pair.chain, &pair.key, now).map_err(|error| error.to_string())
            }
            Err(problem) => Err(problem.clone()),
        };
        match (certified, offered) {
            (Ok(certified), Ok(pair)) => {
                let label = &self.label;
                info!(%label, until = when::written(certified.until()), "a certificate is loaded");
                self.served.set(certified.clone());
                self.shown = Some((pair, certified));
                self.suspect = None;
                self.problem = None;
                self.warned = None;
            }
            (Err(problem), offered) => {
                let is_settled = self.shown.is_none() || self.suspect.as_ref() == Some(&offered);
                self.suspect = Some(offered);
                if is_settled && self.problem.as_ref() != Some(&problem) {
                    let label = &self.label;
                    match &self.shown {
                        Some(_) => {
                            warn!(%label, problem, "a new certificate cannot be used: the last good one stays");
                        }
                        None => warn!(%label, problem, "there is no certificate that can be used"),
                    }
                    self.problem = Some(problem);
                }
            }
            (Ok(_), Err(_)) => {}
        }
    }

    /// Warns of an end that comes near.
    fn look(&mut self, now: SystemTime) {
        let Some((_, shown)) = &self.shown else {
            return;
        };
        let life = shown.until().duration_since(shown.from());
        let before = (life.unwrap_or_default() / WARN_DIVISOR).min(WARN_BEFORE_MAX);
        let is_told = self.warned.is_some_and(|warned| {
            let since = now.duration_since(warned);
            since.is_ok_and(|since| since < WARN_EVERY)
        });
        if shown.left(now) < before && !is_told {
            self.warned = Some(now);
            let (label, until) = (&self.label, when::written(shown.until()));
            if shown.until() < now {
                warn!(%label, until, "the certificate has expired: put a new one in its place");
            } else {
                warn!(%label, until, "the certificate expires soon: put a new one in its place");
            }
        }
    }
}

fn expired(until: SystemTime) -> String {
    format!("the certificate has expired on {}", when::written(until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Subject,
        ca::{Ca, tests::an_hour_of},
    };

    fn pair(ca: &Ca, now: SystemTime) -> Pair {
        let key = crate::generate(Default::default()).unwrap();
        let request = crate::request(&key).unwrap();
        let subject = Subject::server(["localhost"]);
        let chain = ca
            .issue(&request, &subject, an_hour_of(24 * 100), now)
            .unwrap();
        Pair {
            chain: chain.into_bytes(),
            key: Zeroizing::new(key.as_bytes().to_vec()),
        }
    }

    // A typing error in a new certificate must not close a port that works.
    #[test]
    fn a_bad_new_certificate_leaves_the_last_good_one() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let (first, second) = (pair(&ca, now), pair(&ca, now));
        let mixed = Pair {
            chain: second.chain.clone(),
            key: first.key.clone(),
        };
        let served = Served::new();
        let mut keeper = Keeper::new("test".to_owned(), served.clone());
        let state = keeper.offer(Err("not there".to_owned()), now);
        assert_eq!(state.problem.as_deref(), Some("not there"));
        assert!(served.current().is_none());
        assert_eq!(keeper.offer(Ok(first.clone()), now).problem, None);
        let good = served.current().unwrap().chain().to_vec();

        // Half of it is written.
        assert_eq!(keeper.offer(Ok(mixed.clone()), now).problem, None);
        let state = keeper.offer(Ok(mixed), now);
        assert!(
            state
                .problem
                .unwrap()
                .contains("not that of the certificate")
        );
        assert_eq!(served.current().unwrap().chain(), good);
        assert_eq!(keeper.offer(Ok(second), now).problem, None);
        assert_ne!(served.current().unwrap().chain(), good);
    }

    // Nobody reads a warning that comes every two seconds; and without one a broker stops on a Sunday.
    #[test]
    fn an_end_is_told_in_time_and_once_a_day() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let pair = pair(&ca, now);
        let mut keeper = Keeper::new("test".to_owned(), Served::new());
        keeper.offer(Ok(pair.clone()), now);
        assert_eq!(keeper.warned, None);
        let near = now + 90 * DAY;
        keeper.offer(Ok(pair.clone()), near);
        assert_eq!(keeper.warned, Some(near));
        keeper.offer(Ok(pair.clone()), near + DAY / 2);
        assert_eq!(keeper.warned, Some(near));
        keeper.offer(Ok(pair.clone()), near + DAY);
        assert_eq!(keeper.warned, Some(near + DAY));
        let state = keeper.offer(Ok(pair), near + 20 * DAY);
        assert!(state.problem.unwrap().contains("expired"));
    }
}
