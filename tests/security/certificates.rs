//! Client certificates.

use crate::world::{CHANGE, Ca, World, within};

const METHODS: &str =
    "- method: X509\n- method: Password\n  passwordSettings:\n    secretRef: users";
const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth\n  tls:\n    mode: Manual\n    manual:\n      secretRef: server";

/// A certificate that anybody made, or that was revoked, opens the door; or a client with another proof is turned away in the handshake.
#[test]
fn only_certificates_of_our_ca_get_in_and_while_they_are_not_revoked() {
    let world = World::new();
    world.issue(&world.ca, "device", 7);
    world.issue(&Ca::new("Test CA"), "impostor", 7);
    world.issue(&Ca::new("Other CA"), "stranger", 7);
    world.passwd("me", "right");
    let world = world.start(PORTS, METHODS);
    let with = |name: &str, more: &[&str]| {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let sent = world.mosquitto_pub(
            0,
            &[&["--cert", &certificate, "--key", &key][..], more].concat(),
        );
        sent.status.success()
    };
    for version in ["mqttv311", "mqttv5"] {
        assert!(with("device", &["-V", version]));
        assert!(!with("impostor", &["-V", version]));
        assert!(!with("stranger", &["-V", version]));
        // A certificate that is not good is not made good by a password: the first method decides.
        assert!(!with(
            "stranger",
            &["-V", version, "-u", "me", "-P", "right"]
        ));
        assert!(
            world
                .mosquitto_pub(0, &["-V", version, "-u", "me", "-P", "right"])
                .status
                .success()
        );
        assert!(!world.mosquitto_pub(0, &["-V", version]).status.success());
    }
    world.put("client-ca", "list.crl", &world.ca.revoke(7));
    assert!(within(CHANGE, || !with("device", &[])));
    world.put("client-ca", "list.crl", &world.ca.revoke(8));
    assert!(within(CHANGE, || with("device", &[])));
}
