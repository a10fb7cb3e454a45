//! One life of a gateway: one incarnation, its worker threads, and whatever ends it.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use catena_chain::Incarnation;
use catena_gateway::{
    Config, Gateway,
    limits::ACCUSATIONS,
    listener::Port,
    ports::Listeners,
    worker::{Ended, Worker},
};
use catena_membership::{Cluster, GatewayIncarnation, GatewayVoice};
use catena_runtime::{
    shutdown::{self, Shutdown, Trigger},
    threads::{self, Thread},
};
use catena_telemetry::{Health, registry::Registered as Counted};
use catena_transport::{Directory, GrpcDial, Options};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    diagnostics::gateway::{OfGateway, OfPorts},
    self_check::{Of, SelfCheck},
};

use super::{
    Process, Registered,
    ports::{self, Ports},
};

/// A backend is accused once in this time, however many connections to it break at the same moment.
const ACCUSED_FOR: Duration = Duration::from_millis(100);

/// What a gateway is not ready without.
const PORTS: &str = "ports";

/// How a life came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process is to stop.
    Stopped,
    /// An administrator wants the gateway without clients `[F-26]`.
    Drained,
    /// The registration is over `[C-43]`.
    Over,
}

/// A gateway that serves.
pub struct Life<'a> {
    me: GatewayIncarnation,
    voice: &'a GatewayVoice,
    gateway: Gateway,
    drain: Trigger,
    stop: Shutdown,
    cluster: watch::Receiver<Arc<Cluster>>,
    accused: mpsc::Receiver<Incarnation>,
    ended: mpsc::Receiver<Ended>,
    ports: Ports,
    threads: Vec<Thread>,
    health: Health,
    /// It is counted for as long as it lasts.
    _counted: (Counted, Counted),
    summaries: JoinHandle<()>,
    _self_check: SelfCheck,
}

impl<'a> Life<'a> {
    /// Opens `ports` and those that resources ask for, and serves.
    ///
    /// # Errors
    /// When the system gives no port or no thread.
    pub fn begin(
        process: &Process,
        registered: &'a Registered,
        ports: Vec<Port>,
    ) -> anyhow::Result<Life<'a>> {
        let cluster = process.cluster.clone();
        let layout = cluster.borrow().layout.clone();
        let layout = layout.context("the layout is not known")?;
        let listeners = Listeners {
            own: ports::open(ports)?,
            taken: Vec::new(),
        };
        let (told, ports) = watch::channel(None);
        let (drain, draining) = shutdown::shutdown();
        let (accusations, accused) = mpsc::channel(ACCUSATIONS);
        let config = Config {
            tracing: process.diagnostics.tracing.clone(),
            incarnation: registered.me,
            workers: process.settings.workers,
            slots: layout.slots,
            cluster: cluster.clone(),
            heard: registered.voice.is_heard(),
            accusations,
            secrets: process.secrets.clone(),
            issues: process.issues.clone(),
            means: process.means.clone(),
            ports: told,
            connections_max: process.connections_max,
        };
        let (gateway, workers) = Gateway::new(&config, listeners, &draining);
        let (end, ended) = mpsc::channel(workers.len());
        let options = Options::within(cluster.borrow().broker.failure_timeout())
            .secured(process.security.clone());
        let mut threads = Vec::new();
        for (index, worker) in workers.into_iter().enumerate() {
            let ways = (process.directory.clone(), options.clone());
            threads.push(start(index, worker, ways, end.clone())?);
        }
        let of = Of {
            gateway: gateway.clone(),
            name: process.settings.name.clone(),
            instance: registered.me.0,
            slots: config.slots.clone(),
        };
        let found = registered.voice.self_check();
        let (registry, health) = (&process.diagnostics.registry, &process.diagnostics.health);
        health.misses(PORTS, "they are not open yet");
        tokio::spawn(ready_with_ports(ports.clone(), health.clone()));
        let self_check = SelfCheck::start(of, cluster.clone(), found, registry);
        Ok(Life {
            _self_check: self_check,
            me: registered.me,
            health: health.clone(),
            _counted: (
                registry.add_for_now(OfGateway(gateway.clone())),
                registry.add_for_now(OfPorts(ports.clone())),
            ),
            voice: &registered.voice,
            summaries: tokio::spawn(ports::summarise(gateway.clone())),
            gateway,
            drain,
            stop: process.stop.clone(),
            cluster,
            accused,
            ended,
            ports,
            threads,
        })
    }

    /// Serves until something ends it, and until that is done.
    pub async fn end(mut self) -> End {
        let accuse = accuse(self.accused, self.voice);
        let (ports, voice) = (self.ports, self.voice);
        let follow = async move {
            ports::follow(ports, |told| voice.tell_ports(told)).await;
            // The ports are gone, which is told elsewhere.
            std::future::pending::<Infallible>().await
        };
        let mut live = self.voice.is_live();
        let serve = async {
            let end = tokio::select! {
                () = self.stop.begun() => End::Stopped,
                Ok(_) = self.cluster.wait_for(|cluster| cluster.draining.contains(&self.me)) => {
                    End::Drained
                }
                Ok(_) = live.wait_for(|live| !live) => End::Over,
                // A shard has refused us, and all workers end.
                Some(_) = self.ended.recv() => End::Over,
            };
            self.health.misses(PORTS, "they are closed, or about to be");
            match end {
                End::Over => self.gateway.abandon(),
                End::Stopped | End::Drained => self.drain.begin(),
            }
            let mut is_over = end == End::Over;
            loop {
                tokio::select! {
                    ended = self.ended.recv() => match ended {
                        Some(ended) => is_over |= ended == Ended::Over,
                        None => break,
                    },
                    // What a drain waits for never comes then.
                    Ok(_) = live.wait_for(|live| !live), if !is_over => {
                        is_over = true;
                        self.gateway.abandon();
                    }
                }
            }
            match end {
                End::Drained if is_over => End::Over,
                end => end,
            }
        };
        let end = tokio::select! {
            end = serve => end,
            never = accuse => match never {},
            never = follow => match never {},
        };
        self.summaries.abort();
        // They have ended: there is nothing to wait for.
        self.threads.into_iter().for_each(Thread::join);
        end
    }
}

fn start(
    index: usize,
    worker: Worker,
    (directory, options): (Directory, Options),
    end: mpsc::Sender<Ended>,
) -> io::Result<Thread> {
    let main = move || async move {
        let ended = worker.run(GrpcDial::new(directory, options)).await;
        // There is room for all.
        let _ = end.try_send(ended);
    };
    threads::start(&format!("worker-{index}"), main)
}

/// A gateway is ready once its ports were opened.
async fn ready_with_ports(mut ports: Ports, health: Health) {
    if ports.wait_for(Option::is_some).await.is_ok() {
        health.has(PORTS);
    }
}

/// Hands accusations on, for ever.
async fn accuse(mut accused: mpsc::Receiver<Incarnation>, voice: &GatewayVoice) -> Infallible {
    let mut last: Option<(Incarnation, Instant)> = None;
    while let Some(backend) = accused.recv().await {
        let is_new = last.is_none_or(|(known, at)| known != backend || at.elapsed() > ACCUSED_FOR);
        if is_new {
            voice.accuse(backend);
            last = Some((backend, Instant::now()));
        }
    }
    // All workers have ended, which is told elsewhere.
    std::future::pending().await
}
