//! What a certificate is asked for with, in cert-manager's words.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    document::shown,
    form,
    go_duration::GoDuration,
    problem::Problems,
    rules::{Rules, each_text, optional},
    spelled::spelled,
};

/// The group of cert-manager's own issuers.
const CERT_MANAGER: &str = "cert-manager.io";

/// A server certificate that is issued automatically.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateSpec {
    /// Who issues it: cert-manager's issuer in Kubernetes; without effect elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// How long it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// How long before its end it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<GoDuration>,
    /// The secret that cert-manager keeps it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Its key.
    pub private_key: PrivateKey,
    /// The names that it is valid for.
    pub san: Names,
}

/// cert-manager's issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerRef {
    /// Its name.
    pub name: String,
    /// Issuer or ClusterIssuer.
    pub kind: String,
    /// By default `cert-manager.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The key of a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrivateKey {
    /// The kind of key.
    pub algorithm: KeyAlgorithm,
    /// Whether a renewed certificate has a new one.
    pub rotation_policy: RotationPolicy,
}

/// Names of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Names {
    /// DNS names, as `broker.example.com` or `*.example.com`.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
}

spelled! {
    /// The kind of a private key.
    #[derive(Default)]
    pub enum KeyAlgorithm {
        /// ECDSA over P-256.
        #[default]
        Ec256,
        /// ECDSA over P-384.
        Ec384,
        /// ECDSA over P-521.
        Ec521,
        /// Ed25519.
        Ed25519,
        /// RSA with 2,048 bits.
        Rsa2048,
        /// RSA with 4,096 bits.
        Rsa4096,
        /// RSA with 8,192 bits.
        Rsa8192,
    }
}

spelled! {
    /// Whether a renewed certificate has a new key.
    #[derive(Default)]
    pub enum RotationPolicy {
        /// It has.
        #[default]
        Always,
        /// It has the old one.
        Never,
    }
}

impl Rules for CertificateSpec {
    fn rules(&self, at: &str, problems: &mut Problems) {
        renewal(self.duration, self.renew_before, at, problems);
        let secret = self.secret_name.as_ref();
        optional(
            secret,
            format!("{at}.secretName"),
            problems,
            form::secret_name,
        );
        let at_names = format!("{at}.san.dns");
        each_text(&self.san.dns, &at_names, problems, form::dns_name);
        if let Some(issuer) = &self.issuer_ref {
            issuer.rules(&format!("{at}.issuerRef"), problems);
        }
    }
}

impl Rules for IssuerRef {
    fn rules(&self, at: &str, problems: &mut Problems) {
        // Issuers of others have kinds of their own.
        let is_ours = self
            .group
            .as_deref()
            .is_none_or(|group| group == CERT_MANAGER);
        if is_ours && !["Issuer", "ClusterIssuer"].contains(&self.kind.as_str()) {
            let reason = format!("{}: must be Issuer or ClusterIssuer", shown(&self.kind));
            problems.rule(&format!("{at}.kind"), reason);
        }
        problems.check(&format!("{at}.name"), form::secret_name(&self.name));
    }
}

/// A certificate is renewed while it is valid.
pub(crate) fn renewal(
    duration: Option<GoDuration>,
    renew_before: Option<GoDuration>,
    at: &str,
    problems: &mut Problems,
) {
    let at_duration = format!("{at}.duration");
    if let Some(duration) = duration
        && duration.0.is_zero()
    {
        problems.rule(
            &at_duration,
            format!("{duration}: must be longer than nothing"),
        );
    }
    if let (Some(duration), Some(before)) = (duration, renew_before)
        && before >= duration
        && !problems.is_replaced(&at_duration)
    {
        let reason = format!("{before}: must be less than the duration, {duration}");
        problems.rule(&format!("{at}.renewBefore"), reason);
    }
}
