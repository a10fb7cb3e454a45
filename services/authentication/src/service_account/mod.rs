//! Kubernetes service account tokens, which the Kubernetes API reviews.

mod kubernetes;
mod review;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use bytestring::ByteString;
use catena_resources::{Attributes, authentication::ServiceAccountTokenSettings};
use tracing::warn;

use crate::{
    credentials::Credentials,
    https::Failure,
    limits::TOKEN_BYTES_MAX,
    service_account::review::{Account, Said},
    verdict::{Accepted, Opinion},
};

pub(crate) use kubernetes::Api;
pub use kubernetes::Kubernetes;

/// The authentication method of MQTT 5; for MQTT 3 the username that says that the password is a token.
const METHOD: &str = "K8S-SAT";

/// The method of one resource.
#[derive(Debug)]
pub(crate) struct ServiceAccountToken {
    audiences: Vec<String>,
    /// It was said that annotations cannot be read.
    said: AtomicBool,
}

impl ServiceAccountToken {
    pub fn new(settings: &ServiceAccountTokenSettings) -> ServiceAccountToken {
        ServiceAccountToken {
            audiences: settings.audiences.clone(),
            said: AtomicBool::new(false),
        }
    }

    pub async fn ask(&self, credentials: &Credentials, api: Option<&Api>) -> Opinion {
        let token = if credentials.method.as_deref() == Some(METHOD) {
            credentials.data.as_ref()
        } else if credentials.method.is_none() && credentials.username.as_deref() == Some(METHOD) {
            credentials.password.as_ref()
        } else {
            return Opinion::NotRelevant;
        };
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let token = token
            .and_then(|token| std::str::from_utf8(token).ok())
            .map(str::trim);
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Opinion::denied("there is no token");
        };
        if let Err(why) = review::worth(token, &self.audiences, SystemTime::now()) {
            return Opinion::denied(why);
        }
        let Some(api) = api else {
            return Opinion::unavailable("there is no Kubernetes API here to review tokens");
        };
        match self.review(token, api).await {
            Ok(opinion) => opinion,
            Err(busy @ Failure::Busy(_)) => Opinion::busy(busy.to_string()),
            Err(Failure::Unreachable(why)) => Opinion::unavailable(why),
        }
    }

    async fn review(&self, token: &str, api: &Api) -> Result<Opinion, Failure> {
        let answer = api
            .post(review::REVIEWS, review::ask(token, &self.audiences))
            .await?;
        let account = match review::read(answer.status.as_u16(), &answer.body, &self.audiences) {
            Said::Is(account) => account,
            Said::Not(why) => return Ok(Opinion::denied(why)),
            Said::Nothing(why) => return Err(Failure::Unreachable(why)),
        };
        Ok(Opinion::Accepted(Accepted {
            username: Some(ByteString::from(account.username())),
            attributes: self.attributes(&account, api).await?,
            expires: review::expiry(token),
        }))
    }

    /// What the account's annotations say. Where we may not see them there are none: rules only ever allow more for them.
    async fn attributes(&self, account: &Account, api: &Api) -> Result<Attributes, Failure> {
        let answer = api.get(&account.path()).await?;
        match answer.status.as_u16() {
            200 => {
                let attributes = review::attributes(&answer.body);
                attributes.ok_or_else(|| {
                    Failure::Unreachable(
                        "the Kubernetes API answered something else than a service account"
                            .to_owned(),
                    )
                })
            }
            status @ (403 | 404) => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    warn!(
                        account = account.username(),
                        status,
                        "annotations of service accounts cannot be read: they have no attributes"
                    );
                }
                Ok(Attributes::new())
            }
            status => Err(Failure::Unreachable(format!(
                "the Kubernetes API answered {status} when asked for {}",
                account.username()
            ))),
        }
    }
}
