//! A certificate that renews itself: the key is made here and stays here, and whoever signs decides what it says.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use catena_resources::certificate::{KeyAlgorithm, RotationPolicy};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{
    certified::{Certified, certified_key_at},
    follow::{State, Task},
    key,
    renewal::{due, pause},
    served::Served,
    when,
};

/// How long whoever signs may take.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest sleep: a clock that was put right is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Between two renewals, whatever is wished.
const RENEW_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Failures in a row are told at the first one, and then at each so manyth.
const TOLD_EVERY: u32 = 16;

/// Who signs.
pub trait Signer: Send + 'static {
    /// A certificate for the key of `request` (PKCS #10, DER).
    ///
    /// # Errors
    /// Why there is none, for people.
    fn sign(&mut self, request: Vec<u8>) -> impl Future<Output = Result<Issued, String>> + Send;
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM, the own certificate first.
    pub chain: String,
    /// PEM of all whom to trust; empty when that does not matter.
    pub trust: String,
    /// How the next one is to be asked for; `None`: as before.
    pub wishes: Option<Wishes>,
}

/// How a certificate is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    pub algorithm: KeyAlgorithm,
    pub rotation: RotationPolicy,
    /// How long before its end it is renewed; a third of its life when nothing is said.
    pub renew_before: Option<Duration>,
}

/// A certificate and its key, to be kept.
#[derive(Clone)]
pub struct Held {
    /// PEM, the own certificate first.
    pub chain: String,
    /// PEM.
    pub key: Zeroizing<String>,
}

impl Held {
    /// How it was asked for, as far as it shows: to begin with after a restart.
    pub fn wishes(&self) -> Wishes {
        Wishes {
            algorithm: key::algorithm_of(&self.key).unwrap_or_default(),
            ..Wishes::default()
        }
    }
}

/// A certificate that is renewed until this is dropped.
#[derive(Debug)]
pub struct Automatic {
    served: Arc<Served>,
    state: watch::Receiver<State>,
    wishes: watch::Sender<Wishes>,
    now: Arc<Notify>,
    _task: Task,
}

impl Automatic {
    /// Begins with `held`, if there is something that is still good, and asks `signer` for the rest. `keep` is called with
    /// each new certificate before it is shown. Must be called inside a tokio runtime.
    pub fn start(
        label: impl Into<String>,
        held: Option<Held>,
        wishes: Wishes,
        signer: impl Signer,
        keep: impl FnMut(&Held, &Issued) + Send + 'static,
    ) -> Automatic {
        Automatic::showing(Served::new(), label, held, wishes, signer, keep)
    }

    /// The same, for what others show already.
    pub fn showing(
        served: Arc<Served>,
        label: impl Into<String>,
        held: Option<Held>,
        wishes: Wishes,
        signer: impl Signer,
        keep: impl FnMut(&Held, &Issued) + Send + 'static,
    ) -> Automatic {
        let (told, state) = watch::channel(State::default());
        let (wishes, wished) = watch::channel(wishes);
        let now = Arc::new(Notify::new());
        let mut renewing = Renewing {
            label: label.into(),
            served: served.clone(),
            held: None,
            told,
            wishes: wishes.clone(),
            wished,
            failures: 0,
            signer,
            keep,
        };
        if let Some(held) = held {
            renewing.begin(held);
        }
        let task = tokio::spawn(renewing.run(now.clone()));
        Automatic {
            served,
            state,
            wishes,
            now,
            _task: Task(task),
        }
    }

    /// What is shown.
    pub fn served(&self) -> Arc<Served> {
        self.served.clone()
    }

    /// How it stands.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits until there is something to show.
    pub async fn ready(&self) {
        let mut state = self.state();
        // The sender lives in a task that this keeps.
        let _ = state.wait_for(|state| state.until.is_some()).await;
    }

    /// Renews now: what it says has changed, or who signs.
    pub fn renew(&self) {
        self.now.notify_one();
    }

    /// Asks in another way from now on, and now if the key's kind has changed.
    pub fn wish(&self, wishes: Wishes) {
        wish(&self.wishes, wishes);
    }
}

fn wish(sender: &watch::Sender<Wishes>, wishes: Wishes) {
    sender.send_if_modified(|known| {
        let is_news = *known != wishes;
        *known = wishes;
        is_news
    });
}

struct Renewing<S, K> {
    label: String,
    served: Arc<Served>,
    held: Option<(Held, Certified)>,
    told: watch::Sender<State>,
    wishes: watch::Sender<Wishes>,
    wished: watch::Receiver<Wishes>,
    failures: u32,
    signer: S,
    keep: K,
}

impl<S: Signer, K: FnMut(&Held, &Issued) + Send> Renewing<S, K> {
    /// Takes up what was kept.
    fn begin(&mut self, held: Held) {
        let label = &self.label;
        match certified_key_at(
            held.chain.as_bytes(),
            held.key.as_bytes(),
            SystemTime::now(),
        ) {
            Ok(certified) => self.show(held, certified),
            Err(problem) => {
                warn!(%label, %problem, "the certificate that was kept cannot be used: asking for another");
            }
        }
    }

    fn show(&mut self, held: Held, certified: Certified) {
        self.served.set(certified.clone());
        self.told.send_replace(State {
            problem: None,
            until: Some(certified.until()),
        });
        self.held = Some((held, certified));
    }

    async fn run(mut self, now: Arc<Notify>) {
        loop {
            // What was asked for and failed is still to be done.
            if self.failures == 0 {
                self.wait(&now).await;
            }
            match self.renew().await {
                Ok(()) => {
                    self.failures = 0;
                    tokio::time::sleep(RENEW_PAUSE_MIN).await;
                }
                Err(problem) => self.failed(problem).await,
            }
        }
    }

    /// Waits until the certificate is to be renewed.
    async fn wait(&mut self, now: &Notify) {
        let chance = chance();
        while let Some((held, certified)) = &self.held {
            let wishes = *self.wished.borrow_and_update();
            if key::algorithm_of(&held.key) != Some(wishes.algorithm) {
                return;
            }
            let due = due(
                certified.from(),
                certified.until(),
                wishes.renew_before,
                chance,
            );
            let Ok(left) = due.duration_since(SystemTime::now()) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
                () = now.notified() => return,
                // The other end lives as long as this task.
                _ = self.wished.changed() => {}
            }
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let wishes = *self.wished.borrow();
        let known = self.held.as_ref().map(|(held, _)| held.key.clone());
        let known = known.filter(|key| {
            wishes.rotation == RotationPolicy::Never
                && key::algorithm_of(key) == Some(wishes.algorithm)
        });
        let made = move || {
            let key = match known {
                Some(key) => key,
                None => key::generate(wishes.algorithm).map_err(|error| error.to_string())?,
            };
            let request = key::request(&key)?;
            Ok::<_, String>((key, request))
        };
        let made = tokio::task::spawn_blocking(made).await;
        let (key, request) = made.map_err(|error| error.to_string())??;
        let signing = self.signer.sign(request);
        let issued = tokio::time::timeout(SIGN_TIMEOUT, signing).await;
        let issued = issued.map_err(|_| "no answer in time".to_owned())??;
        let now = SystemTime::now();
        let certified = certified_key_at(issued.chain.as_bytes(), key.as_bytes(), now);
        let certified = certified.map_err(|error| error.to_string())?;
        let held = Held {
            chain: issued.chain.clone(),
            key,
        };
        (self.keep)(&held, &issued);
        if let Some(wishes) = issued.wishes {
            wish(&self.wishes, wishes);
        }
        let (label, until) = (&self.label, when::written(certified.until()));
        info!(%label, until, "a certificate was issued");
        self.show(held, certified);
        Ok(())
    }

    /// Says so, and waits.
    async fn failed(&mut self, problem: String) {
        let label = &self.label;
        let now = SystemTime::now();
        let left = self.held.as_ref().map(|(_, shown)| shown.left(now));
        if self.failures.is_multiple_of(TOLD_EVERY) {
            let until = self.held.as_ref();
            let until = until.map(|(_, shown)| when::written(shown.until()));
            warn!(%label, problem, until, "no certificate was issued: trying again and again");
        }
        self.failures = self.failures.saturating_add(1);
        self.told.send_if_modified(|state| {
            let is_news = state.problem.as_ref() != Some(&problem);
            state.problem = Some(problem);
            is_news
        });
        tokio::time::sleep(pause(self.failures, left, chance())).await;
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness from the system there is no key either; here any number does.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ca, Subject};

    /// Refuses so many times, and then signs.
    struct Reluctant {
        ca: Ca,
        refusals: u32,
    }

    impl Signer for Reluctant {
        async fn sign(&mut self, request: Vec<u8>) -> Result<Issued, String> {
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err("not now".to_owned());
            }
            let hour = Duration::from_secs(3_600);
            let subject = Subject::server(["a.example"]);
            let chain = self.ca.issue(&request, &subject, hour, SystemTime::now());
            Ok(Issued {
                chain: chain.map_err(|error| error.to_string())?,
                trust: self.ca.trust_pem(),
                wishes: None,
            })
        }
    }

    // A control plane that is away for a moment must not leave a process without a certificate, and a new one is kept
    // before it is shown: a process that dies between would come back with a key that nobody knows.
    #[tokio::test(start_paused = true)]
    async fn it_asks_until_somebody_signs_and_again_when_it_is_to() {
        let ca = Ca::create("test", SystemTime::now()).unwrap();
        let signer = Reluctant { ca, refusals: 3 };
        let (kept, mut keeping) = tokio::sync::mpsc::channel(8);
        let keep = move |held: &Held, _: &Issued| kept.try_send(held.clone()).unwrap();
        let automatic = Automatic::start("test", None, Wishes::default(), signer, keep);
        automatic.ready().await;
        assert_eq!(automatic.state().borrow().problem, None);
        let first = keeping.recv().await.unwrap();
        let shown = || automatic.served().current().unwrap().chain()[0].clone();
        let is_shown = |held: &Held| {
            let held = crate::certified_key(held.chain.as_bytes(), held.key.as_bytes());
            held.unwrap().chain()[0] == shown()
        };
        assert!(is_shown(&first));

        automatic.renew();
        let second = keeping.recv().await.unwrap();
        assert_ne!(*second.key, *first.key);
        automatic.wish(Wishes {
            algorithm: KeyAlgorithm::Ec384,
            rotation: RotationPolicy::Never,
            renew_before: None,
        });
        let third = keeping.recv().await.unwrap();
        assert_eq!(third.wishes().algorithm, KeyAlgorithm::Ec384);
        automatic.renew();
        let fourth = keeping.recv().await.unwrap();
        assert_eq!(*fourth.key, *third.key, "it is never to be another");
        assert_ne!(fourth.chain, third.chain);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_is_shown_at_once_if_it_is_still_good() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3_600);
        let ca = Ca::create("test", now).unwrap();
        let key = key::generate(KeyAlgorithm::Ec256).unwrap();
        let request = key::request(&key).unwrap();
        let subject = Subject::server(["a.example"]);
        let held = |at| Held {
            chain: ca.issue(&request, &subject, hour, at).unwrap(),
            key: key.clone(),
        };
        let (good, old) = (held(now), held(now - 2 * hour));
        let never = || Reluctant {
            ca: Ca::create("test", now).unwrap(),
            refusals: u32::MAX,
        };
        let wishes = Wishes::default();
        let automatic = Automatic::start("test", Some(good), wishes, never(), |_, _| {});
        assert!(automatic.served().current().is_some());
        let automatic = Automatic::start("test", Some(old), wishes, never(), |_, _| {});
        assert!(automatic.served().current().is_none());
    }
}
