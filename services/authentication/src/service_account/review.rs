//! What the Kubernetes API is asked about a token, and what it answers. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use catena_resources::Attributes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::token;

/// What annotations of a service account begin with that are attributes of its clients.
const ANNOTATION: &str = "aio-broker-auth/";

/// How far our clock may be ahead of the cluster's before we refuse what its API would take.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Where reviews are asked for.
pub const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

impl Account {
    /// Of `system:serviceaccount:NAMESPACE:NAME`.
    pub fn parse(username: &str) -> Option<Account> {
        let (namespace, name) = username
            .strip_prefix("system:serviceaccount:")?
            .split_once(':')?;
        // Both go into a path.
        let is_name = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(fits)
                && !name.starts_with('.')
        };
        (is_name(namespace) && is_name(name)).then(|| Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    pub fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// Where the account itself is.
    pub fn path(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}",
            self.namespace, self.name
        )
    }
}

/// What is asked: JSON.
pub fn ask(token: &str, audiences: &[String]) -> Vec<u8> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences},
    });
    review.to_string().into_bytes()
}

/// What the API says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The token is this account's, for one of our audiences.
    Is(Account),
    /// It is not good.
    Not(String),
    /// This is no answer.
    Nothing(String),
}

#[derive(Deserialize)]
struct Review {
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

/// What an answer means.
pub fn read(status: u16, body: &[u8], audiences: &[String]) -> Said {
    if !(200..300).contains(&status) {
        let hint = if matches!(status, 401 | 403) {
            ": may this process's service account make TokenReviews?"
        } else {
            ""
        };
        return Said::Nothing(format!("the Kubernetes API answered {status}{hint}"));
    }
    let Ok(Review {
        status: Some(status),
    }) = serde_json::from_slice(body)
    else {
        return Said::Nothing(
            "the Kubernetes API answered something else than a TokenReview".to_owned(),
        );
    };
    if !status.authenticated {
        let why: String = status
            .error
            .chars()
            .filter(|char| !char.is_control())
            .take(200)
            .collect();
        return Said::Not(if why.is_empty() {
            "the token is not good".to_owned()
        } else {
            why
        });
    }
    // An API that does not know of audiences leaves them out: then the token is for itself, not for us.
    if !status
        .audiences
        .iter()
        .any(|audience| audiences.contains(audience))
    {
        return Said::Not("the token is for another audience".to_owned());
    }
    match Account::parse(&status.user.username) {
        Some(account) => Said::Is(account),
        None => Said::Not("the token is no service account's".to_owned()),
    }
}

#[derive(Deserialize)]
struct ServiceAccount {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The attributes of a service account; `None`: this is none.
pub fn attributes(body: &[u8]) -> Option<Attributes> {
    let account: ServiceAccount = serde_json::from_slice(body).ok()?;
    let annotations = account.metadata.annotations.into_iter();
    let ours = annotations
        .filter_map(|(name, value)| Some((name.strip_prefix(ANNOTATION)?.to_owned(), value)));
    Some(ours.filter(|(name, _)| !name.is_empty()).collect())
}

/// Whether a token is worth asking about: what is no token, has expired or is for another audience is refused by itself, so that
/// strangers cannot make us ask for ever. Tokens of old say nothing of either.
///
/// # Errors
/// Why it is not.
pub fn worth(token: &str, audiences: &[String], now: SystemTime) -> Result<(), &'static str> {
    let peeked = token::peek(token.as_bytes()).ok_or("it is no token")?;
    let is_ours = |audience: &Value| {
        let audience = audience.as_str();
        audience.is_some_and(|audience| audiences.iter().any(|ours| ours == audience))
    };
    let is_for_us = match peeked.claims.get("aud") {
        None => true,
        Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
    };
    if !is_for_us {
        return Err("the token is for another audience");
    }
    if let Some(ends) = token::time(&peeked.claims, "exp") {
        let ends = ends.and_then(|seconds| u64::try_from(seconds).ok());
        let ends = ends.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        let ends = ends.and_then(|ends| ends.checked_add(CLOCKS_APART_MAX));
        if ends.is_none_or(|ends| ends <= now) {
            return Err("the token has expired");
        }
    }
    Ok(())
}

/// When a token that is proved is no longer good; `None`: never, as those of old.
pub fn expiry(token: &str) -> Option<SystemTime> {
    let peeked = token::peek(token.as_bytes())?;
    let seconds = u64::try_from(token::time(&peeked.claims, "exp")??).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, review: &serde_json::Value) -> Said {
        super::read(
            status,
            review.to_string().as_bytes(),
            &["mqtt".to_owned(), "broker".to_owned()],
        )
    }

    /// A token of another cluster, for another server or of a person opens the door.
    #[test]
    fn only_service_accounts_with_our_audience_are_taken() {
        let username = "system:serviceaccount:plant:sensor";
        let good = json!({"status": {"authenticated": true, "user": {"username": username, "groups": []}, "audiences": ["broker"]}});
        let Said::Is(account) = read(201, &good) else {
            panic!("refused")
        };
        assert_eq!(account.username(), username);
        assert_eq!(
            account.path(),
            "/api/v1/namespaces/plant/serviceaccounts/sensor"
        );

        for status in [
            json!({"authenticated": false, "error": "token has expired"}),
            json!({"user": {"username": username}, "audiences": ["broker"]}),
            json!({"authenticated": true, "user": {"username": username}}),
            json!({"authenticated": true, "user": {"username": username}, "audiences": ["other"]}),
            json!({"authenticated": true, "user": {"username": "admin"}, "audiences": ["mqtt"]}),
            json!({"authenticated": true, "user": {"username": "system:serviceaccount:a/../b:c"}, "audiences": ["mqtt"]}),
            json!({"authenticated": true, "user": {"username": "system:serviceaccount:a:b:c"}, "audiences": ["mqtt"]}),
        ] {
            let said = read(200, &json!({"status": status}));
            assert!(matches!(said, Said::Not(_)), "{status}: {said:?}");
        }
        for status in [401, 403, 404, 500] {
            assert!(matches!(read(status, &good), Said::Nothing(_)));
        }
        assert!(matches!(
            read(200, &json!({"kind": "List"})),
            Said::Nothing(_)
        ));
        assert!(matches!(super::read(200, b"<html>", &[]), Said::Nothing(_)));
    }

    /// Anybody who connects makes us ask the API of the cluster, and keeps others out meanwhile; or a good token is not asked about.
    #[test]
    fn what_cannot_be_good_is_not_asked_about() {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let judge = |claims: Value| {
            let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
            let token = format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(&claims));
            worth(&token, &["mqtt".to_owned(), "broker".to_owned()], now)
        };
        for good in [
            json!({}),
            json!({"aud": "mqtt", "exp": 1_000_001}),
            json!({"aud": ["other", "broker"], "exp": 999_941}),
        ] {
            assert_eq!(judge(good.clone()), Ok(()), "{good}");
        }
        for bad in [
            json!({"aud": "other"}),
            json!({"aud": []}),
            json!({"aud": 7}),
            json!({"exp": 999_940}),
            json!({"exp": "never"}),
            json!({"exp": -1}),
            json!({"exp": u64::MAX}),
        ] {
            assert!(judge(bad.clone()).is_err(), "{bad}");
        }
        for none in ["", "x", "a.b", "a.b.c", "e30.e30.x"] {
            assert!(worth(none, &[], now).is_err(), "{none}");
        }
    }

    /// Attributes that nobody gave, or none of those that somebody did.
    #[test]
    fn attributes_are_annotations_of_ours() {
        let account = json!({"metadata": {"name": "sensor", "annotations": {
            "aio-broker-auth/site": "plant", "aio-broker-auth/": "nameless", "other/site": "elsewhere",
        }}});
        let attributes = attributes(account.to_string().as_bytes()).unwrap();
        assert_eq!(
            attributes,
            Attributes::from([("site".to_owned(), "plant".to_owned())])
        );
        assert_eq!(
            super::attributes(br#"{"metadata": {}}"#),
            Some(Attributes::new())
        );
        assert_eq!(super::attributes(b"[]"), None);
    }
}
