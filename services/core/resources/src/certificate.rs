//! What a certificate is asked for with, in cert-manager's words.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{go_duration::GoDuration, spelled::spelled};

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
    pub private_key: PrivateKey,
    /// The names that it is valid for.
    pub san: Names,
}

/// cert-manager's issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerRef {
    pub name: String,
    /// Issuer or ClusterIssuer.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The key of a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrivateKey {
    pub algorithm: KeyAlgorithm,
    pub rotation_policy: RotationPolicy,
}

/// Names of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Names {
    pub dns: Vec<String>,
    pub ip: Vec<IpAddr>,
}

spelled! {
    /// The kind of a private key.
    #[derive(Default)]
    pub enum KeyAlgorithm {
        #[default]
        Ec256,
        Ec384,
        Ec521,
        Ed25519,
        Rsa2048,
        Rsa4096,
        Rsa8192,
    }
}

spelled! {
    /// Whether a renewed certificate has a new key.
    #[derive(Default)]
    pub enum RotationPolicy {
        #[default]
        Always,
        Never,
    }
}
