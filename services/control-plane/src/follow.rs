//! Keeps the view of the store, and knows whether the store is in reach `[C-15]`.

use std::{sync::Arc, time::Duration};

use catena_membership::Cluster;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tracing::{info, warn};

use crate::{
    keys,
    store::{Error, Prefix, Store, Watch},
    view::View,
};

/// How long after an error the store is watched again.
const RETRY: Duration = Duration::from_millis(200);
/// How often in a time-out the store is asked whether it is there.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// What is known of the store, for all who read it.
#[derive(Debug, Clone)]
pub struct Following {
    pub view: watch::Receiver<Arc<View>>,
    /// What gateways and backends are told of it; version 0 until the first view.
    pub told: watch::Receiver<Arc<Cluster>>,
    /// Whether the store was in reach within the last failure time-out.
    pub contact: watch::Receiver<bool>,
}

/// The tasks' ends.
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    view: watch::Sender<Arc<View>>,
    told: watch::Sender<Arc<Cluster>>,
    contact: watch::Sender<bool>,
    /// Whether changes arrive: an answer alone is not enough.
    watching: watch::Sender<bool>,
}

impl Follower {
    /// A follower, and what it makes known.
    pub fn new(store: Arc<dyn Store>) -> (Follower, Following) {
        let (view, views) = watch::channel(Arc::default());
        let (told, tellings) = watch::channel(Arc::default());
        let (contact, contacts) = watch::channel(false);
        let follower = Follower {
            store,
            view,
            told,
            contact,
            watching: watch::Sender::new(false),
        };
        let following = Following {
            view: views,
            told: tellings,
            contact: contacts,
        };
        (follower, following)
    }

    /// Follows for ever.
    pub async fn run(self) {
        tokio::join!(self.follow(), self.look());
    }

    async fn follow(&self) {
        let mut away = false;
        loop {
            // From a snapshot each time: of a store that was restored from a backup, the revision that is known may be yet to
            // come.
            let error = match self.store.watch(&Prefix::ALL, None).await {
                Ok(watch) => self.take_all(watch, &mut away).await,
                Err(error) => error,
            };
            self.watching.send_replace(false);
            if !std::mem::replace(&mut away, true) {
                warn!(%error, "the store cannot be watched: going on with what is known");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn take_all(&self, mut watch: Watch, away: &mut bool) -> Error {
        loop {
            let event = match watch.next().await {
                Ok(event) => event,
                Err(error) => return error,
            };
            if std::mem::take(away) {
                info!(revision = event.revision().0, "watching the store again");
            }
            self.view.send_modify(|view| {
                Arc::make_mut(view).take(event);
            });
            self.tell();
            self.watching.send_if_modified(|watching| {
                let was = std::mem::replace(watching, true);
                !was
            });
        }
    }

    /// What changes the version alone is not told.
    fn tell(&self) {
        let told = self.view.borrow().told();
        self.told.send_if_modified(|known| {
            let same = Cluster {
                version: known.version,
                ..told.clone()
            };
            let is_news = known.version == 0 || **known != same;
            if is_news {
                *known = Arc::new(told);
            }
            is_news
        });
    }

    /// Asks for an entry from time to time: a watch is silent also when the store is cut off.
    async fn look(&self) {
        let mut last: Option<Instant> = None;
        loop {
            let timeout = self.timeout();
            let mut looks = tokio::time::interval(timeout / LOOKS_PER_TIMEOUT);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while self.timeout() == timeout {
                looks.tick().await;
                let asked = Instant::now();
                let key = keys::layout();
                let asking = self.store.get(&key);
                let answered = tokio::time::timeout(timeout / 2, asking).await;
                if matches!(answered, Ok(Ok(_))) && *self.watching.borrow() {
                    last = Some(asked);
                }
                let contact = last.is_some_and(|last| last.elapsed() < timeout);
                let before = self.contact.send_replace(contact);
                if before && !contact {
                    warn!(
                        "the store was out of reach for one time-out: nothing is decided or told until it is back"
                    );
                } else if contact && !before {
                    info!("in contact with the store");
                }
            }
        }
    }

    fn timeout(&self) -> Duration {
        let view = self.view.borrow();
        let broker = view.broker.as_ref();
        broker.map_or_else(
            || catena_resources::Broker::default().failure_timeout(),
            catena_resources::Broker::failure_timeout,
        )
    }
}
