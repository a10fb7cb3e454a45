//! Client certificates: who issued them, whether they are still good, and what is known of their subjects.

mod distinguished_name;
mod offered;
mod trust;

use std::{sync::Arc, time::SystemTime};

use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use catena_resources::{
    Attributes,
    authentication::{X509Settings, X509Username},
};
use catena_secrets::Secrets;
use tracing::warn;

use crate::{
    credentials::Credentials,
    renewed::{Made, Renewed},
    verdict::{Accepted, Opinion},
    x509::{
        distinguished_name::DistinguishedName,
        trust::{Trust, Verified},
    },
};

pub use offered::offered_certificates;

/// Where CAs are unless the resource says so.
const CLIENT_CA: &str = "client-ca";

/// The method of one resource.
#[derive(Debug)]
pub(crate) struct X509 {
    secret: String,
    trust: Renewed<Trust>,
    /// Subjects, and what is known of them.
    rules: Vec<(DistinguishedName, Attributes)>,
    username: X509Username,
}

impl X509 {
    pub fn new(resource: &str, settings: &X509Settings, secrets: &Secrets) -> X509 {
        let mut rules = Vec::new();
        for (name, rule) in &settings.authorization_attributes {
            match DistinguishedName::parse(&rule.subject) {
                Ok(subject) => rules.push((subject, rule.attributes.clone())),
                Err(error) => {
                    warn!(resource, name, %error, "authorization attributes that no certificate has")
                }
            }
        }
        let secret = settings.trusted_client_ca_cert.clone();
        X509 {
            secret: secret.unwrap_or_else(|| CLIENT_CA.to_owned()),
            trust: Renewed::new(format!("the client CAs of {resource}"), secrets),
            rules,
            username: settings.username,
        }
    }

    pub fn ask(&self, credentials: &Credentials, secrets: &Secrets, now: SystemTime) -> Opinion {
        if credentials.certificates.is_empty() {
            return Opinion::NotRelevant;
        }
        let verified = self
            .trust(secrets)
            .and_then(|trust| trust.verify(&credentials.certificates, now));
        match verified {
            Ok(verified) => self.accepted(credentials, &verified),
            Err(why) => Opinion::denied(why),
        }
    }

    /// Why not all certificates can be verified that should be.
    pub fn problem(&self, secrets: &Secrets) -> Option<String> {
        let missing = self.trust(secrets).err();
        self.trust.problem().or(missing)
    }

    fn accepted(&self, credentials: &Credentials, verified: &Verified) -> Opinion {
        let username = match (self.username, &credentials.username) {
            (X509Username::Client, Some(sent)) => Some(sent.clone()),
            (X509Username::Client, None) => common_name(verified),
            (X509Username::CommonName, sent) => {
                let name = common_name(verified);
                let is_its_own = sent.is_none() || *sent == name;
                match name.filter(|_| is_its_own) {
                    Some(name) => Some(name),
                    None if is_its_own => {
                        return bad("the certificate has no common name that could be a username");
                    }
                    None => return bad("the username is not the certificate's common name"),
                }
            }
        };
        Opinion::Accepted(Accepted {
            username,
            attributes: self.attributes(&verified.subjects),
            expires: Some(verified.expires),
        })
    }

    /// Of the first match, from the client's own certificate up the chain.
    fn attributes(&self, subjects: &[DistinguishedName]) -> Attributes {
        let matches =
            |subject: &DistinguishedName| self.rules.iter().find(|(named, _)| named.is(subject));
        let found = subjects.iter().find_map(matches);
        found
            .map(|(_, attributes)| attributes.clone())
            .unwrap_or_default()
    }

    fn trust(&self, secrets: &Secrets) -> Result<Arc<Trust>, String> {
        self.trust.get(|last| {
            let files = secrets.all(&self.secret);
            if files.is_empty() {
                return Err(format!(
                    "there is no secret {:?} with CAs for clients, or it is empty",
                    self.secret
                ));
            }
            let (trust, problems) = Trust::read(&files, last.map(|last| &**last));
            if trust.is_empty() {
                return Err(format!(
                    "secret {:?} has no CA for clients: {}",
                    self.secret,
                    problems.join("; ")
                ));
            }
            Ok(Made {
                value: Arc::new(trust),
                problem: (!problems.is_empty())
                    .then(|| format!("secret {:?}: {}", self.secret, problems.join("; "))),
            })
        })
    }
}

/// The common name of the client's own certificate, if it can be a username.
fn common_name(verified: &Verified) -> Option<ByteString> {
    let name = verified.subjects.first()?.common_name()?;
    let is_username =
        !name.is_empty() && !name.contains('\0') && name.len() <= usize::from(u16::MAX);
    is_username.then(|| ByteString::from(name))
}

/// 0x86, and code 4 for 3.1.1.
fn bad(why: &str) -> Opinion {
    Opinion::denied_with(ReasonCode::BadUserNameOrPassword, why)
}

#[cfg(test)]
mod tests;
