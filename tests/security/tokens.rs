//! Signed tokens, and connections that end with them.

use std::time::{Duration, Instant};

use catena_mqtt::{ReasonCode, Version};
use catena_tests::client::Options;

use crate::{
    issuer::{Issuer, METHODS, expect_auth, prove_again},
    world::{World, connack, is_alive, is_closed, login},
};

const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth";

fn world() -> (World, Issuer) {
    let (world, issuer) = (World::new(), Issuer::new());
    world.put("keys", "jwks.json", &issuer.key_set());
    (world.start(PORTS, METHODS), issuer)
}

fn enhanced(token: &str) -> Options {
    let id = catena_tests::broker::unique("client");
    Options::new(Version::V5, &id).authentication("JWT", token.as_bytes())
}

/// A token of somebody else, or of yesterday, opens the door; or one of ours does not.
#[test]
fn only_tokens_of_the_issuer_get_in() {
    let (world, issuer) = world();
    let connack = |options: &Options| connack(world.ports[0], options);
    assert_eq!(connack(&enhanced(&issuer.token("me", 600))), 0);
    assert_eq!(connack(&enhanced(&Issuer::new().token("me", 600))), 0x87);
    assert_eq!(connack(&enhanced(&issuer.token("me", -600))), 0x87);
    for version in [Version::V4, Version::V5] {
        assert_eq!(connack(&login(version, "any", &issuer.token("me", 600))), 0);
    }
    assert_eq!(
        connack(&login(Version::V4, "any", &issuer.token("me", -600))),
        5
    );
    assert_eq!(connack(&login(Version::V4, "any", "password")), 5);
}

/// A client goes on for ever with a token of five seconds.
#[test]
fn a_connection_ends_with_its_token_and_lives_on_with_a_new_one() {
    let (world, issuer) = world();
    let begun = Instant::now();
    let mut ends = enhanced(&issuer.token("me", 4)).open_at(world.ports[0]);
    let mut renewed = enhanced(&issuer.token("me", 4)).open_at(world.ports[0]);
    let mut refused = enhanced(&issuer.token("me", 600)).open_at(world.ports[0]);
    prove_again(&mut renewed, "JWT", &issuer.token("me", 600));
    assert_eq!(expect_auth(&mut renewed), ReasonCode::Success);
    prove_again(&mut refused, "JWT", &issuer.token("me", -600));
    is_closed(&mut refused, Some(ReasonCode::NotAuthorized));
    is_closed(&mut ends, None);
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "it ended before its token"
    );
    is_alive(&mut renewed);
}
