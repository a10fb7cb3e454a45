//! A server that decides.

pub(crate) mod protocol;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use catena_resources::authentication::{CustomSettings, OnUnreachable};
use catena_secrets::{Secret, Secrets};
use http_body_util::Full;
use hyper::{
    Request,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    credentials::Credentials,
    custom::protocol::{Said, VERSION, When},
    https::{Failure, Server, tls::Material},
    renewed::{Made, Renewed},
    verdict::{Accepted, Opinion},
};

/// The method of one resource.
#[derive(Debug)]
pub(crate) struct Custom {
    settings: CustomSettings,
    /// Of the manifest.
    headers: HeaderMap,
    /// All of them, with those of the secret.
    all_headers: Renewed<HeaderMap>,
    server: Renewed<Server>,
}

impl Custom {
    pub fn new(resource: &str, settings: CustomSettings, secrets: &Secrets) -> Custom {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let header = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
            match header {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => tracing::warn!(resource, name, "a header that cannot be sent is left out"),
            }
        }
        let of_server = format!("the authentication server of {resource}");
        Custom {
            all_headers: Renewed::new(format!("the headers for {of_server}"), secrets),
            server: Renewed::new(of_server, secrets),
            settings,
            headers,
        }
    }

    pub async fn ask(&self, when: When, credentials: &Credentials, secrets: &Secrets) -> Opinion {
        let (server, headers) = match (self.server(secrets), self.headers(secrets)) {
            (Ok(server), Ok(headers)) => (server, headers),
            (Err(why), _) | (_, Err(why)) => return self.unreachable(why),
        };
        let body = Bytes::from(protocol::ask(when, credentials));
        let mut said = self.call(&server, &headers, VERSION, &body).await;
        if let Ok(Said::Speaks(version)) = said {
            said = self.call(&server, &headers, &version, &body).await;
        }
        match said {
            Ok(Said::Accepted {
                attributes,
                expires,
            }) => Opinion::Accepted(Accepted {
                username: credentials.username.clone(),
                attributes,
                expires,
            }),
            Ok(Said::Refused { reason, message }) => Opinion::denied_with(reason, message),
            Ok(Said::Speaks(version)) => self.unreachable(format!(
                "it speaks neither {VERSION} nor, as it said, {version}"
            )),
            Ok(Said::Nothing(why)) | Err(Failure::Unreachable(why)) => self.unreachable(why),
            Err(busy @ Failure::Busy(_)) => Opinion::busy(busy.to_string()),
        }
    }

    /// Why the server cannot be asked.
    pub fn problem(&self, secrets: &Secrets) -> Option<String> {
        let missing = self.server(secrets).err();
        let without = self.headers(secrets).err();
        let problem = self.server.problem().or(missing);
        problem.or_else(|| self.all_headers.problem()).or(without)
    }

    async fn call(
        &self,
        server: &Server,
        headers: &HeaderMap,
        version: &str,
        body: &Bytes,
    ) -> Result<Said, Failure> {
        let target = server
            .endpoint()
            .target(Some(&format!("api-version={version}")));
        let request = Request::post(target).body(Full::new(body.clone()));
        let mut request = request.map_err(|error| Failure::Unreachable(error.to_string()))?;
        request.headers_mut().clone_from(headers);
        let answer = server.call(request).await?;
        Ok(protocol::read(
            answer.status.as_u16(),
            &answer.body,
            SystemTime::now(),
        ))
    }

    fn unreachable(&self, why: String) -> Opinion {
        match self.settings.on_unreachable {
            OnUnreachable::NextMethod => Opinion::Unreachable(why),
            OnUnreachable::Deny => Opinion::unavailable(why),
        }
    }

    /// What is sent with each request. Without the secret that has some of them the server is not asked: it would take us for
    /// somebody else.
    fn headers(&self, secrets: &Secrets) -> Result<Arc<HeaderMap>, String> {
        self.all_headers.get(|_| {
            let mut headers = self.headers.clone();
            if let Some(secret) = &self.settings.headers_secret_ref {
                let values = secrets.all(secret);
                if values.is_empty() {
                    return Err(format!("there is no secret {secret:?}, or it is empty"));
                }
                for (name, value) in &values {
                    let (name, value) = header(name, value)
                        .ok_or_else(|| format!("{secret}/{name} is no HTTP header"))?;
                    headers.insert(name, value);
                }
            }
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(Made::whole(headers))
        })
    }

    fn server(&self, secrets: &Secrets) -> Result<Arc<Server>, String> {
        self.server.get(|last| {
            let own = self
                .settings
                .auth
                .as_ref()
                .map(|auth| auth.x509.secret_ref.as_str());
            let material = Material::of(secrets, self.settings.ca_cert_config_map.as_deref(), own);
            Server::renewed(last, &self.settings.endpoint, material)
        })
    }
}

/// A header of a secret; `None`: HTTP has no such header.
fn header(name: &str, value: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let mut value: HeaderValue = value.as_text()?.parse().ok()?;
    value.set_sensitive(true);
    Some((name.parse().ok()?, value))
}
