//! What a token claims, once its signature is known to be the issuer's. Pure: the time comes in.

use std::time::{Duration, SystemTime};

use bytestring::ByteString;
use catena_resources::{Attributes, authentication::JwtSettings};
use serde_json::{Map, Value};

use crate::{token, verdict::Accepted};

/// How far the issuer's clock may be from ours.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The claim that is the username unless the resource says so.
const SUBJECT: &str = "sub";

/// Who the client is by these claims.
///
/// # Errors
/// Why the token is not good.
pub fn check(
    claims: &Map<String, Value>,
    settings: &JwtSettings,
    now: SystemTime,
) -> Result<Accepted, String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(&settings.issuer) {
        return Err("it is of another issuer".to_owned());
    }
    let is_ours = |audience: &Value| {
        audience
            .as_str()
            .is_some_and(|audience| settings.audiences.iter().any(|ours| ours == audience))
    };
    let for_us = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
        None => false,
    };
    if !for_us {
        return Err("it is for another audience".to_owned());
    }
    if let Some(begins) = token::time(claims, "nbf") {
        let begins = moment(begins).ok_or("its nbf is no time")?;
        if now + LEEWAY < begins {
            return Err("it is not valid yet".to_owned());
        }
    }
    let ends = token::time(claims, "exp").ok_or("it has no expiry (exp)")?;
    let ends = moment(ends).ok_or("its exp is no time")?;
    let last = ends.checked_add(LEEWAY).ok_or("its exp is no time")?;
    if last <= now {
        return Err("it has expired".to_owned());
    }
    let claim = settings.username_claim.as_deref().unwrap_or(SUBJECT);
    let username = text(claim).filter(|name| is_username(name));
    let username = username.ok_or_else(|| format!("its claim {claim:?} is no username"))?;
    Ok(Accepted {
        username: Some(ByteString::from(username)),
        attributes: attributes(claims, &settings.attribute_claims),
        // Where our clock is ahead of the issuer's, the connection has what is left of the leeway.
        expires: Some(if now < ends { ends } else { last }),
    })
}

fn moment(seconds: Option<i64>) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// MQTT allows no other.
fn is_username(name: &str) -> bool {
    !name.is_empty() && name.len() <= usize::from(u16::MAX) && !name.contains('\0')
}

/// Claims that are text, numbers or yes and no, or lists of them, which are joined with commas. Others are no attributes, and so
/// are lists with a comma in a member: they would pass for a list of other members.
fn attributes(claims: &Map<String, Value>, names: &[String]) -> Attributes {
    fn single(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            _ => None,
        }
    }
    let value = |value: &Value| match value {
        Value::Array(values) => values
            .iter()
            .map(|value| single(value).filter(|text| !text.contains(',')))
            .collect::<Option<Vec<_>>>()
            .map(|values| values.join(",")),
        value => single(value),
    };
    let named = names
        .iter()
        .filter_map(|name| Some((name.clone(), value(claims.get(name)?)?)));
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn settings() -> JwtSettings {
        JwtSettings {
            issuer: "https://issuer".to_owned(),
            audiences: vec!["mqtt".to_owned(), "broker".to_owned()],
            jwks_uri: None,
            jwks_secret_ref: None,
            ca_cert_config_map: None,
            username_claim: None,
            attribute_claims: ["site", "roles", "level", "nested", "absent"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    fn checked(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Accepted, String> {
        checked_with(&settings(), change)
    }

    fn checked_with(
        settings: &JwtSettings,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<Accepted, String> {
        let claims = json!({"iss": "https://issuer", "aud": "mqtt", "sub": "me", "exp": NOW + 60});
        let mut claims = claims.as_object().unwrap().clone();
        change(&mut claims);
        check(
            &claims,
            settings,
            SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
        )
    }

    fn with(name: &'static str, value: Value) -> Result<Accepted, String> {
        checked(|claims| {
            claims.insert(name.to_owned(), value);
        })
    }

    fn without(name: &str) -> Result<Accepted, String> {
        checked(|claims| {
            claims.remove(name);
        })
    }

    /// A token for another service, of another issuer, of yesterday or for ever opens the door.
    #[test]
    fn a_token_is_good_for_us_alone_and_for_its_time() {
        assert!(checked(|_| {}).is_ok());
        assert!(with("aud", json!(["other", "broker"])).is_ok());
        for refused in [
            with("iss", json!("https://other")),
            with("iss", json!(["https://issuer"])),
            without("iss"),
            with("aud", json!("other")),
            with("aud", json!([])),
            with("aud", json!({"mqtt": true})),
            without("aud"),
            without("exp"),
            with("exp", json!("tomorrow")),
            with("exp", json!(-1)),
            with("exp", json!(1e300)),
            with("exp", json!(NOW - 30)),
            with("nbf", json!(NOW + 31)),
            with("nbf", json!("never")),
            without("sub"),
            with("sub", json!(7)),
            with("sub", json!("")),
            with("sub", json!("a\0b")),
        ] {
            assert!(refused.is_err(), "{refused:?}");
        }
        for taken in [
            with("nbf", json!(NOW + 30)),
            with("exp", json!(NOW - 29)),
            with("exp", json!(1_700_000_000.5)),
        ] {
            assert!(taken.is_ok(), "{taken:?}");
        }
    }

    /// A connection that outlives its token, or that ends as soon as it begins.
    #[test]
    fn the_connection_ends_with_the_token() {
        let expires = |exp: u64| with("exp", json!(exp)).unwrap().expires.unwrap();
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(expires(NOW + 60), at(NOW + 60));
        assert_eq!(expires(NOW - 10), at(NOW + 20));
    }

    /// A list of one member passes for a list of two, one of which is a role that nobody gave.
    #[test]
    fn a_member_with_a_comma_is_not_taken_for_two() {
        let site = |value: Value| with("site", value).unwrap().attributes;
        assert_eq!(
            site(json!(["a", "b"])),
            site(json!("a,b")),
            "text is what it is"
        );
        assert!(site(json!(["a,b"])).is_empty());
        assert!(site(json!(["a", "b,c"])).is_empty());
    }

    /// Another claim is the name, or claims mean something that they do not say.
    #[test]
    fn claims_become_name_and_attributes() {
        let named = JwtSettings {
            username_claim: Some("email".to_owned()),
            ..settings()
        };
        let accepted = checked_with(&named, |claims| {
            claims.insert("email".to_owned(), json!("me@example"));
            claims.insert("site".to_owned(), json!("plant"));
            claims.insert("roles".to_owned(), json!(["a", "b"]));
            claims.insert("level".to_owned(), json!(3));
            claims.insert("nested".to_owned(), json!({"a": 1}));
            claims.insert("other".to_owned(), json!("not asked for"));
        });
        let accepted = accepted.unwrap();
        assert_eq!(accepted.username.as_deref(), Some("me@example"));
        let expected = [("level", "3"), ("roles", "a,b"), ("site", "plant")];
        let expected: Attributes = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(accepted.attributes, expected);
        assert!(checked_with(&named, |_| {}).is_err());
    }
}
