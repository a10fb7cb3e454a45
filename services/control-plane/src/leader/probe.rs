//! Finds out whether a process is there, when someone cannot reach it.

use std::{io::ErrorKind, time::Duration};

use catena_chain::Incarnation;
use catena_topology::NodeName;
use tokio::{net::TcpStream, sync::mpsc};

use super::Input;

/// How long a connection may take. Silence proves nothing.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Connects to `address`. Only a refusal says something: the host is there, and nobody listens.
pub async fn run(
    name: NodeName,
    incarnation: Incarnation,
    address: String,
    back: mpsc::Sender<Input>,
) {
    let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect(&address)).await;
    // A leader that has gone does not want to know.
    if let Ok(Err(error)) = connected
        && error.kind() == ErrorKind::ConnectionRefused
    {
        let _ = back.send(Input::Refused(name.clone(), incarnation)).await;
    }
    let _ = back.send(Input::Probed(name)).await;
}
