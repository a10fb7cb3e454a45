//! `catena bench`: load that is measured and checked.
//!
//! The generator is to cost little beside the broker, since both may share a machine: one thread,
//! packets made from templates and read where they lie. Start reading at [`load`], the loop;
//! [`plan`] says who publishes to whom, and [`check`] what must hold.

mod check;
mod connect;
mod connection;
mod handshake;
mod idle;
mod load;
mod plan;
mod process;
mod publisher;
mod reach;
mod report;
mod sessions;
mod socket;
mod tally;
mod wire;

use std::{
    hash::{BuildHasher, RandomState},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::bail;
use catena_mqtt::Version;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use self::{
    handshake::Target,
    plan::{Length, Plan, Shape},
    process::Process,
    reach::Reach,
};
use super::{
    login::Login,
    stamp,
    tls::Tls,
    value::{self, Quality},
};

const EXAMPLES: &str = "\
Examples:
  Ten publishers with a subscriber each, at QoS 1, and what the broker spends on it:
    catena bench pairs --qos 1 --pids catena

  Latency at a fixed rate, far from the limit:
    catena bench pairs --qos 1 --rate 2000

  Two brokers compared: each on one core, the generator on the other:
    taskset -c 0 mosquitto -c mosquitto.conf &
    taskset -c 1 catena bench pairs --port 1884 --pids mosquitto
    taskset -c 0 catena standalone &
    taskset -c 1 catena bench pairs --port 1883 --pids $!

The processor time of --pids over the messages delivered is the fairest number: it does not
depend on how busy the generator is. All messages are checked for loss, duplicates and order;
the exit code is 1 if a check fails.";

/// Put a measured and checked load on a broker
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// N publishers with a subscriber and a topic each
    Pairs {
        /// How many pairs
        #[arg(long, default_value_t = 10, value_parser = value::count)]
        pairs: usize,
        #[command(flatten)]
        load: LoadArguments,
    },
    /// N publishers, each with its own topic, to one subscriber
    FanIn {
        /// How many publishers
        #[arg(long, default_value_t = 50, value_parser = value::count)]
        publishers: usize,
        #[command(flatten)]
        load: LoadArguments,
    },
    /// One publisher to N subscribers
    FanOut {
        /// How many subscribers
        #[arg(long, default_value_t = 100, value_parser = value::count)]
        subscribers: usize,
        #[command(flatten)]
        load: LoadArguments,
    },
    /// N publishers to one shared subscription with M members
    Shared {
        /// How many publishers
        #[arg(long, default_value_t = 10, value_parser = value::count)]
        publishers: usize,
        /// How many members the group has
        #[arg(long, default_value_t = 10, value_parser = value::count)]
        members: usize,
        #[command(flatten)]
        load: LoadArguments,
    },
    /// N connections that do nothing: memory for each
    Idle {
        /// How many connections; `ulimit -n` must allow them, here and for the broker
        #[arg(long, default_value_t = 10_000, value_parser = value::count)]
        connections: usize,
        /// Seconds to hold them
        #[arg(long, default_value_t = 5.0, value_parser = value::seconds)]
        hold: f64,
        #[command(flatten)]
        common: CommonArguments,
    },
    /// N sessions whose clients are away: memory for each
    Sessions {
        /// How many sessions
        #[arg(long, default_value_t = 10_000, value_parser = value::count)]
        sessions: usize,
        /// Topics that each of them subscribes to
        #[arg(long, default_value_t = 3)]
        filters: usize,
        /// Seconds to wait before memory is read
        #[arg(long, default_value_t = 2.0, value_parser = value::seconds)]
        hold: f64,
        /// Leave the sessions to the broker, which keeps them for an hour
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        common: CommonArguments,
    },
    /// Clients that connect and disconnect again and again
    Connect {
        /// How many at the same time
        #[arg(long, default_value_t = 10, value_parser = value::count)]
        clients: usize,
        /// Seconds to measure
        #[arg(long, default_value_t = 10.0, value_parser = value::seconds)]
        duration: f64,
        #[command(flatten)]
        common: CommonArguments,
    },
}

#[derive(Debug, Args)]
struct CommonArguments {
    /// Where the broker is: a host, or mqtt://, mqtts://, ws:// or wss://HOST[:PORT][/PATH]. Each connection by TLS is a whole
    /// handshake. Only connect, idle and sessions know of WebSockets
    #[arg(short = 'H', long, default_value = "127.0.0.1")]
    host: String,
    /// Its port [default: 1883; 8883 with TLS; of URLs that of their kind]
    #[arg(short, long)]
    port: Option<u16>,
    #[command(flatten)]
    tls: Tls,
    /// The MQTT version to speak: 4 (which is 3.1.1) or 5
    #[arg(short = 'V', long, default_value = "5", value_parser = value::version)]
    protocol: Version,
    /// Let sessions outlive their connections, so that the broker keeps their state
    #[arg(long)]
    persistent: bool,
    #[command(flatten)]
    login: Login,
    /// Processes of the broker to measure: numbers or command names, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "PID|NAME")]
    pids: Vec<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Quality of service: 0, 1 or 2
    #[arg(short, long, default_value = "0")]
    qos: Quality,
    /// Bytes of a payload, at least 24
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Messages of one publisher that may be under way: sent, but not yet delivered and (above
    /// QoS 0) acknowledged
    #[arg(long, default_value_t = 100, value_parser = value::count)]
    window: usize,
    /// Messages per second of all publishers together; 0: as fast as the windows let
    #[arg(long, default_value_t = 0.0, value_parser = value::seconds)]
    rate: f64,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0, value_parser = value::seconds, conflicts_with = "messages")]
    duration: f64,
    /// Measure that many published messages, however long it takes
    #[arg(long)]
    messages: Option<u64>,
    /// Seconds of load before the measurement
    #[arg(long, default_value_t = 1.0, value_parser = value::seconds)]
    warmup: f64,
    #[command(flatten)]
    common: CommonArguments,
}

/// Runs the scenario and prints its result. The exit code says whether the checks passed.
///
/// # Errors
///
/// When there is nothing to measure: the broker cannot be reached, or loses a connection.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let interrupted = watch_for_interrupt();
    let run = RandomState::new().hash_one(std::process::id()) as u32;
    match arguments.scenario {
        Scenario::Pairs { pairs, load } => {
            run_load("pairs", Shape::Pairs { pairs }, &load, run, &interrupted)
        }
        Scenario::FanIn { publishers, load } => run_load(
            "fan-in",
            Shape::FanIn { publishers },
            &load,
            run,
            &interrupted,
        ),
        Scenario::FanOut { subscribers, load } => run_load(
            "fan-out",
            Shape::FanOut { subscribers },
            &load,
            run,
            &interrupted,
        ),
        Scenario::Shared {
            publishers,
            members,
            load,
        } => run_load(
            "shared",
            Shape::Shared {
                publishers,
                members,
            },
            &load,
            run,
            &interrupted,
        ),
        Scenario::Idle {
            connections,
            hold,
            common,
        } => {
            let (target, processes) = common.resolve()?;
            let hold = Duration::from_secs_f64(hold);
            let idle = idle::run(&target, run, connections, hold, &processes, &interrupted)?;
            print(common.json, &idle, &idle.text())?;
            Ok(ExitCode::SUCCESS)
        }
        Scenario::Sessions {
            sessions,
            filters,
            hold,
            keep,
            common,
        } => {
            let (target, processes) = common.resolve()?;
            let wanted = sessions::Wanted {
                sessions,
                filters,
                hold: Duration::from_secs_f64(hold),
                keep,
            };
            let made = sessions::run(&target, run, wanted, &processes, &interrupted)?;
            print(common.json, &made, &made.text())?;
            Ok(ExitCode::SUCCESS)
        }
        Scenario::Connect {
            clients,
            duration,
            common,
        } => {
            let (target, processes) = common.resolve()?;
            let length = Duration::from_secs_f64(duration);
            let connect = connect::run(&target, run, clients, length, &processes, &interrupted)?;
            print(common.json, &connect, &connect.text())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_load(
    scenario: &'static str,
    shape: Shape,
    load: &LoadArguments,
    run: u32,
    interrupted: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    if load.size < stamp::LEN {
        bail!(
            "--size {}: a payload needs {} bytes for its stamp",
            load.size,
            stamp::LEN
        );
    }
    let (target, processes) = load.common.resolve()?;
    if target.reach.is_web() {
        bail!(
            "{scenario}: messages are measured over TCP and TLS; connect, idle and sessions over WebSockets too"
        );
    }
    let plan = load.plan(shape, run);
    let outcome = load::run(&target, &plan, &processes, interrupted)?;
    let report = report::Load::new(scenario, &plan, &processes, &outcome);
    print(load.common.json, &report, &report.text())?;
    Ok(if report.checks.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl LoadArguments {
    fn plan(&self, shape: Shape, run: u32) -> Plan {
        Plan {
            shape,
            qos: self.qos.0,
            size: self.size,
            window: self.window,
            rate: (self.rate > 0.0).then_some(self.rate),
            warmup: self.warmup,
            length: self
                .messages
                .map_or(Length::Seconds(self.duration), Length::Messages),
            run,
            quiet: self.common.quiet,
        }
    }
}

impl CommonArguments {
    /// The broker's address, and its processes.
    fn resolve(&self) -> anyhow::Result<(Target, Vec<Process>)> {
        let target = Target {
            reach: Reach::read(&self.host, self.port, &self.tls)?,
            version: self.protocol,
            persistent: self.persistent,
            username: self.login.username.clone(),
            password: self.login.password()?,
        };
        Ok((target, process::find(&self.pids)?))
    }
}

fn print(json: bool, result: &impl Serialize, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;

    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, result)?;
        writeln!(out)?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Set by the first Ctrl-C, after which the run ends and reports; the second ends the process.
fn watch_for_interrupt() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            // Without the handler Ctrl-C ends the process at once, which is no worse.
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    });
    interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn a_load_in_words() {
        let arguments =
            parse("bench shared --publishers 3 --members 2 --qos 1 --rate 50 --messages 7");
        let Scenario::Shared {
            publishers: 3,
            members: 2,
            load,
        } = arguments.unwrap().scenario
        else {
            panic!("not the scenario that was asked for");
        };
        let plan = load.plan(
            Shape::Shared {
                publishers: 3,
                members: 2,
            },
            1,
        );
        assert_eq!(plan.rate, Some(50.0));
        assert_eq!(plan.length, Length::Messages(7));
        assert_eq!(plan.qos, catena_mqtt::QoS::AtLeastOnce);
        assert_eq!(plan.window, 100);
    }

    #[test]
    fn pids_are_a_list() {
        let arguments = parse("bench idle --pids 12,catena -V 4").unwrap();
        let Scenario::Idle {
            common,
            connections: 10_000,
            ..
        } = arguments.scenario
        else {
            panic!()
        };
        assert_eq!(common.pids, ["12", "catena"]);
        assert_eq!(common.protocol, Version::V4);
    }

    // Figures of a plain connection would be taken for those of an encrypted one.
    #[test]
    fn a_load_is_not_measured_over_what_it_does_not_speak() {
        let run = |words: &str| {
            run(parse(words).unwrap())
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(run("bench pairs -H wss://localhost --insecure").contains("over TCP and TLS"));
        assert!(run("bench fan-in -H ws://localhost").contains("over TCP and TLS"));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "bench",
            "bench pairs --qos 3",
            "bench pairs --pairs 0",
            "bench pairs --rate -1",
            "bench idle -V 6",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
