//! Ports that come, change and go while another is under load.

use std::{collections::BTreeSet, fs, net::TcpStream};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{client::Options, verify::Load};

use crate::{
    issuer::{Issuer, METHODS},
    world::{
        CHANGE, World, authentication, authorization, der, is_alive, is_closed, listener, login,
        within,
    },
};

const LOADED: &str = "- port: PORT0\n  address: 127.0.0.1";

/// The port that changes: plain; with TLS and a certificate; under rules.
fn changing(secret: Option<&str>, rules: Option<&str>) -> String {
    let mut port = "- port: PORT1\n  address: 127.0.0.1\n  authenticationRef: auth".to_owned();
    if let Some(rules) = rules {
        port += &format!("\n  authorizationRef: {rules}");
    }
    if let Some(secret) = secret {
        port += &format!("\n  tls:\n    mode: Manual\n    manual:\n      secretRef: {secret}");
    }
    port
}

fn allow(users: &str) -> String {
    format!(
        "rules:\n- principals:\n    usernames: [{users}]\n  brokerResources:\n  - method: Connect\n  - method: Subscribe\n"
    )
}

/// Connections to a port of this machine, each by the port at its other end, as the kernel knows them.
fn connections(port: u16) -> BTreeSet<u16> {
    /// ESTABLISHED.
    const STATE: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux says what is connected");
    let number = |address: &str| {
        let (_, port) = address.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let connection = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state) = (words.get(1)?, words.get(2)?, words.get(3)?);
        (*state == STATE && number(remote)? == port).then_some(number(local)?)
    };
    table.lines().skip(1).filter_map(connection).collect()
}

/// An operator would have to choose between a change and the clients of all other ports.
#[test]
fn a_port_comes_changes_and_goes_while_another_works() {
    let (world, issuer) = (World::new(), Issuer::new());
    world.put("keys", "jwks.json", &issuer.key_set());
    world.put_pair("other", &world.ca.issue("localhost", 9));
    let manifests = [
        listener(LOADED),
        authentication("auth", METHODS),
        authorization("all", &allow("ann, bob")),
        authorization("some", &allow("ann")),
    ];
    let mut world = world.start_with(&manifests, &[]);
    let loaded = world.ports[0];
    let mut load = Load::start(&loaded.to_string(), "--churn 0 --rate 200 --wills 0");
    let before = connections(loaded.port());
    assert!(before.len() > 5, "{before:?}");
    let change = |world: &mut World, load: &mut Load, port: &str| {
        world.apply(&[listener(&format!("{LOADED}\n{port}"))]);
        load.wait_for_more(20);
    };
    let options = |user: &str| login(Version::V5, user, &issuer.token(user, 600));
    let by_tls = |world: &World, user: &str| {
        let stream = world.dial_tls(1, None).expect("TLS");
        options(user).open_over(stream)
    };
    let is_served = |world: &World, certificate: &(String, String)| {
        let stream = world.dial_tls(1, None);
        stream.is_ok_and(|stream| stream.served() == Some(der(&certificate.0)))
    };

    // It comes.
    change(&mut world, &mut load, &changing(None, None));
    assert!(within(CHANGE, || TcpStream::connect(world.ports[1]).is_ok()));
    let mut plain = options("ann").open_at(world.ports[1]);

    // It is encrypted.
    let first = world.ca.issue("localhost", 2);
    world.put_pair("server", &first);
    change(&mut world, &mut load, &changing(Some("server"), None));
    is_closed(&mut plain, Some(ReasonCode::AdministrativeAction));
    assert!(within(CHANGE, || is_served(&world, &first)));
    let (mut ann, mut bob) = (by_tls(&world, "ann"), by_tls(&world, "bob"));

    // Its certificate is exchanged, for that of another secret; connections stay.
    let second = world.ca.issue("localhost", 3);
    world.put_pair("other", &second);
    change(&mut world, &mut load, &changing(Some("other"), None));
    assert!(within(CHANGE, || is_served(&world, &second)));
    is_alive(&mut ann);
    is_alive(&mut bob);

    // It has rules, which allow all; then others, which do not.
    change(&mut world, &mut load, &changing(Some("other"), Some("all")));
    is_alive(&mut ann);
    is_alive(&mut bob);
    change(
        &mut world,
        &mut load,
        &changing(Some("other"), Some("some")),
    );
    is_closed(&mut bob, Some(ReasonCode::NotAuthorized));
    is_alive(&mut ann);

    // It goes.
    change(&mut world, &mut load, "");
    is_closed(&mut ann, Some(ReasonCode::AdministrativeAction));
    assert!(within(CHANGE, || TcpStream::connect(world.ports[1]).is_err()));

    // Nobody on the other port has seen anything of it.
    assert_eq!(connections(loaded.port()), before);
    Options::new(Version::V5, "new")
        .open_at(loaded)
        .disconnect();
    let report = load.end();
    assert!(report.passed, "{report:#?}");
    assert_eq!(
        (report.connections.broken, report.connections.resumed),
        (0, 0),
        "{report:#?}"
    );
}
