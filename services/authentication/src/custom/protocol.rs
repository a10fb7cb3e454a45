//! What is said to a server that decides, and what its answer means. Pure: the time comes in.
//!
//! The protocol is that of custom authentication servers of Azure IoT Operations, version [`VERSION`].

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use catena_mqtt::{ReasonCode, packet::Kind};
use catena_resources::Attributes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::credentials::Credentials;

/// The version that is spoken.
pub const VERSION: &str = "0.5.0";

/// The most of what a server says about a refusal that is logged.
const MESSAGE_CHARS_MAX: usize = 200;

/// The most attributes of a client, and the most bytes of their names and values: each connection keeps its own.
const ATTRIBUTES_MAX: usize = 1_000;
const ATTRIBUTE_BYTES_MAX: usize = 16 << 10;

/// When a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// At CONNECT.
    Connect,
    /// At AUTH.
    Auth,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    #[serde(rename = "type")]
    when: When,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_data: Option<String>,
}

/// What a server is asked: JSON. What the client did not send is left out.
pub fn ask(when: When, credentials: &Credentials) -> Vec<u8> {
    let asked = Asked {
        when,
        username: credentials.username.as_deref(),
        password: credentials
            .password
            .as_ref()
            .map(|password| STANDARD.encode(password)),
        certs: (!credentials.certificates.is_empty()).then(|| pem(credentials)),
        authentication_method: credentials.method.as_deref(),
        authentication_data: credentials.data.as_ref().map(|data| STANDARD.encode(data)),
    };
    serde_json::to_vec(&asked).expect("strings are written always")
}

/// The client's chain in PEM format, its own certificate first.
fn pem(credentials: &Credentials) -> String {
    let mut pem = String::new();
    for certificate in &credentials.certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for (at, char) in text.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(char);
        }
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// 200: who it is, and for how long.
    Accepted {
        attributes: Attributes,
        expires: Option<SystemTime>,
    },
    /// 403.
    Refused { reason: ReasonCode, message: String },
    /// 422: it speaks another version.
    Speaks(String),
    /// Anything else: as if it had not answered.
    Nothing(String),
}

#[derive(Deserialize)]
struct Accepted {
    expiry: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refused {
    reason: Option<u64>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unsupported {
    supported_versions: Vec<String>,
}

/// What an answer means.
pub fn read(status: u16, body: &[u8], now: SystemTime) -> Said {
    match status {
        200 => accepted(body, now),
        403 => refused(body),
        422 => unsupported(body),
        other => Said::Nothing(format!("it answered {other}")),
    }
}

fn accepted(body: &[u8], now: SystemTime) -> Said {
    let Ok(accepted) = serde_json::from_slice::<Accepted>(body) else {
        return Said::Nothing(
            "it answered 200 with something else than {\"expiry\", \"attributes\"}".to_owned(),
        );
    };
    if accepted.attributes.len() > ATTRIBUTES_MAX {
        return Said::Nothing(format!(
            "it answered with more than {ATTRIBUTES_MAX} attributes"
        ));
    }
    let attributes = accepted.attributes.iter();
    let bytes: usize = attributes
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > ATTRIBUTE_BYTES_MAX {
        return Said::Nothing(format!(
            "it answered with {bytes} bytes of attributes: more than {ATTRIBUTE_BYTES_MAX}"
        ));
    }
    let expires = match accepted.expiry.as_deref().map(str::parse::<Timestamp>) {
        None => None,
        Some(Ok(expiry)) => Some(SystemTime::from(expiry)),
        Some(Err(_)) => {
            return Said::Nothing("it answered with an expiry that is no RFC 3339 time".to_owned());
        }
    };
    if expires.is_some_and(|expires| expires <= now) {
        let message = "accepted by the server, but expired already".to_owned();
        return Said::Refused {
            reason: ReasonCode::NotAuthorized,
            message,
        };
    }
    Said::Accepted {
        attributes: accepted.attributes,
        expires,
    }
}

/// It said no; how it says so cannot turn that into a yes.
fn refused(body: &[u8]) -> Said {
    let refused = serde_json::from_slice::<Refused>(body).ok();
    let reason = refused
        .as_ref()
        .and_then(|refused| u8::try_from(refused.reason?).ok());
    let reason = reason.and_then(ReasonCode::from_u8);
    let reason = reason.filter(|reason| reason.is_error() && reason.is_valid_in(Kind::Connack));
    let message = refused
        .and_then(|refused| refused.message)
        .unwrap_or_default();
    let printable = message.chars().take(MESSAGE_CHARS_MAX);
    let message: String = printable
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    Said::Refused {
        reason: reason.unwrap_or(ReasonCode::NotAuthorized),
        message: if message.is_empty() {
            "refused by the server".to_owned()
        } else {
            message
        },
    }
}

fn unsupported(body: &[u8]) -> Said {
    let versions = serde_json::from_slice::<Unsupported>(body)
        .map(|unsupported| unsupported.supported_versions);
    let is_version = |version: &String| {
        !version.is_empty()
            && version.len() <= 32
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    };
    match versions.unwrap_or_default().into_iter().find(is_version) {
        Some(version) => Said::Speaks(version),
        None => Said::Nothing(format!(
            "it does not speak version {VERSION}, nor says what it speaks"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rustls::pki_types::CertificateDer;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn asked(when: When, credentials: &Credentials) -> Value {
        serde_json::from_slice(&ask(when, credentials)).unwrap()
    }

    /// A server that was written for the protocol understands something else, or nothing.
    #[test]
    fn what_is_asked_is_as_agreed() {
        assert_eq!(
            asked(When::Connect, &Credentials::default()),
            json!({"type": "connect"})
        );
        let credentials = Credentials {
            client_id: "id".into(),
            username: Some("me".into()),
            password: Some(Bytes::from_static(b"\xffsecret")),
            certificates: vec![
                CertificateDer::from(vec![0; 60]),
                CertificateDer::from(vec![1]),
            ],
            method: Some("M".into()),
            data: Some(Bytes::from_static(b"data")),
            peer: None,
        };
        let zeros = format!("{}\n{}", "A".repeat(64), "A".repeat(16));
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{zeros}\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n"
        );
        let expected = json!({
            "type": "auth", "username": "me", "password": "/3NlY3JldA==", "certs": pem,
            "authenticationMethod": "M", "authenticationData": "ZGF0YQ==",
        });
        assert_eq!(asked(When::Auth, &credentials), expected);
    }

    /// An answer that is understood as another one: in the worst case as a yes. Or one that fills the broker's memory.
    #[test]
    fn answers_mean_what_is_agreed() {
        let accepted = |attributes: &[(&str, &str)], expires| Said::Accepted {
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            expires,
        };
        let read = |status, body: &str| read(status, body.as_bytes(), now());
        assert_eq!(read(200, "{}"), accepted(&[], None));
        let body = r#"{"attributes": {"site": "plant"}, "more": 1}"#;
        assert_eq!(read(200, body), accepted(&[("site", "plant")], None));
        let expires = Some(now() + Duration::from_secs(60));
        assert_eq!(
            read(200, r#"{"expiry": "2023-11-14T22:14:20Z"}"#),
            accepted(&[], expires)
        );
        assert_eq!(
            read(200, r#"{"expiry": "2023-11-15T00:14:20+02:00"}"#),
            accepted(&[], expires)
        );

        let of_bytes = |bytes: usize| {
            let value = "x".repeat(bytes - "site".len());
            read(200, &json!({"attributes": {"site": value}}).to_string())
        };
        assert!(matches!(
            of_bytes(ATTRIBUTE_BYTES_MAX),
            Said::Accepted { .. }
        ));
        assert!(matches!(
            of_bytes(ATTRIBUTE_BYTES_MAX + 1),
            Said::Nothing(_)
        ));
        for nothing in [
            "",
            "yes",
            "[]",
            r#"{"expiry": "soon"}"#,
            r#"{"attributes": {"a": 1}}"#,
            r#"{"expiry": 5}"#,
        ] {
            assert!(
                matches!(read(200, nothing), Said::Nothing(_)),
                "{nothing:?}"
            );
        }
        for status in [201, 204, 301, 400, 401, 404, 500, 503] {
            assert!(matches!(read(status, "{}"), Said::Nothing(_)), "{status}");
        }
        let expired = read(200, r#"{"expiry": "2023-11-14T22:13:20Z"}"#);
        assert!(
            matches!(
                expired,
                Said::Refused {
                    reason: ReasonCode::NotAuthorized,
                    ..
                }
            ),
            "{expired:?}"
        );
    }

    /// A reason that clients do not know in CONNACK, or a line of the log that the server forges.
    #[test]
    fn refusals_carry_a_reason_that_clients_know() {
        for (body, expected) in [
            (r#"{"reason": 134, "message": "no"}"#, 0x86),
            (r#"{"reason": 138}"#, 0x8a),
            (r#"{"reason": 0}"#, 0x87),
            (r#"{"reason": 24}"#, 0x87),
            // Session taken over: not of CONNACK.
            (r#"{"reason": 142}"#, 0x87),
            (r#"{"reason": 70000}"#, 0x87),
            (r#"{"reason": -1}"#, 0x87),
            ("", 0x87),
            ("no", 0x87),
        ] {
            let Said::Refused { reason, .. } = read(403, body.as_bytes(), now()) else {
                panic!("{body:?}");
            };
            assert_eq!(reason.as_u8(), expected, "{body:?}");
        }
        let long = json!({"reason": 135, "message": "a\nb".repeat(1_000)}).to_string();
        let Said::Refused { message, .. } = read(403, long.as_bytes(), now()) else {
            panic!("it refused");
        };
        assert_eq!(message.len(), MESSAGE_CHARS_MAX);
        assert!(!message.contains('\n'));
    }

    /// A version that writes itself into the path of the next request.
    #[test]
    fn another_version_is_one_that_was_named() {
        let read = |body: &str| read(422, body.as_bytes(), now());
        assert_eq!(
            read(r#"{"supportedVersions": ["0.6.0", "1.0.0"]}"#),
            Said::Speaks("0.6.0".to_owned())
        );
        assert_eq!(
            read(r#"{"supportedVersions": ["a&b=c", "", "1.0"]}"#),
            Said::Speaks("1.0".to_owned())
        );
        for nothing in [
            "",
            "{}",
            r#"{"supportedVersions": []}"#,
            r#"{"supportedVersions": ["/../"]}"#,
        ] {
            assert!(matches!(read(nothing), Said::Nothing(_)), "{nothing:?}");
        }
    }
}
