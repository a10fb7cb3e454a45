//! What a CA says of a key.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
    string::Ia5String,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::FromDer;

use super::{Ca, CaError, SKEW, pem_of, serial};
use crate::when;

/// Names of one certificate.
const NAMES_MAX: usize = 100;
/// The largest request, in bytes: one with a key of RSA 8192 has three thousand.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// What is asked for is lengthened to this.
const LIFE_MIN: Duration = Duration::from_secs(60);

/// Whom a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub(crate) common_name: String,
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
    pub(crate) uri: Option<String>,
}

impl Subject {
    /// The DNS names and IP addresses that it is for.
    pub fn names(&self) -> Vec<String> {
        let addresses = self.ip.iter().map(ToString::to_string);
        self.dns.iter().cloned().chain(addresses).collect()
    }

    /// A server with these names and IP addresses. The first is its common name too, if it is short enough.
    pub fn server<'a>(names: impl IntoIterator<Item = &'a str>) -> Subject {
        let mut subject = Subject::default();
        for name in names {
            match name.parse() {
                Ok(ip) => subject.ip.push(ip),
                Err(_) => subject.dns.push(name.to_owned()),
            }
        }
        subject.common_name = subject.dns.first().cloned().unwrap_or_default();
        subject
    }
}

/// The longest common name that X.509 knows.
const COMMON_NAME_MAX: usize = 64;

impl Ca {
    /// Signs for the key of `request` (PKCS #10, DER), and for nothing else that it asks. The answer is PEM: the
    /// certificate, and what older CAs have signed for this one. It is valid for `duration` from `now`, or as long as
    /// the CA is.
    ///
    /// # Errors
    /// [`CaError`] for a request that cannot be used, names that cannot be, and a CA that has expired.
    pub fn issue(
        &self,
        request: &[u8],
        subject: &Subject,
        duration: Duration,
        now: SystemTime,
    ) -> Result<String, CaError> {
        if now >= self.until {
            return Err(CaError::Expired(when::written(self.until)));
        }
        let key = key_of(request)?;
        let until = (now + duration.max(LIFE_MIN)).min(self.until);
        let params = params(subject, now, until)?;
        let issued = params.signed_by(&key, &self.issuer);
        let issued = issued.map_err(|error| CaError::Sign(error.to_string()))?;
        let mut chain: Vec<CertificateDer<'_>> = vec![issued.der().clone()];
        chain.extend(self.chain.iter().skip(1).cloned());
        Ok(pem_of(&chain))
    }
}

/// The key that a request was signed with.
fn key_of(request: &[u8]) -> Result<SubjectPublicKeyInfo, CaError> {
    let unusable = |problem: String| CaError::Request(problem);
    if request.len() > REQUEST_BYTES_MAX {
        return Err(unusable("it is too large".to_owned()));
    }
    let der = CertificateSigningRequestDer::from(request);
    // Checks that the sender has the private key.
    CertificateSigningRequestParams::from_der(&der).map_err(|error| unusable(error.to_string()))?;
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(request)
            .map_err(|error| unusable(error.to_string()))?;
    let key = parsed.certification_request_info.subject_pki.raw;
    SubjectPublicKeyInfo::from_der(key).map_err(|error| unusable(error.to_string()))
}

/// What the key of a request is recognized by: letters and digits.
///
/// # Errors
/// When it is no request.
pub fn key_id(request: &[u8]) -> Result<String, CaError> {
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(request)
            .map_err(|error| CaError::Request(error.to_string()))?;
    let key = parsed.certification_request_info.subject_pki.raw;
    Ok(crate::token::hex(&super::fingerprint(key)))
}

fn params(
    subject: &Subject,
    now: SystemTime,
    until: SystemTime,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.not_before = (now - SKEW).into();
    params.not_after = until.into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if subject.uri.is_some() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    let mut name = DistinguishedName::new();
    if (1..=COMMON_NAME_MAX).contains(&subject.common_name.len()) {
        name.push(DnType::CommonName, subject.common_name.as_str());
    }
    params.distinguished_name = name;
    let count = subject.dns.len() + subject.ip.len();
    if count > NAMES_MAX || count == 0 && subject.uri.is_none() {
        return Err(CaError::Name(format!("{count} names")));
    }
    let text = |text: &str| {
        Ia5String::try_from(text.to_owned()).map_err(|_| CaError::Name(text.to_owned()))
    };
    for dns in &subject.dns {
        params.subject_alt_names.push(SanType::DnsName(text(dns)?));
    }
    let ips = subject.ip.iter().copied();
    params.subject_alt_names.extend(ips.map(SanType::IpAddress));
    if let Some(uri) = &subject.uri {
        params.subject_alt_names.push(SanType::URI(text(uri)?));
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use x509_parser::extensions::GeneralName;

    use super::*;
    use crate::{Unusable, certified_key_at, generate, request};

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    // Who may ask for a key could otherwise ask for a name, or for a CA of its own.
    #[test]
    fn nothing_but_the_key_is_taken_from_a_request() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let pair = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::new(["evil.example".to_owned()]).unwrap();
        asked.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let request = asked.serialize_request(&pair).unwrap();
        let subject = Subject::server(["broker.example", "10.0.0.1"]);
        let chain = ca.issue(request.der(), &subject, DAY, now).unwrap();
        let issued = certified_key_at(chain.as_bytes(), pair.serialize_pem().as_bytes(), now);
        let issued = issued.unwrap();
        assert!(issued.until() <= now + DAY);
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.chain()[0]).unwrap();
        assert!(!parsed.is_ca());
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [
                GeneralName::DNSName("broker.example"),
                GeneralName::IPAddress(&[10, 0, 0, 1])
            ]
        );
        let usage = parsed.extended_key_usage().unwrap().unwrap();
        assert!(usage.value.server_auth && !usage.value.client_auth);
        assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
    }

    // Without the proof of possession, anybody could have a certificate for another's key.
    #[test]
    fn requests_that_do_not_hold_are_refused() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let subject = Subject::server(["a.example"]);
        let mut request = request(&generate(Default::default()).unwrap()).unwrap();
        assert!(ca.issue(&request, &subject, DAY, now).is_ok());
        let last = request.len() - 1;
        request[last] ^= 1;
        assert!(matches!(
            ca.issue(&request, &subject, DAY, now),
            Err(CaError::Request(_))
        ));
        let large = vec![0; REQUEST_BYTES_MAX + 1];
        assert!(ca.issue(&large, &subject, DAY, now).is_err());
        let nobody = Subject::server([]);
        assert!(ca.issue(&request, &nobody, DAY, now).is_err());
    }

    // What a certificate cannot be used for is to be said in words that lead somewhere.
    #[test]
    fn what_cannot_be_shown_is_explained() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let (key, other) = (
            generate(Default::default()).unwrap(),
            generate(Default::default()).unwrap(),
        );
        let subject = Subject::server(["a.example"]);
        let chain = ca
            .issue(&request(&key).unwrap(), &subject, DAY, now)
            .unwrap();
        let said = |chain: &str, key: &str, now| {
            certified_key_at(chain.as_bytes(), key.as_bytes(), now).unwrap_err()
        };
        assert_eq!(said(&chain, &other, now), Unusable::Mismatch);
        assert_eq!(said("", &key, now), Unusable::NoCertificate);
        assert_eq!(said(&chain, "", now), Unusable::NoKey);
        assert_eq!(said(&chain, &chain, now), Unusable::NoKey);
        assert!(matches!(
            said(&chain, &key, now + 2 * DAY),
            Unusable::Expired(_)
        ));
        assert!(matches!(said(&chain, &key, now - DAY), Unusable::NotYet(_)));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(said(broken, &key, now), Unusable::Certificate(_)));
        assert!(matches!(
            said(&chain.repeat(17), &key, now),
            Unusable::TooLong
        ));
    }

    #[test]
    fn a_ca_that_has_expired_issues_nothing_and_nothing_outlives_it() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).unwrap();
        let subject = Subject::server(["a.example"]);
        let key = generate(Default::default()).unwrap();
        let request = request(&key).unwrap();
        let late = ca.until() - DAY;
        let chain = ca.issue(&request, &subject, 100 * DAY, late).unwrap();
        let issued = certified_key_at(chain.as_bytes(), key.as_bytes(), late).unwrap();
        assert_eq!(issued.until(), ca.until());
        let error = ca.issue(&request, &subject, DAY, ca.until()).unwrap_err();
        assert!(error.to_string().contains("catena ca rotate"), "{error}");
    }
}
