//! Where the processes of a cluster live: all on this host, or each on a host of its own that can be cut off.
//!
//! A host is a network namespace with one interface on a bridge. Clients and tests are at the bridge itself. Packets
//! that a host is not to get, or not to send, are dropped there by iptables without a word, as by a broken switch.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// What the names of our namespaces begin with; the number of the process that made them follows.
const PREFIX: &str = "catena-";
/// What a host calls its one interface.
const INTERFACE: &str = "eth0";

/// The system gives out none of these by itself: a process that takes any port that is free, or a connection, gets none of them.
const BELOW_THE_SYSTEMS: Range<u16> = 10_000..32_768;

/// Which packets of a host are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Those to it: it speaks and hears nothing.
    Incoming,
    /// Those from it: it hears and nobody hears it.
    Outgoing,
    /// All.
    Both,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cut::Incoming => "what comes in",
            Cut::Outgoing => "what goes out",
            Cut::Both => "both ways",
        })
    }
}

/// Gives processes their addresses.
#[derive(Debug)]
pub enum Network {
    /// One address of this host for all, and the ports that were given out and are not listened at yet.
    Loopback(Ipv4Addr, Vec<TcpListener>),
    /// A host for each.
    Hosts(Hosts),
}

impl Network {
    /// An address of the loopback interface that no other cluster of this machine uses. Connections *to* it come *from*
    /// 127.0.0.1, so a port on it that was free once stays free: no outgoing connection takes it while its owner is down.
    pub fn loopback() -> Network {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        // 64 to 127, so never 127.0.0.1.
        let second = 64 | (high ^ (number as u8).rotate_left(2)) & 63;
        Network::Loopback(Ipv4Addr::new(127, second, middle, low), Vec::new())
    }

    /// The address that everybody knows.
    pub fn localhost() -> Network {
        Network::Loopback(Ipv4Addr::LOCALHOST, Vec::new())
    }

    /// The address of process `name`.
    pub fn address(&mut self, name: &str) -> IpAddr {
        match self {
            Network::Loopback(address, _) => IpAddr::V4(*address),
            Network::Hosts(hosts) => IpAddr::V4(hosts.host(name).address),
        }
    }

    /// An address with a port that nobody uses.
    pub fn free_port(&mut self, name: &str) -> SocketAddr {
        let address = self.address(name);
        match self {
            Network::Hosts(hosts) => {
                hosts.next_port += 1;
                (address, hosts.next_port).into()
            }
            Network::Loopback(_, reserved) => {
                let mut numbers = BELOW_THE_SYSTEMS.skip(std::process::id() as usize % 20_000);
                let listener = numbers
                    .find_map(|port| TcpListener::bind((address, port)).ok())
                    .expect("there is a free port");
                let address = listener.local_addr().expect("it is bound");
                // Held until all have theirs: the system may give out a port again that was let go.
                reserved.push(listener);
                address
            }
        }
    }

    /// Lets go of all ports: those whom they are for start now.
    pub fn release_ports(&mut self) {
        if let Network::Loopback(_, reserved) = self {
            reserved.clear();
        }
    }

    /// `command` as it is to be run for process `name`.
    pub fn at_home(&mut self, name: &str, command: Vec<String>) -> Vec<String> {
        match self {
            Network::Loopback(..) => command,
            Network::Hosts(hosts) => {
                let namespace = hosts.host(name).namespace.clone();
                let enter = ["ip".into(), "netns".into(), "exec".into(), namespace];
                enter.into_iter().chain(command).collect()
            }
        }
    }
}

/// A bridge, and hosts on it. Dropping it takes them away.
#[derive(Debug)]
pub struct Hosts {
    bridge: String,
    /// Third and second byte of all addresses.
    subnet: [u8; 2],
    hosts: BTreeMap<String, Host>,
    next_port: u16,
}

#[derive(Debug)]
struct Host {
    namespace: String,
    address: Ipv4Addr,
}

impl Hosts {
    /// A bridge without hosts.
    ///
    /// # Errors
    /// Why this machine cannot: not root, or the kernel or a command lacks.
    pub fn new() -> Result<Hosts, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        sweep();
        let process = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [_, _, middle, low] = process.to_be_bytes();
        let mut hosts = Hosts {
            bridge: format!("ct{process}-{number}"),
            subnet: [middle, low.wrapping_add((number as u8).wrapping_mul(97))],
            hosts: BTreeMap::new(),
            next_port: 7_000,
        };
        run(&format!("ip link add {} type bridge", hosts.bridge))?;
        let gateway = hosts.numbered(1);
        run(&format!("ip address add {gateway}/24 dev {}", hosts.bridge))?;
        run(&format!("ip link set {} up", hosts.bridge))?;
        // Whether packets can be dropped is better known before the test than in the middle.
        let probe = hosts.host("probe").namespace.clone();
        run(&format!("ip netns exec {probe} iptables -L INPUT"))?;
        Ok(hosts)
    }

    /// Cuts the host of process `name` off.
    ///
    /// # Panics
    /// When iptables fails, which worked before.
    pub fn cut(&mut self, name: &str, cut: Cut) {
        let namespace = self.host(name).namespace.clone();
        let drop = |chain: &str, way: &str| {
            let rule = format!("iptables -A {chain} {way} {INTERFACE} -j DROP");
            run(&format!("ip netns exec {namespace} {rule}")).expect("it worked before");
        };
        if cut != Cut::Outgoing {
            drop("INPUT", "-i");
        }
        if cut != Cut::Incoming {
            drop("OUTPUT", "-o");
        }
    }

    /// Lets everything through again.
    ///
    /// # Panics
    /// As [`Hosts::cut`].
    pub fn heal(&mut self, name: &str) {
        let namespace = self.host(name).namespace.clone();
        run(&format!("ip netns exec {namespace} iptables -F")).expect("it worked before");
    }

    fn numbered(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet[0], self.subnet[1], last)
    }

    fn host(&mut self, name: &str) -> &Host {
        if !self.hosts.contains_key(name) {
            let number = u8::try_from(self.hosts.len()).expect("few hosts") + 2;
            let host = Host {
                namespace: format!("{PREFIX}{}-{name}", self.bridge.trim_start_matches("ct")),
                address: self.numbered(number),
            };
            self.build(&host, number)
                .unwrap_or_else(|error| panic!("a host for {name}: {error}"));
            self.hosts.insert(name.to_owned(), host);
        }
        &self.hosts[name]
    }

    fn build(&self, host: &Host, number: u8) -> Result<(), String> {
        let (namespace, bridge) = (&host.namespace, &self.bridge);
        // Names of interfaces have 15 characters at most.
        let outside = format!("{bridge}-{number}");
        run(&format!("ip netns add {namespace}"))?;
        run(&format!(
            "ip link add {outside} type veth peer name {INTERFACE} netns {namespace}"
        ))?;
        run(&format!("ip link set {outside} master {bridge} up"))?;
        for command in [
            format!("address add {}/24 dev {INTERFACE}", host.address),
            format!("link set {INTERFACE} up"),
            "link set lo up".to_owned(),
        ] {
            run(&format!("ip -n {namespace} {command}"))?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // What fails here is swept away by the next run.
        for host in self.hosts.values() {
            let _ = run(&format!("ip netns delete {}", host.namespace));
        }
        let _ = run(&format!("ip link delete {}", self.bridge));
    }
}

/// Takes away what test processes left behind that were killed.
fn sweep() {
    let owner_is_gone = |name: &str| {
        let owner = name.split('-').next().unwrap_or_default();
        !owner.is_empty() && !Path::new("/proc").join(owner).exists()
    };
    let names = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    for name in names("/run/netns") {
        if name.strip_prefix(PREFIX).is_some_and(owner_is_gone) {
            let _ = run(&format!("ip netns delete {name}"));
        }
    }
    for name in names("/sys/class/net") {
        let ours = name
            .strip_prefix("ct")
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        if ours.is_some_and(owner_is_gone) {
            let _ = run(&format!("ip link delete {name}"));
        }
    }
}

/// Runs a command without quotes or spaces in its words.
fn run(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command}: {}", complaint.trim()))
}
