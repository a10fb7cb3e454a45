//! Who issues tokens, and clients that prove themselves anew with them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use catena_mqtt::{Packet, ReasonCode, packet::Auth};
use catena_tests::client::Client;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

/// Takes tokens of an [`Issuer`] whose key set is in the secret `keys`.
pub const METHODS: &str = "- method: Jwt\n  jwtSettings:\n    issuer: https://issuer\n    audiences: [mqtt]\n    jwksSecretRef: keys";

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

pub struct Issuer(KeyPair);

impl Issuer {
    pub fn new() -> Issuer {
        Issuer(KeyPair::generate().unwrap())
    }

    /// What the broker is to know of it.
    pub fn key_set(&self) -> String {
        let point = self.0.der_bytes();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y}]}).to_string()
    }

    /// A token that is good for so long from now on.
    pub fn token(&self, subject: &str, seconds: i64) -> String {
        self.token_with(subject, seconds, json!({}))
    }

    /// The same with more claims.
    pub fn token_with(&self, subject: &str, seconds: i64, more: Value) -> String {
        let mut claims =
            json!({"iss": "https://issuer", "aud": "mqtt", "sub": subject, "exp": now() + seconds});
        let claims_of = claims.as_object_mut().unwrap();
        claims_of.extend(more.as_object().unwrap().clone());
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

/// AUTH of a live client.
pub fn prove_again(client: &mut Client, method: &str, token: &str) {
    let mut auth = Auth::new(ReasonCode::ReAuthenticate, method);
    auth.data = Some(Bytes::copy_from_slice(token.as_bytes()));
    client.send(&Packet::Auth(Box::new(auth)));
}

pub fn expect_auth(client: &mut Client) -> ReasonCode {
    client.expect("AUTH", |packet| match packet {
        Packet::Auth(auth) => Some(auth.reason),
        _ => None,
    })
}
