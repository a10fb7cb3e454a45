//! `catena sub`: subscribes and prints what comes.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Stdout, Write},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::bail;
use catena_mqtt::{
    Filter, Packet, QoS,
    packet::{Ack, Connect, PacketId, Publish, RetainHandling, Suback, Subscribe, SubscribeFilter},
};
use clap::Parser;
use tokio::time::{sleep, timeout};

use super::{
    client::{self, Client},
    json,
    options::Connection,
    property::{self, Properties},
    value::{self, Quality},
    words,
};

/// The exit code after Ctrl-C: that of a process that the signal has ended.
const INTERRUPTED: u8 = 130;
/// The exit code when --timeout is over, as mosquitto has it.
const TIMED_OUT: u8 = 27;
/// The longest pause before another try to connect.
const PAUSE_SECONDS_MAX: u64 = 30;

const EXAMPLES: &str = "\
Examples:
  Everything, with topics:
    catena sub -t '#' -v

  The next message, as JSON, but wait no longer than ten seconds:
    catena sub -t 'plant/+/state' -C 1 -W 10 --json

  Share the work with others, each message to one of them:
    catena sub -t '$share/workers/jobs/#' -q 1

  Miss nothing while away: the broker keeps the session for an hour:
    catena sub -t orders -q 1 -i worker-1 -c -x 3600

The exit code is 1 if the broker refuses, 27 if --timeout is over, and 130 after Ctrl-C.";

/// Subscribe and print messages
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A topic or filter to subscribe to; may be given more than once
    #[arg(short, long = "topic", required = true, value_name = "FILTER")]
    topics: Vec<String>,

    /// The highest quality of service at which to receive: 0, 1 or 2
    #[arg(short, long, default_value = "0")]
    qos: Quality,

    /// End after that many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = value::count)]
    count: Option<usize>,

    /// End after that many seconds
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = value::seconds)]
    timeout: Option<f64>,

    /// Do not print retained messages
    #[arg(short = 'R', long)]
    no_retained: bool,

    /// Print retained messages only, and end at the first that is not
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,

    /// Print the topic before the payload
    #[arg(short, long)]
    verbose: bool,

    /// Print no line end after the payload
    #[arg(short = 'N', long)]
    no_newline: bool,

    /// Print each message as one line of JSON, with topic, QoS, properties and time
    #[arg(long, conflicts_with_all = ["verbose", "no_newline"])]
    json: bool,

    /// Do not send back what this client itself publishes (MQTT 5)
    #[arg(long)]
    no_local: bool,

    /// Keep the retain flag of messages as they were published (MQTT 5)
    #[arg(long)]
    retain_as_published: bool,

    /// Whether retained messages are sent: 0 always, 1 if the subscription is new, 2 never (MQTT 5)
    #[arg(long, value_name = "0|1|2", value_parser = retain_handling)]
    retain_handling: Option<RetainHandling>,

    /// A number that comes along with each message of these subscriptions (MQTT 5)
    #[arg(long, value_name = "N", value_parser = property::subscription_id)]
    subscription_id: Option<u32>,

    /// End when the connection is lost, rather than connect again
    #[arg(long)]
    no_reconnect: bool,

    #[command(flatten)]
    connection: Connection,
}

fn retain_handling(text: &str) -> Result<RetainHandling, String> {
    match text {
        "0" => Ok(RetainHandling::Send),
        "1" => Ok(RetainHandling::SendIfNew),
        "2" => Ok(RetainHandling::DoNotSend),
        _ => Err("0 (always), 1 (if the subscription is new) or 2 (never)".to_owned()),
    }
}

/// Subscribes and prints until it is told to end.
///
/// # Errors
///
/// When the arguments make no sense, the connection fails or the broker refuses.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(subscribe(&arguments))
}

async fn subscribe(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let properties = arguments.connection.properties()?;
    let connect = arguments.connection.connect(&properties)?;
    let subscribe = arguments.subscribe(&properties)?;
    let mut subscriber = Subscriber::new(arguments, subscribe);
    let limit = arguments
        .timeout
        .map_or(Duration::MAX, Duration::from_secs_f64);
    let ended = tokio::select! {
        ended = timeout(limit, subscriber.run(connect)) => match ended {
            Ok(ended) => ended.map(|()| ExitCode::SUCCESS),
            Err(_) => Ok(ExitCode::from(TIMED_OUT)),
        },
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
    };
    subscriber.finish().await?;
    ended
}

impl Arguments {
    fn subscribe(&self, properties: &Properties) -> anyhow::Result<Subscribe> {
        let of_version_5 = self.no_local
            || self.retain_as_published
            || self.retain_handling.is_some()
            || self.subscription_id.is_some();
        if of_version_5 && !self.connection.protocol_version.is_v5() {
            bail!(
                "--no-local, --retain-as-published, --retain-handling and --subscription-id came with MQTT 5"
            );
        }
        let mut filters = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            if let Err(error) = Filter::parse(topic.as_str()) {
                bail!("-t {topic:?}: {error}");
            }
            let mut filter = SubscribeFilter::new(topic.as_str(), self.qos.0);
            filter.no_local = self.no_local;
            filter.retain_as_published = self.retain_as_published;
            filter.retain_handling = self.retain_handling.unwrap_or(RetainHandling::Send);
            filters.push(filter);
        }
        let mut subscribe = Subscribe::new(PacketId::MIN, filters);
        subscribe.subscription_id = self
            .subscription_id
            .or(properties.subscribe.subscription_id);
        subscribe.user_properties = properties.subscribe.user.clone();
        Ok(subscribe)
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    More,
    Enough,
}

struct Subscriber<'a> {
    arguments: &'a Arguments,
    subscribe: Subscribe,
    client: Option<Client>,
    /// Messages of QoS 2 that were printed and not yet released.
    unreleased: BTreeSet<PacketId>,
    printed: usize,
    out: BufWriter<Stdout>,
}

impl Subscriber<'_> {
    fn new(arguments: &Arguments, subscribe: Subscribe) -> Subscriber<'_> {
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        let unreleased = BTreeSet::new();
        Subscriber {
            arguments,
            subscribe,
            client: None,
            unreleased,
            printed: 0,
            out,
        }
    }

    /// Connects, subscribes and prints until it is enough; connects again after a loss.
    async fn run(&mut self, mut connect: Connect) -> anyhow::Result<()> {
        let mut was_connected = false;
        let mut pause_seconds = 1;
        loop {
            let error = match self.run_once(&connect).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.client.is_some() {
                was_connected = true;
                pause_seconds = 1;
            }
            let retryable = error
                .downcast_ref::<client::Error>()
                .is_some_and(client::Error::is_retryable);
            // What never worked is more likely a mistake than bad luck.
            if self.arguments.no_reconnect || !was_connected || !retryable {
                return Err(error);
            }
            self.client = None;
            eprintln!("{error:#}; trying again in {pause_seconds} s");
            sleep(Duration::from_secs(pause_seconds)).await;
            pause_seconds = (pause_seconds * 2).min(PAUSE_SECONDS_MAX);
            // The session may have outlived the connection; then what waits in it is ours.
            connect.clean_start = !self.arguments.connection.disable_clean_session;
        }
    }

    async fn run_once(&mut self, connect: &Connect) -> anyhow::Result<()> {
        let connection = &self.arguments.connection;
        let client = Client::open(&connection.way()?, connect).await?;
        if !client.connack.session_present {
            self.unreleased.clear();
        }
        let client = self.client.insert(client);
        client.queue(&Packet::Subscribe(self.subscribe.clone()));
        loop {
            let client = self.client.as_mut().expect("inserted above");
            if client.must_wait() {
                self.out.flush()?;
            }
            let packet = client.receive().await?;
            if self.take(packet)? == Next::Enough {
                return Ok(());
            }
        }
    }

    fn take(&mut self, packet: Packet) -> anyhow::Result<Next> {
        match packet {
            Packet::Publish(publish) => self.take_publish(&publish),
            Packet::Pubrel(pubrel) => {
                self.unreleased.remove(&pubrel.packet_id);
                self.queue(&Packet::Pubcomp(Ack::success(pubrel.packet_id)));
                Ok(Next::More)
            }
            Packet::Suback(suback) => {
                check_granted(&self.subscribe, &suback)?;
                Ok(Next::More)
            }
            _ => Ok(Next::More),
        }
    }

    fn take_publish(&mut self, publish: &Publish) -> anyhow::Result<Next> {
        let mut next = Next::More;
        let again = publish
            .packet_id
            .is_some_and(|id| self.unreleased.contains(&id));
        if !again {
            next = self.print(publish)?;
        }
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.queue(&Packet::Puback(Ack::success(id))),
            (QoS::ExactlyOnce, Some(id)) => {
                self.unreleased.insert(id);
                self.queue(&Packet::Pubrec(Ack::success(id)));
            }
            _ => {}
        }
        Ok(next)
    }

    fn print(&mut self, publish: &Publish) -> anyhow::Result<Next> {
        let arguments = self.arguments;
        if arguments.retained_only && !publish.retain {
            return Ok(Next::Enough);
        }
        if arguments.no_retained && publish.retain {
            return Ok(Next::More);
        }
        match write(arguments, publish, &mut self.out) {
            // Whoever read us has had enough: `| head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Next::Enough),
            written => written?,
        }
        self.printed += 1;
        let enough = arguments.count.is_some_and(|count| self.printed >= count);
        Ok(if enough { Next::Enough } else { Next::More })
    }

    fn queue(&mut self, packet: &Packet) {
        if let Some(client) = &mut self.client {
            client.queue(packet);
        }
    }

    /// Prints what is left and says goodbye.
    async fn finish(mut self) -> anyhow::Result<()> {
        match self.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            flushed => flushed?,
        }
        if let Some(client) = self.client {
            // All that was asked for has been printed: a broker that is gone by now is no failure.
            let _ = client.close().await;
        }
        Ok(())
    }
}

fn write(arguments: &Arguments, publish: &Publish, out: &mut impl Write) -> io::Result<()> {
    if arguments.json {
        serde_json::to_writer(&mut *out, &json::Message::new(publish, SystemTime::now()))?;
        return out.write_all(b"\n");
    }
    if arguments.verbose {
        out.write_all(publish.topic.as_bytes())?;
        out.write_all(b" ")?;
    }
    out.write_all(&publish.payload)?;
    if arguments.no_newline {
        Ok(())
    } else {
        out.write_all(b"\n")
    }
}

/// An error that names every filter that was refused.
fn check_granted(subscribe: &Subscribe, suback: &Suback) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for (filter, code) in subscribe.filters.iter().zip(&suback.codes) {
        if code.is_error() {
            refused.push(format!("{}: {}", filter.filter, words::reason(*code)));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    if let Some(text) = &suback.reason_string {
        refused.push(format!("the broker says: {text:?}"));
    }
    bail!("the broker refused to subscribe to {}", refused.join("; "))
}

#[cfg(test)]
mod tests {
    use catena_mqtt::ReasonCode;

    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    fn subscribe_of(words: &str) -> anyhow::Result<Subscribe> {
        let arguments = parse(words)?;
        arguments.subscribe(&arguments.connection.properties()?)
    }

    #[test]
    fn subscriptions_in_words() {
        let subscribe = subscribe_of(
            "sub -t a/# -t $share/g/b -q 1 --no-local --retain-handling 2 -D subscribe subscription-identifier 7",
        )
        .unwrap();
        let filters: Vec<_> = subscribe
            .filters
            .iter()
            .map(|filter| &*filter.filter)
            .collect();
        assert_eq!(filters, ["a/#", "$share/g/b"]);
        assert!(subscribe.filters.iter().all(|filter| filter.no_local));
        assert_eq!(
            subscribe.filters[0].retain_handling,
            RetainHandling::DoNotSend
        );
        assert_eq!(subscribe.subscription_id, Some(7));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "sub",
            "sub -t a/#/b",
            "sub -t a --json -v",
            "sub -t a -C 0",
            "sub -t a --retain-handling 3",
            "sub -t a --no-local -V 3.1.1",
            "sub -t a --retained-only -R",
        ] {
            assert!(subscribe_of(words).is_err(), "{words}");
        }
    }

    #[test]
    fn output_has_the_form_asked_for() {
        let publish = Publish {
            topic: "a/b".into(),
            payload: "x".into(),
            ..Publish::default()
        };
        let output = |words| {
            let mut out = Vec::new();
            write(&parse(words).unwrap(), &publish, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(output("sub -t a"), "x\n");
        assert_eq!(output("sub -t a -v"), "a/b x\n");
        assert_eq!(output("sub -t a -N"), "x");
        assert!(output("sub -t a --json").ends_with("\"payload\":\"x\",\"encoding\":\"utf8\"}\n"));
    }

    #[test]
    fn refusals_are_named() {
        let subscribe = subscribe_of("sub -t open -t secret").unwrap();
        let codes = vec![ReasonCode::Success, ReasonCode::NotAuthorized];
        let error = check_granted(&subscribe, &Suback::new(PacketId::MIN, codes)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("secret: not authorized (0x87)") && !text.contains("open"),
            "{text}"
        );
    }
}
