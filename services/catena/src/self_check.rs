//! The gateway's own client: what `catena probe` does from without, from within, as the Broker says it (`diagnostics.selfCheck`).
//!
//! It goes the way of every client from the connection on, through this gateway to each shard, and needs no port, no credentials and
//! no rule of a policy. What it finds is told to the control plane, which shows it as a condition of the Broker, and is measured
//! under the names of the probe.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use catena_gateway::Gateway;
use catena_membership::{Cluster, SelfChecked};
use catena_resources::broker::Diagnostics;
use catena_slots::SlotTable;
use catena_telemetry::{Registry, Samples, registry::Registered};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::cli::probe::{
    measures::Measures,
    round::{self, Door, Outcome, Route},
    topic,
};

/// Routes that are looked at side by side.
const ROUTES_AT_ONCE: usize = 4;
/// How much of what is wrong is told, in routes.
const PROBLEMS_MAX: usize = 4;

/// The client, for as long as this is held.
pub struct SelfCheck {
    task: JoinHandle<()>,
    _measured: Registered,
}

/// Of whom it is the client.
pub struct Of {
    pub gateway: Gateway,
    /// The name of the gateway, and its incarnation.
    pub name: String,
    pub instance: u64,
    pub slots: SlotTable,
}

impl SelfCheck {
    /// Begins, on the present runtime; the first round comes one interval later.
    pub fn start(
        of: Of,
        cluster: watch::Receiver<Arc<Cluster>>,
        found: watch::Sender<Option<SelfChecked>>,
        registry: &Registry,
    ) -> SelfCheck {
        let measures = Arc::new(Measures::default());
        let source = measures.clone();
        let collect = move |samples: &mut Samples| source.collect(samples);
        let check = Check {
            routes: routes(&of),
            measures,
            found,
            traced: None,
            failing: BTreeSet::new(),
        };
        SelfCheck {
            task: tokio::spawn(check.run(cluster)),
            _measured: registry.add_for_now(collect),
        }
    }
}

impl Drop for SelfCheck {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Check {
    routes: Vec<Route>,
    measures: Arc<Measures>,
    found: watch::Sender<Option<SelfChecked>>,
    /// When a round was traced last.
    traced: Option<Instant>,
    /// Shards to which something went wrong in the last round.
    failing: BTreeSet<u16>,
}

impl Check {
    /// Looks at the interval, and at once when the Broker says something else of it, for ever.
    async fn run(mut self, mut cluster: watch::Receiver<Arc<Cluster>>) {
        let wanted = |cluster: &Arc<Cluster>| cluster.broker.diagnostics.clone();
        let mut known = wanted(&cluster.borrow_and_update()).self_check;
        let mut next = Instant::now() + Duration::from_secs(known.interval_seconds.into());
        loop {
            let diagnostics = wanted(&cluster.borrow_and_update());
            let now = diagnostics.self_check;
            if now != known {
                known = now;
                next = Instant::now();
            }
            if !now.mode.is_on() {
                self.measures.clear();
                self.failing.clear();
                self.found.send_replace(None);
                if cluster.changed().await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                () = sleep_until(next) => {}
                changed = cluster.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            next = Instant::now() + Duration::from_secs(now.interval_seconds.into());
            self.look(&diagnostics).await;
        }
    }

    async fn look(&mut self, diagnostics: &Diagnostics) {
        let within = Duration::from_secs(diagnostics.self_check.timeout_seconds.into());
        let is_traced = self.is_traced(diagnostics);
        let mut outcomes: Vec<(Route, Outcome)> = Vec::new();
        for routes in self.routes.chunks(ROUTES_AT_ONCE) {
            let mut rounds = JoinSet::new();
            for route in routes.iter().cloned() {
                rounds.spawn(async move {
                    let outcome = round::run(&route, within, is_traced).await;
                    (route, outcome)
                });
            }
            outcomes.extend(rounds.join_all().await);
        }
        outcomes.sort_by_key(|(route, _)| route.shard);
        let (mut problems, mut failing) = (Vec::new(), BTreeSet::new());
        for (route, outcome) in outcomes {
            self.measures.add(&route, &outcome);
            let problem = outcome.failure.map(|(step, why)| {
                let shard = route.shard;
                format!("to shard {shard}: {step}: {why}")
            });
            match problem {
                Some(problem) => {
                    if !self.failing.contains(&route.shard) {
                        warn!(shard = route.shard, problem, "the self-check fails");
                    }
                    failing.insert(route.shard);
                    problems.push(problem);
                }
                None if self.failing.contains(&route.shard) => {
                    info!(shard = route.shard, "the self-check goes well again");
                }
                None => {}
            }
        }
        self.failing = failing;
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            problems.push(format!("and {more} routes more"));
        }
        let found = match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        };
        self.found.send_replace(Some(found));
    }

    /// Whether the messages of this round are traced (`diagnostics.traces.selfTracing`).
    fn is_traced(&mut self, diagnostics: &Diagnostics) -> bool {
        let traces = &diagnostics.traces;
        let (every, now) = (traces.self_tracing.interval_seconds, Instant::now());
        let is_due = self
            .traced
            .is_none_or(|last| now >= last + Duration::from_secs(every.into()));
        let is_traced = traces.mode.is_on() && traces.self_tracing.mode.is_on() && is_due;
        if is_traced {
            self.traced = Some(now);
        }
        is_traced
    }
}

fn routes(of: &Of) -> Vec<Route> {
    let route = |shard: catena_slots::ShardId| Route {
        gateway: of.name.clone(),
        door: Door::Own(of.gateway.clone()),
        shard: shard.0,
        topic: topic(&of.slots, shard, of.instance),
        username: None,
        password: None,
    };
    of.slots.shards().map(route).collect()
}
