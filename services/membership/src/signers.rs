//! The control plane as who signs certificates.

use std::time::Duration;

use catena_pki::{Issued, KeyAlgorithm, RotationPolicy, Signer, Wishes};
use catena_proto::internal::v1 as proto;
use tonic::{Response, Status};

use crate::endpoints::{Endpoints, Turn};

/// How long a replica may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Signs for the certificate of a listener's port; its names are those that the listener's manifest gives.
#[derive(Debug)]
pub struct ServerSigner {
    turn: Turn,
    listener: String,
    port: u16,
    names: Vec<String>,
}

impl ServerSigner {
    pub(crate) fn new(
        endpoints: Endpoints,
        listener: String,
        port: u16,
        names: Vec<String>,
    ) -> ServerSigner {
        ServerSigner {
            turn: endpoints.turn(),
            listener,
            port,
            names,
        }
    }
}

impl Signer for ServerSigner {
    async fn sign(&mut self, request: Vec<u8>) -> Result<Issued, String> {
        let request = proto::SignServerRequest {
            listener: self.listener.clone(),
            port: self.port.into(),
            request: request.into(),
            names: self.names.clone(),
        };
        let mut client = self.turn.certificates();
        let signed = answer(client.sign_server(request)).await;
        settle(&mut self.turn, signed, |signed| signed.issued).await
    }
}

/// Signs for our own next certificate.
#[derive(Debug)]
pub(crate) struct MemberSigner(pub(crate) Turn);

impl Signer for MemberSigner {
    async fn sign(&mut self, request: Vec<u8>) -> Result<Issued, String> {
        let request = request.into();
        let mut client = self.0.certificates();
        let signed = answer(client.sign_member(proto::SignMemberRequest { request })).await;
        settle(&mut self.0, signed, |signed| signed.issued).await
    }
}

/// Takes the answer; without one the next replica is asked the next time.
async fn settle<T>(
    turn: &mut Turn,
    signed: Result<T, String>,
    issued_of: impl Fn(T) -> Option<proto::Issued>,
) -> Result<Issued, String> {
    match signed {
        Ok(signed) => {
            turn.succeeded();
            issued(issued_of(signed))
        }
        Err(problem) => {
            let problem = format!("{}: {problem}", turn.address());
            turn.failed_briefly(Duration::ZERO).await;
            Err(problem)
        }
    }
}

/// The answer in time, or what is wrong in words.
pub(crate) async fn answer<T>(
    asked: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(words(&status)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// What a refusal says, with what lies behind it.
pub(crate) fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

pub(crate) fn issued(issued: Option<proto::Issued>) -> Result<Issued, String> {
    let nothing = || "the control plane has signed nothing".to_owned();
    let issued = issued.ok_or_else(nothing)?;
    let terms = issued.terms.ok_or_else(nothing)?;
    Ok(Issued {
        chain: issued.chain,
        wishes: Some(wishes(&terms)),
        trust: terms.trust,
    })
}

/// How the next certificate is to be asked for. A kind of key that is not known is not followed.
pub(crate) fn wishes(terms: &proto::Terms) -> Wishes {
    let algorithm = KeyAlgorithm::ALL
        .iter()
        .find(|(name, _)| *name == terms.key_algorithm);
    Wishes {
        algorithm: algorithm.map(|(_, kind)| *kind).unwrap_or_default(),
        rotation: if terms.keep_key {
            RotationPolicy::Never
        } else {
            RotationPolicy::Always
        },
        renew_before: terms.renew_before_seconds.map(Duration::from_secs),
    }
}

/// Terms as a message.
pub fn terms(trust: String, wishes: &Wishes) -> proto::Terms {
    proto::Terms {
        trust,
        key_algorithm: wishes.algorithm.to_string(),
        keep_key: wishes.rotation == RotationPolicy::Never,
        renew_before_seconds: wishes.renew_before.map(|before| before.as_secs()),
    }
}
