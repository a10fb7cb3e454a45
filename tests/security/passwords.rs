//! Passwords.

use catena_mqtt::Version;
use catena_tests::client::Options;

use crate::world::{CHANGE, World, connack, is_alive, login, within};

const METHODS: &str = "- method: Password\n  passwordSettings:\n    secretRef: users";
const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth\n\
                     - port: PORT1\n  address: 127.0.0.1\n  authenticationRef: auth\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server";

/// A client without the right password gets in, or one with it does not, or is told something that makes it give up or try for ever.
#[test]
fn only_the_right_password_gets_in() {
    let world = World::new();
    world.passwd("me", "right");
    let world = world.start(PORTS, METHODS);
    for version in [Version::V4, Version::V5] {
        let code = |reason: u8, old: u8| if version == Version::V5 { reason } else { old };
        let connack = |options: &Options| connack(world.ports[0], options);
        assert_eq!(connack(&login(version, "me", "right")), 0);
        assert_eq!(connack(&login(version, "me", "wrong")), code(0x86, 4));
        assert_eq!(connack(&login(version, "you", "right")), code(0x86, 4));
        assert_eq!(connack(&Options::new(version, "anonymous")), code(0x87, 5));
    }
    let me = ["-u", "me", "-P", "right"];
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let sent = world.mosquitto_pub(1, &[&me[..], &["-V", version]].concat());
        assert!(sent.status.success(), "{sent:?}");
        let refused = world.mosquitto_pub(1, &["-u", "me", "-P", "wrong", "-V", version]);
        assert!(!refused.status.success(), "{refused:?}");
    }
    let log = world.log().join("\n");
    assert!(
        !log.contains("right") && !log.contains("wrong:") && !log.contains("argon2"),
        "{log}"
    );
}

/// A password that was changed or taken away still opens the door; or its change throws everybody out.
#[test]
fn a_changed_password_counts_from_the_next_connection_on() {
    let world = World::new();
    world.passwd("me", "old");
    let world = world.start(PORTS, METHODS);
    let connack = |password: &str| connack(world.ports[0], &login(Version::V5, "me", password));
    let mut connected = login(Version::V5, "me", "old").open_at(world.ports[0]);
    world.passwd("me", "new");
    assert!(within(CHANGE, || connack("new") == 0));
    assert_eq!(connack("old"), 0x86);
    is_alive(&mut connected);
    std::fs::remove_file(world.path("secrets/users/me")).unwrap();
    assert!(within(CHANGE, || connack("new") == 0x86));
    is_alive(&mut connected);
}
