//! The BrokerAuthentication: how a client proves who it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spelled::spelled;

mod rules;

/// What is known of a client beside its name: name and value.
pub type Attributes = BTreeMap<String, String>;

/// Methods, tried in order: the first for which a client's credentials are relevant decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerAuthentication {
    /// Tried in this order; at least one.
    #[schemars(length(min = 1))]
    pub authentication_methods: Vec<AuthenticationMethod>,
}

/// A method with its settings; those of other methods are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationMethod {
    /// How a client proves who it is.
    pub method: Method,
    /// With method X509, which may do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x509_settings: Option<X509Settings>,
    /// With method ServiceAccountToken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token_settings: Option<ServiceAccountTokenSettings>,
    /// With method Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_settings: Option<CustomSettings>,
    /// + With method Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_settings: Option<PasswordSettings>,
    /// + With method Jwt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_settings: Option<JwtSettings>,
}

spelled! {
    /// How a client proves who it is.
    pub enum Method {
        /// By its TLS certificate.
        X509,
        /// By a token that the Kubernetes API reviews.
        ServiceAccountToken,
        /// By what an HTTPS server says.
        Custom,
        /// + By a password whose hash is in a secret.
        Password,
        /// + By a signed token.
        Jwt,
    }
}

/// Client certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct X509Settings {
    /// A config map or secret of PEM CAs, and of PEM revocation lists. By default `client-ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_client_ca_cert: Option<String>,
    /// What is known of certificates, by a name that means nothing further. The first match counts, from the leaf up the chain.
    pub authorization_attributes: BTreeMap<String, X509Attributes>,
    /// What else a certificate is held against.
    pub additional_validation: AdditionalValidation,
    /// + Whose name the client's username is.
    pub username: X509Username,
}

/// What is known of the certificates of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct X509Attributes {
    /// A distinguished name, as `CN = Plant, O = Contoso`.
    pub subject: String,
    /// Names and values.
    #[serde(default)]
    pub attributes: Attributes,
}

spelled! {
    /// What else a client certificate is held against.
    #[derive(Default)]
    pub enum AdditionalValidation {
        /// Nothing.
        #[default]
        None,
    }
}

spelled! {
    /// Whose name the username of a client with a certificate is.
    #[derive(Default)]
    pub enum X509Username {
        /// The one that the client sends, whatever its certificate says; where it sends none the subject's common name.
        #[default]
        Client,
        /// The subject's common name: who sends another one is refused, and so is a certificate without.
        CommonName,
    }
}

/// Kubernetes service account tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountTokenSettings {
    /// A token is for one of them; at least one.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
}

/// An HTTPS server that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomSettings {
    /// `https://HOST[:PORT][/PATH]`.
    pub endpoint: String,
    /// A config map or secret with the PEM CAs of the server. By default those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_config_map: Option<String>,
    /// How we prove to the server who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<CustomAuth>,
    /// Sent with each request. They are kept with the manifest: no place for passwords.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// + A secret with more headers: its keys are their names. They count before those of the same name in `headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<String>,
    /// + What a server that does not answer means.
    #[serde(default)]
    pub on_unreachable: OnUnreachable,
}

/// How we prove to a server who we are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomAuth {
    /// By a client certificate.
    pub x509: CustomX509,
}

/// Our client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomX509 {
    /// A secret with `tls.crt` and `tls.key`.
    pub secret_ref: String,
}

spelled! {
    /// What a server that does not answer means.
    #[derive(Default)]
    pub enum OnUnreachable {
        /// The next method decides.
        #[default]
        NextMethod,
        /// The client is refused.
        Deny,
    }
}

/// Passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordSettings {
    /// A secret: its keys are usernames, its values hashes in PHC format, as `catena passwd` makes them.
    pub secret_ref: String,
    /// What is known of clients, by username.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attributes>,
}

/// Signed tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtSettings {
    /// What `iss` says.
    pub issuer: String,
    /// `aud` names one of them; at least one.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// Where the issuer's keys are: `https://...`. Either this or jwksSecretRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// A config map or secret with a key set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_secret_ref: Option<String>,
    /// A config map or secret with the PEM CAs of the server of jwksUri. By default those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_config_map: Option<String>,
    /// The claim that is the username. By default `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_claim: Option<String>,
    /// Claims that become attributes.
    #[serde(default)]
    pub attribute_claims: Vec<String>,
}
