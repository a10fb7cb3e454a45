//! Opening the connections of a run, before anything is measured: blocking, and through the codec.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use catena_mqtt::{
    ByteString, Packet, QoS, Version, decode, encode,
    packet::{Connack, Connect, Disconnect, PacketId, Subscribe, SubscribeFilter},
};

use super::{
    reach::{Duplex, Reach},
    socket::Socket,
    wire::LIMITS,
};
use crate::cli::words;

/// How long the broker may take for each answer.
pub const ANSWER_SECONDS_MAX: u64 = 10;
/// How many connections are opened at the same time.
pub const THREADS: usize = 8;
/// How long a broker keeps a persistent session that a run left behind.
const SESSION_EXPIRY_SECONDS: u32 = 3_600;

/// The broker, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it is, and how to get there.
    pub reach: Reach,
    /// What to speak.
    pub version: Version,
    /// Whether sessions outlive their connections.
    pub persistent: bool,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
}

/// A client that is to be connected.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its client identifier.
    pub id: String,
    /// The filter that it subscribes to.
    pub subscription: Option<(String, QoS)>,
}

/// A connection that is ready.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub stream: Socket<TcpStream>,
    /// What came behind the last answer.
    pub rest: Vec<u8>,
    /// How many unacknowledged publishes the broker takes.
    pub receive_maximum: u16,
}

impl Target {
    /// Connects all of `clients`, some at a time, and returns them in the same order.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn open_all(&self, clients: &[Client]) -> anyhow::Result<Vec<Opened>> {
        all(clients, |client| self.open(client))
    }

    /// Connects all of `clients` in any way, to be held.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn hold_all(&self, clients: &[Client]) -> anyhow::Result<Vec<Box<dyn Duplex>>> {
        all(clients, |client| {
            let (dialogue, _) = self.enter(self.reach.open()?, client)?;
            Ok(dialogue.stream)
        })
    }

    /// Connects one client by TCP or TLS, and waits until it is accepted and subscribed.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached, or refuses.
    pub fn open(&self, client: &Client) -> anyhow::Result<Opened> {
        let (mut dialogue, connack) = self.enter(self.reach.socket()?, client)?;
        dialogue.stream.inner().set_read_timeout(None)?;
        Ok(Opened {
            stream: dialogue.stream,
            rest: dialogue.inbox.to_vec(),
            receive_maximum: connack
                .receive_maximum
                .map_or(u16::MAX, |maximum| maximum.get()),
        })
    }

    /// CONNECT, and SUBSCRIBE if there is something to subscribe to.
    fn enter<S: Read + Write>(
        &self,
        stream: S,
        client: &Client,
    ) -> anyhow::Result<(Dialogue<S>, Connack)> {
        let mut dialogue = Dialogue {
            stream,
            version: self.version,
            inbox: BytesMut::new(),
        };
        dialogue.send(&Packet::Connect(Box::new(self.connect(client))))?;
        let Packet::Connack(connack) = dialogue.receive()? else {
            bail!("no CONNACK to CONNECT")
        };
        if connack.reason.is_error() {
            bail!(
                "the broker refused {}: {}",
                client.id,
                words::reason(connack.reason)
            );
        }
        if let Some((filter, qos)) = &client.subscription {
            dialogue.subscribe(std::slice::from_ref(filter), *qos)?;
        }
        Ok((dialogue, *connack))
    }

    /// Connects, subscribes to `filters`, and leaves: the broker keeps the session.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn leave_behind(&self, client: &Client, filters: &[String]) -> anyhow::Result<()> {
        let (mut dialogue, _) = self.enter(self.reach.open()?, client)?;
        if !filters.is_empty() {
            dialogue.subscribe(filters, QoS::AtLeastOnce)?;
        }
        dialogue.send(&Packet::Disconnect(Box::default()))?;
        wait_for_close(&mut dialogue.stream)
    }

    /// Ends the session of a client that is away.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn forget_one(&self, client: &Client) -> anyhow::Result<()> {
        let clean = Target {
            persistent: false,
            ..self.clone()
        };
        clean.visit(client)
    }

    /// Connects and disconnects once; returns when the broker has closed the connection.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn visit(&self, client: &Client) -> anyhow::Result<()> {
        let (mut dialogue, _) = self.enter(self.reach.open()?, client)?;
        dialogue.stream.write_all(&self.goodbye())?;
        dialogue.stream.flush()?;
        wait_for_close(&mut dialogue.stream)
    }

    /// DISCONNECT, which also ends the session where the version can say so.
    pub fn goodbye(&self) -> Vec<u8> {
        let disconnect = Disconnect {
            session_expiry: self.persistent.then_some(0),
            ..Disconnect::default()
        };
        let mut out = BytesMut::new();
        encode::encode(
            &Packet::Disconnect(Box::new(disconnect)),
            self.version,
            &mut out,
        );
        out.to_vec()
    }

    /// Removes the sessions of `clients` that would outlive the run.
    ///
    /// # Errors
    ///
    /// As [`Target::open`].
    pub fn forget(&self, clients: &[Client]) -> anyhow::Result<()> {
        if !self.persistent || self.version.is_v5() {
            return Ok(());
        }
        let clean = Target {
            persistent: false,
            ..self.clone()
        };
        for client in clients {
            clean.visit(&Client {
                subscription: None,
                ..client.clone()
            })?;
        }
        Ok(())
    }

    fn connect(&self, client: &Client) -> Connect {
        Connect {
            clean_start: !self.persistent,
            keep_alive: 0,
            session_expiry: self.persistent.then_some(SESSION_EXPIRY_SECONDS),
            username: self.username.as_deref().map(ByteString::from),
            password: self.password.clone(),
            ..Connect::new(self.version, client.id.as_str())
        }
    }
}

/// Opens something for each of `clients`, some at a time, in the same order.
fn all<T: Send>(
    clients: &[Client],
    open: impl Fn(&Client) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let share = clients.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = clients
            .chunks(share)
            .map(|share| scope.spawn(|| share.iter().map(&open).collect()))
            .collect();
        let mut opened = Vec::with_capacity(clients.len());
        for worker in workers {
            let share: anyhow::Result<Vec<T>> =
                worker.join().expect("opening a connection does not panic");
            opened.extend(share?);
        }
        Ok(opened)
    })
}

/// Waiting for the broker to close leaves the port in TIME_WAIT on its side, not on ours, where we would
/// run out of them.
fn wait_for_close(stream: &mut impl Read) -> anyhow::Result<()> {
    let mut rest = [0; 64];
    while stream
        .read(&mut rest)
        .context("the broker does not close after DISCONNECT")?
        > 0
    {}
    Ok(())
}

/// A blocking conversation in packets.
struct Dialogue<S> {
    stream: S,
    version: Version,
    inbox: BytesMut,
}

impl<S: Read + Write> Dialogue<S> {
    fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        encode::encode(packet, self.version, &mut out);
        self.stream
            .write_all(&out)
            .context("cannot send to the broker")
    }

    fn receive(&mut self) -> anyhow::Result<Packet> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(length) = decode::frame_length(&self.inbox, &LIMITS)?
                && self.inbox.len() >= length
            {
                let mut frame = self.inbox.split_to(length).freeze();
                let packet = decode::decode(&mut frame, Some(self.version), &LIMITS)?;
                return packet.context("a whole frame is a whole packet");
            }
            match self
                .stream
                .read(&mut buffer)
                .context("no answer from the broker")?
            {
                0 => bail!("the broker closed the connection"),
                length => self.inbox.extend_from_slice(&buffer[..length]),
            }
        }
    }

    fn subscribe(&mut self, names: &[String], qos: QoS) -> anyhow::Result<()> {
        let filters = names
            .iter()
            .map(|name| SubscribeFilter::new(name.as_str(), qos))
            .collect();
        self.send(&Packet::Subscribe(Subscribe::new(PacketId::MIN, filters)))?;
        let Packet::Suback(suback) = self.receive()? else {
            bail!("no SUBACK to SUBSCRIBE")
        };
        let codes = suback.codes.as_slice();
        if codes.len() != names.len() || codes.iter().any(|code| code.is_error()) {
            bail!("subscribing to {names:?} was refused: {codes:?}");
        }
        Ok(())
    }
}
