//! Clients that are connected when what they proved themselves by is taken away.

use catena_mqtt::{ReasonCode, Version};
use catena_tests::{
    broker::unique,
    client::{Client, Options},
};

use crate::world::{World, authentication, is_alive, is_closed, listener, login};

const OPEN: &str = "- port: PORT0\n  address: 127.0.0.1\n";
const WITH_TLS: &str = "  tls:\n    mode: Manual\n    manual:\n      secretRef: server\n";
const PASSWORDS: &str = "- method: Password\n  passwordSettings:\n    secretRef: users";

fn port(number: usize) -> String {
    format!("- port: PORT{number}\n  address: 127.0.0.1\n  authenticationRef: auth\n")
}

/// A user who was deleted, a certificate that was revoked, a method that was taken out and clients from before there was any
/// authentication stay connected for ever; or their neighbours go with them.
#[test]
fn who_would_not_be_let_in_any_more_goes_and_nobody_else() {
    let world = World::new();
    for (name, serial) in [("revoked", 7), ("good", 8)] {
        world.issue(&world.ca, name, serial);
    }
    for user in ["deleted", "changed", "other"] {
        world.passwd(user, "right");
    }
    let both = format!("- method: X509\n{PASSWORDS}");
    let ports = [OPEN, &port(1), WITH_TLS].concat();
    let manifests = [listener(&ports), authentication("auth", &both)];
    let mut world = world.start_with(&manifests, &[]);

    let anonymous = || Options::new(Version::V5, &unique("client"));
    let mut nobody = anonymous().open_at(world.ports[0]);
    let by_certificate = |world: &World, name: &str| {
        let stream = world.dial_tls(1, Some(name)).expect("TLS");
        anonymous().open_over(stream)
    };
    let by_password = |world: &World, user: &str| -> Client {
        let stream = world.dial_tls(1, None).expect("TLS");
        login(Version::V5, user, "right").open_over(stream)
    };
    let mut revoked = by_certificate(&world, "revoked");
    let mut good = by_certificate(&world, "good");
    let mut deleted = by_password(&world, "deleted");
    let mut changed = by_password(&world, "changed");
    let mut other = by_password(&world, "other");

    world.put("client-ca", "list.crl", &world.ca.revoke(7));
    is_closed(&mut revoked, Some(ReasonCode::NotAuthorized));
    std::fs::remove_file(world.path("secrets/users/deleted")).expect("it is there");
    is_closed(&mut deleted, Some(ReasonCode::NotAuthorized));
    // Passwords are not kept, so that a changed one cannot be held against anybody: the documentation says so.
    world.passwd("changed", "new");
    // A method that is gone takes its clients along.
    world.apply(&[authentication("auth", PASSWORDS)]);
    is_closed(&mut good, Some(ReasonCode::NotAuthorized));
    // A port that begins to ask closes those whom it has not asked.
    let asking = [port(0), port(1), WITH_TLS.to_owned()].concat();
    world.apply(&[listener(&asking)]);
    is_closed(&mut nobody, Some(ReasonCode::AdministrativeAction));
    for stays in [&mut changed, &mut other] {
        is_alive(stays);
    }
}
