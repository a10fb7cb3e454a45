//! What resources say of certificates: whose they are, and for how long.

use std::{net::Ipv4Addr, net::Ipv6Addr, time::Duration};

use catena_resources::{
    Broker, BrokerListener,
    certificate::{CertificateSpec, PrivateKey},
    listener::TlsMode,
};

use crate::{automatic::Wishes, ca::Subject};

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a certificate of a member lasts when the Broker does not say.
const MEMBER_LIFE: Duration = Duration::from_secs(240 * HOUR.as_secs());
/// How long one of a listener lasts when its manifest does not say.
const SERVER_LIFE: Duration = Duration::from_secs(2_160 * HOUR.as_secs());

/// How long a certificate lasts, and how the next one is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub duration: Duration,
    pub wishes: Wishes,
}

impl Terms {
    /// Of members of a cluster.
    pub fn of_members(broker: &Broker) -> Terms {
        match &broker.advanced.internal_certs {
            Some(certs) => Terms::new(
                certs.duration.0,
                Some(certs.renew_before.0),
                certs.private_key,
            ),
            None => Terms::new(MEMBER_LIFE, None, PrivateKey::default()),
        }
    }

    fn new(duration: Duration, renew_before: Option<Duration>, key: PrivateKey) -> Terms {
        Terms {
            duration,
            wishes: Wishes {
                algorithm: key.algorithm,
                rotation: key.rotation_policy,
                renew_before,
            },
        }
    }
}

/// The certificate of a port of the listener `name`, when it is to be issued automatically. Without names in the manifest
/// it is for the listener's service and for this machine.
pub fn of_port(name: &str, listener: &BrokerListener, port: u16) -> Option<(Subject, Terms)> {
    let port = listener.ports.iter().find(|known| known.port == port)?;
    let tls = port.tls.as_ref()?;
    if tls.mode != TlsMode::Automatic {
        return None;
    }
    let defaults = CertificateSpec::default();
    let spec = tls
        .cert_manager_certificate_spec
        .as_ref()
        .unwrap_or(&defaults);
    let mut subject = Subject {
        dns: spec.san.dns.clone(),
        ip: spec.san.ip.clone(),
        ..Subject::default()
    };
    if subject.dns.is_empty() && subject.ip.is_empty() {
        let service = listener.service_name.as_deref().unwrap_or(name);
        subject.dns = vec![service.to_owned(), "localhost".to_owned()];
        subject.ip = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    subject.common_name = subject.dns.first().cloned().unwrap_or_default();
    let duration = spec.duration.map_or(SERVER_LIFE, |duration| duration.0);
    let renew_before = spec.renew_before.map(|before| before.0);
    Some((
        subject,
        Terms::new(duration, renew_before, spec.private_key),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(tls: serde_json::Value) -> BrokerListener {
        let listener = serde_json::json!({"ports": [{"port": 8883, "tls": tls}]});
        serde_json::from_value(listener).unwrap()
    }

    // A gateway that could choose the names would have a certificate for any server there is.
    #[test]
    fn names_and_times_are_those_of_the_manifest() {
        let spec = serde_json::json!({
            "mode": "Automatic",
            "certManagerCertificateSpec": {
                "duration": "24h", "renewBefore": "1h", "privateKey": {"algorithm": "Rsa2048"},
                "san": {"dns": ["mqtt.example"], "ip": ["10.0.0.1"]},
            },
        });
        let (subject, terms) = of_port("front", &listener(spec), 8883).unwrap();
        assert_eq!(subject, Subject::server(["mqtt.example", "10.0.0.1"]));
        assert_eq!(terms.duration, 24 * HOUR);
        assert_eq!(terms.wishes.renew_before, Some(HOUR));
        assert_eq!(terms.wishes.algorithm.to_string(), "Rsa2048");

        let automatic = listener(serde_json::json!({"mode": "Automatic"}));
        let (subject, _) = of_port("front", &automatic, 8883).unwrap();
        assert_eq!(subject.dns, ["front", "localhost"]);
        assert_eq!(of_port("front", &automatic, 1), None);
        let manual = serde_json::json!({"mode": "Manual", "manual": {"secretRef": "x"}});
        assert_eq!(of_port("front", &listener(manual), 8883), None);
    }
}
