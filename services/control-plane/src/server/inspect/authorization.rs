//! What clients may do, explained: by a BrokerAuthorization that is stored, or by one that comes with the request.

use std::sync::Arc;

use bytestring::ByteString;
use catena_mqtt::{Filter, topic};
use catena_policy::{
    Action, Explanation, Policy, Principal,
    explain::{Entry, MatchedPrincipal},
};
use catena_proto::admin::v1 as proto;
use catena_resources::{Spec, authorization::BrokerAuthorization};
use proto::{explain_request as asked, explain_response as told};
use tonic::{Request, Response, Status};

use super::{super::Context, missing, wrong};

/// Bytes of manifests that come with a request.
const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl proto::authorization_server::Authorization for Service {
    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let request = request.into_inner();
        let action = request
            .action
            .unwrap_or(asked::Action::Connect(asked::Connect {}));
        check(&action)?;
        let policy = self.policy(request.policy)?;
        let principal = Principal {
            client_id: request.client_id.into(),
            username: request.username.map(ByteString::from),
            attributes: Arc::new(request.attributes.into_iter().collect()),
        };
        let explanation = policy.explain(
            &principal,
            match &action {
                asked::Action::Connect(_) => Action::Connect,
                asked::Action::Publish(topic) => Action::Publish(topic),
                asked::Action::Subscribe(filter) => Action::Subscribe(filter),
            },
        );
        let list = match action {
            asked::Action::Connect(_) => "clientIds",
            asked::Action::Publish(_) | asked::Action::Subscribe(_) => "topics",
        };
        Ok(Response::new(answer(&policy, &explanation, list)))
    }
}

impl Service {
    fn policy(&self, asked: Option<asked::Policy>) -> Result<Policy, Status> {
        match asked {
            None => {
                let problem = "say which BrokerAuthorization, or give a manifest of one";
                Err(wrong("policy", problem.to_owned()))
            }
            Some(asked::Policy::Name(name)) => {
                let view = self.0.following.view.borrow().clone();
                match view.resources.authorization(&name) {
                    Some(spec) => Ok(Policy::compile(&name, spec)),
                    None => {
                        let message = format!("there is no BrokerAuthorization called {name:?}");
                        Err(missing("BrokerAuthorization", &name, message))
                    }
                }
            }
            Some(asked::Policy::Manifests(text)) => {
                let (name, spec) = given(&text)?;
                Ok(Policy::compile(&name, &spec))
            }
        }
    }
}

/// The one BrokerAuthorization among some manifests.
fn given(text: &str) -> Result<(String, BrokerAuthorization), Status> {
    if text.len() > MANIFEST_BYTES_MAX {
        let problem = format!("has more than {MANIFEST_BYTES_MAX} bytes");
        return Err(wrong("manifests", problem));
    }
    let resources = catena_resources::parse(text);
    let resources = resources.map_err(|invalid| wrong("manifests", invalid.to_string()))?;
    let mut found = resources.into_iter().filter_map(|resource| {
        let name = resource.metadata.name.clone();
        match resource.spec {
            Spec::BrokerAuthorization(spec) => Some((name, *spec)),
            _ => None,
        }
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(wrong("manifests", "hold no BrokerAuthorization".to_owned())),
        (Some(_), Some(_)) => {
            let problem = "hold more than one BrokerAuthorization: give the one that is meant";
            Err(wrong("manifests", problem.to_owned()))
        }
    }
}

/// What no client could do at all is a mistake in the question.
fn check(action: &asked::Action) -> Result<(), Status> {
    match action {
        asked::Action::Connect(_) => Ok(()),
        asked::Action::Publish(name) => {
            topic::validate(name).map_err(|error| wrong("publish", error.to_string()))
        }
        asked::Action::Subscribe(filter) => match Filter::parse(filter.clone()) {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong("subscribe", error.to_string())),
        },
    }
}

fn answer(policy: &Policy, explanation: &Explanation, list: &str) -> proto::ExplainResponse {
    let entry = |rule: usize, entry: &Entry| told::Entry {
        path: path(rule, entry, list),
        pattern: entry.pattern.as_ref().map(|(_, text)| text.clone()),
        substituted: entry.substituted.clone(),
    };
    proto::ExplainResponse {
        allowed: explanation.is_allowed(),
        policy: policy.name().to_owned(),
        grant: explanation.granted.as_ref().map(|grant| told::Grant {
            entry: Some(entry(grant.rule, &grant.entry)),
            principal: who(&grant.principal),
        }),
        near_misses: (explanation.near_misses.iter())
            .map(|miss| told::NearMiss {
                entry: Some(entry(miss.rule, &miss.entry)),
                why: miss.why.to_string(),
            })
            .collect(),
        near_misses_left_out: u32::try_from(explanation.near_misses_left_out).unwrap_or(u32::MAX),
    }
}

/// Where a pattern stands in the manifest.
fn path(rule: usize, entry: &Entry, list: &str) -> String {
    let resource = entry.resource;
    let mut path = format!("authorizationPolicies.rules[{rule}].brokerResources[{resource}]");
    if let Some((index, _)) = entry.pattern {
        path.push_str(&format!(".{list}[{index}]"));
    }
    path
}

fn who(principal: &MatchedPrincipal) -> String {
    match principal {
        MatchedPrincipal::AnyClientId => "any client id".to_owned(),
        MatchedPrincipal::ClientId(id) => format!("client id {id}"),
        MatchedPrincipal::AnyUsername => "any username".to_owned(),
        MatchedPrincipal::Username(name) => format!("username {name}"),
        MatchedPrincipal::Attributes(attributes) => {
            let pairs = attributes
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            format!("attributes {}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}
