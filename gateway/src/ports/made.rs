//! What ports are given that is made of other resources: authenticators and policies. Each is made once, whatever number
//! of ports refers to it, and anew when its resource changes.

use std::{collections::BTreeMap, sync::Arc};

use catena_authentication::{Authenticator, Means};
use catena_policy::Policy;
use catena_resources::{Kind, Resource, ResourceId, Resources, Spec};

use crate::ports::wanted::Wanted;

/// By the name of the resource: the version that it was made of.
type Versions<T> = BTreeMap<String, (u64, Arc<T>)>;

/// Authenticators and policies.
#[derive(Debug)]
pub(crate) struct Made {
    means: Arc<Means>,
    authenticators: Versions<Authenticator>,
    policies: Versions<Policy>,
}

impl Made {
    pub fn new(means: Arc<Means>) -> Made {
        Made {
            means,
            authenticators: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }

    /// Who decides who the clients of a port are, if anybody.
    ///
    /// # Errors
    /// When there is no resource of that name: the port is not to be open to everybody instead.
    pub fn authenticator(
        &mut self,
        wanted: &Wanted,
        resources: &Resources,
    ) -> Result<Option<Arc<Authenticator>>, String> {
        let Some(name) = &wanted.port.authentication_ref else {
            return Ok(None);
        };
        let means = &self.means;
        let make = |resource: &Resource| match &resource.spec {
            Spec::BrokerAuthentication(spec) => Some(Authenticator::new(name, spec, means.clone())),
            _ => None,
        };
        let kind = Kind::BrokerAuthentication;
        get(&mut self.authenticators, kind, name, resources, make).map(Some)
    }

    /// What the clients of a port may do; `None`: everything.
    ///
    /// # Errors
    /// As [`Made::authenticator`].
    pub fn policy(
        &mut self,
        wanted: &Wanted,
        resources: &Resources,
    ) -> Result<Option<Arc<Policy>>, String> {
        let Some(name) = &wanted.port.authorization_ref else {
            return Ok(None);
        };
        let make = |resource: &Resource| match &resource.spec {
            Spec::BrokerAuthorization(spec) => Some(Arc::new(Policy::compile(name, spec))),
            _ => None,
        };
        let kind = Kind::BrokerAuthorization;
        get(&mut self.policies, kind, name, resources, make).map(Some)
    }

    /// Forgets what is made of resources that are not there any more.
    pub fn forget(&mut self, resources: &Resources) {
        self.authenticators
            .retain(|name, _| resources.authentication(name).is_some());
        self.policies
            .retain(|name, _| resources.authorization(name).is_some());
    }
}

fn get<T>(
    known: &mut Versions<T>,
    kind: Kind,
    name: &str,
    resources: &Resources,
    make: impl Fn(&Resource) -> Option<Arc<T>>,
) -> Result<Arc<T>, String> {
    let missing = || format!("there is no {kind} {name}: apply it");
    let id = ResourceId {
        kind,
        name: name.to_owned(),
    };
    let stored = resources.get(&id).ok_or_else(missing)?;
    if let Some((version, made)) = known.get(name)
        && *version == stored.version
    {
        return Ok(made.clone());
    }
    let made = make(&stored.resource).ok_or_else(missing)?;
    known.insert(name.to_owned(), (stored.version, made.clone()));
    Ok(made)
}
