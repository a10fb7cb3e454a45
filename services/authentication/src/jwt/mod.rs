//! Signed tokens (JWT) of an issuer whose public keys are known.

mod claims;
mod keys;
mod source;

use std::time::SystemTime;

use bytes::Bytes;
use catena_resources::authentication::JwtSettings;
use catena_secrets::Secrets;

use crate::{
    credentials::Credentials,
    https::Failure,
    jwt::{
        keys::Signature,
        source::{Source, Want},
    },
    token::{self, Peeked},
    verdict::Opinion,
};

/// The authentication method of MQTT 5.
const METHOD: &str = "JWT";

/// The method of one resource.
#[derive(Debug)]
pub(crate) struct Jwt {
    settings: JwtSettings,
    /// The issuers of other methods of the resource: their tokens are not for this one.
    others: Vec<String>,
    source: Source,
}

impl Jwt {
    pub fn new(
        resource: &str,
        settings: JwtSettings,
        issuers: &[String],
        secrets: &Secrets,
    ) -> Jwt {
        let others = issuers.iter().filter(|issuer| **issuer != settings.issuer);
        Jwt {
            others: others.cloned().collect(),
            source: Source::new(resource, &settings, secrets),
            settings,
        }
    }

    pub async fn ask(&self, credentials: &Credentials, secrets: &Secrets) -> Opinion {
        let Some((token, peeked)) = self.relevant(credentials) else {
            return Opinion::NotRelevant;
        };
        let Some(peeked) = peeked else {
            return Opinion::denied("there is no token");
        };
        match self.verify(token, &peeked, secrets).await {
            Ok(Signature::Good(claims)) => {
                match claims::check(&claims, &self.settings, SystemTime::now()) {
                    Ok(accepted) => Opinion::Accepted(accepted),
                    Err(why) => Opinion::denied(why),
                }
            }
            Ok(Signature::Bad(why)) => Opinion::denied(why),
            Ok(Signature::UnknownKey) => {
                Opinion::denied("it is not signed with a key of the issuer")
            }
            Err(busy @ Failure::Busy(_)) => Opinion::busy(busy.to_string()),
            Err(Failure::Unreachable(why)) => Opinion::unavailable(why),
        }
    }

    /// Why tokens cannot be verified.
    pub fn problem(&self, secrets: &Secrets) -> Option<String> {
        self.source.problem(secrets)
    }

    /// The token, if it is for this method to decide, and what it says. A password is only a token when it says that it is one of
    /// this issuer; where the client names the method, it is one.
    fn relevant<'a>(&self, credentials: &'a Credentials) -> Option<(&'a [u8], Option<Peeked>)> {
        let token =
            |data: &'a Option<Bytes>| data.as_ref().map_or(&[][..], |data| data.trim_ascii());
        let issuer = |peeked: &Peeked| {
            peeked
                .claims
                .get("iss")
                .and_then(|issuer| issuer.as_str())
                .map(str::to_owned)
        };
        if credentials.method.as_deref() == Some(METHOD) {
            let token = token(&credentials.data);
            let peeked = token::peek(token);
            let named = peeked.as_ref().and_then(issuer);
            let anothers = named.is_some_and(|named| self.others.contains(&named));
            return (!anothers).then_some((token, peeked));
        }
        let token = token(&credentials.password);
        let peeked = token::peek(token)?;
        (issuer(&peeked)? == self.settings.issuer).then_some((token, Some(peeked)))
    }

    async fn verify(
        &self,
        token: &[u8],
        peeked: &Peeked,
        secrets: &Secrets,
    ) -> Result<Signature, Failure> {
        let keys = self.source.keys(Want::Any, secrets).await?;
        match keys.verify(token, &peeked.header) {
            Signature::UnknownKey => {
                let keys = self.source.keys(Want::Newer, secrets).await?;
                Ok(keys.verify(token, &peeked.header))
            }
            decided => Ok(decided),
        }
    }
}
