//! `catena pub`: publishes messages, and ends well only when the broker has them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, Read},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use catena_mqtt::{
    ByteString, Packet, QoS, ReasonCode, encode,
    packet::{Ack, PacketId, Publish},
    topic,
};
use clap::{Args, Parser};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    client::Client,
    options::Connection,
    property::Properties,
    value::{self, Quality},
    words,
};

/// Lines that are read ahead.
const LINES_MAX: usize = 256;
/// Messages without an answer, whatever the broker would take.
const IN_FLIGHT_MAX: usize = 1_000;
/// The exit code after Ctrl-C: that of a process that the signal has ended.
const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  One message, kept by the broker for later subscribers:
    catena pub -t plant/3/state -m running -q 1 -r

  Each line of a log as a message:
    tail -f app.log | catena pub -t logs/app -l

  A request that says where its answer is to go:
    catena pub -t ask -m time? -D publish response-topic answers/7 \\
        -D publish correlation-data 42

  A reading every second, a hundred times:
    catena pub -t sensor/1 -m 21.5 --repeat 100 --interval 1

The exit code is 0 only if the broker has acknowledged every message of QoS 1 or 2.";

/// Publish messages
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The topic to publish to
    #[arg(short, long)]
    topic: String,

    #[command(flatten)]
    payload: Payload,

    /// Quality of service: 0 (at most once), 1 (at least once) or 2 (exactly once)
    #[arg(short, long, default_value = "0")]
    qos: Quality,

    /// Ask the broker to keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,

    /// Publish the message that many times
    #[arg(long, default_value_t = 1, conflicts_with = "stdin_line", value_parser = value::count)]
    repeat: usize,

    /// Seconds between repetitions
    #[arg(long, default_value_t = 0.0, conflicts_with = "stdin_line", value_parser = value::seconds)]
    interval: f64,

    #[command(flatten)]
    connection: Connection,
}

/// Where the payload comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// The payload
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,

    /// Send the contents of a file
    #[arg(short, long)]
    file: Option<PathBuf>,

    /// Send each line of the standard input as a message
    #[arg(short = 'l', long)]
    stdin_line: bool,

    /// Send all of the standard input as one message
    #[arg(short, long)]
    stdin: bool,

    /// Send an empty message; with -r it removes the retained one
    #[arg(short, long)]
    null_message: bool,
}

/// Publishes, and says by the exit code whether the broker took it all.
///
/// # Errors
///
/// When the arguments make no sense, or the connection fails.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(publish(&arguments));
    // A thread that waits for the standard input cannot be asked to end.
    runtime.shutdown_background();
    code
}

async fn publish(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Err(error) = topic::validate(&arguments.topic) {
        bail!("-t {:?}: {error}", arguments.topic);
    }
    let properties = arguments.connection.properties()?;
    let message = arguments.message(&properties)?;
    let connect = arguments.connection.connect(&properties)?;
    let mut source = arguments.source()?;

    let connection = &arguments.connection;
    let client = Client::open(&connection.way()?, &connect).await?;
    let mut publisher = Publisher::new(client, message)?;
    let interrupted = tokio::select! {
        published = publisher.publish_all(&mut source) => {
            published.with_context(|| publisher.unfinished())?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    let Publisher {
        client,
        in_flight,
        refused,
        ..
    } = publisher;
    client.close().await?;
    if interrupted {
        if !in_flight.is_empty() {
            eprintln!(
                "interrupted: {} messages are not acknowledged",
                in_flight.len()
            );
        }
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Arguments {
    /// The message without payload and packet id.
    fn message(&self, properties: &Properties) -> anyhow::Result<Publish> {
        Ok(Publish {
            qos: self.qos.0,
            retain: self.retain,
            topic: ByteString::from(self.topic.as_str()),
            message_expiry: properties.publish.expiry,
            properties: properties.publish.encoded("publish")?,
            ..Publish::default()
        })
    }

    fn source(&self) -> anyhow::Result<Source> {
        let payload = if let Some(message) = &self.payload.message {
            Bytes::from(message.clone())
        } else if let Some(path) = &self.payload.file {
            let read =
                fs::read(path).with_context(|| format!("-f: cannot read {}", path.display()));
            Bytes::from(read?)
        } else if self.payload.stdin {
            let mut payload = Vec::new();
            io::stdin()
                .read_to_end(&mut payload)
                .context("-s: cannot read the standard input")?;
            Bytes::from(payload)
        } else if self.payload.stdin_line {
            return Ok(Source::Lines(read_lines()?));
        } else {
            Bytes::new()
        };
        Ok(Source::Repeated {
            payload,
            left: self.repeat,
            pause: self.pause(),
        })
    }

    fn pause(&self) -> Option<Interval> {
        (self.interval > 0.0).then(|| {
            let mut pause = interval(Duration::from_secs_f64(self.interval));
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pause
        })
    }
}

/// Reads the standard input on a thread of its own: a terminal blocks for as long as it likes.
fn read_lines() -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().split(b'\n') {
                let line = line.map(|mut line| {
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    Bytes::from(line)
                });
                // Nobody listens any more: the publisher has ended.
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Where messages come from.
enum Source {
    Repeated {
        payload: Bytes,
        left: usize,
        pause: Option<Interval>,
    },
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

impl Source {
    /// The next payload; `None` after the last. May be cancelled: nothing is lost.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Source::Lines(lines) => lines.recv().await.transpose(),
            Source::Repeated { left: 0, .. } => Ok(None),
            Source::Repeated {
                payload,
                left,
                pause,
            } => {
                if let Some(pause) = pause {
                    pause.tick().await;
                }
                *left -= 1;
                Ok(Some(payload.clone()))
            }
        }
    }
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBACK is to come.
    Puback,
    /// PUBREC is to come.
    Pubrec,
    /// PUBCOMP is to come.
    Pubcomp,
}

struct Publisher {
    client: Client,
    message: Publish,
    in_flight: BTreeMap<PacketId, Stage>,
    in_flight_max: usize,
    last_id: PacketId,
    acknowledged: u64,
    refused: u64,
}

impl Publisher {
    /// # Errors
    ///
    /// When the broker has said that it does not take such messages.
    fn new(client: Client, message: Publish) -> anyhow::Result<Publisher> {
        let connack = &client.connack;
        if let Some(maximum) = connack.maximum_qos.filter(|maximum| message.qos > *maximum) {
            bail!(
                "the broker takes messages up to QoS {} only (-q)",
                maximum as u8
            );
        }
        if message.retain && !connack.retain_available {
            bail!("the broker does not retain messages (-r)");
        }
        let receive_maximum = connack.receive_maximum.unwrap_or(PacketId::MAX);
        let in_flight_max = usize::from(receive_maximum.get()).min(IN_FLIGHT_MAX);
        Ok(Publisher {
            client,
            message,
            in_flight: BTreeMap::new(),
            in_flight_max,
            last_id: PacketId::MAX,
            acknowledged: 0,
            refused: 0,
        })
    }

    /// Publishes everything and waits for the answers.
    async fn publish_all(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let mut ended = false;
        while !ended || !self.in_flight.is_empty() {
            let may_send = !ended && self.in_flight.len() < self.in_flight_max;
            // Both sides may be cancelled.
            tokio::select! {
                payload = source.next(), if may_send => {
                    match payload.context("cannot read the standard input")? {
                        Some(payload) => self.send(payload).await?,
                        None => ended = true,
                    }
                }
                packet = self.client.receive() => self.take(packet?)?,
            }
        }
        Ok(self.client.flush().await?)
    }

    async fn send(&mut self, payload: Bytes) -> anyhow::Result<()> {
        let mut publish = Publish {
            payload,
            ..self.message.clone()
        };
        publish.packet_id = self.new_id();
        let packet = Packet::Publish(publish);
        let length = encode::encoded_len(&packet, self.client.version());
        let length_max = self
            .client
            .connack
            .maximum_packet_size
            .unwrap_or(encode::PACKET_SIZE_MAX);
        if length > length_max as usize {
            bail!("the message makes a packet of {length} bytes; the broker takes {length_max}");
        }
        self.client.queue(&packet);
        Ok(self.client.flush().await?)
    }

    /// A free packet id, taken; `None` at QoS 0.
    fn new_id(&mut self) -> Option<PacketId> {
        let stage = match self.message.qos {
            QoS::AtMostOnce => return None,
            QoS::AtLeastOnce => Stage::Puback,
            QoS::ExactlyOnce => Stage::Pubrec,
        };
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(PacketId::MIN);
            if !self.in_flight.contains_key(&self.last_id) {
                self.in_flight.insert(self.last_id, stage);
                return Some(self.last_id);
            }
        }
    }

    fn take(&mut self, packet: Packet) -> anyhow::Result<()> {
        match packet {
            Packet::Puback(ack) => self.finish(&ack, Stage::Puback),
            Packet::Pubrec(ack) if ack.reason.is_error() => self.finish(&ack, Stage::Pubrec),
            Packet::Pubrec(ack) => {
                // Also for one that is not known, after which the broker gives up its id.
                let stage = self.in_flight.get_mut(&ack.packet_id);
                let reason = match stage {
                    Some(stage) => {
                        *stage = Stage::Pubcomp;
                        ReasonCode::Success
                    }
                    None => ReasonCode::PacketIdentifierNotFound,
                };
                self.client
                    .queue(&Packet::Pubrel(Ack::new(ack.packet_id, reason)));
            }
            Packet::Pubcomp(ack) => self.finish(&ack, Stage::Pubcomp),
            // Messages to a session that has subscriptions: they wait for its next `sub`.
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, ack: &Ack, stage: Stage) {
        if self.in_flight.get(&ack.packet_id) != Some(&stage) {
            return;
        }
        self.in_flight.remove(&ack.packet_id);
        if ack.reason.is_error() && stage != Stage::Pubcomp {
            self.refused += 1;
            let text = ack.reason_string.as_deref().unwrap_or_default();
            eprintln!("refused: {} {text}", words::reason(ack.reason));
        } else {
            self.acknowledged += 1;
        }
    }

    fn unfinished(&self) -> String {
        match self.in_flight.len() {
            0 => "publishing failed".to_owned(),
            unanswered => {
                format!(
                    "{} messages acknowledged, {unanswered} not",
                    self.acknowledged
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn a_message_in_words() {
        let words = "pub -t a/b -m -5 -q 2 -r -D publish content-type text/plain \
                     -D publish message-expiry-interval 9";
        let arguments = parse(words).unwrap();
        let properties = arguments.connection.properties().unwrap();
        let message = arguments.message(&properties).unwrap();
        assert_eq!(
            (message.qos, message.retain, &*message.topic),
            (QoS::ExactlyOnce, true, "a/b")
        );
        assert_eq!(message.message_expiry, Some(9));
        assert_eq!(
            catena_mqtt::property::content_type(&message.properties),
            Some("text/plain")
        );
        assert_eq!(arguments.payload.message.as_deref(), Some("-5"));
    }

    #[test]
    fn one_source_is_needed_and_no_more() {
        for words in [
            "pub -t a",
            "pub -t a -m x -n",
            "pub -m x",
            "pub -t a -l --repeat 2",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        for words in [
            "pub -t a -n",
            "pub -t a -l",
            "pub -t a -s",
            "pub -t a -f /dev/null",
        ] {
            assert!(parse(words).is_ok(), "{words}");
        }
    }
}
