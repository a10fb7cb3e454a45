//! What a JSON web token says, before anybody knows whether it is true. Pure.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::limits::TOKEN_BYTES_MAX;

/// What a token says. Nothing of it is proved.
#[derive(Debug)]
pub struct Peeked {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
}

/// Looks into a token. `None`: it is none.
pub fn peek(token: &[u8]) -> Option<Peeked> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let header = decode(header)?;
    header.contains_key("alg").then_some(())?;
    Some(Peeked {
        header,
        claims: decode(claims)?,
    })
}

/// A claim that is a time, in seconds since 1970; fractions are cut off. `None`: it is not there. `Some(None)`: it is no time.
#[allow(
    clippy::option_option,
    reason = "an absent claim and a broken one are two things"
)]
pub fn time(claims: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    let value = claims.get(name)?;
    let seconds = value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|seconds| seconds.abs() < 1e15)
            .map(|seconds| seconds as i64)
    });
    Some(seconds)
}

fn decode(part: &[u8]) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}
