//! Links within one process: the channels of the hosts.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use catena_backend::{
    Port,
    port::{Closed, Connection},
};
use catena_gateway::links::{Broken, Dial, Transport};
use catena_shard::wire::{FromShard, ToShard};
use catena_slots::ShardId;

/// The ways to all shards.
#[derive(Debug, Clone)]
pub struct Local(Rc<[(ShardId, Port)]>);

impl Local {
    /// Ways through `ports`.
    pub fn new(ports: &[(ShardId, Port)]) -> Local {
        Local(ports.into())
    }
}

impl Dial for Local {
    type Transport = Channels;

    async fn dial(&self, shard: ShardId) -> Result<Channels, Broken> {
        let port = self
            .0
            .iter()
            .find(|(id, _)| *id == shard)
            .map(|(_, port)| port);
        let port = port.ok_or_else(|| Broken(format!("there is no shard {shard}")))?;
        Ok(Channels(port.connect()))
    }
}

/// A connection to a host.
#[derive(Debug)]
pub struct Channels(Connection);

fn broken(closed: Closed) -> Broken {
    Broken(closed.to_string())
}

impl Transport for Channels {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx).map_err(broken)
    }

    fn send(&mut self, message: ToShard) -> Result<(), Broken> {
        self.0.send(message).map_err(broken)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<FromShard, Broken>> {
        self.0
            .poll_receive(cx)
            .map(|message| message.ok_or_else(|| broken(Closed)))
    }
}
