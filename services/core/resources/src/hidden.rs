//! What of a resource is not for everybody who may read it: the values of headers, which may be passwords.

use std::{borrow::Cow, collections::BTreeMap};

use crate::resource::{Resource, Spec};

/// What stands in place of a value that is not shown. Manifests cannot have it as the value of a header: what a viewer was shown
/// would be applied.
pub const HIDDEN: &str = "***";

impl Resource {
    /// The resource as it is shown to those who may only read.
    pub fn for_viewers(&self) -> Cow<'_, Resource> {
        if self.headers().all(BTreeMap::is_empty) {
            return Cow::Borrowed(self);
        }
        let mut shown = self.clone();
        for headers in shown.headers_mut() {
            for value in headers.values_mut() {
                HIDDEN.clone_into(value);
            }
        }
        Cow::Owned(shown)
    }

    fn headers(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        let (mut methods, mut collector) = (None, None);
        match &self.spec {
            Spec::BrokerAuthentication(spec) => methods = Some(&spec.authentication_methods),
            Spec::Broker(broker) => collector = broker.diagnostics.opentelemetry.as_ref(),
            Spec::BrokerListener(_) | Spec::BrokerAuthorization(_) => {}
        }
        let methods = methods.into_iter().flatten();
        let servers = methods.filter_map(|method| method.custom_settings.as_ref());
        let of_servers = servers.map(|server| &server.headers);
        of_servers.chain(collector.map(|collector| &collector.headers))
    }

    fn headers_mut(&mut self) -> impl Iterator<Item = &mut BTreeMap<String, String>> {
        let (mut methods, mut collector) = (None, None);
        match &mut self.spec {
            Spec::BrokerAuthentication(spec) => methods = Some(&mut spec.authentication_methods),
            Spec::Broker(broker) => collector = broker.diagnostics.opentelemetry.as_mut(),
            Spec::BrokerListener(_) | Spec::BrokerAuthorization(_) => {}
        }
        let methods = methods.into_iter().flatten();
        let servers = methods.filter_map(|method| method.custom_settings.as_mut());
        let of_servers = servers.map(|server| &mut server.headers);
        of_servers.chain(collector.map(|collector| &mut collector.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = "
apiVersion: catena.dev/v1
kind: BrokerAuthentication
metadata: {name: servers}
spec:
  authenticationMethods:
  - method: Custom
    customSettings: {endpoint: 'https://a', headers: {authorization: Bearer of-us}}
  - method: Custom
    customSettings: {endpoint: 'https://b', headers: {x-key: of-us}, headersSecretRef: more}
---
apiVersion: catena.dev/v1
kind: Broker
metadata: {name: default}
spec: {diagnostics: {opentelemetry: {endpoint: 'http://c', headers: {x-key: of-us}}}}
";

    // Whoever may read would have what lets into other servers.
    #[test]
    fn values_of_headers_are_not_for_viewers() {
        let resources = crate::parse(MANIFESTS).unwrap();
        for resource in &resources {
            let whole = serde_json::to_string(resource).unwrap();
            let shown = serde_json::to_string(&resource.for_viewers()).unwrap();
            assert!(whole.contains("of-us"));
            assert!(!shown.contains("of-us"), "{shown}");
            let differs_there_alone = whole.replace("Bearer of-us", "of-us");
            assert_eq!(shown, differs_there_alone.replace("of-us", HIDDEN));
        }
    }

    // A viewer's copy that an administrator applies would send `***` to the servers from then on.
    #[test]
    fn what_viewers_are_shown_is_no_manifest() {
        for resource in crate::parse(MANIFESTS).unwrap() {
            let shown = crate::write::yaml([&*resource.for_viewers()]);
            let refused = crate::parse(&shown).unwrap_err().to_string();
            assert!(refused.contains("headers"), "{refused}");
        }
    }
}
