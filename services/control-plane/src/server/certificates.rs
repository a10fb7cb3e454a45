//! Signs for members and listeners. Whose certificate it is, is decided here: by the token, by the certificate that a
//! member shows, by the listener in the store.

use std::{sync::Arc, time::SystemTime};

use catena_membership::wire;
use catena_pki::{
    Authority, CaError, Identity, Peer, Role, Security, Subject, Terms, Token, key_id, of_port,
};
use catena_proto::internal::v1::{self as proto, certificates_server::Certificates};
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{Context, status};
use crate::traffic::{denied, only, peer};

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl Certificates for Service {
    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinResponse>, Status> {
        let authority = self.authority()?;
        let proto::JoinRequest {
            token,
            name,
            request,
        } = request.into_inner();
        let refuse = |problem: String| {
            warn!(name, problem, "somebody may not join");
            Status::permission_denied(problem)
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Status::invalid_argument("token: it is too long"));
        }
        let now = SystemTime::now();
        let token = Token::verify(&token, &authority.ca(), now);
        let token = token.map_err(|problem| refuse(problem.to_string()))?;
        let cluster = self.cluster();
        let checked = token.check(&cluster, token.role, &name);
        checked.map_err(|problem| refuse(problem.to_string()))?;
        if token.role == Role::ControlPlane {
            return Err(refuse(
                "a replica of the control plane does not join: it needs the CA itself".to_owned(),
            ));
        }
        let me = Identity::new(cluster, token.role, name.clone());
        let me = me.map_err(|problem| Status::invalid_argument(problem.to_string()))?;
        let objection = (token.name.is_none() && self.is_known(token.role, &name)).then(|| {
            format!(
                "{me} is known already, and this token is for newcomers: make one with `catena ca token --name {name}`"
            )
        });
        let key = key_id(&request).map_err(|error| refusal(&error))?;
        let ttl = token.expires().duration_since(now).unwrap_or_default();
        let used = self
            .0
            .registry
            .use_token(token.id(), &name, &key, ttl, objection)
            .await;
        used.map_err(|refused| {
            warn!(name, problem = %refused, "somebody may not join");
            status(&refused)
        })?;
        let issued = Some(self.sign_member_as(&authority, &me, &request)?);
        info!(%me, "joined with a token");
        Ok(Response::new(proto::JoinResponse { issued }))
    }

    async fn sign_member(
        &self,
        request: Request<proto::SignMemberRequest>,
    ) -> Result<Response<proto::SignMemberResponse>, Status> {
        let me = member(peer(&request))?;
        let authority = self.authority()?;
        let request = request.into_inner().request;
        let issued = Some(self.sign_member_as(&authority, &me, &request)?);
        info!(%me, "signed for a member");
        Ok(Response::new(proto::SignMemberResponse { issued }))
    }

    async fn sign_server(
        &self,
        request: Request<proto::SignServerRequest>,
    ) -> Result<Response<proto::SignServerResponse>, Status> {
        let me = member(only(&request, &[Role::Gateway])?)?;
        let authority = self.authority()?;
        let proto::SignServerRequest {
            listener: name,
            port,
            request,
            names,
        } = request.into_inner();
        let resources = self.0.following.told.borrow().resources.clone();
        let listener = resources.listeners().find(|(known, _)| *known == name);
        let port = u16::try_from(port).unwrap_or(0);
        let found = listener.and_then(|(name, listener)| of_port(name, listener, port));
        let Some((subject, terms)) = found else {
            let problem =
                format!("port {port} of the listener {name:?} has no automatic certificate");
            return Err(Status::not_found(problem));
        };
        if subject.names() != names {
            return Err(Status::unavailable(format!(
                "the listener {name:?} has changed, and not everybody has heard of it yet"
            )));
        }
        let issued = Some(sign(&authority, &subject, &terms, &request)?);
        info!(%me, listener = name, port, "signed for a listener");
        Ok(Response::new(proto::SignServerResponse { issued }))
    }

    async fn get_trust(
        &self,
        request: Request<proto::GetTrustRequest>,
    ) -> Result<Response<proto::GetTrustResponse>, Status> {
        member(peer(&request))?;
        let authority = self.authority()?;
        let terms = wire::terms(authority.ca().trust_pem(), &self.terms().wishes);
        Ok(Response::new(proto::GetTrustResponse {
            terms: Some(terms),
        }))
    }
}

impl Service {
    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    fn authority(&self) -> Result<Arc<Authority>, Status> {
        let known = self.0.traffic.authority.clone();
        known.ok_or_else(|| {
            Status::failed_precondition(
                "this control plane has no CA: it signs no certificates; give processes certificates from files",
            )
        })
    }

    /// That of our own certificate: what we issue is to be good for us.
    fn cluster(&self) -> String {
        match &self.0.traffic.security {
            Security::Mutual(internal) => internal.me().cluster.clone(),
            _ => self.0.cluster.clone(),
        }
    }

    /// Whether a process of this name is registered: who has a token for newcomers must not take its place.
    fn is_known(&self, role: Role, name: &str) -> bool {
        let view = self.0.following.view.borrow();
        match role {
            Role::Backend => view.nodes.keys().any(|known| known.0 == name),
            Role::Gateway => {
                let mut present = view.gateways().present.into_values();
                present.any(|known| known.0 == name)
            }
            Role::ControlPlane => false,
        }
    }

    fn terms(&self) -> Terms {
        Terms::of_members(&self.0.following.told.borrow().broker)
    }

    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    fn sign_member_as(
        &self,
        authority: &Authority,
        me: &Identity,
        request: &[u8],
    ) -> Result<proto::Issued, Status> {
        sign(authority, &me.subject(), &self.terms(), request)
    }
}

/// Who shows a certificate.
#[allow(clippy::result_large_err, reason = "tonic's own type")]
fn member(peer: Peer) -> Result<Identity, Status> {
    match peer {
        Peer::Member(identity) => Ok(identity),
        other => Err(denied(&other, &[Role::Gateway, Role::Backend])),
    }
}

#[allow(clippy::result_large_err, reason = "tonic's own type")]
fn sign(
    authority: &Authority,
    subject: &Subject,
    terms: &Terms,
    request: &[u8],
) -> Result<proto::Issued, Status> {
    let ca = authority.ca();
    let chain = ca.issue(request, subject, terms.duration, SystemTime::now());
    let chain = chain.map_err(|error| refusal(&error))?;
    Ok(proto::Issued {
        chain,
        terms: Some(wire::terms(ca.trust_pem(), &terms.wishes)),
    })
}

fn refusal(error: &CaError) -> Status {
    let said = error.to_string();
    match error {
        CaError::Request(_) | CaError::Name(_) => Status::invalid_argument(said),
        _ => {
            warn!(problem = said, "nothing can be signed");
            Status::unavailable(said)
        }
    }
}
