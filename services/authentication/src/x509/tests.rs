//! Chains of certificates as CAs issue and revoke them.

use std::{slice::from_ref, time::Duration};

use catena_resources::authentication::X509Attributes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName as Name, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::*;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = Name::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Contoso");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(common_name: &str) -> Ca {
    Ca::self_signed(ca_params(common_name), KeyPair::generate().unwrap()).unwrap()
}

fn client(
    common_name: &str,
    ca: &Ca,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = params(common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let issuer: &Issuer<'static, KeyPair> = ca;
    params
        .signed_by(&KeyPair::generate().unwrap(), issuer)
        .unwrap()
        .der()
        .clone()
}

fn revoked(ca: &Ca, serial: u64) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        // Long past: it is honoured all the same.
        next_update: date_time_ymd(2021, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer: &Issuer<'static, KeyPair> = ca;
    list.signed_by(issuer).unwrap().pem().unwrap()
}

struct Bench {
    _directory: tempfile::TempDir,
    secrets: Secrets,
    x509: X509,
}

impl Bench {
    fn new(settings: &X509Settings) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(Some(directory.path().to_owned()));
        let x509 = X509::new("test", settings, &secrets);
        Bench {
            _directory: directory,
            secrets,
            x509,
        }
    }

    fn put(&self, key: &str, value: &str) {
        self.secrets
            .put("client-ca", key, value.as_bytes())
            .unwrap();
    }

    fn show(&self, certificates: &[CertificateDer<'static>]) -> Result<Accepted, String> {
        self.show_at(certificates, 2030)
    }

    fn show_at(
        &self,
        certificates: &[CertificateDer<'static>],
        year: i32,
    ) -> Result<Accepted, String> {
        let now = SystemTime::from(date_time_ymd(year, 1, 1));
        let credentials = Credentials {
            certificates: certificates.to_vec(),
            ..Credentials::default()
        };
        match self.x509.ask(&credentials, &self.secrets, now) {
            Opinion::Accepted(accepted) => Ok(accepted),
            Opinion::Denied { reason, why } => {
                assert_eq!(reason.as_u8(), 0x87);
                Err(why)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A certificate that anybody may make for themselves, or that is no longer good, opens the door.
#[test]
fn only_certificates_of_trusted_cas_are_good_and_while_they_are() {
    let ca = root("Root");
    let bench = Bench::new(&X509Settings::default());
    bench.put("ca.crt", &ca.pem());
    let good = client("device-1", &ca, |_| {});
    let accepted = bench.show(from_ref(&good)).unwrap();
    assert_eq!(accepted.username.as_deref(), Some("device-1"));
    assert_eq!(accepted.expires, Some(date_time_ymd(2040, 1, 1).into()));

    let impostor = client("device-1", &root("Root"), |_| {});
    assert!(bench.show(&[impostor]).is_err());
    let stranger = client("device-1", &root("Other"), |_| {});
    assert_eq!(
        bench.show(&[stranger]).unwrap_err(),
        "no trusted CA has issued it"
    );
    let own = CertificateDer::from(root("device-1").der().to_vec());
    assert!(bench.show(&[own]).is_err());
    let server = client("device-1", &ca, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    });
    assert!(
        bench
            .show(&[server])
            .unwrap_err()
            .contains("not for clients")
    );
    let old = client("device-1", &ca, |params| {
        params.not_after = date_time_ymd(2029, 1, 1)
    });
    assert_eq!(
        bench.show(&[old]).unwrap_err(),
        "the certificate has expired"
    );
    let new = client("device-1", &ca, |params| {
        params.not_before = date_time_ymd(2031, 1, 1)
    });
    assert_eq!(
        bench.show(&[new]).unwrap_err(),
        "the certificate is not valid yet"
    );
    assert!(bench.show(&[CertificateDer::from(vec![0x30, 0])]).is_err());
    assert!(bench.show_at(&[good], 2041).is_err());
}

/// A CA that is over goes on opening the door.
#[test]
fn a_ca_that_has_expired_is_not_trusted() {
    let mut params = ca_params("Root");
    params.not_after = date_time_ymd(2029, 1, 1);
    let ca = Ca::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let bench = Bench::new(&X509Settings::default());
    bench.put("ca.crt", &ca.pem());
    let device = client("device", &ca, |_| {});
    assert_eq!(
        bench.show_at(from_ref(&device), 2028).unwrap().expires,
        Some(date_time_ymd(2029, 1, 1).into())
    );
    assert!(bench.show_at(&[device], 2030).is_err());
}

/// A stolen device that goes on after its certificate was revoked; or a broken list that lets it in again.
#[test]
fn revoked_certificates_are_refused_and_a_broken_list_changes_nothing() {
    let ca = root("Root");
    let bench = Bench::new(&X509Settings::default());
    bench.put("ca.crt", &ca.pem());
    let stolen = client("stolen", &ca, |params| {
        params.serial_number = Some(SerialNumber::from(7))
    });
    let other = client("other", &ca, |params| {
        params.serial_number = Some(SerialNumber::from(8))
    });
    assert!(bench.show(from_ref(&stolen)).is_ok());

    bench.put("list.crl", &revoked(&ca, 7));
    assert_eq!(
        bench.show(from_ref(&stolen)).unwrap_err(),
        "the certificate has been revoked"
    );
    assert!(bench.show(from_ref(&other)).is_ok());
    assert_eq!(bench.x509.problem(&bench.secrets), None);

    for broken in [
        "",
        "garbage",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    ] {
        bench.put("list.crl", broken);
        assert_eq!(
            bench.show(from_ref(&stolen)).unwrap_err(),
            "the certificate has been revoked",
            "{broken:?}"
        );
        let problem = bench.x509.problem(&bench.secrets).unwrap();
        assert!(problem.contains("list.crl"), "{problem}");
    }
    bench.put("list.crl", &revoked(&ca, 8));
    assert!(bench.show(&[stolen]).is_ok());
    assert!(bench.show(&[other]).is_err());
    assert_eq!(bench.x509.problem(&bench.secrets), None);
}

/// A list that somebody else made revokes nobody; here it fails closed, because it pretends to be the CA's.
#[test]
fn a_list_that_the_ca_did_not_sign_is_not_believed() {
    let (ca, impostor) = (root("Root"), root("Root"));
    let bench = Bench::new(&X509Settings::default());
    bench.put("ca.crt", &ca.pem());
    bench.put("list.crl", &revoked(&impostor, 99));
    let device = client("device", &ca, |params| {
        params.serial_number = Some(SerialNumber::from(7))
    });
    assert!(bench.show(&[device]).is_err());
}

/// A CA file that is broken for a moment turns all clients away; or one that is taken away goes on being trusted.
#[test]
fn cas_follow_the_secret() {
    let (old, new) = (root("Old"), root("New"));
    let bench = Bench::new(&X509Settings::default());
    let (of_old, of_new) = (client("a", &old, |_| {}), client("b", &new, |_| {}));
    assert!(
        bench
            .show(from_ref(&of_old))
            .unwrap_err()
            .contains("client-ca")
    );

    bench.put("ca.crt", &old.pem());
    assert!(bench.show(from_ref(&of_old)).is_ok());
    bench.put(
        "ca.crt",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    assert!(bench.show(from_ref(&of_old)).is_ok());
    assert!(bench.x509.problem(&bench.secrets).is_some());
    bench.put("ca.crt", &format!("{}{}", old.pem(), new.pem()));
    assert!(bench.show(from_ref(&of_old)).is_ok());
    assert!(bench.show(from_ref(&of_new)).is_ok());
    bench.put("ca.crt", &new.pem());
    assert!(bench.show(&[of_old]).is_err());
    assert!(bench.show(&[of_new]).is_ok());
}

/// Rights of a whole factory that its devices do not have, or of one device that its factory's hide.
#[test]
fn attributes_are_those_of_the_first_match_from_the_leaf_up() {
    let ca = root("Root");
    let plant = {
        let issuer: &Issuer<'static, KeyPair> = &ca;
        Ca::signed_by(ca_params("Plant"), KeyPair::generate().unwrap(), issuer).unwrap()
    };
    let rule = |subject: &str, site: &str| X509Attributes {
        subject: subject.to_owned(),
        attributes: Attributes::from([("site".to_owned(), site.to_owned())]),
    };
    let settings = X509Settings {
        authorization_attributes: [
            (
                "a".to_owned(),
                rule("CN = Root, O = Contoso, C = US", "root"),
            ),
            ("b".to_owned(), rule("C=US,O=Contoso,CN=Plant", "plant")),
            (
                "c".to_owned(),
                rule("O=Contoso, C=US, CN=special", "special"),
            ),
            ("d".to_owned(), rule("what is this", "never")),
        ]
        .into(),
        ..X509Settings::default()
    };
    let bench = Bench::new(&settings);
    bench.put("ca.crt", &ca.pem());
    let plant_der = CertificateDer::from(plant.der().to_vec());
    let site = |certificates: &[CertificateDer<'static>]| {
        bench.show(certificates).unwrap().attributes["site"].clone()
    };
    assert_eq!(site(&[client("device", &ca, |_| {})]), "root");
    assert_eq!(
        site(&[client("device", &plant, |_| {}), plant_der.clone()]),
        "plant"
    );
    assert_eq!(
        site(&[client("special", &plant, |_| {}), plant_der]),
        "special"
    );
    // Without the certificate in between there is no way to the CA.
    assert!(bench.show(&[client("device", &plant, |_| {})]).is_err());
}

/// A client that names itself is called something else.
#[test]
fn the_username_of_connect_is_kept() {
    let ca = root("Root");
    let bench = Bench::new(&X509Settings::default());
    bench.put("ca.crt", &ca.pem());
    let credentials = Credentials {
        certificates: vec![client("device", &ca, |_| {})],
        username: Some("me".into()),
        ..Credentials::default()
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let Opinion::Accepted(accepted) = bench.x509.ask(&credentials, &bench.secrets, now) else {
        panic!("refused");
    };
    assert_eq!(accepted.username.as_deref(), Some("me"));
    assert!(matches!(
        bench.x509.ask(&Credentials::default(), &bench.secrets, now),
        Opinion::NotRelevant
    ));
}

/// Who has any good certificate calls itself `admin`, and is believed.
#[test]
fn the_username_may_have_to_be_the_common_name() {
    let ca = root("Root");
    let bench = Bench::new(&X509Settings {
        username: X509Username::CommonName,
        ..X509Settings::default()
    });
    bench.put("ca.crt", &ca.pem());
    let show = |common_name: &str, username: Option<&str>| {
        let credentials = Credentials {
            certificates: vec![client(common_name, &ca, |_| {})],
            username: username.map(Into::into),
            ..Credentials::default()
        };
        let now = SystemTime::from(date_time_ymd(2030, 1, 1));
        match bench.x509.ask(&credentials, &bench.secrets, now) {
            Opinion::Accepted(accepted) => Ok(accepted.username.unwrap().to_string()),
            Opinion::Denied { reason, .. } => Err(reason.as_u8()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(show("sensor-7", None), Ok("sensor-7".to_owned()));
    assert_eq!(
        show("sensor-7", Some("sensor-7")),
        Ok("sensor-7".to_owned())
    );
    for other in ["admin", "Sensor-7", "sensor-7 ", ""] {
        assert_eq!(show("sensor-7", Some(other)), Err(0x86), "{other:?}");
    }
    // Without a name it would be one with all others that have none.
    assert_eq!(show("", None), Err(0x86));
    assert_eq!(show("", Some("")), Err(0x86));
}
