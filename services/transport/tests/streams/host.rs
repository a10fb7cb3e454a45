//! A host of replicas that hands what it is given to the test.

use std::{future::poll_fn, sync::Arc, time::Duration};

use catena_chain::{
    Epoch, Generation, Incarnation, Member, ReplicaId,
    message::{Lane, Message},
};
use catena_replicated::{Envelope, FromOrigin, ToOrigin};
use catena_shard::Origin;
use catena_slots::ShardId;
use catena_transport::{
    Accept, Accepted, Asked, Broken, ChainStream, Directory, Options, Transport, serve,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// The one shard that is here.
pub const SHARD: ShardId = ShardId(3);

/// Messages that the channels of a host hold.
pub const CHANNEL: usize = 4;

/// Connections that a test may leave waiting.
const CONNECTIONS: usize = 16;

/// The replica that is dialled.
pub const REPLICA: Member = Member {
    id: ReplicaId(5),
    incarnation: Incarnation(7),
};

/// The host's ends of a link connection.
pub struct Link {
    pub from_origin: mpsc::Receiver<FromOrigin>,
    pub to_origin: mpsc::Sender<ToOrigin>,
}

#[derive(Clone)]
pub struct Host {
    links: mpsc::Sender<Link>,
    chains: mpsc::Sender<mpsc::Receiver<Envelope>>,
}

/// What a [`Host`] was given.
pub struct Given {
    pub links: mpsc::Receiver<Link>,
    pub chains: mpsc::Receiver<mpsc::Receiver<Envelope>>,
}

pub fn host() -> (Host, Given) {
    let (links, given_links) = mpsc::channel(CONNECTIONS);
    let (chains, given_chains) = mpsc::channel(CONNECTIONS);
    let given = Given {
        links: given_links,
        chains: given_chains,
    };
    (Host { links, chains }, given)
}

impl Accept for Host {
    fn ask(&self, _: ShardId, _: Asked) -> bool {
        false
    }

    fn link(&self, shard: ShardId) -> Option<Accepted> {
        let (from_origin, received) = mpsc::channel(CHANNEL);
        let (answers, to_origin) = mpsc::channel(CHANNEL);
        if shard != SHARD {
            return None;
        }
        let link = Link {
            from_origin: received,
            to_origin: answers,
        };
        self.links.try_send(link).ok()?;
        Some(Accepted {
            from_origin,
            to_origin,
        })
    }

    fn chain(&self, shard: ShardId) -> Option<mpsc::Sender<Envelope>> {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        if shard != SHARD {
            return None;
        }
        self.chains.try_send(receiver).ok()?;
        Some(sender)
    }
}

/// A running server.
pub struct Served {
    pub address: String,
    pub given: Given,
    pub stop: oneshot::Sender<()>,
    pub task: JoinHandle<()>,
}

pub async fn served() -> Served {
    served_by(quick()).await
}

pub async fn served_by(options: Options) -> Served {
    let (host, given) = host();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, host, options, async {
        let _ = stopped.await;
    }));
    Served {
        address,
        given,
        stop,
        task,
    }
}

/// Notices a silent host within 300 ms.
pub fn quick() -> Options {
    Options::within(Duration::from_millis(300))
}

/// Knows [`REPLICA`] at `address`.
pub fn directory(address: &str) -> Directory {
    let directory = Directory::default();
    let addresses: Arc<[String]> = [address.to_owned()].into();
    directory.replace([(REPLICA.incarnation, addresses)].into());
    directory
}

pub fn open() -> FromOrigin {
    FromOrigin::Open {
        origin: Origin::Gateway {
            incarnation: 1,
            worker: 2,
        },
        lane: Lane::Ops,
        replica: REPLICA.id,
        epoch: Epoch(1),
        generation: Generation(1),
        first_uncommitted: 1,
        effects_through: 0,
    }
}

pub fn acked(through: u64) -> FromOrigin {
    FromOrigin::Acked {
        generation: Generation(1),
        through,
    }
}

pub fn envelope(shard: ShardId, part: Vec<u8>) -> Envelope {
    Envelope {
        shard,
        epoch: Epoch(1),
        generation: Generation(1),
        from: REPLICA,
        to: ReplicaId(6),
        message: Message::SnapshotPart {
            nonce: 1,
            header: catena_chain::message::SnapshotHeader {
                end: catena_chain::Position::default(),
                at: catena_chain::Stamp(0),
            },
            piece: catena_chain::snapshot::Piece {
                offset: 0,
                bytes: part,
                checksum: 0,
                is_last: true,
            },
        },
    }
}

pub async fn say(transport: &mut impl Transport, message: FromOrigin) -> Result<(), Broken> {
    poll_fn(|cx| transport.poll_ready(cx)).await?;
    transport.send(message)
}

pub async fn hear(transport: &mut impl Transport) -> Result<ToOrigin, Broken> {
    poll_fn(|cx| transport.poll_receive(cx)).await
}

pub async fn pass(stream: &mut impl ChainStream, envelope: Envelope) -> Result<(), Broken> {
    poll_fn(|cx| stream.poll_ready(cx)).await?;
    stream.send(envelope)
}

pub async fn broken(stream: &mut impl ChainStream) -> Broken {
    poll_fn(|cx| stream.poll_broken(cx)).await
}

/// Fails the test instead of hanging it.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .expect("it took too long")
}
