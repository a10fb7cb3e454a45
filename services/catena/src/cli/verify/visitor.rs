//! A client that comes and goes: which endpoint it tries, how long it waits, when it moves.

use std::{sync::Arc, time::Duration};

use catena_mqtt::{
    Packet,
    packet::{Connect, Disconnect},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    random::Random,
    run::{Phase, Problem, Run},
};
use crate::cli::client::{Client, Error};

/// How long an endpoint may take from the first SYN to CONNACK. Less than a person would wait, since
/// another endpoint may be well.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long to wait for the broker to close after DISCONNECT.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// How long a client stays away at most after it has left of its own.
const AWAY_MAX: Duration = Duration::from_secs(1);

/// A client between and during its connections.
#[derive(Debug)]
pub struct Visitor {
    /// The run that it takes part in.
    pub run: Arc<Run>,
    /// Wakes up at each new phase.
    pub phase: watch::Receiver<Phase>,
    session: usize,
    random: Random,
    endpoint: usize,
    backoff: Duration,
    /// The connection that the next one takes over from.
    old: Option<Client>,
}

/// How a stay at one endpoint ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is time to go elsewhere.
    Move,
    /// The connection is gone.
    Broken,
    /// The run is over.
    Over,
}

impl Visitor {
    /// The client with `session` in the history; what it chooses depends on the seed and on that.
    pub fn new(run: &Arc<Run>, session: usize) -> Visitor {
        let mut random = Random::of(run.plan.seed, session as u64);
        let endpoint = random.below(run.plan.endpoints.len() as u64) as usize;
        Visitor {
            phase: run.phase(),
            session,
            endpoint,
            backoff: run.plan.backoff.0,
            random,
            old: None,
            run: Arc::clone(run),
        }
    }

    /// The phase now.
    pub fn phase_now(&self) -> Phase {
        *self.phase.borrow()
    }

    /// A choice of one of `count`.
    pub fn choose(&mut self, count: u64) -> u64 {
        self.random.below(count)
    }

    /// Tries to connect. After a failure it waits, and the next try goes elsewhere.
    pub async fn connect(&mut self, connect: &Connect) -> Option<Client> {
        let endpoint = &self.run.plan.endpoints[self.endpoint];
        let opening = Client::open(&endpoint.way, connect);
        let problem = match timeout(CONNECT_MAX, opening).await {
            Ok(Ok(client)) => {
                // Closes the connection that the broker has taken over from.
                self.old = None;
                self.backoff = self.run.plan.backoff.0;
                let mut history = self.run.history();
                history.sessions[self.session].connected(client.connack.session_present);
                return Some(client);
            }
            Ok(Err(error)) => Problem {
                // A connection that is cut before CONNACK does not look like MQTT either.
                may_pass: error.is_retryable() || matches!(error, Error::NotMqtt { .. }),
                text: error.to_string(),
            },
            Err(_) => Problem {
                may_pass: true,
                text: format!("{endpoint} does not answer"),
            },
        };
        self.old = None;
        self.run.history().sessions[self.session].failed();
        self.run.complain(problem);
        self.go_elsewhere();
        let wait = self.random.around(self.backoff);
        self.rest(wait).await;
        self.backoff = (self.backoff * 2).min(self.run.plan.backoff.1);
        None
    }

    /// When to move, if the plan says that clients move. Not before the load begins.
    pub fn moves_at(&mut self) -> Option<Instant> {
        let churn = self.run.plan.churn?;
        Some(Instant::now() + self.random.around(churn))
    }

    /// The connection broke, which was not our doing.
    pub fn broke(&mut self) {
        self.run.history().sessions[self.session].breaks += 1;
        self.go_elsewhere();
    }

    /// Leaves in one of the ways in which clients leave: cut off, with DISCONNECT, or not before the next
    /// connection has taken over. Returns how long it stayed away of its own.
    pub async fn leave(&mut self, client: Client) -> Duration {
        self.run.history().sessions[self.session].moves += 1;
        self.go_elsewhere();
        match self.random.below(3) {
            0 => drop(client),
            1 => {
                // What comes now is not acknowledged, so it comes again.
                let _ = client.close().await;
                let away = self.random.below(AWAY_MAX.as_millis() as u64);
                let away = Duration::from_millis(away);
                self.rest(away).await;
                return away;
            }
            _ => self.old = Some(client),
        }
        Duration::ZERO
    }

    /// Says goodbye and, in MQTT 5, that the session is to end.
    pub async fn resign(&mut self, mut client: Client) {
        self.run.history().sessions[self.session].resigned();
        let disconnect = Disconnect {
            session_expiry: client.version().is_v5().then_some(0),
            ..Disconnect::default()
        };
        client.queue(&Packet::Disconnect(Box::new(disconnect)));
        let gone = async { while client.receive().await.is_ok() {} };
        let _ = timeout(CLOSE_MAX, gone).await;
    }

    /// Leaves nothing behind at the broker. A broker that is down keeps what it has.
    pub async fn forget(&mut self, client_id: &str) {
        self.old = None;
        let run = Arc::clone(&self.run);
        let connect = Connect {
            client_id: client_id.into(),
            ..run.plan.connect("", false)
        };
        for endpoint in &run.plan.endpoints {
            let opening = Client::open(&endpoint.way, &connect);
            if let Ok(Ok(client)) = timeout(CLOSE_MAX, opening).await {
                let _ = client.close().await;
                return;
            }
        }
    }

    fn go_elsewhere(&mut self) {
        let others = self.run.plan.endpoints.len() as u64 - 1;
        if others > 0 {
            let step = 1 + self.random.below(others) as usize;
            self.endpoint = (self.endpoint + step) % self.run.plan.endpoints.len();
        }
    }

    /// Sleeps, but not past the end of the run.
    async fn rest(&mut self, length: Duration) {
        let mut phase = self.phase.clone();
        tokio::select! {
            () = sleep(length) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Over) => {}
        }
    }
}
