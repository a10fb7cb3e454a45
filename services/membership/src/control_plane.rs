//! The control plane, through any of its replicas.

use std::{future::pending, sync::Arc};

use catena_chain::Incarnation;
use catena_topology::GatewayIncarnation;
use tokio::sync::{mpsc, watch};

use crate::{
    cluster::Cluster,
    registration::{GatewayRegistration, NodeRegistration},
    voice::{GatewayVoice, NodeVoice, Said},
};

/// Reports and accusations that wait for the stream.
const URGENT_MAX: usize = 256;

/// A text that is no address of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is no address of a control plane, such as http://127.0.0.1:9701")]
pub struct InvalidEndpoint {
    pub endpoint: String,
}

/// The control plane, through any of its replicas; reconnects by itself with backoff and jitter.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    cluster: watch::Sender<Arc<Cluster>>,
}

impl ControlPlane {
    /// Must be called inside a tokio runtime. `endpoints` are tried in any order; none of them need be there yet.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for a text that is no `http://` address, and when there is none.
    pub fn new(endpoints: Vec<String>) -> Result<Self, InvalidEndpoint> {
        if endpoints.is_empty() {
            let endpoint = String::new();
            return Err(InvalidEndpoint { endpoint });
        }
        Ok(ControlPlane {
            cluster: watch::Sender::default(),
        })
    }

    /// The cluster as it is told; version 0 until the first news.
    pub fn watch(&self) -> watch::Receiver<Arc<Cluster>> {
        self.cluster.subscribe()
    }

    /// Registers the node, however long that takes. The same process token gets the same incarnation.
    pub async fn register_node(&self, _registration: NodeRegistration) -> Incarnation {
        pending().await
    }

    /// Registers the gateway, however long that takes. The same process token gets the same incarnation, while it is live.
    pub async fn register_gateway(&self, _registration: GatewayRegistration) -> GatewayIncarnation {
        pending().await
    }

    /// Begins the heartbeats of a node that registered. `said` is asked for each.
    pub fn node_voice(
        &self,
        _name: String,
        _incarnation: Incarnation,
        _said: impl Fn() -> Said + Send + 'static,
    ) -> NodeVoice {
        let (reports, _) = mpsc::channel(URGENT_MAX);
        let (_, heard) = watch::channel(false);
        let (_, replaced) = watch::channel(false);
        NodeVoice {
            reports,
            heard,
            replaced,
        }
    }

    /// Keeps a gateway's registration alive.
    pub fn gateway_voice(&self, _name: String, _incarnation: GatewayIncarnation) -> GatewayVoice {
        let (accusations, _) = mpsc::channel(URGENT_MAX);
        let (_, heard) = watch::channel(false);
        let (_, live) = watch::channel(true);
        GatewayVoice {
            accusations,
            heard,
            live,
        }
    }
}
