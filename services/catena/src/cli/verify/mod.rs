//! `catena verify`: clients that watch a broker while somebody breaks it.
//!
//! Start reading at [`drive`], the phases of a run; [`plan`] says who takes part. Clients write what
//! they see into a [`history`], and [`check`] finds what must not be in it. Both are pure.

mod check;
mod drive;
mod endpoint;
mod history;
mod inbound;
mod outbound;
mod plan;
mod progress;
mod publisher;
mod random;
mod report;
mod retained;
mod run;
mod subscriber;
mod visitor;
mod will;

use std::{
    hash::{BuildHasher, RandomState},
    io::Write as _,
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use catena_mqtt::{QoS, Version, topic};
use clap::Parser;

use self::{
    plan::{Audience, Length, Plan},
    report::Report,
};
use super::{
    login::Login,
    stamp,
    tls::Tls,
    value::{self, Quality},
};

const EXAMPLES: &str = "\
Examples:
  A minute of load on a broker on this machine, and what it did wrong:
    catena verify --duration 60

  A cluster, by two of its gateways; clients move between them:
    catena verify --broker gateway-1:1883,gateway-2:1883 --duration 60

  Through TLS, with a client certificate:
    catena verify --broker broker:8883 --cafile ca.pem --cert me.pem --key me.key

  Break it meanwhile, from another terminal. Whatever dies, nothing may be found:
    kill -9 PID                                     a crash
    kill -STOP PID; sleep 5; kill -CONT PID         a process that hangs
    ss -K dport = 1883                              connections cut (as root)
    iptables -A INPUT -p tcp --dport 1883 -j DROP   a network that swallows everything
    kubectl rollout restart deployment gateway      an upgrade

  Gentle and slow, with clients that never move of their own, to measure a failover:
    catena verify --rate 2000 --churn 0 --duration 120 --json

  The same choices again:
    catena verify --seed 4711

The exit code is 0 if nothing was found, 1 if something was, and 2 for wrong arguments. See
docs/verify.md for what each finding means.";

/// Watch a broker or a cluster while you break it: what is lost, doubled, out of order?
///
/// Publishers number their messages and send again what is not acknowledged; subscribers with and
/// without a lasting session, shared groups, retained messages and wills see what becomes of them.
/// Clients move between the brokers given, by reconnecting and by taking over.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where to connect: HOST[:PORT], or mqtt://, mqtts://, ws:// or wss://HOST[:PORT][/PATH]; several with commas, or given
    /// again. They are to be one cluster [default: 127.0.0.1]
    #[arg(
        short,
        long = "broker",
        alias = "host",
        value_name = "HOST[:PORT]",
        value_delimiter = ',',
        default_value = "127.0.0.1",
        hide_default_value = true
    )]
    brokers: Vec<endpoint::Place>,
    #[command(flatten)]
    tls: Tls,
    /// The MQTT version to speak: 4 (which is 3.1.1) or 5
    #[arg(short = 'V', long, default_value = "5", value_parser = value::version)]
    protocol: Version,
    #[command(flatten)]
    login: Login,
    /// What all topics and client identifiers begin with
    #[arg(long, default_value = "verify")]
    prefix: String,

    /// Seconds to publish; Ctrl-C ends it earlier
    #[arg(long, default_value_t = 30.0, value_parser = value::seconds, conflicts_with = "messages")]
    duration: f64,
    /// Publish that many messages, however long it takes
    #[arg(long)]
    messages: Option<u64>,
    /// Messages per second of all publishers together
    #[arg(long, default_value_t = 400.0, value_parser = value::seconds)]
    rate: f64,
    /// The QoS of messages, 1 and 2; one given more often is chosen more often: `--qos 1,1,1,2`
    #[arg(short, long, value_delimiter = ',', default_value = "1,2")]
    qos: Vec<Quality>,
    /// Bytes of a payload, at least 24
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages that one publisher may have unacknowledged
    #[arg(long, default_value_t = 20, value_parser = value::count)]
    window: usize,

    /// Clients that publish, with lasting sessions
    #[arg(long, default_value_t = 4, value_parser = value::count, help_heading = "Clients")]
    publishers: usize,
    /// Topics of each publisher
    #[arg(long, default_value_t = 2, value_parser = value::count, help_heading = "Clients")]
    topics: usize,
    /// Subscribers with lasting sessions
    #[arg(long, default_value_t = 3, help_heading = "Clients")]
    persistent: usize,
    /// Subscribers whose sessions end with their connections
    #[arg(long, default_value_t = 2, help_heading = "Clients")]
    ephemeral: usize,
    /// Shared subscriptions
    #[arg(long, default_value_t = 1, help_heading = "Clients")]
    groups: usize,
    /// Members of each shared subscription, with lasting sessions
    #[arg(long, default_value_t = 3, value_parser = value::count, help_heading = "Clients")]
    members: usize,
    /// Clients that leave wills
    #[arg(long, default_value_t = 2, help_heading = "Clients")]
    wills: usize,
    /// Retain one of that many messages; 0: none
    #[arg(long, default_value_t = 10, help_heading = "Clients")]
    retain_every: u64,

    /// Seconds that a client stays at one place, about, before it is cut off, disconnects, or is taken
    /// over from elsewhere; 0: clients never move of their own
    #[arg(long, default_value_t = 5.0, value_parser = value::seconds, help_heading = "Unrest")]
    churn: f64,
    /// Seconds before a client connects again after a failure; doubled each time
    #[arg(long, default_value_t = 0.1, value_parser = value::seconds, help_heading = "Unrest")]
    reconnect: f64,
    /// Seconds before a client connects again, at most
    #[arg(long, default_value_t = 2.0, value_parser = value::seconds, help_heading = "Unrest")]
    reconnect_max: f64,
    /// Seconds without a sign of life after which a client asks for one, and gives up as many later
    #[arg(long, default_value_t = 5, help_heading = "Unrest")]
    keepalive: u16,
    /// Seconds that what is missing may still come after the last publish; it ends when all has come
    #[arg(long, default_value_t = 20.0, value_parser = value::seconds, help_heading = "Unrest")]
    settle: f64,
    /// Makes all choices repeatable; printed at the end
    #[arg(long, help_heading = "Unrest")]
    seed: Option<u64>,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Tell progress to a program: a JSON object a line on standard error, ten times a second
    #[arg(long, conflicts_with = "quiet")]
    progress_json: bool,
}

/// Runs the load, checks what the clients saw and prints it. The exit code says whether all was well.
///
/// # Errors
///
/// When it cannot begin: the brokers cannot be reached, or refuse.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    let plan = arguments.plan()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report: Report = runtime.block_on(drive::drive(plan))?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(report.text().as_bytes())?;
    }
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Arguments {
    fn plan(self) -> anyhow::Result<Plan> {
        if self.size < stamp::LEN {
            bail!(
                "--size {}: a payload needs {} bytes for its stamp",
                self.size,
                stamp::LEN
            );
        }
        if self.rate <= 0.0 {
            bail!("--rate: messages must be sent to be watched");
        }
        if let Err(error) = topic::validate(&self.prefix) {
            bail!("--prefix {:?}: {error}", self.prefix);
        }
        let qos: Vec<QoS> = self.qos.iter().map(|quality| quality.0).collect();
        if qos.contains(&QoS::AtMostOnce) {
            bail!("--qos 0: nothing is promised of such a message, so nothing can be checked");
        }
        // The run is not told by the seed: it keeps a repeated run apart from what the first has left.
        let random = || RandomState::new().hash_one(std::process::id());
        let seconds = Duration::from_secs_f64;
        let endpoints = self.brokers.iter().map(|place| place.endpoint(&self.tls));
        Ok(Plan {
            endpoints: endpoints.collect::<anyhow::Result<_>>()?,
            version: self.protocol,
            password: self.login.password()?,
            username: self.login.username,
            keep_alive: self.keepalive,
            // Short, so that it can be typed again.
            seed: self.seed.unwrap_or_else(|| random() % 1_000_000_000),
            run: random() as u32,
            prefix: self.prefix,
            publishers: self.publishers,
            topics: self.topics,
            persistent: self.persistent,
            ephemeral: self.ephemeral,
            groups: self.groups,
            members: self.members,
            wills: self.wills,
            qos,
            retain_every: self.retain_every,
            length: self
                .messages
                .map_or(Length::Time(seconds(self.duration)), Length::Messages),
            rate: self.rate,
            size: self.size,
            window: self.window.min(usize::from(u16::MAX) / 2),
            churn: (self.churn > 0.0).then(|| seconds(self.churn)),
            backoff: (
                seconds(self.reconnect),
                seconds(self.reconnect_max.max(self.reconnect)),
            ),
            settle: seconds(self.settle),
            audience: match (self.quiet, self.progress_json) {
                (true, _) => Audience::Nobody,
                (false, true) => Audience::Program,
                (false, false) => Audience::People,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> anyhow::Result<Plan> {
        Arguments::try_parse_from(words.split_whitespace())?.plan()
    }

    #[test]
    fn a_run_in_words() {
        let plan =
            plan("verify -b a:1,b --broker [::1]:7 --qos 1,1,2 --messages 9 --churn 0 --seed 3");
        let plan = plan.unwrap();
        let shown = |plan: &Plan| Vec::from_iter(plan.endpoints.iter().map(ToString::to_string));
        assert_eq!(shown(&plan), ["a:1", "b:1883", "[::1]:7"]);
        assert_eq!(plan.length, Length::Messages(9));
        assert_eq!((plan.churn, plan.seed, plan.qos.len()), (None, 3, 3));
        let plan = super::tests::plan("verify -b a,wss://b --insecure").unwrap();
        assert_eq!(shown(&plan), ["mqtts://a:8883", "wss://b:443/mqtt"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "verify --qos 0,1",
            "verify --rate 0",
            "verify --size 23",
            "verify --prefix a/#",
            "verify --broker a:b",
            "verify --broker http://a",
            "verify --cafile /none",
            "verify --publishers 0",
        ] {
            assert!(plan(words).is_err(), "{words}");
        }
    }
}
