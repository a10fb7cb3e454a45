//! Rules that change under clients that are connected.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::client::{Client, Message};

use crate::{
    mosquitto::Sub,
    world::{
        CHANGE, World, authentication, authorization, connack_of, is_alive, is_closed, listener,
        login, within,
    },
};

const METHODS: &str = "- method: Password\n  passwordSettings:\n    secretRef: users";

/// Two ports under the rules, and one under others.
fn ports() -> String {
    let port = |number: usize, rules: &str| {
        format!(
            "- port: PORT{number}\n  address: 127.0.0.1\n  authenticationRef: auth\n  authorizationRef: {rules}\n"
        )
    };
    [port(0, "rules"), port(1, "rules"), port(2, "others")].concat()
}

/// Everything for those who are named: Connect, and the topics.
fn rule(users: &str, topics: &str) -> String {
    format!(
        "- principals:\n    usernames: [{users}]\n  brokerResources:\n  - method: Connect\n  - method: Publish\n    topics: [{topics}]\n  \
         - method: Subscribe\n    topics: [{topics}]\n"
    )
}

fn rules(rules: &[String], update: &str) -> String {
    format!("policyUpdate: {update}\nrules:\n{}", rules.concat())
}

/// One of many.
struct Member {
    client: Client,
    id: String,
    version: Version,
}

impl Member {
    /// A client of `user` at a port, which subscribes to `filter`.
    fn new(world: &World, user: &str, number: usize, filter: Option<&str>) -> Member {
        let version = if number % 4 < 2 {
            Version::V5
        } else {
            Version::V4
        };
        let mut options = login(version, user, "right");
        let id = format!("{user}-{number}");
        options.connect.client_id = id.as_str().into();
        let mut client = options.open_at(world.ports[number % 2]);
        if let Some(filter) = filter {
            client.subscribe(filter, 1);
        }
        Member {
            client,
            id,
            version,
        }
    }

    fn is_sent_away(&mut self, reason: ReasonCode) {
        is_closed(
            &mut self.client,
            (self.version == Version::V5).then_some(reason),
        );
    }

    fn socket(&self) -> u16 {
        let address = self.client.stream().socket().local_addr();
        address.expect("it is connected").port()
    }
}

/// The broker says that these are connected, and nobody else. It may hear of the last ones a moment later.
fn are_connected(world: &World, wanted: &BTreeSet<String>) {
    let admin = world.admin();
    let are = || admin.ids(&["--connected"]).iter().eq(wanted);
    assert!(
        within(CHANGE, are),
        "{:?}, not {wanted:?}",
        admin.ids(&["--connected"])
    );
}

fn everybody(members: &[&[Member]]) -> BTreeSet<String> {
    let members = members.iter().flat_map(|members| members.iter());
    members.map(|member| member.id.clone()).collect()
}

/// A leaver goes on reading, or a change for one costs all others their connection or a message.
#[test]
fn a_change_disconnects_whom_it_concerns_and_nobody_else() {
    let world = World::new();
    for user in ["stay", "lose", "out"] {
        world.passwd(user, "right");
    }
    let before = rules(
        &[rule("stay, lose, out", "\"news/#\", \"old/#\"")],
        "Reevaluate",
    );
    let others = rules(&[rule("stay", "\"#\"")], "Reevaluate");
    let mut world = world.start_with(
        &[
            listener(&ports()),
            authentication("auth", METHODS),
            authorization("rules", &before),
            authorization("others", &others),
        ],
        &[],
    );
    let members =
        |user: &str, range: std::ops::Range<usize>, filter: Option<&str>| -> Vec<Member> {
            range
                .map(|number| Member::new(&world, user, number, filter))
                .collect()
        };
    let mut stay = members("stay", 0..12, Some("news/#"));
    let mut lose = members("lose", 0..8, Some("old/#"));
    // They may still do all that they do.
    let mut keep = members("lose", 8..12, Some("news/#"));
    let mut out = members("out", 0..8, None);
    let mut elsewhere = login(Version::V5, "stay", "right");
    elsewhere.connect.client_id = "elsewhere".into();
    let mut elsewhere = elsewhere.open_at(world.ports[2]);
    elsewhere.subscribe("old/+", 1);
    // They stay, but one may no longer say what it leaves behind.
    let wills = ["lose", "stay"].map(|user| {
        let will = Message::new(&format!("old/{user}"), "gone").qos(1);
        let mut options = login(Version::V5, user, "right").will(&will, 0);
        options.connect.client_id = format!("will-{user}").into();
        options.open_at(world.ports[0])
    });
    let real = Sub::start(
        &world,
        1,
        &[
            "-i", "real", "-u", "stay", "-P", "right", "-t", "news/#", "-q", "1",
        ],
    );
    let mut publisher = login(Version::V5, "stay", "right");
    publisher.connect.client_id = "publisher".into();
    let publisher = publisher.open_at(world.ports[0]);
    let sockets: Vec<u16> = stay.iter().chain(&keep).map(Member::socket).collect();
    let mut all = everybody(&[&stay, &lose, &keep, &out]);
    let single = ["elsewhere", "real", "publisher", "will-lose", "will-stay"];
    all.extend(single.map(str::to_owned));
    are_connected(&world, &all);

    // Messages go on meanwhile.
    let publishing = Publishing::start(publisher);
    let after = rules(
        &[
            rule("stay", "\"news/#\", \"old/#\""),
            rule("lose", "\"news/#\""),
        ],
        "Reevaluate",
    );
    world.apply(&[authorization("rules", &after)]);
    for member in lose.iter_mut().chain(&mut out) {
        member.is_sent_away(ReasonCode::NotAuthorized);
    }
    let (mut publisher, count) = publishing.stop();
    assert!(count > 0);
    for member in stay.iter_mut().chain(&mut keep) {
        for number in 0..count {
            let message = member.client.receive();
            assert_eq!(message.text(), text(number), "{}", member.id);
        }
    }
    real.expect(&text(count - 1));
    assert_eq!(real.connections(), 1);
    is_alive(&mut elsewhere);
    let still: Vec<u16> = stay.iter().chain(&keep).map(Member::socket).collect();
    assert_eq!(still, sockets);
    let mut left = everybody(&[&stay, &keep]);
    left.extend(single.map(str::to_owned));
    are_connected(&world, &left);
    for mut client in wills {
        is_alive(&mut client);
        client.abort();
    }
    assert_eq!(elsewhere.receive().topic, "old/stay");
    elsewhere.expect_nothing();
    // Nor do they come back; those who lost a topic do, without it.
    let again = login(Version::V5, "out", "right").dial_at(world.ports[1]);
    assert_eq!(connack_of(again, Version::V5), 0x87);
    drop(Member::new(&world, "lose", 1, Some("news/#")));

    // All of the ports that use it, where the compatible way is asked for; no others.
    let all_go = rules(
        &[rule("stay, lose", "\"news/#\", \"old/#\", \"more\"")],
        "Disconnect",
    );
    world.apply(&[authorization("rules", &all_go)]);
    for member in stay.iter_mut().chain(&mut keep) {
        member.is_sent_away(ReasonCode::AdministrativeAction);
    }
    is_closed(&mut publisher, Some(ReasonCode::AdministrativeAction));
    is_alive(&mut elsewhere);
    drop(real);
    let back = Member::new(&world, "stay", 1, Some("more"));
    let expected = [back.id.clone(), "elsewhere".to_owned()];
    are_connected(&world, &expected.into_iter().collect());
}

fn text(number: u32) -> String {
    format!("<{number}>")
}

/// A client that publishes numbers until it is told to stop.
struct Publishing {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<(Client, u32)>,
}

impl Publishing {
    fn start(mut client: Client) -> Publishing {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let thread = thread::spawn(move || {
            let mut count = 0;
            while !ends.load(Ordering::SeqCst) || count < 20 {
                let message = Message::new("news/x", text(count)).qos(1);
                assert_eq!(client.publish(&message), ReasonCode::Success);
                count += 1;
                // The test reads later what it cannot read while it waits.
                thread::sleep(Duration::from_millis(1));
            }
            (client, count)
        });
        Publishing { is_over, thread }
    }

    fn stop(self) -> (Client, u32) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("every publish is acknowledged")
    }
}
