//! From the control plane to the threads of a process.

use std::sync::Arc;

use catena_membership::Cluster;
use catena_transport::Directory;
use tokio::sync::watch;

/// The cluster as it is told, behind the addresses: who is told of a replica can reach it. Must be called inside a tokio
/// runtime, which hands on for as long as it runs.
pub fn relay(
    mut told: watch::Receiver<Arc<Cluster>>,
    directory: Directory,
) -> watch::Receiver<Arc<Cluster>> {
    let first = told.borrow_and_update().clone();
    directory.replace(first.addresses.clone());
    let (sender, cluster) = watch::channel(first);
    tokio::spawn(async move {
        while told.changed().await.is_ok() {
            let news = told.borrow_and_update().clone();
            directory.replace(news.addresses.clone());
            sender.send_replace(news);
        }
    });
    cluster
}
