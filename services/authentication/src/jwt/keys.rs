//! The keys of an issuer, and whether a token was signed with one of them. Pure.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode,
    jwk::{Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Algorithms with a public key. Those with a shared secret would let whoever can verify also sign.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The most keys of an issuer.
const KEYS_MAX: usize = 100;

/// The most keys that a token without a key id is tried with.
const TRIED_MAX: usize = 8;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    family: AlgorithmFamily,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a signature says.
#[derive(Debug, PartialEq, Eq)]
pub enum Signature {
    /// It is the issuer's; this is what it claims.
    Good(Map<String, Value>),
    /// It is not.
    Bad(&'static str),
    /// By a key that is not known; perhaps a new one.
    UnknownKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Keys {
    /// Reads a key set (JWKS). Keys that are of no use here are left out: of unknown kinds, shared secrets, for encryption.
    ///
    /// # Errors
    /// When it is none, or has no key that could be used.
    pub fn read(json: &[u8]) -> Result<Keys, String> {
        let set: Set =
            serde_json::from_slice(json).map_err(|_| "it is no key set: {\"keys\": [...]}")?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .filter_map(key)
            .take(KEYS_MAX)
            .collect();
        if keys.is_empty() {
            return Err("no key in the set is one to verify signatures with".to_owned());
        }
        Ok(Keys(keys))
    }

    pub fn append(&mut self, mut other: Keys) {
        self.0.append(&mut other.0);
        self.0.truncate(KEYS_MAX);
    }

    /// Whether the token was signed with one of these keys. `header` is what the token says of that.
    pub fn verify(&self, token: &[u8], header: &Map<String, Value>) -> Signature {
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(|name| name.parse::<Algorithm>().ok());
        let Some(algorithm) = algorithm.filter(|algorithm| ALGORITHMS.contains(algorithm)) else {
            return Signature::Bad("it is not signed with an algorithm that has a public key");
        };
        // RFC 7515, 4.1.11: what must be understood, and is not.
        if header.contains_key("crit") {
            return Signature::Bad("it demands an extension (crit)");
        }
        let id = header.get("kid").and_then(Value::as_str);
        let fits = |key: &&Key| {
            let same_id = id.is_none() || key.id.as_deref() == id;
            same_id
                && key.family == algorithm.family()
                && key.algorithm.is_none_or(|own| own == algorithm)
        };
        let mut tried = self.0.iter().filter(fits).take(TRIED_MAX).peekable();
        if tried.peek().is_none() {
            return Signature::UnknownKey;
        }
        let mut validation = Validation::new(algorithm);
        // The claims are checked elsewhere, against the time that is given there.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        match tried.find_map(|key| decode(token, &key.key, &validation).ok()) {
            Some(data) => Signature::Good(data.claims),
            None if id.is_none() => Signature::UnknownKey,
            None => Signature::Bad("its signature is wrong"),
        }
    }
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let algorithm = match jwk.common.key_algorithm {
        Some(algorithm) => Some(
            Algorithm::try_from(algorithm)
                .ok()
                .filter(|algorithm| ALGORITHMS.contains(algorithm))?,
        ),
        None => None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let family = key.family();
    let is_public = ALGORITHMS
        .iter()
        .any(|algorithm| algorithm.family() == family);
    (signs && is_public).then_some(Key {
        id: jwk.common.key_id,
        algorithm,
        family,
        key,
    })
}
