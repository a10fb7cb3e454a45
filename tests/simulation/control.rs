//! The processes of the control plane at work, and what they tell everyone.

use catena_chain::{Input, message};
use catena_slots::ShardId;

use crate::{
    control_plane::Change,
    network::Place,
    plan::Loosened,
    workload::Workload,
    world::{Event, News, Parcel, World},
};

impl<W: Workload> World<W> {
    pub fn tick_control(&mut self, control: usize, beats: bool) {
        let timeout = self.plan.timeout;
        if self.control[control].leads_since.is_some() {
            for shard in 0..self.plan.shards {
                let shard = ShardId(shard as u16);
                let process = &mut self.control[control];
                let (store, random) = (&mut self.store, &mut self.random);
                let off = self.plan.off;
                let decided = process.decide(self.now, timeout, shard, store, off, random);
                if let Some((to, why)) = decided {
                    let expected = self.store.configurations[shard.index()].epoch;
                    let change = Change {
                        by: control,
                        expected,
                        to,
                        why,
                    };
                    // The store is not in this process: others may come before.
                    let at = self.now + self.random.within(500, 30_000);
                    self.schedule(at, Event::Put(change));
                }
            }
            if self.store.leader == control {
                for gateway in
                    self.control[control].expired_gateways(self.now, timeout, &self.store)
                {
                    self.trace(|| format!("gateway {gateway} has expired"));
                    self.store.drop_gateway(gateway);
                }
            }
        }
        if beats {
            self.tell_everyone(control, false);
        }
    }

    pub fn put(&mut self, change: &Change) {
        let shard = change.to.shard.index();
        let is_empty = change.to.generation != self.store.configurations[shard].generation;
        let is_current = self.store.configurations[shard].epoch == change.expected;
        if is_empty && is_current && self.store.leader == change.by {
            self.watch_empty_start(shard);
        }
        if !self.store.put(change) {
            return;
        }
        self.trace(|| format!("{}: {:?}", change.why, change.to));
        self.watch.mix(change.to.epoch.0);
        for control in 0..self.control.len() {
            let health = self.health(Place::Control(control));
            if health.is_up && !health.is_stopped {
                self.tell_everyone(control, true);
            }
        }
    }

    /// A watcher may miss any one message: the next one tells all.
    fn tell_everyone(&mut self, control: usize, may_skip: bool) {
        let news = News {
            configurations: self.store.configurations.clone(),
            settings_version: self.store.settings_version(),
            generations: self.store.generations(),
            gateways_version: self.store.gateways_version,
            live: self.store.gateways.iter().copied().collect(),
        };
        let nodes = (0..self.nodes.len()).map(Place::Node);
        let places: Vec<_> = nodes
            .chain((0..self.gateways.len()).map(Place::Gateway))
            .collect();
        for place in places {
            if may_skip && self.random.once_in(3) {
                continue;
            }
            self.send(Place::Control(control), place, Parcel::News(news.clone()));
        }
    }

    pub fn control_hears(&mut self, from: Place, control: usize, parcel: Parcel<W>) {
        match (from, parcel) {
            (
                Place::Node(node),
                Parcel::Heartbeat {
                    incarnation,
                    linked,
                    reports,
                },
            ) => {
                // A new life: the old one is dead, at once [C-1].
                let known = self.store.nodes.entry(node).or_insert(incarnation);
                if incarnation < *known {
                    return;
                }
                *known = incarnation;
                self.store.place_of.insert(incarnation, node);
                let process = &mut self.control[control];
                process.heartbeat(self.now, incarnation, &linked);
                for report in reports {
                    self.trace_report(&report);
                    self.control[control].report(self.now, report);
                }
            }
            (Place::Gateway(gateway), Parcel::GatewayHeartbeat { incarnation, asks }) => {
                if let Some(incarnation) = incarnation {
                    self.control[control].gateway_heartbeat(self.now, incarnation);
                } else if asks && self.store.leader == control {
                    let incarnation = self.store.register_gateway();
                    self.control[control].gateway_heartbeat(self.now, incarnation);
                    let to = Place::Gateway(gateway);
                    let parcel = Parcel::Registered { incarnation };
                    self.send(Place::Control(control), to, parcel);
                }
            }
            _ => {}
        }
    }

    fn trace_report(&self, report: &message::Report) {
        self.trace(|| format!("reported: {report:?}"));
    }

    pub fn node_news(&mut self, node: usize, news: &News) {
        self.nodes[node].heard_control = self.now;
        let admits_all = self.plan.off == Some(Loosened::Chain(catena_chain::Rule::C43));
        for shard in 0..self.plan.shards {
            for configuration in &news.configurations {
                self.step(node, shard, Input::Configuration(configuration.clone()));
            }
            let id = ShardId(shard as u16);
            let version = news.settings_version;
            let settings = W::settings(id, version, &news.generations, admits_all);
            self.step(node, shard, Input::Settings(settings));
            let (version, live) = (news.gateways_version, news.live.clone().into());
            self.step(node, shard, Input::Gateways { version, live });
        }
    }

    pub fn gateway_news(&mut self, gateway: usize, news: &News) {
        self.gateways[gateway].known = news.configurations.clone();
        for configuration in &news.configurations {
            let shard = configuration.shard.index();
            self.drive(gateway, shard, |uplink, _, actions| {
                uplink.adopt(configuration.clone(), actions);
            });
        }
    }
}
