//! Signed tokens.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use catena_authentication::Verdict;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::world::{Ca, Does, Web, World, attributes, enhanced, login, refused};

struct Key {
    id: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Key {
        let pair = KeyPair::generate().unwrap();
        Key { id, pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.der_bytes();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..65]),
        );
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "alg": "ES256", "x": x, "y": y})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.id.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap();
        encode(&header, claims, &key).unwrap()
    }
}

fn claims() -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({"iss": "https://issuer", "aud": "mqtt", "sub": "me", "site": "plant", "exp": now + 600})
}

/// Also a key of a kind that nobody knows, and one that is shared.
fn set(keys: &[&Key]) -> Value {
    let mut set: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    set.push(json!({"kty": "future", "kid": "f"}));
    set.push(json!({"kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0"}));
    json!({"keys": set})
}

fn method(keys: &str) -> String {
    format!(
        "- method: Jwt\n  jwtSettings:\n    issuer: https://issuer\n    audiences: [mqtt]\n    attributeClaims: [site]\n    {keys}\n"
    )
}

fn is_accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accepted { .. })
}

/// A token that anybody can make for themselves opens the door.
#[tokio::test]
async fn only_what_the_issuer_signed_is_taken() {
    let (world, key) = (World::new(), Key::new("a"));
    world.put("keys", "jwks.json", set(&[&key]).to_string());
    let authenticator = world.authenticator(&method("jwksSecretRef: keys"));
    for credentials in [
        enhanced("JWT", &key.sign(&claims())),
        login("anybody", &key.sign(&claims())),
    ] {
        let verdict = authenticator.connect(credentials).await;
        let Verdict::Accepted {
            username,
            attributes: known,
            expires,
            ..
        } = verdict
        else {
            panic!("{verdict:?}");
        };
        assert_eq!(username.as_deref(), Some("me"));
        assert_eq!(known, attributes(&[("site", "plant")]));
        assert!(expires.unwrap() > SystemTime::now());
    }
    let good = key.sign(&claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (header, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut other = claims();
    other["sub"] = json!("admin");
    let mut expired = claims();
    expired["exp"] = json!(1_700_000_000);
    let shared = Header {
        kid: Some("shared".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    // The public key, which everybody has, as a shared secret.
    let public = Header {
        kid: Some("a".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    for (what, token) in [
        ("no signature", format!("{signed}.")),
        (
            "another's claims",
            format!("{header}.{}.{signature}", part(other)),
        ),
        (
            "no algorithm",
            format!("{}.{}.", part(json!({"alg": "none"})), part(claims())),
        ),
        ("another key", Key::new("a").sign(&claims())),
        ("an unknown key", Key::new("b").sign(&claims())),
        (
            "a shared secret",
            encode(&shared, &claims(), &EncodingKey::from_secret(b"secret")).unwrap(),
        ),
        (
            "the public key as a secret",
            encode(
                &public,
                &claims(),
                &EncodingKey::from_secret(key.pair.der_bytes()),
            )
            .unwrap(),
        ),
        ("expired", key.sign(&expired)),
        ("garbage", "x".to_owned()),
        ("nothing", String::new()),
    ] {
        assert_eq!(
            refused(&authenticator.connect(enhanced("JWT", &token)).await),
            0x87,
            "{what}"
        );
    }
    assert!(is_accepted(
        &authenticator.reauthenticate(enhanced("JWT", &good)).await
    ));
    assert_eq!(
        refused(&authenticator.reauthenticate(enhanced("JWT", "x")).await),
        0x87
    );
}

/// A password that only looks like a token, or is one of somebody else, is refused by a method that it does not concern.
#[tokio::test]
async fn a_password_is_a_token_only_of_the_issuer() {
    let (world, key) = (World::new(), Key::new("a"));
    world.put("keys", "jwks.json", set(&[&key]).to_string());
    let mut foreign = claims();
    foreign["iss"] = json!("https://foreign");
    let foreign = key.sign(&foreign);
    world.put(
        "users",
        "me",
        catena_authentication::hash::make(foreign.as_bytes(), &[7; 16]).unwrap(),
    );
    let next = "- method: Password\n  passwordSettings:\n    secretRef: users";
    let authenticator = world.authenticator(&format!("{}{next}", method("jwksSecretRef: keys")));
    assert!(is_accepted(
        &authenticator.connect(login("me", &foreign)).await
    ));
    assert_eq!(
        refused(&authenticator.connect(login("me", "a.b.c")).await),
        0x86
    );
    assert_eq!(
        refused(&authenticator.connect(enhanced("JWT", &foreign)).await),
        0x87
    );
}

/// An issuer is asked for its keys by every client; or a new key is never heard of.
#[tokio::test]
async fn keys_are_asked_for_and_remembered() {
    let (world, ca) = (World::new(), Ca::new());
    world.put("server-ca", "ca.crt", ca.pem());
    let (old, new) = (Key::new("old"), Key::new("new"));
    let served = Arc::new(Mutex::new(set(&[&old])));
    let serves = served.clone();
    let web = Web::start(&ca, move |_| {
        Does::json(200, serves.lock().unwrap().clone())
    })
    .await;
    let authenticator = world.authenticator(&method(&format!(
        "jwksUri: {}/keys\n    caCertConfigMap: server-ca",
        web.url()
    )));
    for _ in 0..20 {
        assert!(is_accepted(
            &authenticator
                .connect(enhanced("JWT", &old.sign(&claims())))
                .await
        ));
    }
    assert_eq!(web.seen().len(), 1);
    assert_eq!(web.seen()[0].target, "/keys");

    *served.lock().unwrap() = set(&[&new]);
    let token = new.sign(&claims());
    let begun = Instant::now();
    let mut tried = 0;
    while !is_accepted(&authenticator.connect(enhanced("JWT", &token)).await) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the new key is never heard of"
        );
        tried += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        tried > 0 && web.seen().len() == 2,
        "asked {} times",
        web.seen().len()
    );
    assert_eq!(
        refused(
            &authenticator
                .connect(enhanced("JWT", &old.sign(&claims())))
                .await
        ),
        0x87
    );
}

/// A token is taken unproved, or a client is told that it is bad, because the issuer is away.
#[tokio::test]
async fn without_keys_nobody_decides() {
    let (world, ca) = (World::new(), Ca::new());
    world.put("server-ca", "ca.crt", Ca::new().pem());
    let web = Web::start(&ca, |_| Does::json(200, json!({}))).await;
    let authenticator = world.authenticator(&method(&format!(
        "jwksUri: {}/keys\n    caCertConfigMap: server-ca",
        web.url()
    )));
    let token = Key::new("a").sign(&claims());
    assert_eq!(
        refused(&authenticator.connect(enhanced("JWT", &token)).await),
        0x88
    );
    assert_eq!(
        authenticator.reauthenticate(enhanced("JWT", &token)).await,
        Verdict::TryAgain
    );
    assert_eq!(
        world
            .means
            .counters()
            .jwt
            .unreachable
            .load(Ordering::Relaxed),
        2
    );
    assert!(web.seen().is_empty());
}
