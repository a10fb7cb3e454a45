//! What the schema of a listener cannot say.

use std::collections::BTreeMap;

use super::{BrokerListener, Port, Protocol, ServiceType, Tls, TlsMode};
use crate::{
    form,
    problem::Problems,
    rules::{Rules, each, each_text, optional, settings},
};

impl Rules for BrokerListener {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let at_broker = format!("{at}.brokerRef");
        problems.check(&at_broker, form::resource_name(&self.broker_ref));
        let service = self.service_name.as_ref();
        optional(
            service,
            format!("{at}.serviceName"),
            problems,
            form::dns_label,
        );
        let at_ports = format!("{at}.ports");
        each(&self.ports, &at_ports, problems);
        unique(
            &self.ports,
            &at_ports,
            "port",
            |port| Some(port.port),
            problems,
        );
        let chosen = |port: &Port| port.node_port.filter(|port| *port != 0);
        unique(&self.ports, &at_ports, "nodePort", chosen, problems);

        let is_node_port = self.service_type == ServiceType::NodePort;
        for (index, port) in self.ports.iter().enumerate() {
            settings(
                problems,
                (&format!("{at}.serviceType"), self.service_type),
                (
                    &format!("{at_ports}[{index}].nodePort"),
                    port.node_port.is_some(),
                ),
                (is_node_port, false),
            );
        }
    }
}

impl Rules for Port {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let (authentication, authorization) = (
            format!("{at}.authenticationRef"),
            format!("{at}.authorizationRef"),
        );
        for (reference, at) in [
            (&self.authentication_ref, &authentication),
            (&self.authorization_ref, &authorization),
        ] {
            optional(
                reference.as_ref(),
                at.clone(),
                problems,
                form::resource_name,
            );
        }
        if self.authorization_ref.is_some() && self.authentication_ref.is_none() {
            problems.rule(
                &authorization,
                "needs an authenticationRef: nothing is known of anonymous clients",
            );
        }
        let origins = format!("{at}.allowedOrigins");
        settings(
            problems,
            (&format!("{at}.protocol"), self.protocol),
            (&origins, self.allowed_origins.is_some()),
            (self.protocol == Protocol::WebSockets, false),
        );
        let named = self.allowed_origins.as_deref().unwrap_or_default();
        each_text(named, &origins, problems, form::origin);
        if let Some(tls) = &self.tls {
            tls.rules(&format!("{at}.tls"), problems);
        }
    }
}

impl Rules for Tls {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let mode = (format!("{at}.mode"), self.mode);
        let manual = format!("{at}.manual");
        let automatic = format!("{at}.certManagerCertificateSpec");
        let is_manual = self.mode == TlsMode::Manual;
        settings(
            problems,
            (&mode.0, mode.1),
            (&manual, self.manual.is_some()),
            (is_manual, true),
        );
        let spec = &self.cert_manager_certificate_spec;
        settings(
            problems,
            (&mode.0, mode.1),
            (&automatic, spec.is_some()),
            (!is_manual, false),
        );
        if let Some(of_secret) = &self.manual {
            let at = format!("{manual}.secretRef");
            problems.check(&at, form::secret_name(&of_secret.secret_ref));
        }
        if let Some(spec) = spec {
            spec.rules(&automatic, problems);
        }
    }
}

/// Notes numbers that two ports have.
fn unique(
    ports: &[Port],
    at: &str,
    field: &str,
    number: impl Fn(&Port) -> Option<u16>,
    problems: &mut Problems,
) {
    let mut first = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        let Some(number) = number(port) else { continue };
        let path = |index: usize| format!("{at}[{index}].{field}");
        let other = *first.entry(number).or_insert(index);
        if other != index && !problems.is_replaced(&path(other)) {
            let reason = format!("{number}: is taken by {}", path(other));
            problems.rule(&path(index), reason);
        }
    }
}
