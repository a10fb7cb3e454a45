//! What the processes of the control plane hear and tell, and what the store does for them.

use std::sync::Arc;

use catena_topology::{Change, GatewayIncarnation, Rule, Step, Zone};

use crate::{
    control::{Answer, Ask, LEASE_TENTHS, Leading, Said},
    network::Place,
    parcel::{Event, Parcel, Speech},
    workload::{Loss, Workload},
    world::World,
};

impl<W: Workload> World<W> {
    /// The store does what a process asked; whether the answer comes back is another matter.
    pub fn store_does(&mut self, by: usize, ask: Ask) {
        let health = self.health(Place::Control(by));
        if !self.store.is_reached(by, self.now) || !health.is_up {
            return;
        }
        let lease = self.now + self.plan.timeout * LEASE_TENTHS / 10;
        let before = self.store.content().revision;
        let said = match ask {
            Ask::RegisterNode {
                node,
                process,
                kept,
            } => {
                let zone = self.plan.zones.then(|| Zone(format!("zone-{}", node % 2)));
                let incarnation = self.store.register_node(node, process, zone, kept);
                Said::Node {
                    node,
                    process,
                    incarnation,
                }
            }
            Ask::RegisterGateway { gateway, process } => {
                let until = self.now + self.plan.timeout;
                Said::Gateway {
                    gateway,
                    process,
                    incarnation: self.store.register_gateway(gateway, process, until),
                }
            }
            Ask::KeepGateway { incarnation } => {
                let until = self.now + self.plan.timeout;
                self.store.keep_gateway(incarnation, until);
                Said::Content
            }
            Ask::Campaign => match self.store.campaign(by, lease) {
                Some(term) => Said::Leads { term },
                None => Said::Content,
            },
            Ask::Renew { term } => match self.store.renew(term, lease) {
                true => Said::Leads { term },
                false => Said::Content,
            },
            Ask::Write { term, step } => {
                self.write(term, &step);
                Said::Written
            }
            Ask::Read => Said::Content,
        };
        self.answer_process(by, said);
        if self.store.content().revision > before {
            self.tell_watchers();
        }
    }

    fn answer_process(&mut self, to: usize, said: Said) {
        let content = self.store.content().clone();
        let at = self.now + self.random.within(500, 30_000);
        let parcel = Parcel::Answer(Answer { content, said });
        let to = Place::Control(to);
        self.schedule(at, Event::Notice { to, parcel });
    }

    /// Those who watch the store hear of it, unless they miss it: they read it now and then.
    pub fn tell_watchers(&mut self) {
        for control in 0..self.control.len() {
            if self.store.is_reached(control, self.now) && !self.random.once_in(4) {
                self.answer_process(control, Said::Content);
            }
        }
    }

    pub fn store_tick(&mut self) {
        self.schedule(self.now + self.plan.timeout / 10, Event::StoreTick);
        if self.store.expire(self.now) {
            self.tell_watchers();
        }
    }

    fn write(&mut self, term: u64, step: &Step) {
        let before = self.store.content().clone();
        if !self.store.write(term, step, self.plan.off) {
            return;
        }
        let rule = step.rule;
        self.trace(|| match &step.change {
            Change::Chain(chain) => format!("{rule:?}: {:?}", chain.configuration),
            other => format!("{rule:?}: {other:?}"),
        });
        if let Change::Chain(chain) = &step.change {
            let shard = chain.configuration.shard;
            self.watch.mix(chain.epoch().0);
            self.watch.step(self.now, rule, shard);
            self.after_step(rule, shard);
            if rule == Rule::StartEmpty {
                self.watch_empty_start(&before, shard.index());
                let loss = Loss {
                    shard,
                    generation: chain.configuration.generation.0,
                    from: 0,
                    at: self.now,
                };
                self.workload.lost(loss);
            } else if rule == Rule::FoundFromDisk {
                self.watch_disk_start(&before, shard.index());
            } else {
                self.watch_change(&before, shard.index());
            }
        }
    }

    /// A watcher may miss any one message: the next one tells all.
    pub fn tell_everyone(&mut self, control: usize, may_skip: bool) {
        let content = self.control[control].copy.clone();
        let nodes = (0..self.nodes.len()).map(Place::Node);
        let places: Vec<_> = nodes
            .chain((0..self.gateways.len()).map(Place::Gateway))
            .collect();
        for place in places {
            if may_skip && self.random.once_in(3) {
                continue;
            }
            let news = Parcel::News(content.clone());
            self.send(Place::Control(control), place, news);
        }
    }

    /// The store says something to a process.
    pub fn store_says(&mut self, control: usize, answer: Answer) {
        let (now, timeout) = (self.now, self.plan.timeout);
        let process = &mut self.control[control];
        process.store_heard = now;
        let is_news = answer.content.revision > process.copy.revision;
        if is_news {
            process.copy = answer.content;
        }
        match answer.said {
            Said::Leads { term } => match &mut process.leading {
                Some(leading) if leading.term == term => leading.renewed_at = now,
                _ => {
                    process.leading = Some(Leading::new(term, now, timeout));
                    self.trace(|| format!("control plane {control} leads"));
                }
            },
            Said::Written => {
                if let Some(leading) = &mut process.leading {
                    leading.writes_until = 0;
                }
            }
            Said::Node {
                node,
                process,
                incarnation,
            } => {
                let registered = Parcel::NodeRegistered {
                    process,
                    incarnation,
                };
                self.send(Place::Control(control), Place::Node(node), registered);
            }
            Said::Gateway {
                gateway,
                process,
                incarnation,
            } => {
                let registered = Parcel::GatewayRegistered {
                    process,
                    incarnation,
                };
                self.send(Place::Control(control), Place::Gateway(gateway), registered);
            }
            Said::Content => {}
        }
        if is_news {
            self.tell_everyone(control, true);
        }
    }

    /// Somebody speaks to a process of the control plane: what is the leader's is handed on to it.
    pub fn control_hears(&mut self, from: Place, control: usize, speech: Speech) {
        match (from, speech) {
            (Place::Node(node), Speech::RegisterNode { process, kept }) => {
                let ask = Ask::RegisterNode {
                    node,
                    process,
                    kept,
                };
                self.ask(control, ask);
            }
            (Place::Gateway(gateway), Speech::RegisterGateway { process }) => {
                self.ask(control, Ask::RegisterGateway { gateway, process });
            }
            (Place::Gateway(_), Speech::GatewayBeat { incarnation }) => {
                let content = self.control[control].copy.clone();
                if is_over(&content, incarnation) {
                    let over = Parcel::Over { incarnation };
                    self.send(Place::Control(control), from, over);
                } else {
                    self.ask(control, Ask::KeepGateway { incarnation });
                }
            }
            (_, speech) if self.control[control].leading.is_some() => {
                self.leader_hears(control, from, speech);
            }
            (_, speech) => {
                let leader = self.control[control].copy.leader;
                if let Some((leader, _)) = leader.filter(|(leader, _)| *leader != control) {
                    let parcel = Parcel::Forwarded { from, speech };
                    self.send(Place::Control(control), Place::Control(leader), parcel);
                }
            }
        }
    }
}

/// Whether a gateway was live or registered once and is neither now `[C-43]`.
fn is_over(content: &Arc<crate::control::Content>, incarnation: u64) -> bool {
    let gateway = GatewayIncarnation(incarnation);
    incarnation <= content.revision
        && !content.registrations.contains_key(&gateway)
        && !content.topology.gateways.live.contains_key(&gateway)
}
