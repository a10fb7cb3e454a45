//! Who leads, and how he is reached from here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use catena_pki::{Connector, Role, Security};
use tokio::sync::{mpsc, watch};
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use crate::leader::Input;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of leaders that are remembered.
const CHANNELS_MAX: usize = 16;
/// Marks what a replica forwards: it is not forwarded again.
const FORWARDED: &str = "catena-forwarded";

/// Where what only the leader takes is to go.
#[derive(Debug, Clone)]
pub enum Route {
    Us(mpsc::Sender<Input>),
    Other(Channel),
    /// There is no leader, or none that can be reached.
    Nobody,
}

/// Knows the way to the leader. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routes {
    /// Set while this replica leads.
    pub ours: watch::Receiver<Option<mpsc::Sender<Input>>>,
    /// Whom the store names, by his address.
    pub named: watch::Receiver<Option<String>>,
    own: Arc<str>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
    security: Security,
}

impl Routes {
    /// Routes of the replica that others reach at `own`.
    pub fn new(
        ours: watch::Receiver<Option<mpsc::Sender<Input>>>,
        named: watch::Receiver<Option<String>>,
        own: &str,
        security: Security,
    ) -> Routes {
        Routes {
            ours,
            named,
            own: own.into(),
            channels: Arc::default(),
            security,
        }
    }

    /// The way to the leader now.
    pub fn now(&self) -> Route {
        if let Some(inputs) = self.ours.borrow().clone() {
            return Route::Us(inputs);
        }
        let named = self.named.borrow().clone();
        match named {
            // Our own leadership has just ended, or has not begun yet.
            Some(address) if *address != *self.own => self.channel(&address),
            _ => Route::Nobody,
        }
    }

    /// The way to the leader, if there is one within `patience`.
    pub async fn within(&self, patience: Duration) -> Route {
        let (mut ours, mut named) = (self.ours.clone(), self.named.clone());
        let found = async {
            loop {
                match self.now() {
                    Route::Nobody => {}
                    route => return route,
                }
                let changed = tokio::select! {
                    changed = ours.changed() => changed,
                    changed = named.changed() => changed,
                };
                if changed.is_err() {
                    return Route::Nobody;
                }
            }
        };
        let found = tokio::time::timeout(patience, found).await;
        found.unwrap_or(Route::Nobody)
    }

    /// The leader's address; empty when there is none.
    pub fn leader(&self) -> String {
        self.named.borrow().clone().unwrap_or_default()
    }

    /// The ways to all replicas but this one.
    pub fn others(&self, replicas: &BTreeSet<String>) -> Vec<Channel> {
        let others = replicas.iter().filter(|address| ***address != *self.own);
        let ways = others.filter_map(|address| match self.channel(address) {
            Route::Other(channel) => Some(channel),
            _ => None,
        });
        ways.collect()
    }

    fn channel(&self, address: &str) -> Route {
        let mut channels = self
            .channels
            .lock()
            .expect("nothing panics while it is held");
        if let Some(channel) = channels.get(address) {
            return Route::Other(channel.clone());
        }
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
            return Route::Nobody;
        };
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .connect_with_connector_lazy(Connector::new(self.security.clone(), Role::ControlPlane));
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Route::Other(channel)
    }
}

/// A request that goes to the leader for someone.
pub fn forwarded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(FORWARDED, MetadataValue::from_static("1"));
    request
}

/// Whether another replica sent it on: who is not the leader then does not send it further.
pub fn is_forwarded<T>(request: &Request<T>) -> bool {
    request.metadata().contains_key(FORWARDED)
}
