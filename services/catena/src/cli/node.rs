//! `catena node`: takes nodes in and out. `catena gateway-drain` and `catena adopt` are of the same kind.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use catena_proto::admin::v1 as proto;
use clap::{Args, Subcommand};

use super::control_plane::{Place, answer, block_on};

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Take nodes of a cluster in and out
///
/// A node that is to go for good: drain it, stop its process, remove it.
///
///   catena node drain backend-2 --wait && ... && catena node remove backend-2
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Move all replicas off a node; it stays registered and gets no new ones
    Drain {
        name: String,
        /// Wait until it hosts none
        #[arg(long)]
        wait: bool,
    },
    /// Let a node host replicas again
    Undrain { name: String },
    /// Forget a node that hosts no replica
    Remove { name: String },
    /// Declare that a node that is not heard of never comes back, and its data with it
    ///
    /// A shard whose nodes are all gone starts empty, and its sessions and messages are lost. Needed only when no
    /// replica of a shard is left: while one lives, a lost node is replaced without it.
    Gone { name: String },
}

/// Ask a gateway to let go of its clients
#[derive(Debug, Args)]
pub struct GatewayDrain {
    /// What the gateway is called
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Take over the chains that the nodes have, after the control plane's store was restored from a backup
///
/// A store that was restored knows less than the nodes. Until an administrator says so, nothing is reconfigured; clients
/// are served as before. `catena status` shows the alarm epoch-ahead.
#[derive(Debug, Args)]
pub struct Adopt {
    #[command(flatten)]
    place: Place,
}

/// Runs `catena node`.
///
/// # Errors
/// What the control plane refuses, and why.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    block_on(act(arguments))
}

async fn act(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut client = arguments.place.connect().await?;
    match arguments.action {
        Action::Drain { name, wait } => {
            let request = proto::DrainNodeRequest { name: name.clone() };
            answer(client.drain_node(request)).await?;
            if !wait {
                println!("{name} drains: see `catena status`");
                return Ok(ExitCode::SUCCESS);
            }
            loop {
                let status = answer(client.get_status(proto::GetStatusRequest {})).await?;
                let nodes = status.status.unwrap_or_default().nodes;
                let Some(node) = nodes.into_iter().find(|node| node.name == name) else {
                    bail!("{name} was removed while it drained");
                };
                if !node.draining {
                    bail!("{name} does not drain any more: someone has undrained it");
                }
                if node.replicas == 0 {
                    println!("{name} hosts nothing any more");
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Action::Undrain { name } => {
            let request = proto::UndrainNodeRequest { name: name.clone() };
            answer(client.undrain_node(request)).await?;
            println!("{name} may host replicas again");
        }
        Action::Remove { name } => {
            let request = proto::RemoveNodeRequest { name: name.clone() };
            answer(client.remove_node(request)).await?;
            println!("{name} is forgotten; a process that still runs under that name ends");
        }
        Action::Gone { name } => {
            let request = proto::DeclareGoneRequest { name: name.clone() };
            answer(client.declare_gone(request)).await?;
            println!("{name} is declared gone: what it alone held is given up");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `catena gateway-drain`.
///
/// # Errors
/// When there is no gateway of that name.
pub fn drain_gateway(arguments: GatewayDrain) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let mut client = arguments.place.connect().await?;
        let name = arguments.name;
        let request = proto::DrainGatewayRequest { name: name.clone() };
        let gateways = answer(client.drain_gateway(request)).await?.gateways;
        match gateways {
            1 => println!("{name} drains"),
            more => println!("{more} processes called {name} drain"),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs `catena adopt`.
///
/// # Errors
/// When there is nothing to adopt.
pub fn adopt(arguments: Adopt) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let mut client = arguments.place.connect().await?;
        let shards = answer(client.adopt(proto::AdoptRequest {})).await?.shards;
        let shards: Vec<String> = shards.iter().map(u32::to_string).collect();
        println!("adopted the chains of shards {}", shards.join(", "));
        Ok(ExitCode::SUCCESS)
    })
}
