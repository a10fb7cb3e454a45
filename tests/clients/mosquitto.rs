//! `mosquitto_pub` and `mosquitto_sub`, the command line clients.
//!
//! They do not tell whether a session was present: that a queued message arrives shows it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use catena_tests::broker::{Broker, unique};

const PATIENCE: Duration = Duration::from_secs(10);
/// What stands before a message in the output of `mosquitto_sub`, apart from its debug lines.
const MESSAGE: &str = "message|";

/// The scenarios with one version of MQTT.
macro_rules! with_version {
    ($name:ident, $version:literal, [$($scenario:ident),+ $(,)?]) => {
        mod $name {
            use super::*;

            $(fn $scenario(broker: &Broker) {
                super::$scenario(&At { broker, version: $version });
            })+

            catena_tests::on_shards!($($scenario),+);
        }
    };
}

with_version!(
    v3_1,
    "mqttv31",
    [at_every_qos, retained, will, session_resumed]
);
with_version!(
    v3,
    "mqttv311",
    [
        at_every_qos,
        retained,
        will,
        shared_subscription,
        session_resumed
    ]
);
with_version!(
    v5,
    "mqttv5",
    [
        at_every_qos,
        retained,
        will,
        shared_subscription,
        session_resumed,
        properties_arrive
    ]
);

/// A message arrives at the lower of its own QoS and the subscription's.
fn at_every_qos(at: &At) {
    for granted in ["0", "1", "2"] {
        let topic = unique("mosquitto/qos");
        let mut subscriber = at.subscribe(&topic, &["-q", granted]);
        for qos in ["0", "1", "2"] {
            at.publish(&topic, &["-q", qos, "-m", "payload"]);
            assert_eq!(
                subscriber.message(),
                format!("{}|0|payload", qos.min(granted))
            );
        }
    }
}

/// A retained message is there for later subscribers until an empty one clears it.
fn retained(at: &At) {
    let topic = unique("mosquitto/retained");
    at.publish(&topic, &["-q", "1", "-r", "-m", "first"]);
    at.publish(&topic, &["-q", "1", "-r", "-m", "kept"]);

    let mut later = at.subscribe(&topic, &["-q", "1"]);
    assert_eq!(later.message(), "1|1|kept");
    at.publish(&topic, &["-q", "1", "-r", "-m", "live"]);
    assert_eq!(later.message(), "1|0|live");

    at.publish(&topic, &["-q", "1", "-r", "-n"]);
    let mut last = at.subscribe(&topic, &["-q", "1"]);
    at.publish(&topic, &["-q", "1", "-m", "marker"]);
    assert_eq!(last.message(), "1|0|marker");
}

/// A client that vanishes leaves its will; one that says goodbye does not.
fn will(at: &At) {
    let topic = unique("mosquitto/will");
    let mut watcher = at.subscribe(&topic, &["-q", "1"]);
    let will = [
        "--will-topic",
        &topic,
        "--will-payload",
        "gone",
        "--will-qos",
        "1",
    ];

    // -E: DISCONNECT as soon as it has subscribed.
    at.subscribe(&unique("elsewhere"), &[&will[..], &["-E"]].concat())
        .expect_end();
    at.publish(&topic, &["-q", "1", "-m", "marker"]);
    assert_eq!(watcher.message(), "1|0|marker");

    // Killed, it sends nothing.
    drop(at.subscribe(&unique("elsewhere"), &will));
    assert_eq!(watcher.message(), "1|0|gone");
}

/// Each message goes to one member of the group, and no member is left out.
fn shared_subscription(at: &At) {
    let topic = unique("mosquitto/shared");
    let filter = format!("$share/group/{topic}");
    let members = [
        at.subscribe(&filter, &["-q", "1"]),
        at.subscribe(&filter, &["-q", "1"]),
    ];
    let payloads: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for payload in &payloads {
        at.publish(&topic, &["-q", "1", "-m", payload]);
    }

    // With the default strategy they take turns.
    let shares = members.map(|mut member| {
        let messages = (0..payloads.len() / 2).map(|_| member.message());
        messages.collect::<Vec<_>>()
    });
    let mut got = shares.concat();
    got.sort();
    let mut expected: Vec<_> = payloads
        .iter()
        .map(|payload| format!("1|0|{payload}"))
        .collect();
    expected.sort();
    assert_eq!(got, expected);
}

/// What was published while a client was away is there when it is back.
fn session_resumed(at: &At) {
    let (topic, name) = (unique("mosquitto/session"), unique("mosquitto-sleeper"));
    let expiry: &[&str] = if at.version == "mqttv5" {
        &["-x", "60"]
    } else {
        &[]
    };
    let sleeper = [&["-c", "-i", &name, "-q", "2"][..], expiry].concat();
    at.subscribe(&topic, &[&sleeper[..], &["-E"]].concat())
        .expect_end();

    at.publish(&topic, &["-q", "1", "-m", "one"]);
    at.publish(&topic, &["-q", "2", "-m", "two"]);

    let mut sleeper = at.subscribe(&topic, &sleeper);
    assert_eq!(sleeper.message(), "1|0|one");
    assert_eq!(sleeper.message(), "2|0|two");
}

/// The properties of a message arrive as they were sent, user properties in their order.
fn properties_arrive(at: &At) {
    let topic = unique("mosquitto/properties");
    // User properties, content type, response topic, correlation data, payload format, expiry,
    // subscription identifier.
    let format = format!("{MESSAGE}%P|%C|%R|%D|%F|%S|%E");
    let identifier = ["-D", "subscribe", "subscription-identifier", "4711"];
    let mut subscriber = at.subscribe(
        &topic,
        &[&["-q", "1", "-F", &format][..], &identifier].concat(),
    );

    let property = |name, value| ["-D", "publish", name, value];
    let user = |name, value| ["-D", "publish", "user-property", name, value];
    at.publish(
        &topic,
        &[
            &["-q", "1", "-m", "payload"][..],
            &user("colour", "grün"),
            &user("colour", "red"),
            &property("content-type", "text/plain"),
            &property("response-topic", "answers/here"),
            &property("correlation-data", "request 1"),
            &property("payload-format-indicator", "1"),
            &property("message-expiry-interval", "60"),
        ]
        .concat(),
    );
    let message = subscriber.message();
    let (properties, expiry) = message.rsplit_once('|').expect("the format has separators");
    assert_eq!(
        properties,
        "colour:grün colour:red|text/plain|answers/here|request 1|1|4711"
    );
    let expiry: u32 = expiry.parse().expect("the message expires");
    assert!((50..=60).contains(&expiry), "{expiry} s are left");
}

/// Where the clients connect, and how.
struct At<'a> {
    broker: &'a Broker,
    version: &'a str,
}

impl At<'_> {
    fn command(&self, program: &str, topic: &str, arguments: &[&str]) -> Command {
        let address = self.broker.address;
        let mut command = Command::new(program);
        command
            .args([
                "-h",
                &address.ip().to_string(),
                "-p",
                &address.port().to_string(),
            ])
            .args(["-V", self.version, "-t", topic])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Publishes and waits for the acknowledgement.
    fn publish(&self, topic: &str, arguments: &[&str]) {
        let mut command = self.command("mosquitto_pub", topic, arguments);
        let output = command
            .output()
            .unwrap_or_else(|e| missing("mosquitto_pub", &e));
        assert!(output.status.success(), "{command:?}: {output:?}");
    }

    /// Starts a subscriber, and waits until it has subscribed.
    fn subscribe(&self, topic: &str, arguments: &[&str]) -> Subscriber {
        let format = format!("{MESSAGE}%q|%r|%p");
        // Of two formats the later one counts.
        let arguments = [&["-d", "-F", &format][..], arguments].concat();
        let command = self.command("mosquitto_sub", topic, &arguments);
        // It would keep its debug lines to itself until the next message.
        let mut process = Command::new("stdbuf")
            .arg("--output=L")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| missing("stdbuf", &e));
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut subscriber = Subscriber {
            process,
            lines,
            passed: Vec::new(),
        };
        subscriber.line("Subscribed (");
        subscriber
    }
}

/// A running `mosquitto_sub`, killed when it is dropped.
struct Subscriber {
    process: Child,
    lines: Receiver<String>,
    /// Lines that were read while another was looked for: a resumed session has messages before its
    /// subscription is confirmed.
    passed: Vec<String>,
}

impl Subscriber {
    /// The next message, in the format that was asked for.
    fn message(&mut self) -> String {
        self.line(MESSAGE)
    }

    /// What follows `start` in the next line that begins with it.
    fn line(&mut self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        if let Some(index) = self.passed.iter().position(|line| line.starts_with(start)) {
            return self.passed.remove(index)[start.len()..].to_owned();
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Ok(line) = self.lines.recv_timeout(left()) {
            match line.strip_prefix(start) {
                Some(rest) => return rest.to_owned(),
                None => self.passed.push(line),
            }
        }
        panic!(
            "mosquitto_sub (installed by `make clients-installed`) prints no {start:?} but {:#?}",
            self.passed
        );
    }

    /// Waits until it ends by itself.
    fn expect_end(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                assert!(status.success(), "mosquitto_sub fails: {status}");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("mosquitto_sub does not end");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!("cannot run {program}: {error}: `make clients-installed` installs it")
}
