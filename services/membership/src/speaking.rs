//! Heartbeats, and what goes with them.
//!
//! One stream at a time, to any replica. A stream that is not answered for half the time-out is given up for the next
//! replica's; what was reported meanwhile is lost, and repeated by whoever reported it.

use std::{sync::Arc, time::Duration};

use catena_chain::Incarnation;
use catena_proto::internal::v1 as proto;
use catena_topology::GatewayIncarnation;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, error, info, warn};

use crate::{
    cluster::Cluster,
    control_plane::process_bytes,
    endpoints::{Endpoints, Turn},
    registration::{GatewayRegistration, NodeRegistration},
    voice::{PortStatus, Said, SelfChecked, Urgent},
    watching::Ahead,
    wire,
};

/// Heartbeats in a failure time-out.
const BEATS_PER_TIMEOUT: u32 = 10;
/// A stream without an answer for this part of the time-out is given up.
const PATIENCE_DIVISOR: u32 = 2;
/// Messages that wait for the network.
const OUTGOING_MAX: usize = 64;

/// What a node's task needs.
pub struct NodeSpeaker {
    pub endpoints: Endpoints,
    pub cluster: watch::Receiver<Arc<Cluster>>,
    pub ahead: watch::Receiver<Ahead>,
    pub registration: NodeRegistration,
    pub incarnation: Incarnation,
    pub said: Box<dyn Fn() -> Said + Send>,
    pub urgent: mpsc::Receiver<Urgent>,
    pub heard: watch::Sender<bool>,
    pub replaced: watch::Sender<bool>,
}

/// What a gateway's task needs.
pub struct GatewaySpeaker {
    pub endpoints: Endpoints,
    pub cluster: watch::Receiver<Arc<Cluster>>,
    pub registration: GatewayRegistration,
    pub incarnation: GatewayIncarnation,
    pub accusations: mpsc::Receiver<Incarnation>,
    pub heard: watch::Sender<bool>,
    pub live: watch::Sender<bool>,
    pub ports: watch::Receiver<Vec<PortStatus>>,
    pub self_checked: watch::Receiver<Option<SelfChecked>>,
}

/// Why a stream ended.
enum End {
    /// The voice was dropped, or there is nothing left to say.
    Over,
    /// The next replica is to be tried.
    Broken(String),
}

/// Which messages were answered, and when they had been sent.
struct Hearing {
    timeout: Duration,
    number: u64,
    /// When messages that have no answer yet were sent.
    waiting: std::collections::VecDeque<(u64, Instant)>,
    /// When the last message was sent that was answered.
    answered: Option<Instant>,
    heard: watch::Sender<bool>,
    warned: bool,
}

impl Hearing {
    fn new(heard: watch::Sender<bool>) -> Hearing {
        Hearing {
            timeout: Duration::from_secs(1),
            number: 0,
            waiting: std::collections::VecDeque::new(),
            answered: None,
            heard,
            warned: false,
        }
    }

    fn began(&mut self) {
        self.number = 0;
        self.waiting.clear();
    }

    /// Numbers a message that is sent now.
    fn sends(&mut self) -> u64 {
        self.number += 1;
        self.waiting.push_back((self.number, Instant::now()));
        self.number
    }

    fn answered(&mut self, number: u64) {
        while let Some((waits, sent)) = self.waiting.front() {
            if *waits > number {
                break;
            }
            self.answered = Some(*sent);
            self.waiting.pop_front();
        }
        self.look();
    }

    fn look(&mut self) {
        let heard = self.answered.is_some_and(|at| at.elapsed() < self.timeout);
        let before = self.heard.send_replace(heard);
        if before && !heard {
            warn!("the control plane does not answer: going on without it");
        } else if heard && !before && self.warned {
            info!("the control plane answers again");
        }
        self.warned |= before && !heard;
    }

    /// So long no replica is asked after one has failed, at most.
    fn pause_max(&self) -> Duration {
        self.timeout / BEATS_PER_TIMEOUT
    }

    /// Whether the oldest message has waited for too long.
    fn is_patient(&self) -> bool {
        let oldest = self.waiting.front();
        oldest.is_none_or(|(_, sent)| sent.elapsed() < self.timeout / PATIENCE_DIVISOR)
    }
}

/// Speaks for a node until its voice is dropped, or it is replaced.
pub async fn node(mut speaker: NodeSpeaker) {
    let mut turn = speaker.endpoints.turn();
    let mut hearing = Hearing::new(speaker.heard.clone());
    loop {
        match node_stream(&mut speaker, &mut turn, &mut hearing).await {
            End::Over => return,
            End::Broken(reason) => {
                debug!(
                    address = turn.address(),
                    reason, "the heartbeats' stream broke"
                );
            }
        }
        tokio::select! {
            () = turn.failed_briefly(hearing.pause_max()) => {}
            () = speaker.heard.closed() => return,
        }
        hearing.look();
    }
}

async fn node_stream(speaker: &mut NodeSpeaker, turn: &mut Turn, hearing: &mut Hearing) -> End {
    hearing.began();
    let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
    let timeout = speaker.cluster.borrow().broker.failure_timeout();
    hearing.timeout = timeout;
    let mut beat = tokio::time::interval(timeout / BEATS_PER_TIMEOUT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = turn.client();
    let opening = client.node_heartbeats(ReceiverStream::new(outgoing));
    let mut answers = match open(opening, timeout / PATIENCE_DIVISOR).await {
        Ok(answers) => answers,
        Err(reason) => return End::Broken(reason),
    };
    loop {
        let message = tokio::select! {
            _ = beat.tick() => {
                hearing.look();
                let timeout_now = speaker.cluster.borrow().broker.failure_timeout();
                if !hearing.is_patient() || timeout_now != timeout {
                    return End::Broken("no answer".to_owned());
                }
                speaker.beat(hearing.sends())
            }
            // That the store has forgotten what we know is news `[C-16]`.
            Ok(()) = speaker.ahead.changed() => speaker.beat(hearing.sends()),
            urgent = speaker.urgent.recv() => match urgent {
                Some(urgent) => speaker.urgent_message(hearing.sends(), urgent),
                None => return End::Over,
            },
            answer = answers.message() => {
                let answer = match answer {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return End::Broken("it ended".to_owned()),
                    Err(status) => return End::Broken(status.to_string()),
                };
                turn.succeeded();
                if answer.replaced {
                    error!(
                        name = speaker.registration.name, incarnation = speaker.incarnation.0,
                        "this process was replaced or declared gone: it is of no use any more"
                    );
                    speaker.replaced.send_replace(true);
                    speaker.heard.send_replace(false);
                    return End::Over;
                }
                hearing.answered(answer.number);
                continue;
            }
        };
        // A stream that takes nothing more is not answered either, and then given up.
        let _ = out.try_send(message);
    }
}

impl NodeSpeaker {
    fn message(&self, number: u64) -> proto::NodeHeartbeat {
        proto::NodeHeartbeat {
            number,
            registration: (number == 1).then(|| self.registration.message()),
            incarnation: self.incarnation.0,
            ..proto::NodeHeartbeat::default()
        }
    }

    fn beat(&mut self, number: u64) -> proto::NodeHeartbeat {
        let said = (self.said)();
        let ahead = self.ahead.borrow_and_update().clone();
        proto::NodeHeartbeat {
            beat: Some(proto::node_heartbeat::Beat {
                leaving: said.leaving,
                replicas: said.replicas.iter().map(wire::progress_message).collect(),
                linked: said.linked.iter().map(|gateway| gateway.0).collect(),
                ahead: ahead.iter().map(wire::configuration_message).collect(),
            }),
            ..self.message(number)
        }
    }

    /// One message for all that is urgent now.
    fn urgent_message(&mut self, number: u64, first: Urgent) -> proto::NodeHeartbeat {
        let mut message = self.message(number);
        let mut next = Some(first);
        while let Some(urgent) = next {
            match urgent {
                Urgent::Report(report) => message.reports.push(wire::report_message(&report)),
                Urgent::Accuse(incarnation) => message.accused.push(incarnation.0),
            }
            next = self.urgent.try_recv().ok();
        }
        message
    }
}

/// Speaks for a gateway until its voice is dropped, or its incarnation is over.
pub async fn gateway(mut speaker: GatewaySpeaker) {
    let mut turn = speaker.endpoints.turn();
    let mut hearing = Hearing::new(speaker.heard.clone());
    loop {
        match gateway_stream(&mut speaker, &mut turn, &mut hearing).await {
            End::Over => return,
            End::Broken(reason) => {
                debug!(
                    address = turn.address(),
                    reason, "the heartbeats' stream broke"
                );
            }
        }
        tokio::select! {
            () = turn.failed_briefly(hearing.pause_max()) => {}
            () = speaker.heard.closed() => return,
        }
        hearing.look();
    }
}

async fn gateway_stream(
    speaker: &mut GatewaySpeaker,
    turn: &mut Turn,
    hearing: &mut Hearing,
) -> End {
    hearing.began();
    let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
    let timeout = speaker.cluster.borrow().broker.failure_timeout();
    hearing.timeout = timeout;
    let mut beat = tokio::time::interval(timeout / BEATS_PER_TIMEOUT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = turn.client();
    let opening = client.gateway_heartbeats(ReceiverStream::new(outgoing));
    let mut answers = match open(opening, timeout / PATIENCE_DIVISOR).await {
        Ok(answers) => answers,
        Err(reason) => return End::Broken(reason),
    };
    loop {
        let message = tokio::select! {
            _ = beat.tick() => {
                hearing.look();
                let timeout_now = speaker.cluster.borrow().broker.failure_timeout();
                if !hearing.is_patient() || timeout_now != timeout {
                    return End::Broken("no answer".to_owned());
                }
                speaker.beat(hearing.sends())
            }
            accused = speaker.accusations.recv() => match accused {
                Some(incarnation) => {
                    let mut accused = vec![incarnation.0];
                    while let Ok(more) = speaker.accusations.try_recv() {
                        accused.push(more.0);
                    }
                    speaker.message(hearing.sends(), accused)
                }
                None => {
                    let mut message = speaker.message(hearing.sends(), Vec::new());
                    message.leaving = true;
                    let _ = out.try_send(message);
                    drop(out);
                    // The answer says that the registration is gone; without it the lease ends by itself.
                    let _ = tokio::time::timeout(timeout, async {
                        while let Ok(Some(_)) = answers.message().await {}
                    })
                    .await;
                    return End::Over;
                }
            },
            answer = answers.message() => {
                let answer = match answer {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return End::Broken("it ended".to_owned()),
                    Err(status) => return End::Broken(status.to_string()),
                };
                turn.succeeded();
                if answer.over {
                    warn!(
                        name = speaker.registration.name, incarnation = speaker.incarnation.0,
                        "this gateway was taken out: it has to register anew"
                    );
                    speaker.live.send_replace(false);
                    speaker.heard.send_replace(false);
                    return End::Over;
                }
                hearing.answered(answer.number);
                continue;
            }
        };
        // A stream that takes nothing more is not answered either, and then given up.
        let _ = out.try_send(message);
    }
}

impl GatewaySpeaker {
    fn message(&self, number: u64, accused: Vec<u64>) -> proto::GatewayHeartbeat {
        proto::GatewayHeartbeat {
            number,
            name: self.registration.name.clone(),
            process: process_bytes(self.registration.process),
            incarnation: self.incarnation.0,
            accused,
            leaving: false,
            ports: Vec::new(),
            self_check: None,
        }
    }

    fn beat(&self, number: u64) -> proto::GatewayHeartbeat {
        let ports = self.ports.borrow();
        proto::GatewayHeartbeat {
            ports: ports.iter().map(wire::port_message).collect(),
            self_check: self.self_checked.borrow().as_ref().map(|found| {
                let problem = found.as_ref().err().cloned();
                proto::SelfCheck { problem }
            }),
            ..self.message(number, Vec::new())
        }
    }
}

async fn open<T>(
    opening: impl Future<Output = Result<tonic::Response<Streaming<T>>, Status>>,
    timeout: Duration,
) -> Result<Streaming<T>, String> {
    match tokio::time::timeout(timeout, opening).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    // A process that believes that it is heard does not close what it has to close when it is cut off [C-45].
    #[tokio::test(start_paused = true)]
    async fn being_heard_counts_from_when_the_answered_was_sent() {
        let (heard, is_heard) = watch::channel(false);
        let mut hearing = Hearing::new(heard);
        hearing.timeout = TIMEOUT;
        hearing.began();
        let first = hearing.sends();
        tokio::time::advance(TIMEOUT / 3).await;
        let second = hearing.sends();
        hearing.answered(first);
        assert!(*is_heard.borrow());
        assert!(hearing.is_patient());
        tokio::time::advance(TIMEOUT / 2).await;
        assert!(!hearing.is_patient(), "the second was not answered");
        tokio::time::advance(TIMEOUT / 6).await;
        hearing.look();
        assert!(!*is_heard.borrow(), "the first was sent a time-out ago");
        // A late answer speaks of the moment when the message was sent.
        hearing.answered(second);
        assert!(*is_heard.borrow());
        tokio::time::advance(TIMEOUT / 3).await;
        hearing.look();
        assert!(!*is_heard.borrow());
    }
}
