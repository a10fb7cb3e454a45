//! A standalone broker with a data directory.

use std::{fs, net::TcpListener, path::PathBuf};

use catena_tests::{
    broker::binary,
    cluster::{Process, Recipe, START, leashed, new_directory},
    faults::{Chance, turn},
    verify::Load,
};

use crate::{LOAD, go_on, number, seed};

/// So often here; `make crash` says how often there.
const CRASHES: u64 = 3;

struct Standalone {
    process: Process,
    directory: PathBuf,
    address: String,
}

impl Standalone {
    fn start() -> Standalone {
        let directory = new_directory();
        // It has to come back where clients look for it.
        // Connections of clients come from 127.0.0.1: none of them takes its port meanwhile.
        let free = TcpListener::bind("127.66.0.1:0").expect("there are ports");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let data = directory.join("data");
        let words = format!(
            "standalone --listen {address} --shards 3 --workers 2 --admin 127.0.0.1:0 --metrics-address off --data-dir {}",
            data.display()
        );
        let words = words.split(' ').map(str::to_owned);
        let command = [binary().display().to_string()].into_iter().chain(words);
        let recipe = Recipe {
            command: leashed(command),
            environment: vec![("CATENA_LOG".to_owned(), "info".to_owned())],
        };
        let mut broker = Standalone {
            process: Process::new("standalone", recipe, &directory),
            directory,
            address,
        };
        broker.serve();
        broker
    }

    fn serve(&mut self) {
        self.process.start();
        let announced = self.process.announced(START);
        announced.unwrap_or_else(|error| panic!("{error}"));
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

#[test]
fn a_standalone_broker_that_is_killed_loses_nothing() {
    let _turn = turn();
    let (seed, crashes) = (seed(), number("CATENA_CRASHES", CRASHES));
    let mut chance = Chance::new(seed);
    let mut broker = Standalone::start();
    let mut load = Load::start(&broker.address, LOAD);
    for _ in 0..crashes {
        go_on(&mut load, &mut chance);
        broker.process.kill();
        broker.serve();
    }
    load.wait_for_more(100);
    let report = load.end();
    assert!(report.passed, "seed {seed}: {report:#?}");
    let log = broker.process.log();
    assert!(
        log.contains("read a shard from disk"),
        "nothing was on disk"
    );
    assert!(
        !log.contains("began empty. What"),
        "a shard has lost what it held"
    );
}
