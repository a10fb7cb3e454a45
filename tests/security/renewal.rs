//! Certificates of ports that are renewed while clients are connected, and some that should never be shown.

use catena_mqtt::Version;
use catena_tests::client::{Client, Message, Options};
use rcgen::date_time_ymd;

use crate::{
    mosquitto::Sub,
    world::{CHANGE, Ca, World, der, is_alive, within},
};

const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server\n\
                     - port: PORT1\n  address: 127.0.0.1";
/// The listener alone matters here.
const METHODS: &str = "- method: X509";

fn is_served(world: &World, certificate: &str) -> bool {
    let stream = world.dial_tls(0, None);
    stream.is_ok_and(|stream| stream.served() == Some(der(certificate)))
}

fn secure(world: &World, id: &str) -> Client {
    let stream = world.dial_tls(0, None).expect("it is served");
    Options::new(Version::V5, id).open_over(stream)
}

/// Each renewal would cost a restart; or a broken one the port, and with it all clients at their next connection.
#[test]
fn a_renewed_certificate_is_shown_and_a_broken_one_never() {
    let world = World::new();
    let first = world.ca.issue("localhost", 1);
    world.put_pair("server", &first);
    let world = world.start(PORTS, METHODS);
    assert!(is_served(&world, &first.0));
    let mut old = secure(&world, "old");
    let sub = Sub::start(&world, 0, &["--cafile", "ca.crt", "-t", "news", "-q", "1"]);
    let mut publisher = Options::new(Version::V5, "publisher").open_at(world.ports[1]);

    let second = world.ca.issue("localhost", 2);
    world.put_pair("server", &second);
    assert!(within(CHANGE, || is_served(&world, &second.0)));
    let mut new = secure(&world, "new");
    for client in [&mut old, &mut new] {
        is_alive(client);
    }
    publisher.publish(&Message::new("news", "<renewed>").qos(1));
    sub.expect("<renewed>");
    assert!(!world.status().contains("open, "), "{}", world.status());

    let of_the_past = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let expired = world.ca.issue_with("localhost", 3, of_the_past);
    let another = Ca::new("Other CA").issue("localhost", 4);
    let wrong = (second.0.clone(), another.1);
    let broken = (
        "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(),
        second.1.clone(),
    );
    for (pair, why) in [
        (expired, "expired"),
        (wrong, "key"),
        (broken, "cannot be read"),
    ] {
        world.put_pair("server", &pair);
        let is_told = || {
            let status = world.status();
            let line = status.lines().find(|line| line.contains(": open, "));
            line.is_some_and(|line| line.contains(why))
        };
        assert!(within(CHANGE, is_told), "{why}: {}", world.status());
        assert!(is_served(&world, &second.0), "{why}");
        is_alive(&mut old);
    }
    let third = world.ca.issue("localhost", 5);
    world.put_pair("server", &third);
    assert!(within(CHANGE, || is_served(&world, &third.0)));
    assert!(
        within(CHANGE, || !world.status().contains("open, ")),
        "{}",
        world.status()
    );
    publisher.publish(&Message::new("news", "<at last>").qos(1));
    sub.expect("<at last>");
    assert_eq!(sub.connections(), 1);
    is_alive(&mut old);
    is_alive(&mut new);
}

/// A port that never had a good certificate is open without TLS, or stays closed once it has one.
#[test]
fn a_port_waits_for_its_first_certificate() {
    let world = World::new();
    std::fs::remove_dir_all(world.path("secrets/server")).expect("it was made");
    let mut world = world.start("- port: PORT0\n  address: 127.0.0.1", METHODS);
    world.apply(&[crate::world::listener(
        "- port: PORT0\n  address: 127.0.0.1\n- port: PORT1\n  address: 127.0.0.1\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server",
    )]);
    let number = world.ports[1].port().to_string();
    let line = || {
        world
            .status()
            .lines()
            .find(|line| line.contains(&number))
            .map(str::to_owned)
    };
    let is_told =
        || line().is_some_and(|line| line.contains("closed, ") && line.contains("tls.crt"));
    assert!(within(CHANGE, is_told), "{:?}", line());
    assert!(std::net::TcpStream::connect(world.ports[1]).is_err());
    world.renew_server();
    assert!(
        within(CHANGE, || world.dial_tls(1, None).is_ok()),
        "{:?}",
        line()
    );
    assert!(
        within(CHANGE, || line()
            .is_some_and(|line| line.ends_with(": open"))),
        "{:?}",
        line()
    );
}
