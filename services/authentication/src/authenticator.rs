//! The methods of one BrokerAuthentication, in their order.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use bytestring::ByteString;
use catena_mqtt::ReasonCode;
use catena_resources::{
    BrokerAuthentication,
    authentication::{AuthenticationMethod, Method},
};
use rustls::pki_types::CertificateDer;

use crate::{
    credentials::Credentials,
    custom::{Custom, protocol::When},
    jwt::Jwt,
    means::Means,
    password::Password,
    service_account::ServiceAccountToken,
    verdict::{Accepted, Opinion, Verdict},
    x509::X509,
};

/// Decides who clients are, by the methods of one BrokerAuthentication. It follows its secrets as they change; for a changed
/// resource a new one is made.
#[derive(Debug)]
pub struct Authenticator {
    name: Arc<str>,
    methods: Vec<Way>,
    means: Arc<Means>,
}

/// A method, with what it needs.
#[derive(Debug)]
enum Way {
    X509(X509),
    ServiceAccountToken(ServiceAccountToken),
    Custom(Box<Custom>),
    Password(Password),
    Jwt(Box<Jwt>),
    /// A method without its settings, which no checked resource has: for it nothing is relevant.
    Nothing(Method),
}

impl Way {
    fn new(
        resource: &str,
        method: &AuthenticationMethod,
        issuers: &[String],
        means: &Means,
    ) -> Way {
        let secrets = &means.secrets;
        let way = match method.method {
            Method::X509 => {
                let settings = method.x509_settings.clone().unwrap_or_default();
                Some(Way::X509(X509::new(resource, &settings, secrets)))
            }
            Method::ServiceAccountToken => {
                let settings = method.service_account_token_settings.as_ref();
                settings
                    .map(|settings| Way::ServiceAccountToken(ServiceAccountToken::new(settings)))
            }
            Method::Custom => {
                let settings = method.custom_settings.clone();
                settings.map(|settings| {
                    let custom = Custom::new(resource, settings, secrets);
                    Way::Custom(Box::new(custom))
                })
            }
            Method::Password => {
                let settings = method.password_settings.clone();
                settings.map(|settings| Way::Password(Password::new(resource, settings, secrets)))
            }
            Method::Jwt => {
                let settings = method.jwt_settings.clone();
                settings.map(|settings| {
                    Way::Jwt(Box::new(Jwt::new(resource, settings, issuers, secrets)))
                })
            }
        };
        way.unwrap_or(Way::Nothing(method.method))
    }

    fn method(&self) -> Method {
        match self {
            Way::X509(_) => Method::X509,
            Way::ServiceAccountToken(_) => Method::ServiceAccountToken,
            Way::Custom(_) => Method::Custom,
            Way::Password(_) => Method::Password,
            Way::Jwt(_) => Method::Jwt,
            Way::Nothing(method) => *method,
        }
    }

    fn problem(&self, means: &Means) -> Option<String> {
        match self {
            Way::X509(x509) => x509.problem(&means.secrets),
            Way::Password(password) => password.problem(&means.secrets),
            Way::Custom(custom) => custom.problem(&means.secrets),
            Way::Jwt(jwt) => jwt.problem(&means.secrets),
            Way::ServiceAccountToken(_) if means.kubernetes.is_none() => {
                Some(
                    "there is no Kubernetes API here to review service account tokens: name one (--kubernetes-api)"
                        .to_owned(),
                )
            }
            Way::ServiceAccountToken(_) | Way::Nothing(_) => None,
        }
    }

    fn still(
        &self,
        username: Option<&ByteString>,
        certificates: &[CertificateDer<'static>],
        means: &Means,
    ) -> Result<(), String> {
        match self {
            Way::X509(x509) => {
                let credentials = Credentials {
                    username: username.cloned(),
                    certificates: certificates.to_vec(),
                    ..Credentials::default()
                };
                match x509.ask(&credentials, &means.secrets, SystemTime::now()) {
                    Opinion::Denied { why, .. } => Err(why),
                    _ => Ok(()),
                }
            }
            Way::Password(password) => password.still(username, &means.secrets),
            Way::ServiceAccountToken(_) | Way::Custom(_) | Way::Jwt(_) | Way::Nothing(_) => Ok(()),
        }
    }

    async fn ask(&self, when: When, credentials: &Credentials, means: &Means) -> Opinion {
        match self {
            Way::X509(x509) => x509.ask(credentials, &means.secrets, SystemTime::now()),
            Way::Password(password) => {
                password
                    .ask(credentials, &means.secrets, &means.passwords)
                    .await
            }
            Way::ServiceAccountToken(token) => {
                token.ask(credentials, means.kubernetes.as_ref()).await
            }
            Way::Custom(custom) => custom.ask(when, credentials, &means.secrets).await,
            Way::Jwt(jwt) => jwt.ask(credentials, &means.secrets).await,
            Way::Nothing(_) => Opinion::NotRelevant,
        }
    }
}

impl Authenticator {
    /// The authenticator of the resource `name`.
    pub fn new(
        name: &str,
        resource: &BrokerAuthentication,
        means: Arc<Means>,
    ) -> Arc<Authenticator> {
        let methods = || resource.authentication_methods.iter();
        let issuers =
            methods().filter_map(|method| Some(method.jwt_settings.as_ref()?.issuer.clone()));
        let issuers: Vec<_> = issuers.collect();
        let ways = methods().map(|method| Way::new(name, method, &issuers, &means));
        Arc::new(Authenticator {
            name: name.into(),
            methods: ways.collect(),
            means,
        })
    }

    /// The name of the resource.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is missing or broken of what it needs: secrets, certificates. It works on with what was good before.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.methods.iter().map(|way| way.problem(&self.means));
        problems.flatten().collect()
    }

    /// Whether a TLS handshake should ask for a client certificate, never demand it.
    pub fn asks_for_certificate(&self) -> bool {
        let uses = |way: &Way| matches!(way.method(), Method::X509 | Method::Custom);
        self.methods.iter().any(uses)
    }

    /// Decides about a CONNECT. Takes at most some ten seconds; what was begun is given up when the future is dropped.
    pub async fn connect(&self, credentials: Credentials) -> Verdict {
        let mut unreachable = Vec::new();
        for way in &self.methods {
            let opinion = way.ask(When::Connect, &credentials, &self.means).await;
            if let Opinion::Unreachable(why) = &opinion {
                unreachable.push(format!("{}: {why}", way.method()));
            }
            if let Some(verdict) = self.verdict(way.method(), opinion) {
                return verdict;
            }
        }
        self.irrelevant(&unreachable)
    }

    /// Decides about an AUTH of a client that is connected: tokens and servers that are asked, neither certificates nor
    /// passwords. `credentials` are those of CONNECT with the data of AUTH.
    pub async fn reauthenticate(&self, credentials: Credentials) -> Verdict {
        let mut unreachable = false;
        let again = |way: &&Way| !matches!(way.method(), Method::X509 | Method::Password);
        for way in self.methods.iter().filter(again) {
            let opinion = way.ask(When::Auth, &credentials, &self.means).await;
            unreachable |= matches!(opinion, Opinion::Unreachable(_));
            if let Opinion::Failed { .. } = opinion {
                self.means.counters().count(way.method(), &opinion);
                return Verdict::TryAgain;
            }
            if let Some(verdict) = self.verdict(way.method(), opinion) {
                return verdict;
            }
        }
        if unreachable {
            return Verdict::TryAgain;
        }
        self.irrelevant(&[])
    }

    /// Whether a client that `method` has accepted would still be, as far as that can be told without asking it: a certificate
    /// is verified again, and a user must still be among those who have a password. Tokens and what servers said
    /// are good until they expire.
    ///
    /// # Errors
    /// Why it would not.
    pub fn still(
        &self,
        method: Method,
        username: Option<&ByteString>,
        certificates: &[CertificateDer<'static>],
    ) -> Result<(), String> {
        let mut why = format!("the method {method} is not asked any more");
        for way in self.methods.iter().filter(|way| way.method() == method) {
            match way.still(username, certificates, &self.means) {
                Ok(()) => return Ok(()),
                Err(problem) => why = problem,
            }
        }
        Err(why)
    }

    /// What follows from the opinion of one method; `None`: the next one decides.
    fn verdict(&self, method: Method, opinion: Opinion) -> Option<Verdict> {
        self.means.counters().count(method, &opinion);
        match opinion {
            Opinion::NotRelevant | Opinion::Unreachable(_) => None,
            Opinion::Accepted(Accepted {
                username,
                attributes,
                expires,
            }) => Some(Verdict::Accepted {
                username,
                attributes,
                expires,
                data: None,
                method,
            }),
            Opinion::Denied { reason, why } | Opinion::Failed { reason, why } => {
                Some(Verdict::refused(reason, format!("{}: {why}", method)))
            }
        }
    }

    fn irrelevant(&self, unreachable: &[String]) -> Verdict {
        self.means
            .counters()
            .irrelevant
            .fetch_add(1, Ordering::Relaxed);
        let mut why = "no authentication method is for what the client brought".to_owned();
        for unreachable in unreachable {
            why.push_str("; ");
            why.push_str(unreachable);
        }
        Verdict::refused(ReasonCode::NotAuthorized, why)
    }
}
