//! One node's stream of heartbeats: taken by the leader, forwarded by the others `[C-15]`.

use catena_chain::Incarnation;
use catena_membership::wire;
use catena_pki::{Peer, Role};
use catena_proto::internal::v1::{self as proto, membership_client::MembershipClient};
use catena_topology::{Heartbeat, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use tracing::debug;

use super::{
    ended, is_ending,
    membership::{OUTGOING_MAX, newcomer},
    no_leader,
};
use crate::{
    leader::{Input, Said},
    record::Newcomer,
    routes::forwarded,
    traffic::named,
};

type Out = mpsc::Sender<Result<proto::NodeHeard, Status>>;

/// Hands a node's messages to this replica's leader, and its answers back.
pub async fn take(
    messages: Streaming<proto::NodeHeartbeat>,
    peer: Peer,
    out: Out,
    inputs: mpsc::Sender<Input>,
    ending: watch::Receiver<bool>,
) {
    let mut stream = Stream {
        messages,
        peer,
        who: None,
        incarnation: Incarnation(0),
    };
    let failed = tokio::select! {
        failed = stream.run(&out, &inputs) => failed,
        () = ended(ending) => Some(is_ending()),
        () = inputs.closed() => Some(no_leader()),
    };
    match failed {
        Some(failed) => {
            let _ = out.send(Err(failed)).await;
        }
        // Its process may have ended: that is found out at once.
        None => {
            let _ = inputs.send(Input::Silent(stream.incarnation)).await;
        }
    }
}

struct Stream {
    messages: Streaming<proto::NodeHeartbeat>,
    /// The node, or a replica that forwards what it says.
    peer: Peer,
    /// As the first message says.
    who: Option<(NodeName, Newcomer)>,
    incarnation: Incarnation,
}

impl Stream {
    /// Runs until the node's side ends: `None`, or ours: why.
    async fn run(&mut self, out: &Out, inputs: &mpsc::Sender<Input>) -> Option<Status> {
        let (answer, mut answers) = mpsc::channel(OUTGOING_MAX);
        loop {
            tokio::select! {
                message = self.messages.message() => {
                    let Ok(Some(message)) = message else { return None };
                    let said = match self.said(message, answer.clone()) {
                        Ok(said) => said,
                        Err(failed) => return Some(failed),
                    };
                    if inputs.send(Input::Said(Box::new(said))).await.is_err() {
                        return Some(no_leader());
                    }
                }
                Some(crate::leader::Answer { number, replaced }) = answers.recv() => {
                    if out.send(Ok(proto::NodeHeard { number, replaced })).await.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    fn said(
        &mut self,
        message: proto::NodeHeartbeat,
        answer: mpsc::Sender<crate::leader::Answer>,
    ) -> Result<Said, Status> {
        let malformed =
            |malformed: wire::Malformed| Status::invalid_argument(malformed.to_string());
        if let Some(registration) = message.registration {
            is_its_own(&self.peer, &registration)?;
            self.who = Some(newcomer(Some(registration))?);
        }
        let Some((node, newcomer)) = self.who.clone() else {
            return Err(Status::invalid_argument(
                "registration: missing in the first message",
            ));
        };
        let incarnation = Incarnation(message.incarnation);
        self.incarnation = incarnation;
        let mut ahead = Vec::new();
        let mut heartbeat = None;
        if let Some(beat) = message.beat {
            let replicas = beat.replicas.iter().map(wire::progress);
            heartbeat = Some(Heartbeat {
                node: node.clone(),
                incarnation,
                leaving: beat.leaving,
                replicas: replicas.collect::<Result<_, _>>().map_err(malformed)?,
                linked: wire::gateways(&beat.linked),
            });
            let configurations = beat.ahead.into_iter().map(wire::configuration);
            ahead = configurations
                .collect::<Result<_, _>>()
                .map_err(malformed)?;
        }
        let reports = message.reports.iter().map(wire::report);
        Ok(Said {
            node,
            incarnation,
            newcomer,
            number: message.number,
            heartbeat,
            ahead,
            reports: reports.collect::<Result<_, _>>().map_err(malformed)?,
            accused: message.accused.into_iter().map(Incarnation).collect(),
            answer,
        })
    }
}

/// That nobody speaks for another node.
#[allow(clippy::result_large_err, reason = "tonic's own type")]
fn is_its_own(peer: &Peer, registration: &proto::NodeRegistration) -> Result<(), Status> {
    if peer.is(Role::ControlPlane) {
        return Ok(());
    }
    named(peer, Role::Backend, &registration.name)
}

/// Sends a node's messages on to the leader, and its answers back, until either side ends.
pub async fn forward(
    mut messages: Streaming<proto::NodeHeartbeat>,
    peer: Peer,
    out: Out,
    mut leader: MembershipClient<Channel>,
    ending: watch::Receiver<bool>,
) {
    let (onward, outgoing) = mpsc::channel(OUTGOING_MAX);
    let there = async {
        while let Ok(Some(message)) = messages.message().await {
            let registration = message.registration.as_ref();
            let own = registration.map_or(Ok(()), |registration| is_its_own(&peer, registration));
            if let Err(denied) = own {
                return Some(denied);
            }
            if onward.send(message).await.is_err() {
                return None;
            }
        }
        None
    };
    let back = async {
        let opening = leader.node_heartbeats(forwarded(ReceiverStream::new(outgoing)));
        let mut answers = match opening.await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return status,
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    if out.send(Ok(answer)).await.is_err() {
                        return no_leader();
                    }
                }
                Ok(None) => return no_leader(),
                Err(status) => return status,
            }
        }
    };
    let failed = tokio::select! {
        denied = there => match denied {
            Some(denied) => {
                let _ = out.send(Err(denied)).await;
                return;
            }
            None => return,
        },
        failed = back => failed,
        () = ended(ending) => is_ending(),
    };
    debug!(%failed, "a forwarded stream ended");
    let _ = out
        .send(Err(Status::unavailable(failed.message().to_owned())))
        .await;
}
