//! A client connection in packets, for `pub` and `sub`.

use std::{io, time::Duration};

use bytes::BytesMut;
use catena_mqtt::{
    DecodeError, Packet, ReasonCode, Version, decode, encode,
    packet::{Connack, Connect, Disconnect},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::{Instant, sleep_until, timeout},
};

use super::{
    way::{Stream, Way},
    words,
};

/// How long the broker may take to be reached, and to answer CONNECT.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long to wait for the broker to close after DISCONNECT.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// What a client takes.
const LIMITS: decode::Limits = decode::Limits {
    maximum_packet_size: encode::PACKET_SIZE_MAX,
    role: decode::Role::Client,
};

/// Why there is no connection, or none any more. To be printed with its sources.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host is not known.
    #[error("cannot find {host}: {cause}. Is the host right (-H)?")]
    UnknownHost { host: String, cause: io::Error },
    /// The host does not let us in.
    #[error("cannot connect to {address}: {cause}{}", hint(.cause))]
    Unreachable { address: String, cause: io::Error },
    /// No TLS, or no WebSocket.
    #[error("{address} is reached, but not as it was asked for: {cause}")]
    NoWay { address: String, cause: io::Error },
    /// CONNACK says no.
    #[error("{address} refused the connection: {}{}", words::reason(*.reason), quoted(.text))]
    Refused {
        address: String,
        reason: ReasonCode,
        text: Option<String>,
    },
    /// Something else than CONNACK.
    #[error(
        "{address} does not speak MQTT: {problem}; is the port right? (TLS and WebSockets have their own)"
    )]
    NotMqtt { address: String, problem: String },
    /// DISCONNECT from the broker.
    #[error("the broker ended the connection: {}{}", words::reason(*.reason), quoted(.text))]
    Disconnected {
        reason: ReasonCode,
        text: Option<String>,
    },
    /// The end of the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// No answer to PINGREQ.
    #[error("the broker does not answer any more: no PINGRESP within the keep alive")]
    Silent,
    /// Bytes that are not a packet.
    #[error("the broker sent something that is not MQTT")]
    Malformed(#[from] DecodeError),
    /// The connection broke.
    #[error("the connection was lost")]
    Lost(#[from] io::Error),
}

impl Error {
    /// Whether to try again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Refused { reason, .. } | Error::Disconnected { reason, .. } => matches!(
                reason,
                ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::ServerShuttingDown
                    | ReasonCode::UseAnotherServer
                    | ReasonCode::ConnectionRateExceeded
                    | ReasonCode::KeepAliveTimeout
            ),
            Error::NoWay { .. } | Error::NotMqtt { .. } | Error::Malformed(_) => false,
            Error::UnknownHost { .. }
            | Error::Unreachable { .. }
            | Error::Closed
            | Error::Silent
            | Error::Lost(_) => true,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ". Nothing listens there: is the broker running, and is the port right (-p)? \
             `catena standalone` starts one"
        }
        io::ErrorKind::TimedOut => {
            ". No answer: is the host right (-H), and does a firewall let you through?"
        }
        _ => "",
    }
}

fn quoted(text: &Option<String>) -> String {
    text.as_ref()
        .map(|text| format!(". It says: {text:?}"))
        .unwrap_or_default()
}

/// A connection that the broker has accepted.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Stream>,
    version: Version,
    inbox: BytesMut,
    outbox: BytesMut,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    pinged: Option<Instant>,
    /// What the broker said to CONNECT.
    pub connack: Connack,
}

impl Client {
    /// Connects by `way`, and waits for CONNACK.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached or refuses.
    pub async fn open(way: &Way, connect: &Connect) -> Result<Client, Error> {
        let (host, port) = (way.host.as_str(), way.port);
        let address = format!("{host}:{port}");
        let addresses: Vec<_> = match lookup_host((host, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(cause) => {
                return Err(Error::UnknownHost {
                    host: host.to_owned(),
                    cause,
                });
            }
        };
        let connecting = timeout(CONNECT_MAX, TcpStream::connect(&addresses[..]));
        let connected = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = match connected {
            Ok(stream) => stream,
            Err(cause) => return Err(Error::Unreachable { address, cause }),
        };
        stream.set_nodelay(true)?;
        let entering = timeout(CONNECT_MAX, way.enter(stream));
        let entered = entering
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = match entered {
            Ok(stream) => stream,
            Err(cause) => return Err(Error::NoWay { address, cause }),
        };
        Client::over(stream, address, connect).await
    }

    /// Speaks over `stream` to whoever is at `address`, and waits for CONNACK.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn over(
        stream: Box<dyn Stream>,
        address: String,
        connect: &Connect,
    ) -> Result<Client, Error> {
        let mut client = Client {
            stream,
            version: connect.version,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            keep_alive: None,
            last_sent: Instant::now(),
            pinged: None,
            connack: Connack::default(),
        };
        client.queue(&Packet::Connect(Box::new(connect.clone())));
        let answer = match timeout(CONNECT_MAX, client.receive()).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(Error::Disconnected { reason, text })) => {
                return Err(Error::Refused {
                    address,
                    reason,
                    text,
                });
            }
            Ok(Err(error)) => {
                return Err(Error::NotMqtt {
                    address,
                    problem: error.to_string(),
                });
            }
            Err(_) => {
                let problem = "no answer to CONNECT".to_owned();
                return Err(Error::NotMqtt { address, problem });
            }
        };
        let Packet::Connack(connack) = answer else {
            return Err(Error::NotMqtt {
                address,
                problem: "no CONNACK".to_owned(),
            });
        };
        if connack.reason.is_error() {
            let text = connack.reason_string.map(String::from);
            return Err(Error::Refused {
                address,
                reason: connack.reason,
                text,
            });
        }
        let seconds = connack.server_keep_alive.unwrap_or(connect.keep_alive);
        client.keep_alive = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        client.connack = *connack;
        Ok(client)
    }

    /// The version spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Puts a packet behind those that are to be sent. It leaves with the next
    /// [`Client::receive`] that has to wait, or with [`Client::flush`].
    pub fn queue(&mut self, packet: &Packet) {
        encode::encode(packet, self.version, &mut self.outbox);
    }

    /// Sends all that is queued. May be cancelled: the rest stays queued.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while !self.outbox.is_empty() {
            self.stream.write_buf(&mut self.outbox).await?;
            self.last_sent = Instant::now();
        }
        Ok(())
    }

    /// Whether the next [`Client::receive`] has to wait for the broker.
    pub fn must_wait(&self) -> bool {
        match decode::frame_length(&self.inbox, &LIMITS) {
            Ok(Some(length)) => self.inbox.len() < length,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// The next packet, but PINGRESP and DISCONNECT, which it handles. Keeps the connection alive while it
    /// waits. May be cancelled: nothing is lost.
    ///
    /// # Errors
    ///
    /// When the connection ends, however it does.
    pub async fn receive(&mut self) -> Result<Packet, Error> {
        loop {
            match self.take_packet()? {
                Some(Packet::Pingresp) => self.pinged = None,
                Some(Packet::Disconnect(disconnect)) => {
                    let text = disconnect.reason_string.map(String::from);
                    return Err(Error::Disconnected {
                        reason: disconnect.reason,
                        text,
                    });
                }
                Some(packet) => return Ok(packet),
                None => self.wait().await?,
            }
        }
    }

    /// Sends PINGREQ and waits for the answer; what comes before it is passed over.
    ///
    /// # Errors
    ///
    /// When the connection ends, however it does.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.queue(&Packet::Pingreq);
        self.flush().await?;
        loop {
            match self.take_packet()? {
                Some(Packet::Pingresp) => return Ok(()),
                Some(_) => {}
                None => self.read().await?,
            }
        }
    }

    /// Says goodbye and waits until the broker has closed, so that everything sent has arrived.
    ///
    /// # Errors
    ///
    /// When the broker complains instead.
    pub async fn close(mut self) -> Result<(), Error> {
        self.queue(&Packet::Disconnect(Box::<Disconnect>::default()));
        let farewell = async {
            self.flush().await?;
            self.stream.shutdown().await?;
            loop {
                match self.receive().await {
                    Ok(_) => {}
                    Err(Error::Closed | Error::Lost(_)) => return Ok(()),
                    Err(Error::Disconnected { reason, .. }) if !reason.is_error() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        // A broker that does not close has our DISCONNECT all the same.
        timeout(CLOSE_MAX, farewell).await.unwrap_or(Ok(()))
    }

    fn take_packet(&mut self) -> Result<Option<Packet>, Error> {
        let Some(length) = decode::frame_length(&self.inbox, &LIMITS)? else {
            return Ok(None);
        };
        if self.inbox.len() < length {
            self.inbox.reserve(length - self.inbox.len());
            return Ok(None);
        }
        let mut frame = self.inbox.split_to(length).freeze();
        Ok(decode::decode(&mut frame, Some(self.version), &LIMITS)?)
    }

    /// Waits for more bytes, or for the time to send PINGREQ.
    async fn wait(&mut self) -> Result<(), Error> {
        self.flush().await?;
        let Some(keep_alive) = self.keep_alive else {
            return self.read().await;
        };
        let deadline = self.pinged.unwrap_or(self.last_sent) + keep_alive;
        tokio::select! {
            read = self.read() => read,
            () = sleep_until(deadline) => {
                if self.pinged.is_some() {
                    return Err(Error::Silent);
                }
                self.pinged = Some(Instant::now());
                self.queue(&Packet::Pingreq);
                Ok(())
            }
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        self.inbox.reserve(4096);
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// A broker that answers whatever comes first with `answer`.
    async fn broker(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        port
    }

    fn way(port: u16) -> Way {
        Way::read("127.0.0.1", Some(port), &Default::default()).unwrap()
    }

    fn text_of(answer: Packet) -> String {
        block_on(async {
            let mut bytes = BytesMut::new();
            encode::encode(&answer, Version::V5, &mut bytes);
            let port = broker(bytes.to_vec()).await;
            let connect = Connect::new(Version::V5, "client");
            Client::open(&way(port), &connect)
                .await
                .unwrap_err()
                .to_string()
        })
    }

    #[test]
    fn a_refusal_says_why() {
        let mut connack = Connack::refused(ReasonCode::BadUserNameOrPassword);
        connack.reason_string = Some("who are you?".into());
        let text = text_of(Packet::Connack(Box::new(connack)));
        assert!(
            text.contains("bad user name or password (0x86): check -u and -P"),
            "{text}"
        );
        assert!(text.contains("who are you?"), "{text}");
        let text = text_of(Packet::Pingresp);
        assert!(text.contains("does not speak MQTT"), "{text}");
    }

    #[test]
    fn nobody_there_says_where_and_what_to_check() {
        let error = block_on(async {
            // A port that was free a moment ago.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            Client::open(&way(port), &Connect::new(Version::V5, "client"))
                .await
                .unwrap_err()
        });
        let text = error.to_string();
        assert!(text.contains("cannot connect to 127.0.0.1:"), "{text}");
        assert!(text.contains("is the broker running"), "{text}");
        assert!(error.is_retryable());
    }

    #[test]
    fn an_accepted_client_receives_packets_in_order() {
        block_on(async {
            let mut bytes = BytesMut::new();
            encode::encode(&Packet::Connack(Box::default()), Version::V5, &mut bytes);
            encode::encode(&Packet::Pingresp, Version::V5, &mut bytes);
            let goodbye = Disconnect::new(ReasonCode::ServerShuttingDown);
            encode::encode(
                &Packet::Disconnect(Box::new(goodbye)),
                Version::V5,
                &mut bytes,
            );
            let port = broker(bytes.to_vec()).await;
            let connect = Connect::new(Version::V5, "client");
            let mut client = Client::open(&way(port), &connect).await.unwrap();
            let error = client.receive().await.unwrap_err();
            assert!(
                error.to_string().contains("server shutting down"),
                "{error}"
            );
            assert!(error.is_retryable());
        });
    }
}
