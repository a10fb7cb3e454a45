//! Signed tokens, and connections that end with them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use catena_mqtt::{Packet, ReasonCode, Version, packet::Auth};
use catena_tests::client::{Client, Options};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::json;

use crate::world::{World, connack, is_alive, is_closed, login};

const METHODS: &str = "- method: Jwt\n  jwtSettings:\n    issuer: https://issuer\n    audiences: [mqtt]\n    jwksSecretRef: keys";
const PORTS: &str = "- port: PORT0\n  address: 127.0.0.1\n  authenticationRef: auth";

struct Issuer(KeyPair);

impl Issuer {
    fn new() -> Issuer {
        Issuer(KeyPair::generate().unwrap())
    }

    fn key_set(&self) -> String {
        let point = self.0.der_bytes();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y}]}).to_string()
    }

    /// A token that is good for so long from now on.
    fn token(&self, subject: &str, seconds: i64) -> String {
        let now = i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        )
        .unwrap();
        let claims =
            json!({"iss": "https://issuer", "aud": "mqtt", "sub": subject, "exp": now + seconds});
        let key = EncodingKey::from_ec_pem(self.0.serialize_pem().as_bytes()).unwrap();
        encode(
            &Header {
                kid: Some("a".to_owned()),
                ..Header::new(Algorithm::ES256)
            },
            &claims,
            &key,
        )
        .unwrap()
    }
}

fn world() -> (World, Issuer) {
    let (world, issuer) = (World::new(), Issuer::new());
    world.put("keys", "jwks.json", &issuer.key_set());
    (world.start(PORTS, METHODS), issuer)
}

fn enhanced(token: &str) -> Options {
    let id = catena_tests::broker::unique("client");
    Options::new(Version::V5, &id).authentication("JWT", token.as_bytes())
}

fn prove_again(client: &mut Client, token: &str) {
    let mut auth = Auth::new(ReasonCode::ReAuthenticate, "JWT");
    auth.data = Some(Bytes::copy_from_slice(token.as_bytes()));
    client.send(&Packet::Auth(Box::new(auth)));
}

fn expect_auth(client: &mut Client) -> ReasonCode {
    client.expect("AUTH", |packet| match packet {
        Packet::Auth(auth) => Some(auth.reason),
        _ => None,
    })
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
    prove_again(&mut renewed, &issuer.token("me", 600));
    assert_eq!(expect_auth(&mut renewed), ReasonCode::Success);
    prove_again(&mut refused, &issuer.token("me", -600));
    is_closed(&mut refused, Some(ReasonCode::NotAuthorized));
    is_closed(&mut ends, None);
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "it ended before its token"
    );
    is_alive(&mut renewed);
}
