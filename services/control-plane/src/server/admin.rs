//! What administrators and their programs ask for.

use std::{sync::Arc, time::Duration};

use catena_proto::admin::v1::{
    self as proto, cluster_client::ClusterClient, cluster_server::Cluster,
};
use catena_topology::{NodeName, Sight};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, ended, is_ending, membership::Answers, no_leader, status, status::About};
use crate::access::gate::about;
use crate::{
    leader::{Input, Seen},
    registry::Refused,
    routes::{Route, forwarded, is_forwarded},
};

/// How long a request waits while there is no leader.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the leader may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How often a watched status is looked at.
const LOOK: Duration = Duration::from_millis(250);
const OUTGOING_MAX: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl Cluster for Service {
    async fn get_status(
        &self,
        request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        let was_forwarded = is_forwarded(&request);
        let status = self.status(was_forwarded).await?;
        Ok(Response::new(proto::GetStatusResponse {
            status: Some(status),
        }))
    }

    type WatchStatusStream = Answers<proto::WatchStatusResponse>;

    async fn watch_status(
        &self,
        _: Request<proto::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(failed) = service.tell(&out).await {
                let _ = out.send(Err(failed)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn drain_node(
        &self,
        request: Request<proto::DrainNodeRequest>,
    ) -> Result<Response<proto::DrainNodeResponse>, Status> {
        about(&request, &request.get_ref().name);
        self.set_draining(&request.into_inner().name, true).await?;
        Ok(Response::new(proto::DrainNodeResponse {}))
    }

    async fn undrain_node(
        &self,
        request: Request<proto::UndrainNodeRequest>,
    ) -> Result<Response<proto::UndrainNodeResponse>, Status> {
        about(&request, &request.get_ref().name);
        self.set_draining(&request.into_inner().name, false).await?;
        Ok(Response::new(proto::UndrainNodeResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<proto::RemoveNodeRequest>,
    ) -> Result<Response<proto::RemoveNodeResponse>, Status> {
        about(&request, &request.get_ref().name);
        let name = request.into_inner().name;
        let removed = self.0.registry.remove_node(&name).await;
        removed.map_err(|refused| status(&refused))?;
        tracing::warn!(node = name, "removed by an administrator");
        Ok(Response::new(proto::RemoveNodeResponse {}))
    }

    async fn declare_gone(
        &self,
        request: Request<proto::DeclareGoneRequest>,
    ) -> Result<Response<proto::DeclareGoneResponse>, Status> {
        let was_forwarded = is_forwarded(&request);
        about(&request, &request.get_ref().name);
        let name = request.into_inner().name;
        match self.0.routes.within(PATIENCE).await {
            Route::Us(inputs) => {
                let seen = look(&inputs).await?;
                self.declare_gone_by(&name, &seen).await?;
            }
            Route::Other(channel) if !was_forwarded => {
                let request = proto::DeclareGoneRequest { name };
                let mut leader = ClusterClient::new(channel);
                return leader.declare_gone(forwarded(request)).await;
            }
            _ => return Err(no_leader()),
        }
        Ok(Response::new(proto::DeclareGoneResponse {}))
    }

    async fn adopt(
        &self,
        request: Request<proto::AdoptRequest>,
    ) -> Result<Response<proto::AdoptResponse>, Status> {
        let was_forwarded = is_forwarded(&request);
        match self.0.routes.within(PATIENCE).await {
            Route::Us(inputs) => {
                let (answer, answered) = oneshot::channel();
                let asked = inputs.send(Input::Adopt(answer)).await;
                asked.map_err(|_| no_leader())?;
                let adopted = answered.await.map_err(|_| no_leader())?;
                let shards = adopted.map_err(Status::failed_precondition)?;
                Ok(Response::new(proto::AdoptResponse {
                    shards: shards.iter().map(|shard| shard.0.into()).collect(),
                }))
            }
            Route::Other(channel) if !was_forwarded => {
                let mut leader = ClusterClient::new(channel);
                leader.adopt(forwarded(proto::AdoptRequest {})).await
            }
            _ => Err(no_leader()),
        }
    }

    async fn drain_gateway(
        &self,
        request: Request<proto::DrainGatewayRequest>,
    ) -> Result<Response<proto::DrainGatewayResponse>, Status> {
        about(&request, &request.get_ref().name);
        let name = request.into_inner().name;
        let view = self.0.following.view.borrow().clone();
        let drained = self.0.registry.drain_gateway(&view, &name).await;
        let gateways = drained.map_err(|refused| status(&refused))?;
        tracing::info!(gateway = name, gateways, "to drain");
        Ok(Response::new(proto::DrainGatewayResponse { gateways }))
    }
}

impl Service {
    /// The leader's word; without a leader what this replica knows.
    pub async fn status(&self, was_forwarded: bool) -> Result<proto::Status, Status> {
        match self.0.routes.now() {
            Route::Us(inputs) => {
                if let Ok(seen) = look(&inputs).await {
                    return Ok(self.status_by(Some(&seen)));
                }
            }
            Route::Other(channel) if !was_forwarded => {
                let mut leader = ClusterClient::new(channel);
                let asking = leader.get_status(forwarded(proto::GetStatusRequest {}));
                if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, asking).await
                    && let Some(status) = answer.into_inner().status
                {
                    return Ok(status);
                }
            }
            _ => {}
        }
        if self.0.following.view.borrow().revision.0 == 0 {
            return Err(Status::unavailable(
                "this replica of the control plane has not reached its store yet",
            ));
        }
        Ok(self.status_by(None))
    }

    fn status_by(&self, seen: Option<&Seen>) -> proto::Status {
        let about = About {
            cluster: self.0.cluster.clone(),
            leader: self.0.routes.leader(),
            store_contact: *self.0.following.contact.borrow(),
        };
        let view = match seen {
            Some(seen) => Arc::clone(&seen.view),
            None => self.0.following.view.borrow().clone(),
        };
        super::status::status(&view, seen, about)
    }

    /// Tells the status, and again when it has changed.
    async fn tell(
        &self,
        out: &mpsc::Sender<Result<proto::WatchStatusResponse, Status>>,
    ) -> Result<(), Status> {
        let mut last = None;
        loop {
            let status = self.status(false).await?;
            // That time passes is no change.
            let mut compared = status.clone();
            compared
                .nodes
                .iter_mut()
                .for_each(|node| node.silent_ms = None);
            if last.as_ref() != Some(&compared) {
                last = Some(compared);
                let told = proto::WatchStatusResponse {
                    status: Some(status),
                };
                if out.send(Ok(told)).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = out.closed() => return Ok(()),
                () = ended(self.0.ending.clone()) => return Err(is_ending()),
            }
        }
    }

    async fn set_draining(&self, name: &str, draining: bool) -> Result<(), Status> {
        let changed = self.0.registry.change_node(name, |record| {
            record.draining = draining;
            Ok(())
        });
        changed.await.map_err(|refused| status(&refused))?;
        tracing::info!(node = name, draining, "asked by an administrator");
        Ok(())
    }

    /// A node that is heard of is not gone, whatever the administrator believes `[C-14]`.
    async fn declare_gone_by(&self, name: &str, seen: &Seen) -> Result<(), Status> {
        let node = NodeName(name.to_owned());
        let changed = self.0.registry.change_node(name, |record| {
            let sight = seen.observed.sight(&node, record.incarnation);
            if matches!(sight, Sight::Live | Sight::Leaving) {
                let problem = format!(
                    "{name} is heard of: it is not gone. Stop it first, or empty it with `catena node drain {name}`"
                );
                return Err(Refused::Precondition(problem));
            }
            record.gone = true;
            Ok(())
        });
        changed.await.map_err(|refused| status(&refused))?;
        tracing::warn!(
            node = name,
            "declared gone by an administrator: what it held is given up"
        );
        Ok(())
    }
}

async fn look(inputs: &mpsc::Sender<Input>) -> Result<Seen, Status> {
    let (answer, answered) = oneshot::channel();
    let asked = inputs.send(Input::Look(answer)).await;
    asked.map_err(|_| no_leader())?;
    match tokio::time::timeout(ANSWER, answered).await {
        Ok(Ok(seen)) => Ok(seen),
        _ => Err(no_leader()),
    }
}
