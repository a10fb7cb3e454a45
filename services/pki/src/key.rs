//! Keys, and what one asks a certificate with.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{self, KeySize},
};
use catena_resources::certificate::KeyAlgorithm;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use zeroize::Zeroizing;

/// No key came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no key of the kind {algorithm} can be made: {problem}")]
pub struct KeyError {
    algorithm: KeyAlgorithm,
    problem: String,
}

/// A new private key, PEM. Those of RSA take long, up to many seconds: not to be called on a thread that others wait for.
///
/// # Errors
/// [`KeyError`] when the system gives no randomness.
pub fn generate(algorithm: KeyAlgorithm) -> Result<Zeroizing<String>, KeyError> {
    let pair = pair(algorithm).map_err(|problem| KeyError { algorithm, problem })?;
    Ok(Zeroizing::new(pair.serialize_pem()))
}

pub(crate) fn pair(algorithm: KeyAlgorithm) -> Result<KeyPair, String> {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    let made = match algorithm {
        KeyAlgorithm::Ec256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::Ec384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::Ec521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
        KeyAlgorithm::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        KeyAlgorithm::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyAlgorithm::Rsa4096 => rsa(RsaKeySize::_4096),
        // Too large for rcgen to make, but not to use.
        KeyAlgorithm::Rsa8192 => {
            let key =
                rsa::KeyPair::generate(KeySize::Rsa8192).map_err(|error| error.to_string())?;
            let der: Pkcs8V1Der<'_> = key.as_der().map_err(|error| error.to_string())?;
            KeyPair::try_from(der.as_ref())
        }
    };
    made.map_err(|error| error.to_string())
}

/// A request for a certificate of this key (PEM), as DER. It asks for nothing but the key: who signs decides the rest.
///
/// # Errors
/// When the text is no private key.
pub fn request(pem_key: &str) -> Result<Vec<u8>, String> {
    let pair = KeyPair::from_pem(pem_key).map_err(|error| error.to_string())?;
    let mut asked = CertificateParams::default();
    asked.distinguished_name = rcgen::DistinguishedName::new();
    let request = asked.serialize_request(&pair);
    let request = request.map_err(|error| error.to_string())?;
    Ok(request.der().to_vec())
}

/// The kind of a private key (PEM); `None` for those that we do not make.
pub(crate) fn algorithm_of(pem_key: &str) -> Option<KeyAlgorithm> {
    let pair = KeyPair::from_pem(pem_key).ok()?;
    let is = |algorithm| pair.is_compatible(algorithm);
    // The public key of RSA is its modulus and some bytes.
    let rsa = |bits: usize| is(&PKCS_RSA_SHA256) && pair.public_key_raw().len() / 64 == bits / 512;
    Some(match () {
        () if is(&PKCS_ECDSA_P256_SHA256) => KeyAlgorithm::Ec256,
        () if is(&PKCS_ECDSA_P384_SHA384) => KeyAlgorithm::Ec384,
        () if is(&PKCS_ECDSA_P521_SHA512) => KeyAlgorithm::Ec521,
        () if is(&PKCS_ED25519) => KeyAlgorithm::Ed25519,
        () if rsa(2048) => KeyAlgorithm::Rsa2048,
        () if rsa(4096) => KeyAlgorithm::Rsa4096,
        () if rsa(8192) => KeyAlgorithm::Rsa8192,
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // A kind that is not recognized would be renewed for ever. RSA 8192 takes too long to make here.
    #[test]
    fn each_kind_is_made_asked_with_and_recognized() {
        let kinds = KeyAlgorithm::ALL.iter().map(|(_, kind)| *kind);
        for kind in kinds.filter(|kind| *kind != KeyAlgorithm::Rsa8192) {
            let key = generate(kind).unwrap();
            assert_eq!(algorithm_of(&key), Some(kind));
            assert!(request(&key).is_ok(), "{kind}");
        }
        assert_eq!(algorithm_of("nonsense"), None);
        assert!(request("nonsense").is_err());
    }
}
