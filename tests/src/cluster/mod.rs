//! A whole cluster of real processes on this machine: etcd, control planes, backends, gateways.
//!
//! Start reading at [`Plan`], what there is to be, and [`Cluster`], which starts it. Processes have names - `etcd`,
//! `control-1`, `backend-1`, `gateway-1` - and what they write is kept until the cluster is dropped: when a test fails it
//! is shown. [`Load`](crate::verify::Load) watches what clients see meanwhile.

mod admin;
mod command;
mod network;
mod plan;
mod process;
mod roles;
mod status;
mod wait;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    broker::{binary, binary_before},
    http::try_metric,
};

pub use self::{
    admin::Admin,
    command::{Command, Done, HELP, Who},
    network::{Cut, Hosts, Network},
    plan::Plan,
    process::{Process, Recipe, leashed, new_directory, remove_directories},
    roles::Role,
    status::{Alarm, ControlPlane, Gateway, Node, Replica, Shard, Status},
    wait::wait_for,
};

/// How long a process may take from its start to its first open port.
pub const START: Duration = Duration::from_secs(30);
/// How long a cluster may take to what it is to become: chains at full strength, everybody registered.
pub const HEAL: Duration = Duration::from_secs(90);
/// How long a process may take from SIGTERM to its end. Its own limit is 10 s.
pub const END: Duration = Duration::from_secs(30);
/// How many last lines of each log are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// A running cluster. Dropping it kills the processes and removes their data.
#[derive(Debug)]
pub struct Cluster {
    /// What it consists of.
    pub plan: Plan,
    processes: BTreeMap<String, Process>,
    /// Where each gateway listens, by number.
    brokers: Vec<SocketAddr>,
    admin: Admin,
    control_planes: BTreeMap<String, SocketAddr>,
    /// Where each process of ours says how it is, by name.
    metrics: BTreeMap<String, SocketAddr>,
    network: Network,
    directory: PathBuf,
}

impl Cluster {
    /// Starts a cluster and waits until it is at full strength.
    ///
    /// # Panics
    /// When it does not come up, with what the processes wrote.
    pub fn start(plan: Plan) -> Cluster {
        let mut cluster = Cluster::prepare(plan);
        let names: Vec<String> = cluster.processes.keys().cloned().collect();
        // Ascending: backends before control planes before etcd before gateways. All of them wait for the others.
        for name in names {
            cluster.process_mut(&name).start();
        }
        for name in cluster.names(Role::Gateway) {
            let announced = cluster.process_mut(&name).announced(START);
            announced.unwrap_or_else(|error| panic!("{error}"));
        }
        cluster.wait_until_whole();
        cluster
    }

    fn prepare(plan: Plan) -> Cluster {
        let mut network = if plan.hosts {
            Network::Hosts(Hosts::new().expect("the caller has tried"))
        } else if plan.on_localhost {
            Network::localhost()
        } else {
            Network::loopback()
        };
        let directory = process::new_directory();
        let mut cluster = Cluster {
            processes: BTreeMap::new(),
            brokers: Vec::new(),
            admin: Admin::default(),
            control_planes: BTreeMap::new(),
            metrics: BTreeMap::new(),
            directory: directory.clone(),
            network: Network::localhost(),
            plan,
        };
        if cluster.plan.internal_tls {
            roles::make_ca(&directory);
        }
        let etcd = network.free_port("etcd");
        let peers = network.free_port("etcd");
        let data = cluster.plan.disks.get("etcd").cloned();
        let data = data.unwrap_or_else(|| directory.join("etcd"));
        cluster.add(&mut network, "etcd", roles::etcd(&data, etcd, peers));
        let names = 1..=cluster.plan.control_planes;
        let admins = names.map(|number| network.free_port(&format!("control-{number}")));
        cluster.admin = Admin::new(admins.collect(), &directory);
        for number in 1..=cluster.plan.control_planes {
            let name = format!("control-{number}");
            let listen = network.free_port(&name);
            let admin = cluster.admin.server(number - 1);
            let command = roles::control_plane(&cluster.plan, &directory, listen, &admin, etcd);
            cluster.add(&mut network, &name, command);
            cluster.control_planes.insert(name, listen);
        }
        let addresses = cluster.control_planes.values();
        let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
        // Without a scheme: whether it is TLS is up to the processes.
        let members = addresses.join(",");
        for number in 1..=cluster.plan.backends {
            let name = format!("backend-{number}");
            let listen = (network.address(&name), 0).into();
            let mut command = roles::backend(&cluster.plan, &directory, &name, listen, &members);
            let buffer = directory.join(format!("{name}-buffer"));
            command.extend(["--buffer-dir".to_owned(), buffer.display().to_string()]);
            cluster.add(&mut network, &name, command);
        }
        for number in 1..=cluster.plan.gateways {
            let name = format!("gateway-{number}");
            let wanted = cluster.plan.ports.get(number - 1).copied().unwrap_or(0);
            let listen = match wanted {
                0 => network.free_port(&name),
                port => (network.address(&name), port).into(),
            };
            let command = roles::gateway(&cluster.plan, &directory, &name, listen, &members);
            cluster.add(&mut network, &name, command);
            cluster.brokers.push(listen);
        }
        network.release_ports();
        cluster.network = network;
        cluster
    }

    fn add(&mut self, network: &mut Network, name: &str, mut command: Vec<String>) {
        if Role::of(name) != Some(Role::Etcd) {
            let metrics = network.free_port(name);
            command.extend(["--metrics-address".to_owned(), metrics.to_string()]);
            self.metrics.insert(name.to_owned(), metrics);
        }
        let command = network.at_home(name, process::leashed(command));
        let recipe = roles::recipe(&self.plan, command);
        let process = Process::new(name, recipe, &self.directory);
        self.processes.insert(name.to_owned(), process);
    }

    /// Where each process of ours serves metrics and health, by name.
    pub fn metrics(&self) -> &BTreeMap<String, SocketAddr> {
        &self.metrics
    }

    /// Where clients connect: the addresses of all gateways.
    pub fn brokers(&self) -> &[SocketAddr] {
        &self.brokers
    }

    /// The same as clients of ours take it.
    pub fn brokers_with_commas(&self) -> String {
        let brokers: Vec<String> = self.brokers.iter().map(ToString::to_string).collect();
        brokers.join(",")
    }

    /// The admin APIs of all control planes.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// What `catena ca` says to these words, in a cluster with internal TLS.
    ///
    /// # Panics
    /// When it fails.
    pub fn ca(&self, words: &str) -> String {
        roles::ca(&self.directory, words)
    }

    /// Where logs and data lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Turns persistence on or off while everything runs, as an administrator does.
    ///
    /// # Panics
    /// When that is refused.
    pub fn keep(&self, keeps: bool) {
        let resources = roles::broker(&self.plan, &self.directory, keeps);
        let mut command = std::process::Command::new(crate::broker::binary());
        command.args(["apply", "-f"]).arg(resources);
        let output = command.args(self.admin.client()).output();
        let output = output.expect("the broker can be run");
        assert!(output.status.success(), "{output:?}");
    }

    /// Whether every replica is on a disk that counts.
    ///
    /// # Errors
    /// How many are, or who does not say.
    pub fn all_are_kept(&self) -> Result<(), String> {
        let wanted = self.plan.shards() * self.plan.redundancy;
        let runs = |name: &String| self.process(name).pid().is_some();
        let backends = self.names(Role::Backend).into_iter().filter(runs);
        let mut kept = 0.0;
        for name in backends {
            let complete = try_metric(self.metrics[&name], "catena_shard_disk_complete", &[])?;
            kept += complete.unwrap_or(0.0);
        }
        if kept as usize == wanted {
            return Ok(());
        }
        Err(format!("{kept} of {wanted} replicas are on disk"))
    }

    /// All processes with that role, by name.
    pub fn names(&self, role: Role) -> Vec<String> {
        let names = self.processes.keys();
        names
            .filter(|name| Role::of(name) == Some(role))
            .cloned()
            .collect()
    }

    /// All processes.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// One process.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn process(&self, name: &str) -> &Process {
        let process = self.processes.get(name);
        process.unwrap_or_else(|| panic!("there is no {name:?}"))
    }

    /// One process, to do something to it.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn process_mut(&mut self, name: &str) -> &mut Process {
        let process = self.processes.get_mut(name);
        process.unwrap_or_else(|| panic!("there is no {name:?}"))
    }

    /// Ends a process at once, as a crash would.
    pub fn kill(&mut self, name: &str) {
        self.process_mut(name).kill();
    }

    /// Starts a process that has ended, and waits until it serves. A gateway and a control plane have their old address.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, name: &str) {
        let process = self.process_mut(name);
        process.start();
        if Role::of(name) != Some(Role::Etcd) {
            let announced = process.announced(START);
            announced.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Asks a process to end, waits for it, and starts it again: as the new version, where the cluster began with the one before.
    ///
    /// # Panics
    /// When it does not end in time, or does not come up.
    pub fn roll(&mut self, name: &str) {
        let process = self.process_mut(name);
        process.ask_to_end();
        let ended = process.wait_for_end(END);
        assert!(
            ended.is_some_and(|status| status.success()) || name == "etcd",
            "{name} did not end well when it was asked to: {ended:?}"
        );
        if let Some(before) = binary_before() {
            process.replace_program(&before, binary());
        }
        self.restart(name);
    }

    /// Lets a process hang for that long.
    pub fn hang(&mut self, name: &str, length: Duration) {
        self.process_mut(name).pause();
        thread::sleep(length);
        self.process_mut(name).resume();
    }

    /// Cuts the host of a process off for that long.
    ///
    /// # Panics
    /// When the processes have no hosts of their own.
    pub fn cut(&mut self, name: &str, cut: Cut, length: Duration) {
        let Network::Hosts(hosts) = &mut self.network else {
            panic!("all processes are on this host");
        };
        hosts.cut(name, cut);
        thread::sleep(length);
        hosts.heal(name);
    }

    /// What the control plane says.
    ///
    /// # Errors
    /// Why it does not.
    pub fn status(&self) -> Result<Status, String> {
        Status::ask(&self.admin)
    }

    /// The same for people.
    ///
    /// # Errors
    /// Why it does not.
    pub fn status_text(&self) -> Result<String, String> {
        status::text(&self.admin)
    }

    /// The control plane's leader, by the name of its process.
    ///
    /// # Panics
    /// When there is none for a long time.
    pub fn leader(&self) -> String {
        wait_for("a leader", HEAL, || self.find_leader())
    }

    fn find_leader(&self) -> Result<String, String> {
        let leader = self.status()?.control_plane.leader;
        let address = leader.trim_start_matches("http://");
        let mut known = self.control_planes.iter();
        known
            .find(|(_, known)| known.to_string() == address)
            .map(|(name, _)| name.clone())
            .ok_or_else(|| format!("{leader:?} leads"))
    }

    /// Waits until all that is to run does, is registered, and every chain has all its replicas.
    ///
    /// # Panics
    /// When that does not come to be, with what the processes wrote.
    pub fn wait_until_whole(&mut self) -> Status {
        self.assert_nobody_ended();
        wait_for("full strength", HEAL, || self.whole())
    }

    fn whole(&self) -> Result<Status, String> {
        let status = self.status()?;
        match self.what_lacks(&status) {
            None => Ok(status),
            Some(lack) => Err(format!("{lack}; {status:?}")),
        }
    }

    fn what_lacks(&self, status: &Status) -> Option<String> {
        // What is in the store may be long past: a chain of which nobody has seen yet that it lost a member.
        if !status.control_plane.from_leader {
            return Some("no leader".to_owned());
        }
        if status.shards.len() < self.plan.shards() {
            return Some(format!("{} shards", status.shards.len()));
        }
        for shard in &status.shards {
            if shard.chain().len() != self.plan.redundancy || shard.has_learner() {
                return Some(format!("shard {} is not whole", shard.shard));
            }
            if let Some(replica) = shard.replicas.iter().find(|replica| !replica.is_live()) {
                return Some(format!("shard {} waits for {}", shard.shard, replica.node));
            }
        }
        let runs = |name: &String| self.process(name).pid().is_some();
        for name in self.names(Role::Backend).into_iter().filter(runs) {
            // The control plane may still take its last life for this one.
            let address = self.process(&name).serves_at();
            let is_known = address.is_some_and(|address| {
                let address = address.to_string();
                let mut nodes = status.nodes.iter();
                nodes.any(|node| node.name == name && node.addresses.contains(&address))
            });
            if !is_known {
                return Some(format!("{name} is not registered"));
            }
        }
        let mut gateways = self.names(Role::Gateway).into_iter().filter(runs);
        let lives = |name: &String| {
            let mut gateways = status.gateways.iter();
            gateways.any(|gateway| gateway.name == *name && gateway.live)
        };
        gateways
            .find(|name| !lives(name))
            .map(|name| format!("{name} is not registered"))
    }

    /// Fails when a process ended that nobody had asked to.
    ///
    /// # Panics
    /// When one did.
    pub fn assert_nobody_ended(&mut self) {
        for process in self.processes.values_mut() {
            let ended = process.ended_by_itself();
            assert!(ended.is_none(), "{} ended: {ended:?}", process.name);
        }
    }

    /// Fails when a process ended of its own, or wrote that something happened which never must.
    ///
    /// # Panics
    /// When one did.
    pub fn assert_well(&mut self) {
        self.assert_nobody_ended();
        for process in self.processes.values() {
            let log = process.log();
            for word in ["panicked at", "diverge"] {
                let line = log.lines().find(|line| line.contains(word));
                assert!(line.is_none(), "{}: {}", process.name, line.unwrap_or(""));
            }
        }
    }

    /// The last lines of all logs.
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        for process in self.processes.values() {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LINES_SHOWN);
            text += &format!("=== {} ({} lines)\n", process.name, lines.len());
            text += &lines[from..].join("\n");
            text += "\n";
        }
        text
    }
}

impl Cluster {
    /// Ends it as one ends a thing that is not needed any more: clients are told, the rest is killed.
    pub fn stop(mut self) {
        for name in self.names(Role::Gateway) {
            let gateway = self.process_mut(&name);
            // One that hangs would not hear it.
            gateway.resume();
            gateway.ask_to_end();
        }
        for name in self.names(Role::Gateway) {
            self.process_mut(&name).wait_for_end(END);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.last_words());
            eprintln!("all logs: {}", self.directory.display());
            let _ = fs::write(self.directory.join(process::KEPT), "");
        }
        self.processes.clear();
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
