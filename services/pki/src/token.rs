//! Join tokens: with one, a process that has no certificate yet gets its first.
//!
//! A token says for which cluster, role and perhaps name it is good, until when, and by which fingerprint the CA is to be
//! recognized. It is signed with a key that comes from the CA's own: whoever has the CA can make one without asking
//! anybody. That it is used once only is the business of who takes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};

use crate::{
    ca::{Ca, CaError},
    identity::Role,
    when,
};

const BEGINNING: &str = "catena-join.";
/// What else is signed with the same key cannot be taken for a token.
const PURPOSE: &[u8] = b"catena join token, version 1";
/// The longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub cluster: String,
    pub role: Role,
    /// The only name that it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds after 1970.
    expires: u64,
    /// No other token has it.
    id: String,
    /// Fingerprint of the CA, in hexadecimal.
    ca: String,
}

/// Why a token is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("this is no join token: `catena ca token` prints one")]
    Unreadable,
    #[error(
        "the join token was not made with this cluster's CA: make a new one with `catena ca token`"
    )]
    Forged,
    #[error("the join token has expired on {0}: make a new one with `catena ca token`")]
    Expired(String),
    #[error("the join token is for the cluster {0}")]
    Cluster(String),
    #[error("the join token is for a {0}")]
    Role(Role),
    #[error("the join token is for {0} alone")]
    Name(String),
}

impl Token {
    /// A new token, as text: good for `ttl` from `now`.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn create(
        ca: &Ca,
        cluster: &str,
        role: Role,
        name: Option<String>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<String, CaError> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| CaError::Sign("the system gives no randomness".to_owned()))?;
        let expires = (now + ttl).duration_since(UNIX_EPOCH).unwrap_or_default();
        let token = Token {
            cluster: cluster.to_owned(),
            role,
            name,
            expires: expires.as_secs(),
            id: hex(&id),
            ca: hex(&ca.fingerprint()),
        };
        let said = serde_json::to_vec(&token);
        let said = said.map_err(|error| CaError::Sign(error.to_string()))?;
        let tag = hmac::sign(&key(ca), &said);
        let (said, tag) = (BASE64.encode(said), BASE64.encode(tag));
        Ok(format!("{BEGINNING}{said}.{tag}"))
    }

    /// What a token says, whoever made it.
    ///
    /// # Errors
    /// [`BadToken::Unreadable`].
    pub fn read(text: &str) -> Result<Token, BadToken> {
        let (said, _) = parts(text)?;
        serde_json::from_slice(&said).map_err(|_| BadToken::Unreadable)
    }

    /// What a token says that was made with this CA.
    ///
    /// # Errors
    /// [`BadToken`], also for one that has expired `now`.
    pub fn verify(text: &str, ca: &Ca, now: SystemTime) -> Result<Token, BadToken> {
        let (said, tag) = parts(text)?;
        hmac::verify(&key(ca), &said, &tag).map_err(|_| BadToken::Forged)?;
        let token: Token = serde_json::from_slice(&said).map_err(|_| BadToken::Unreadable)?;
        if now >= token.expires() {
            return Err(BadToken::Expired(when::written(token.expires())));
        }
        Ok(token)
    }

    /// Checks that it is good for this process.
    ///
    /// # Errors
    /// [`BadToken`] says what it is good for.
    pub fn check(&self, cluster: &str, role: Role, name: &str) -> Result<(), BadToken> {
        if self.cluster != cluster {
            return Err(BadToken::Cluster(self.cluster.clone()));
        }
        if self.role != role {
            return Err(BadToken::Role(self.role));
        }
        match &self.name {
            Some(only) if only != name => Err(BadToken::Name(only.clone())),
            _ => Ok(()),
        }
    }

    /// Until when it is good.
    pub fn expires(&self) -> SystemTime {
        when::at(i64::try_from(self.expires).unwrap_or(i64::MAX))
    }

    /// What it is remembered by: letters and digits, no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Of the CA.
    pub fn fingerprint(&self) -> Result<[u8; 32], BadToken> {
        let digit = |at: usize| u8::from_str_radix(self.ca.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(|byte| digit(byte * 2)).collect();
        let bytes = bytes.filter(|_| self.ca.len() == 64);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(BadToken::Unreadable)
    }
}

/// What is said, and its signature.
fn parts(text: &str) -> Result<(Vec<u8>, Vec<u8>), BadToken> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BadToken::Unreadable);
    }
    let rest = text.trim().strip_prefix(BEGINNING);
    let (said, tag) = rest
        .and_then(|rest| rest.split_once('.'))
        .ok_or(BadToken::Unreadable)?;
    let decoded = |text: &str| BASE64.decode(text).map_err(|_| BadToken::Unreadable);
    Ok((decoded(said)?, decoded(tag)?))
}

fn key(ca: &Ca) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, ca.secret());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, PURPOSE).as_ref())
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    // A token that says what its holder likes would let anybody be a node.
    #[test]
    fn a_token_is_good_for_what_it_says_alone() {
        let now = SystemTime::now();
        let ca = Ca::create("prod", now).unwrap();
        let text = Token::create(&ca, "prod", Role::Backend, None, HOUR, now).unwrap();
        let token = Token::verify(&text, &ca, now).unwrap();
        assert_eq!(Token::read(&text), Ok(token.clone()));
        assert_eq!(token.fingerprint(), Ok(ca.fingerprint()));
        assert_eq!(token.check("prod", Role::Backend, "any"), Ok(()));
        let role = token.check("prod", Role::Gateway, "any");
        assert_eq!(role, Err(BadToken::Role(Role::Backend)));
        assert!(token.check("test", Role::Backend, "any").is_err());
        assert!(matches!(
            Token::verify(&text, &ca, now + HOUR),
            Err(BadToken::Expired(_))
        ));
        let another = Ca::create("prod", now).unwrap();
        assert_eq!(Token::verify(&text, &another, now), Err(BadToken::Forged));

        let (said, tag) = text[BEGINNING.len()..].split_once('.').unwrap();
        let said = String::from_utf8(BASE64.decode(said).unwrap()).unwrap();
        let changed = BASE64.encode(said.replace("backend", "gateway"));
        let changed = format!("{BEGINNING}{changed}.{tag}");
        assert!(Token::read(&changed).is_ok());
        assert_eq!(Token::verify(&changed, &ca, now), Err(BadToken::Forged));
        for nonsense in ["", "catena-join.", "catena-join.x.y", &"x".repeat(5_000)] {
            assert_eq!(Token::verify(nonsense, &ca, now), Err(BadToken::Unreadable));
        }
    }

    #[test]
    fn a_token_may_be_for_one_name() {
        let now = SystemTime::now();
        let ca = Ca::create("prod", now).unwrap();
        let name = Some("backend-7".to_owned());
        let text = Token::create(&ca, "prod", Role::Backend, name, HOUR, now).unwrap();
        let token = Token::verify(&text, &ca, now).unwrap();
        assert_eq!(token.check("prod", Role::Backend, "backend-7"), Ok(()));
        assert!(token.check("prod", Role::Backend, "backend-8").is_err());
    }
}
