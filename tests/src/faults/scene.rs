//! A cluster under load.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    cluster::{Cluster, Plan},
    verify::{Load, Report},
};

/// Clients wait for what is missing as long as a cluster may take to heal, and come back soon.
const LOAD: &str = "--settle 90 --reconnect-max 1";
/// So many messages more, and clients have gone on.
const MORE: u64 = 200;

/// A cluster, and clients that watch it.
#[derive(Debug)]
pub struct Scene {
    /// What clients see.
    pub load: Load,
    /// What is broken.
    pub cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// Starts both. Scenes of one process wait for each other: a machine is not to carry two.
    ///
    /// # Panics
    /// When either does not come up.
    pub fn begin(plan: Plan, arguments: &str) -> Scene {
        let turn = turn();
        let cluster = Cluster::start(plan);
        let brokers = cluster.brokers_with_commas();
        let more = std::env::var("CATENA_FAULT_LOAD").unwrap_or_default();
        let load = Load::start(&brokers, &format!("{LOAD} {arguments} {more}"));
        Scene {
            load,
            cluster,
            _turn: turn,
        }
    }

    /// Waits until clients have gone on.
    ///
    /// # Panics
    /// When they do not.
    pub fn go_on(&mut self) {
        self.load.wait_for_more(MORE);
    }

    /// Waits until everything is whole again, and clients have gone on with that.
    ///
    /// # Panics
    /// When it does not come to be.
    pub fn recover(&mut self) {
        self.cluster.wait_until_whole();
        self.load.wait_for_more(MORE);
        // Somebody may have been found missing only by what clients sent.
        self.cluster.wait_until_whole();
    }

    /// Ends the load, and fails when clients saw anything that must not be.
    ///
    /// # Panics
    /// When they did.
    pub fn end(self) -> Report {
        let Scene {
            load, mut cluster, ..
        } = self;
        let report = load.end();
        assert!(report.passed, "{report:#?}");
        cluster.assert_well();
        eprintln!(
            "{} acknowledged, gaps: {:?}",
            report.acknowledged, report.gaps
        );
        report
    }

    /// As [`Scene::end`]; no client may have lost its connection.
    ///
    /// # Panics
    /// When one did.
    pub fn end_unnoticed(self) -> Report {
        let report = self.end();
        assert_eq!(report.connections.broken, 0, "{report:#?}");
        report
    }
}

/// Held by whoever has a cluster, for as long.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed has dropped its cluster all the same.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
