//! A standalone broker with a data directory: it is killed, or the power of its disk goes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use catena_tests::{
    broker::binary,
    cluster::{Network, Process, Recipe, START, leashed, new_directory, wait_for},
    disk::{Disk, skipped},
    faults::{Chance, turn},
    verify::Load,
};

use crate::{LOAD, crashes, go_on, seed};

/// How long a shard may take to write so much that its log is cut.
const SNAPSHOT: Duration = Duration::from_secs(120);
/// How many shards there are.
const SHARDS: usize = 3;

/// A broker that comes back where clients look for it.
pub struct Standalone {
    pub process: Process,
    directory: PathBuf,
    pub address: SocketAddr,
    shards: usize,
    lives: usize,
}

impl Standalone {
    pub fn start(data: Option<&Path>, shards: usize, more: &str) -> Standalone {
        let directory = new_directory();
        let data = data.map_or_else(|| directory.join("data"), Path::to_owned);
        // An address that no other test has, and a port that the system gives to nobody.
        let mut network = Network::loopback();
        let address = network.free_port("standalone");
        let words = format!(
            "standalone --listen {address} --shards {shards} --workers {} --admin 127.0.0.1:0 --metrics-address off --data-dir {} {more}",
            shards.min(2),
            data.display()
        );
        let words = words.split_whitespace().map(str::to_owned);
        let command = [binary().display().to_string()].into_iter().chain(words);
        let recipe = Recipe {
            command: leashed(command),
            environment: vec![("CATENA_LOG".to_owned(), "info".to_owned())],
        };
        network.release_ports();
        let mut broker = Standalone {
            process: Process::new("standalone", recipe, &directory),
            directory,
            address,
            shards,
            lives: 0,
        };
        broker.serve();
        broker
    }

    /// Starts it, and makes sure that whoever listens there is this very process.
    pub fn serve(&mut self) {
        self.process.start();
        let announced = self.process.announced(START);
        assert_eq!(announced, Ok(self.address));
        assert!(self.process.is_running(), "{}", self.process.log());
        self.lives += 1;
    }

    /// Ends it at once. It must have lived until now.
    pub fn kill(&mut self) {
        assert!(self.process.is_running(), "{}", self.process.log());
        self.process.kill();
    }

    /// Each life but the first read all that there was.
    pub fn assert_well(&mut self) {
        let log = self.process.log();
        let read = log.matches("read a shard from disk").count();
        assert_eq!(read, self.shards * (self.lives - 1), "{log}");
        for never in ["began empty. What", "panicked at", "diverge"] {
            assert!(!log.contains(never), "{never}: {log}");
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.process.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Lets `crash` happen again and again, under a load that looks whether anything is missing.
pub fn survive(
    broker: &mut Standalone,
    crashes: u64,
    seed: u64,
    load: &str,
    mut crash: impl FnMut(&mut Standalone),
) {
    let mut chance = Chance::new(seed);
    let writes_snapshots = !load.is_empty();
    let mut load = Load::start(&broker.address.to_string(), &format!("{LOAD} {load}"));
    for _ in 0..crashes {
        if writes_snapshots {
            wait_for("a snapshot", SNAPSHOT, || {
                let log = broker.process.log_of_this_life();
                log.contains("wrote a snapshot").then_some(()).ok_or(log)
            });
        }
        go_on(&mut load, &mut chance);
        crash(broker);
        broker.serve();
    }
    load.wait_for_more(100);
    let report = load.end();
    assert!(report.passed, "seed {seed}: {report:#?}");
    broker.assert_well();
    eprintln!(
        "seed {seed}: {crashes} crashes, {} acknowledged, {} delivered, {} sessions resumed, {} wills: nothing is missing",
        report.acknowledged, report.delivered, report.connections.resumed, report.wills_received
    );
}

#[test]
fn a_standalone_broker_that_is_killed_loses_nothing() {
    let _turn = turn();
    let mut broker = Standalone::start(None, SHARDS, "");
    survive(&mut broker, crashes(3, 45), seed(), "", Standalone::kill);
}

// Messages so large that snapshots are written, and logs cut, in each life.
#[test]
fn a_standalone_broker_that_is_killed_within_snapshots_loses_nothing() {
    let _turn = turn();
    let mut broker = Standalone::start(None, SHARDS, "");
    let load = "--size 200000 --rate 1000";
    survive(&mut broker, crashes(1, 15), seed(), load, Standalone::kill);
}

// What a process wrote outlives it without a sync: only a disk without power shows that what was acknowledged was synced.
#[test]
fn a_standalone_broker_whose_disk_loses_power_loses_nothing() {
    let _turn = turn();
    let disk = match Disk::with_power(1024) {
        Ok(disk) => disk,
        Err(reason) => return skipped(&reason),
    };
    let mut broker = Standalone::start(Some(&disk.path().join("data")), SHARDS, "");
    survive(&mut broker, crashes(2, 15), seed(), "", |broker| {
        // While nobody syncs: of a sync that the cut falls into this ext4 says that it was done, and it was not.
        broker.process.halt();
        disk.cut_power();
        broker.kill();
        disk.restore_power();
    });
}
