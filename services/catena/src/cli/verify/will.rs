//! One who leaves a will with each connection, and goes with a word or without.

use std::sync::Arc;

use catena_mqtt::{
    QoS,
    packet::{Connect, Will},
};
use tokio::time::{Duration, Instant, sleep_until};

use super::{
    history::Ending,
    plan::Testator,
    run::{Phase, Run},
    visitor::{End, Visitor},
};
use crate::cli::{client::Client, stamp::Stamp};

/// How long a connection lasts if clients do not move otherwise, about.
const STAY: Duration = Duration::from_secs(2);

/// A client with a will.
pub struct WillClient {
    visitor: Visitor,
    role: Testator,
    connect: Connect,
    /// The connection that ended with DISCONNECT, if it is not known yet whether the broker got that.
    ///
    /// The DISCONNECT also ends the session. If the next CONNACK says that there is none, it arrived.
    unproven: Option<u64>,
}

impl WillClient {
    /// One of the cast.
    pub fn new(run: &Arc<Run>, role: Testator) -> WillClient {
        let connect = run.plan.connect(&format!("will{}", role.wills), true);
        WillClient {
            visitor: Visitor::new(run, role.session),
            role,
            connect,
            unproven: None,
        }
    }

    /// Comes and goes while there is load.
    pub async fn run(mut self) {
        let mut phase = self.visitor.phase.clone();
        // It fails only if the run is gone.
        let _ = phase.wait_for(|phase| *phase >= Phase::Load).await;
        while self.visitor.phase_now() == Phase::Load {
            let number = self.leave_will();
            let Some(mut client) = self.visitor.connect(&self.connect).await else {
                self.ended(number, Ending::Unclear);
                continue;
            };
            self.settle(client.connack.session_present);
            match self.stay(&mut client).await {
                End::Broken => {
                    self.ended(number, Ending::Broken);
                    self.visitor.broke();
                }
                End::Move if self.visitor.choose(2) == 0 => {
                    self.ended(number, Ending::Broken);
                    drop(client);
                }
                End::Move | End::Over => {
                    self.unproven = Some(number);
                    self.visitor.resign(client).await;
                }
            }
        }
        self.connect.will = None;
        while self.unproven.is_some() && self.visitor.phase_now() < Phase::Over {
            if let Some(client) = self.visitor.connect(&self.connect).await {
                self.settle(client.connack.session_present);
                self.visitor.resign(client).await;
            }
        }
        let client_id = self.connect.client_id.clone();
        self.visitor.forget(&client_id).await;
    }

    fn leave_will(&mut self) -> u64 {
        let run = &self.visitor.run;
        let mut history = run.history();
        let wills = &mut history.wills[self.role.wills];
        let sequence = wills.leave();
        let stamp = Stamp {
            run: run.plan.run,
            publisher: u32::try_from(self.role.wills).expect("there are not that many wills"),
            sequence,
            sent_ns: run.now().as_nanos() as u64,
        };
        let mut payload = vec![b'.'; run.plan.size];
        stamp.write(&mut payload);
        self.connect.will = Some(Will {
            topic: wills.topic.as_str().into(),
            payload: payload.into(),
            qos: QoS::ExactlyOnce,
            ..Will::default()
        });
        sequence
    }

    /// Decides what the last DISCONNECT has come to. Before MQTT 5 it cannot end a session, so that
    /// nothing is ever proven.
    fn settle(&mut self, present: bool) {
        if let Some(number) = self.unproven.take() {
            let proven = !present && self.connect.version.is_v5();
            let ending = if proven {
                Ending::Normal
            } else {
                Ending::Unclear
            };
            self.ended(number, ending);
        }
    }

    fn ended(&self, number: u64, ending: Ending) {
        let mut history = self.visitor.run.history();
        history.wills[self.role.wills].ended(number, ending);
    }

    async fn stay(&mut self, client: &mut Client) -> End {
        let moves_at = self.visitor.moves_at();
        let moves_at = moves_at.unwrap_or_else(|| Instant::now() + STAY);
        loop {
            tokio::select! {
                packet = client.receive() => if packet.is_err() {
                    return End::Broken;
                },
                () = sleep_until(moves_at) => return End::Move,
                _ = self.visitor.phase.changed() => return End::Over,
            }
        }
    }
}
