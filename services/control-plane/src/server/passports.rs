//! Passports between processes: members that carry steps here, and replicas that ask for what members carry here.

use std::time::Duration;

use catena_pki::Role;
use catena_proto::internal::v1::{self as proto, passports_server::Passports};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Context, ended, membership::Answers};
use crate::{
    passports::Said,
    traffic::{named, only},
};

const OUTGOING_MAX: usize = 4;
/// The longest that messages are followed.
pub const TIME_MAX: Duration = Duration::from_secs(3_600);

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl Passports for Service {
    type CarryStream = Answers<proto::CarryResponse>;

    async fn carry(
        &self,
        request: Request<Streaming<proto::CarryRequest>>,
    ) -> Result<Response<Self::CarryStream>, Status> {
        let peer = only(&request, &[Role::Gateway, Role::Backend])?;
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("it says nothing"))?;
        let role = match first.role.as_str() {
            "gateway" => Role::Gateway,
            "backend" => Role::Backend,
            // A process that is both says so, where nobody has a certificate.
            "standalone" if self.0.traffic.in_process => Role::Gateway,
            _ => return Err(Status::invalid_argument("role: gateway or backend")),
        };
        named(&peer, role, &first.name)?;
        let process = match first.role.as_str() {
            "standalone" => first.name,
            role => format!("{role}/{}", first.name),
        };
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let (desk, ending) = (self.0.desk.clone(), self.0.ending.clone());
        tokio::spawn(async move {
            let (mut orders, mut known) = (desk.orders(), Vec::new());
            orders.mark_changed();
            loop {
                tokio::select! {
                    changed = orders.changed() => {
                        let told = orders.borrow_and_update().to_vec();
                        let response = proto::CarryResponse { orders: told };
                        if changed.is_err() || out.send(Ok(response)).await.is_err() {
                            return;
                        }
                    }
                    message = messages.message() => match message {
                        Ok(Some(message)) => desk.carry(&process, &mut known, message),
                        _ => return,
                    },
                    () = ended(ending.clone()) => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    type FollowStream = Answers<proto::FollowResponse>;

    async fn follow(
        &self,
        request: Request<proto::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        only(&request, &[Role::ControlPlane])?;
        let request = request.into_inner();
        let of = request.order.and_then(|order| order.of);
        let of = of.ok_or_else(|| Status::invalid_argument("order: it is missing"))?;
        let mut reading = self.0.desk.open(of).ok_or_else(too_many)?;
        let time = Duration::from_millis(request.milliseconds.into()).min(TIME_MAX);
        let until = Instant::now() + time;
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let ending = self.0.ending.clone();
        tokio::spawn(async move {
            loop {
                let said = tokio::select! {
                    said = reading.said.recv() => said,
                    () = tokio::time::sleep_until(until) => return,
                    () = out.closed() => return,
                    () = ended(ending.clone()) => return,
                };
                let Some(said) = said else { return };
                if out.send(Ok(message(said))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// There is no room for one more order.
pub fn too_many() -> Status {
    Status::resource_exhausted(
        "messages are followed by as many already as there may be: 16 through each replica",
    )
}

fn message(said: Said) -> proto::FollowResponse {
    proto::FollowResponse {
        process: said.process,
        joined: said.joined,
        steps: said.steps,
        dropped: said.missed,
    }
}

/// What another replica passes on.
pub fn said(message: proto::FollowResponse) -> Said {
    Said {
        process: message.process,
        joined: message.joined,
        steps: message.steps,
        missed: message.dropped,
    }
}
