//! What asks for a client certificate in a TLS handshake, and takes any or none.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// For the TLS of a port whose authenticator [asks for certificates](crate::Authenticator::asks_for_certificate): it asks for one,
/// takes none as well, and proves that the client has the key of what it shows. Who issued it, and whether it is still good, is for the
/// authenticator to decide: so a client with another proof is not turned away in the handshake, and one that is refused
/// hears of it in CONNACK.
pub fn offered_certificates() -> Arc<dyn ClientCertVerifier> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(Offered(provider.signature_verification_algorithms))
}

#[derive(Debug)]
struct Offered(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for Offered {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
